"""RSA against the distances and correlations of SciPy, in float64."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr, rankdata, spearmanr

from jaxalign.alignment import dissimilarity
from jaxalign.alignment.dissimilarity import normalize_rows, rsa

properties = settings(max_examples=15, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)

FORMS = {
    "spearman": dissimilarity.RSA_SPEARMAN,
    "pearson": dissimilarity.RSA_PEARSON,
    "squared pearson": dissimilarity.RSA_SQUARED_PEARSON,
}
OPTIONS = list(itertools.product(("spearman", "pearson"), ("euclidean", "correlation")))


def measure_of(correlation, distance):
    return functools.partial(rsa, correlation=correlation, distance=distance)


def oracle(a, b, correlation, distance):
    of = {"spearman": spearmanr, "pearson": pearsonr}[correlation]
    return of(pdist(np.asarray(a, np.float64), distance), pdist(np.asarray(b, np.float64), distance)).statistic


def pair(seed, n=24, p=4, q=4):
    """Two representations that are somewhat alike."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, p))
    return a, a @ rng.normal(size=(p, q)) + rng.normal(size=(n, q))


@pytest.mark.parametrize(("n", "p", "q"), [(4, 3, 5), (37, 60, 4), (130, 5, 8)])
def test_equals_scipy(n, p, q):
    a, b = pair(n, n, p, q)
    for correlation, distance in OPTIONS:
        value = rsa(a, b, correlation=correlation, distance=distance)
        np.testing.assert_allclose(value, oracle(a, b, correlation, distance), atol=2e-5)


@pytest.mark.parametrize(("n", "levels"), [(101, 2), (101, 5), (24, 5)])
def test_tied_distances_have_the_mean_rank(n, levels):
    a, b = np.random.default_rng(n).integers(0, levels, (2, n, 4))
    b = np.where(np.arange(n)[:, None] % 2, a, b)
    np.testing.assert_allclose(rsa(a, b), oracle(a, b, "spearman", "euclidean"), atol=2e-5)


@pytest.mark.parametrize(("n", "levels"), [(3, 3), (4, 2), (24, 3), (37, 100)])
def test_the_state_holds_the_ranks(n, levels):
    points = np.random.default_rng(n).integers(-levels, levels, (n, 3)).astype(np.float32)
    ranks = rankdata(pdist(points))
    expected = squareform((ranks - ranks.mean()) / len(ranks))
    state = jax.jit(dissimilarity.RSA_SPEARMAN.embed)(jnp.asarray(points))
    np.testing.assert_allclose(state.ranks, expected, atol=1e-6)
    assert np.array_equal(state.ranks, state.ranks.T)


def test_duplicates_are_tied():
    rng = np.random.default_rng(0)
    a = np.tile(rng.normal(size=(26, 5)), (5, 1))
    b = rng.normal(size=(130, 8))
    np.testing.assert_allclose(rsa(a, b), oracle(a, b, "spearman", "euclidean"), atol=1e-5)
    state = jax.jit(dissimilarity.RSA_SPEARMAN.embed)(jnp.asarray(a, jnp.float32))
    lowest = np.asarray(state.ranks) == np.min(state.ranks)
    assert np.array_equal(lowest, np.tile(np.eye(26, dtype=bool), (5, 5)) & ~np.eye(130, dtype=bool))


@pytest.mark.parametrize("option", OPTIONS)
def test_identical_and_independent_representations(option):
    of = measure_of(*option)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 40, 24, 4))
    values = np.asarray(jax.vmap(of)(a, b))
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))
    np.testing.assert_allclose(jax.vmap(of)(a, a), 1, rtol=5e-6)


TRANSFORMS = {
    "rotation": lambda x, rng: x @ np.linalg.qr(rng.normal(size=(x.shape[1],) * 2))[0],
    "reflection": lambda x, rng: -x,
    "scale": lambda x, rng: 10 ** rng.uniform(-3, 3) * x,
    "tiny": lambda x, rng: 1e-30 * x,
    "huge": lambda x, rng: 1e30 * x,
    "translation": lambda x, rng: x + 1e3 * rng.normal(size=(1, x.shape[1])),
    "shifted rows": lambda x, rng: x + 1e3 * rng.normal(size=(len(x), 1)),
    "scaled rows": lambda x, rng: x * np.exp(rng.normal(size=(len(x), 1))),
}
OF_DISTANCE = {
    "euclidean": ["huge", "reflection", "rotation", "scale", "tiny", "translation"],
    "correlation": ["huge", "reflection", "scale", "scaled rows", "shifted rows", "tiny"],
}


