import functools
import inspect

import alignment_oracles as oracle
import jax
import jax.numpy as jnp
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


def shares(x, neighbors):
    """(N, N): the share of j in the nearest of i; points as near as the last one divide the places that are left."""
    distances = oracle.squared_distances(x)
    np.fill_diagonal(distances, np.inf)
    last = np.sort(distances, axis=1)[:, neighbors - 1, None]
    nearer, as_near = distances < last, distances == last
    return nearer + as_near * (neighbors - nearer.sum(1, keepdims=True)) / as_near.sum(1, keepdims=True)


def mutual_knn_oracle(a, b, neighbors):
    return np.mean((shares(a, neighbors) * shares(b, neighbors)).sum(1) / neighbors)


def cknna_oracle(a, b, neighbors):
    """The equation of Huh et al. 2024, section on alignment, with both kernels of centred columns."""
    kernels = []
    for x in (a, b):
        centred = np.asarray(x, np.float64) - np.mean(x, 0, dtype=np.float64)
        kernels.append(centred @ centred.T)
    (p, q), (v, w) = kernels, (shares(x, neighbors) for x in (a, b))
    return np.sum(v * w * p * q) / np.sqrt(np.sum(v * p**2) * np.sum(w * q**2))


ORACLES = {mutual_knn: mutual_knn_oracle, cknna: cknna_oracle}


# Every measure is compiled for few shapes, since that takes seconds: N = 101 with three neighbours, and one more.
three = {measure: functools.partial(measure, neighbors=3) for measure in MEASURES}


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("offset", [0, 1000])
def test_equals_the_oracle(measure, offset):
    for widths, n, neighbors in (((5, 5), 101, 3), ((5, 8), 37, 2)):
        a, b = (x + np.float32(offset) for x in correlated(n, widths))
        expected = ORACLES[measure](a, b, neighbors)
        np.testing.assert_allclose(measure(a, b, neighbors=neighbors), expected, rtol=1e-5, atol=1e-6)


CODES = {
    "corners of a cube": lambda rng, d: rng.integers(0, 2, (37, d)),
    "one-hot": lambda rng, d: np.eye(d)[rng.integers(0, d, 37)],
    "dead rows": lambda rng, d: rng.normal(size=(37, d)).clip(0) * (rng.random((37, 1)) > 0.7),
}


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("kind", CODES)
def test_ties_equal_the_oracle(measure, kind):
    rng = np.random.default_rng(3)
    a, b = (CODES[kind](rng, d).astype(np.float32) for d in (5, 8))
    np.testing.assert_allclose(measure(a, b, neighbors=2), ORACLES[measure](a, b, 2), rtol=1e-5)
    np.testing.assert_allclose(measure(a, a, neighbors=2), ORACLES[measure](a, a, 2), rtol=1e-5)


def test_independent_codes_agree_by_chance():
    """k/(N - 1) on average, also where most neighbours are tied: of one-hot codes, and of layers with dead rows."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(40):
        one_hot = np.eye(5)[rng.integers(0, 5, (2, 37))]
        dead = rng.normal(size=(2, 37, 5)).clip(0) * (rng.random((2, 37, 1)) > 0.7)
        values.append([mutual_knn(*pair.astype(np.float32), neighbors=2) for pair in (one_hot, dead)])
    values = np.array(values)
    assert np.all(np.abs(values.mean(0) - 2 / 36) < 4 * values.std(0, ddof=1) / np.sqrt(40))


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
    values = np.array([three[mutual_knn](*pair) for pair in zip(a, b, strict=True)])
    assert abs(values.mean() - 3 / 100) < 4 * values.std(ddof=1) / np.sqrt(40)
    values = np.array([three[cknna](*pair) for pair in zip(a, b, strict=True)])
    assert 0 < values.mean() < 3 / 100 + 4 * values.std(ddof=1) / np.sqrt(40)


@pytest.mark.parametrize("measure", MEASURES)
def test_jit_and_vmap(measure):
    pairs = [correlated(101, seed=seed) for seed in range(4)]
    a, b = (np.stack(x) for x in zip(*pairs, strict=True))
    single = np.array([three[measure](x, y) for x, y in pairs])
    np.testing.assert_allclose(jax.jit(jax.vmap(three[measure]))(a, b), single, rtol=1e-5)


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


@pytest.mark.parametrize("form", [MUTUAL_KNN, CKNNA])
@pytest.mark.parametrize("tied", [False, True])
def test_permuted_state(form, tied):
    """The matrix of the permuted probes, of which both rows and columns are permuted."""
    a = np.eye(5, dtype=np.float32)[np.random.default_rng(5).integers(0, 5, 37)] if tied else correlated(37)[0]
    order = np.random.default_rng(4).permutation(37).astype(np.int32)
    everything = jnp.arange(37, dtype=jnp.int32)

    @jax.jit
    def matrices(a, order):
        state, expected = form.embed(a, 3), form.embed(a[order], 3)
        permuted = form.permute(state, order)
        rows = [form.rows(x, everything) for x in (state, permuted, expected)]
        return rows, [form.norm(x) for x in (state, permuted, expected)]

    (rows, permuted, expected), norms = matrices(a, order)
    np.testing.assert_allclose(permuted, expected, atol=1e-5)
    np.testing.assert_allclose(permuted, np.asarray(rows)[order][:, order], atol=1e-5)
    np.testing.assert_allclose(norms, norms[0], rtol=1e-6)


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
