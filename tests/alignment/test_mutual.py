import functools
import inspect

import alignment_oracles as oracle
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxalign.alignment.mutual import CKNNA, MUTUAL_KNN, cknna, mutual_knn

MEASURES = [mutual_knn, cknna]


def correlated(n, widths=(5, 5), seed=0, noise=0.5):
    """Two views of the same latent points, float32."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, 4))
    views = [latent @ rng.normal(size=(4, d)) + noise * rng.normal(size=(n, d)) for d in widths]
    return tuple(x.astype(np.float32) for x in views)


def masks(x, neighbors):
    """(N, N): whether j is among the nearest of i."""
    mask = np.zeros((len(x), len(x)), bool)
    np.put_along_axis(mask, oracle.nearest(x, neighbors).T, True, axis=1)
    return mask


def mutual_knn_oracle(a, b, neighbors):
    return np.mean((masks(a, neighbors) & masks(b, neighbors)).sum(1) / neighbors)


def cknna_oracle(a, b, neighbors):
    """The equation of Huh et al. 2024, section on alignment, with both kernels of centred columns."""
    a, b = (np.asarray(x, np.float64) - np.mean(x, 0, dtype=np.float64) for x in (a, b))

    def align(x, y):
        alpha = masks(x, neighbors) & masks(y, neighbors)
        p, q = x @ x.T, y @ y.T
        return np.sum(alpha * (p - p.mean(1, keepdims=True)) * (q - q.mean(1, keepdims=True)))

    return align(a, b) / np.sqrt(align(a, a) * align(b, b))


ORACLES = {mutual_knn: mutual_knn_oracle, cknna: cknna_oracle}


# Every measure is compiled for few shapes, since that takes seconds: N = 101 with three neighbours, and one more.
three = {measure: functools.partial(measure, neighbors=3) for measure in MEASURES}
batched = {measure: jax.jit(jax.vmap(three[measure])) for measure in MEASURES}
embed = jax.jit(lambda form, x: form.embed(x, 3), static_argnums=0)
permute = jax.jit(lambda form, state, order: form.permute(state, order), static_argnums=0)
compare = jax.jit(lambda form, a, b: form.compare(a, b), static_argnums=0)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("offset", [0, 1000])
def test_equals_the_oracle(measure, offset):
    for widths, n, neighbors in (((5, 5), 101, 3), ((5, 8), 37, 2)):
        a, b = (x + np.float32(offset) for x in correlated(n, widths))
        expected = ORACLES[measure](a, b, neighbors)
        np.testing.assert_allclose(measure(a, b, neighbors=neighbors), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
def test_ties_equal_the_oracle(measure):
    """The corners of a cube: most distances are tied."""
    rng = np.random.default_rng(3)
    a, b = (rng.integers(0, 2, (37, d)).astype(np.float32) for d in (5, 8))
    np.testing.assert_allclose(measure(a, b, neighbors=2), ORACLES[measure](a, b, 2), rtol=1e-5)


def test_rows_of_unit_length_have_the_neighbors_of_the_largest_inner_products():
    """As the authors' code chooses them, ten by default: https://github.com/minyoungg/platonic-rep, metrics.py."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in correlated(101))
    sets = []
    for x in (a, b):
        gram = x.astype(np.float64) @ x.T
        np.fill_diagonal(gram, -np.inf)
        sets.append([set(row[:10]) for row in np.argsort(-gram, axis=1)])
    expected = np.mean([len(p & q) / 10 for p, q in zip(*sets, strict=True)])
    np.testing.assert_allclose(mutual_knn(a, b), expected, rtol=1e-6)
    assert inspect.signature(cknna).parameters["neighbors"].default == 10


def test_identical():
    a, _ = correlated(101)
    assert three[mutual_knn](a, a) == 1
    np.testing.assert_allclose(three[cknna](a, a), 1, rtol=1e-6)


