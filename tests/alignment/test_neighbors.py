import alignment_oracles as oracle
import jax
import numpy as np
import pytest

from jaxalign.alignment import conditional_copula_entropy, information_imbalance, tie_fraction


@pytest.mark.parametrize(("n", "levels", "neighbors"), [(37, 4, 3), (101, 3, 1), (101, 10**4, 1)])
def test_equals_the_oracle(n, levels, neighbors):
    a, b = np.random.default_rng(n).integers(0, levels, (2, n, 2)).astype(np.float32)
    less, equal = oracle.ranks(a, b, neighbors)
    expected = oracle.information_imbalance(less, equal)
    np.testing.assert_allclose(information_imbalance(a, b, neighbors=neighbors), expected, rtol=1e-6)
    np.testing.assert_allclose(tie_fraction(a, b, neighbors=neighbors), np.mean(equal > 1), rtol=1e-6)


@pytest.mark.parametrize("n", [3, 1000, 1501])
def test_identical_representations_are_exactly_at_the_floor(n):
    x = np.random.default_rng(n).normal(size=(n, 3))
    assert information_imbalance(x, x) == np.float32(2 / n)


@pytest.mark.parametrize("rho", [0.3, 0.7, 0.95])
def test_bivariate_normals(rho):
    rng = np.random.default_rng(11)
    u, w = rng.normal(size=(2, 40, 1000, 1))
    values = np.asarray(jax.vmap(information_imbalance)(u, rho * u + np.sqrt(1 - rho**2) * w))
    expected = 1 - 2 / np.pi * np.arcsin(rho**2 / np.sqrt(3 - 2 * rho**2))
    assert abs(values.mean() - expected) < 0.002 + 4 * values.std() / np.sqrt(len(values))


def test_constant_representations_are_independent():
    x, dead = np.random.default_rng(0).normal(size=(1000, 3)), np.full((1000, 3), 0.1)
    np.testing.assert_allclose(information_imbalance(x, dead), 1, rtol=1e-6)
    assert abs(information_imbalance(dead, x) - 1) < 4 / np.sqrt(3 * 1000)
    assert tie_fraction(x, dead) == 1
    assert tie_fraction(dead, x) == 0


def test_duplicated_probes_with_independent_b_are_independent():
    """Each probe's duplicate is its neighbour in A; in B, where they differ, it is anywhere."""
    rng = np.random.default_rng(0)
    a = np.tile(rng.normal(size=(250, 3)), (4, 1))
    b = rng.normal(size=(1000, 3))
    assert abs(information_imbalance(a, b) - 1) < 4 / np.sqrt(3 * 1000)
    assert abs(information_imbalance(b, a) - 1) < 4 / np.sqrt(3 * 1000)
    assert tie_fraction(b, a) == 1


def test_it_is_directed():
    a = np.random.default_rng(0).normal(size=(1000, 3))
    b = a * [1, 1, 0]
    assert information_imbalance(a, b) < information_imbalance(b, a) - 0.1


TRANSFORMS = {
    "rotation": lambda x, rng: x @ np.linalg.qr(rng.normal(size=(x.shape[1],) * 2))[0],
    "scale": lambda x, rng: 1e-3 * x,
    "tiny": lambda x, rng: 1e-30 * x,
    "huge": lambda x, rng: 1e30 * x,
    "translation": lambda x, rng: x + 1e3 * rng.normal(size=x.shape[1]),
    "zero columns": lambda x, rng: np.concatenate([x, np.zeros_like(x)], axis=1),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_invariance(transform):
    """Up to near-ties at float32, which move a rank by one."""
    rng = np.random.default_rng(2)
    a = rng.normal(size=(300, 4))
    b = a @ rng.normal(size=(4, 4)) + 0.3 * rng.normal(size=(300, 4))
    change = TRANSFORMS[transform]
    for measure, tolerance in ((information_imbalance, 2e-3), (conditional_copula_entropy, 2e-2)):
        expected = measure(a, b)
        np.testing.assert_allclose(measure(change(a, rng), b), expected, atol=tolerance)
        np.testing.assert_allclose(measure(a, change(b, rng)), expected, atol=tolerance)
        order = rng.permutation(300)
        np.testing.assert_allclose(measure(a[order], b[order]), expected, atol=tolerance / 10)


def test_it_is_not_invariant_to_a_linear_map():
    x = np.random.default_rng(0).normal(size=(1000, 3))
    assert information_imbalance(x, x * np.array([10, 1, 0.1])) > 0.05


def test_jit_and_vmap():
    a, b = np.random.default_rng(0).normal(size=(2, 4, 101, 3))
    single = np.array([information_imbalance(x, y) for x, y in zip(a, b, strict=True)])
    np.testing.assert_allclose(jax.jit(jax.vmap(information_imbalance))(a, b), single, rtol=1e-6)


@pytest.mark.parametrize("measure", [information_imbalance, tie_fraction])
def test_bad_input(measure):
    for b, neighbors in ((np.zeros((4, 2)), 1), (np.zeros((5, 2), complex), 1), (np.zeros((5, 2)), 4)):
        with pytest.raises(ValueError, match="(b|neighbors) must be"):
            measure(np.zeros((5, 2)), b, neighbors=neighbors)


def test_a_representation_that_loses_the_sign():
    """From x^2 to a normal x: 1/2 + arcsin(1/sqrt 5)/pi, for half of the neighbours have the other sign."""
    x = np.random.default_rng(3).normal(size=(40, 1000, 1))
    values = np.asarray(jax.vmap(information_imbalance)(x**2, x))
    expected = 0.5 + np.arcsin(5**-0.5) / np.pi
    assert abs(values.mean() - expected) < 0.002 + 4 * values.std() / np.sqrt(len(values))