@pytest.mark.parametrize("option", OPTIONS)
@properties
@given(seed=seeds, data=st.data())
def test_invariances(option, seed, data):
    """Up to near-ties at float32, of which an offset of 1e3 leaves four digits."""
    change = TRANSFORMS[data.draw(st.sampled_from(OF_DISTANCE[option[1]]))]
    rng, (a, b) = np.random.default_rng(seed), pair(seed)
    of = measure_of(*option)
    expected = of(a, b)
    np.testing.assert_allclose(of(change(a, rng), change(b, rng)), expected, atol=3e-3)
    np.testing.assert_allclose(of(b, a), expected, atol=1e-6)
    order = rng.permutation(len(a))
    np.testing.assert_allclose(of(a[order], b[order]), expected, atol=1e-3)


@pytest.mark.parametrize("option", OPTIONS)
def test_it_is_not_invariant_to_a_linear_map(option):
    x = pair(0)[0]
    assert rsa(x, x * [10, 1, 0.1, 1], correlation=option[0], distance=option[1]) < 0.95


def test_the_correlation_distance_depends_on_the_offset_of_a_unit():
    x = pair(0)[0]
    assert rsa(x, x + [3, 0, 0, 0], distance="correlation") < 0.95


@properties
@given(seed=seeds, exponent=st.integers(-30, 30), offset=st.sampled_from([0.0, 1.0, 100.0]))
def test_normalized_rows(seed, exponent, offset):
    x = ((np.random.default_rng(seed).normal(size=(24, 4)) + offset) * 10.0**exponent).astype(np.float32)
    rows = np.asarray(normalize_rows(jnp.asarray(x)), np.float64)
    squared = squareform(((rows[:, None] - rows[None]) ** 2).sum(-1), checks=False)
    np.testing.assert_allclose(squared / 2, pdist(x.astype(np.float64), "correlation"), atol=1e-5)


@pytest.mark.parametrize("name", FORMS)
@properties
@given(seed=seeds)
def test_permuting_a_state_is_permuting_the_points(name, seed):
    form = FORMS[name]
    embed, rows = jax.jit(form.embed), jax.jit(form.rows)
    points = jnp.asarray(np.random.default_rng(seed).integers(-8, 8, (24, 4)) / 8, jnp.float32)
    order = jnp.asarray(np.random.default_rng(seed).permutation(len(points)), jnp.int32)
    indices = jnp.asarray([5, 0, 23, 23], jnp.int32)
    permuted = rows(jax.jit(form.permute)(embed(points), order), indices)
    np.testing.assert_allclose(permuted, rows(embed(points[order]), indices), atol=1e-5)
    np.testing.assert_allclose(permuted, rows(embed(points), order[indices])[:, order], atol=1e-5)


@pytest.mark.parametrize("option", OPTIONS)
def test_jit_and_vmap(option):
    a, b = (np.stack(x) for x in zip(*(pair(seed) for seed in range(5)), strict=True))
    of = measure_of(*option)
    single = np.array([of(x, y) for x, y in zip(a, b, strict=True)])
    np.testing.assert_allclose(jax.jit(jax.vmap(of))(a, b), single, atol=1e-4)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("value", [0, 0.1, -3e30, 1e-40])
def test_a_constant_representation_has_no_similarity(option, value):
    x = pair(0)[0]
    constant = np.full(x.shape, value)
    for a, b in ((x, constant), (constant, x), (constant, constant)):
        assert np.isnan(measure_of(*option)(a, b))


@pytest.mark.parametrize("option", OPTIONS)
def test_rounding_is_no_representation(option):
    x = pair(0)[0]
    noise = np.random.default_rng(0).integers(-1, 2, x.shape) * np.spacing(np.float32(1000))
    assert np.isnan(measure_of(*option)(x, np.float32(1000) + noise))


@pytest.mark.parametrize("option", OPTIONS)
def test_equal_distances_have_no_correlation(option):
    x = pair(0)[0]
    for equidistant in (np.eye(len(x)), np.eye(len(x)) * 0.3 + 5):
        assert np.isnan(measure_of(*option)(x, equidistant))


def test_one_row_without_variation_has_no_correlation_distance():
    a, b = pair(0)
    b[3] = 0.1
    for correlation in ("spearman", "pearson"):
        assert np.isnan(rsa(a, b, correlation=correlation, distance="correlation"))
        assert np.isfinite(rsa(a, b, correlation=correlation))


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite(option, bad):
    a, b = pair(0)
    b[3, 1] = bad
    assert np.isnan(measure_of(*option)(a, b))
    assert np.isnan(measure_of(*option)(b, a))


def test_bad_input():
    x = np.zeros((5, 2))
    for b in (np.zeros((4, 2)), np.zeros((5, 2), complex), np.zeros(5)):
        with pytest.raises(ValueError, match="b must be"):
            rsa(x, b)
    with pytest.raises(ValueError, match="b must be an array of at least 2 units"):
        rsa(x, np.zeros((5, 1)), distance="correlation")
    with pytest.raises(ValueError, match="correlation must be one of pearson, spearman"):
        rsa(x, x, correlation="kendall")
    with pytest.raises(ValueError, match="distance must be one of correlation, euclidean"):
        rsa(x, x, distance="cosine")