def test_independent():
    """k/(N - 1); the kernels of neighbours vary, which lowers the cosine below it."""
    a, b = np.random.default_rng(5).normal(size=(2, 40, 101, 5))
    values = np.asarray(batched[mutual_knn](a, b))
    assert abs(values.mean() - 3 / 100) < 4 * values.std(ddof=1) / np.sqrt(40)
    values = np.asarray(batched[cknna](a, b))
    assert 0 < values.mean() < 3 / 100 + 4 * values.std(ddof=1) / np.sqrt(40)


@pytest.mark.parametrize("measure", MEASURES)
def test_jit_and_vmap(measure):
    pairs = [correlated(101, seed=seed) for seed in range(40)]
    a, b = (np.stack(x) for x in zip(*pairs, strict=True))
    single = np.array([three[measure](x, y) for x, y in pairs])
    np.testing.assert_allclose(batched[measure](a, b), single, rtol=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_symmetric(measure):
    a, b = correlated(101)
    np.testing.assert_allclose(three[measure](a, b), three[measure](b, a), rtol=1e-6)


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
    """Up to near-ties at float32, which exchange one neighbour."""
    rng = np.random.default_rng(2)
    a, b = correlated(101)
    change = TRANSFORMS[transform]
    for measure in three.values():
        expected = measure(a, b)
        np.testing.assert_allclose(measure(a, change(b, rng)), expected, atol=3e-3)
        order = rng.permutation(101)
        np.testing.assert_allclose(measure(a[order], b[order]), expected, atol=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_it_is_not_invariant_to_a_linear_map(measure):
    a, _ = correlated(101)
    assert three[measure](a, a * np.array([10, 1, 1, 1, 0.1])) < 0.9


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.floats(0, 3))
def test_range_and_oracle(seed, noise):
    a, b = correlated(37, (5, 8), seed, noise)
    for measure in MEASURES:
        value = measure(a, b, neighbors=2)
        np.testing.assert_allclose(value, ORACLES[measure](a, b, 2), rtol=1e-4, atol=1e-5)
        assert -1 - 1e-6 <= value <= 1 + 1e-6


@pytest.mark.parametrize(("form", "measure"), [(MUTUAL_KNN, mutual_knn), (CKNNA, cknna)])
def test_permuted_state(form, measure):
    a, b = correlated(101)
    order = np.random.default_rng(4).permutation(101).astype(np.int32)
    state, other, expected = (embed(form, x) for x in (a, b, a[order]))
    permuted, both = (permute(form, x, order) for x in (state, other))
    np.testing.assert_array_equal(np.sort(permuted.nearest, axis=0), np.sort(expected.nearest, axis=0))
    np.testing.assert_allclose(compare(form, permuted, other), compare(form, expected, other), rtol=1e-4)
    np.testing.assert_allclose(compare(form, permuted, both), three[measure](a, b), rtol=1e-5)
    assert abs(compare(form, permuted, other) - compare(form, state, other)) > 0.1


@pytest.mark.parametrize("measure", MEASURES)
def test_undefined(measure):
    a, _ = correlated(101)
    dead = np.full_like(a, 0.1)
    broken = a.copy()
    broken[3, 1] = np.nan
    infinite = a.copy()
    infinite[3, 1] = np.inf
    for x in (dead, broken, infinite):
        assert np.isnan(three[measure](a, x))
        assert np.isnan(three[measure](x, a))
    assert np.isnan(three[measure](dead, dead))


@pytest.mark.parametrize("measure", MEASURES)
def test_bad_input(measure):
    x = np.zeros((12, 2))
    for b, neighbors, name in (
        (np.zeros((11, 2)), 3, "b"),
        (np.zeros((12, 2), complex), 3, "b"),
        (x, 11, "neighbors"),
        (x, 0, "neighbors"),
    ):
        with pytest.raises(ValueError, match=f"{name} must be"):
            measure(x, b, neighbors=neighbors)
    with pytest.raises(ValueError, match="neighbors must be"):
        measure(np.zeros((11, 2)), np.zeros((11, 2)))
