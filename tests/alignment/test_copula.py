import alignment_oracles as oracle
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.alignment import all_pairs, copula
from jaxalign.alignment import conditional_copula_entropy as cce
from jaxalign.alignment.ranks import Ranks

# Limit N -> infinity for bivariate normals of correlation rho (THEORY.md section 3).
CCE_TABLE = {0.3: -0.00186130, 0.5: -0.0164887, 0.7: -0.0822771, 0.9: -0.399084, 0.95: -0.680125, 0.99: -1.430282}
ESTIMATORS = ["log_bins", "vasicek", "histogram"]


def bivariate_normals(rng, draws, rho, n):
    u, w = rng.normal(size=(2, draws, n, 1))
    return u.astype(np.float32), (rho * u + np.sqrt(1 - rho**2) * w).astype(np.float32)


@pytest.mark.parametrize(("n", "levels", "neighbors"), [(3, 5, 1), (37, 4, 2), (101, 3, 1), (101, 10**4, 1)])
def test_log_bins_equal_the_oracle(n, levels, neighbors):
    rng = np.random.default_rng(n)
    a, b = rng.integers(0, levels, (2, n, 2)).astype(np.float32)
    expected = oracle.log_bin_cce(a, b, neighbors)
    np.testing.assert_allclose(cce(a, b, neighbors=neighbors), expected, atol=2e-6)


@pytest.mark.parametrize("n", [3, 4, 10, 37, 100, 1000, 1001, 2000])
def test_bins_cover_the_ranks(n):
    edges = copula.log_bin_edges(n)
    assert edges[0] == 0 and edges[1] == 1 and edges[-1] == n - 1
    widths = np.diff(edges)
    growth = max(1.2, 1 + 2 / n**0.5)
    assert np.all(widths >= 1) and np.all(widths[1:-1] <= growth * widths[:-2] + 1)
    assert n < 10 or len(widths) <= 2 * n**0.5


@pytest.mark.parametrize("n", [3, 1000, 1501])
def test_identical_representations_are_exactly_at_the_floor(n):
    x = np.random.default_rng(n).normal(size=(n, 3))
    assert cce(x, x) == np.float32(-np.log(n - 1))
    assert cce(x, 3 * x + 2).dtype == jnp.float32


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_estimators_agree_with_the_pooled_entropy(estimator):
    """Many draws of weakly to strongly aligned ranks; biases as THEORY.md section 1 states them."""
    rng, n, draws = np.random.default_rng(3), 1000, 200
    tolerance = {"log_bins": 0.005, "vasicek": 0.02, "histogram": 0.02}[estimator]
    estimate = jax.jit(jax.vmap(copula.ESTIMATORS[estimator]))
    for sharpness in (1, 2, 5, 20):
        c = rng.beta(1, sharpness, size=(draws, 1, n))
        rank = np.minimum((c * (n - 1)).astype(np.int32), n - 2)
        samples = Ranks(rank, np.ones_like(rank), np.full_like(rank, -1))
        measured = np.mean(estimate(samples))
        q = np.diff(1 - (1 - np.arange(n) / (n - 1)) ** sharpness)
        if estimator == "histogram" and sharpness == 20:
            continue  # most of the mass lies within its first bin
        expected = -np.sum(q * np.log(np.maximum(q, 1e-300) * (n - 1)))
        assert abs(measured - expected) < tolerance, sharpness


@pytest.mark.parametrize(
    ("n", "rho", "tolerance"), [(10, 0.0, 0.03), (20, 0.0, 0.02), (20, 0.5, 0.03), (50, 0.5, 0.012), (50, 0.8, 0.012)]
)
def test_few_probes_bias_the_entropy_little(n, rho, tolerance):
    """Against the entropy of the ranks pooled over all draws; the mean of the estimates has an error of .004."""
    draws = 1500
    u, w = np.random.default_rng(n).normal(size=(2, draws, n, 3)).astype(np.float32)
    a, b = u, rho * u + np.sqrt(1 - rho**2).astype(np.float32) * w
    squared = [((x[:, :, None] - x[:, None]).astype(np.float64) ** 2).sum(-1) for x in (a, b)]
    squared[0][:, range(n), range(n)] = np.inf
    nearest = np.take_along_axis(squared[1], squared[0].argmin(-1)[..., None], -1)
    # The probe itself lies at distance 0.
    expected = oracle.pooled_entropy((squared[1] < nearest).sum(-1).ravel(), n)
    assert abs(np.mean(jax.jit(jax.vmap(cce))(a, b)) - expected) < tolerance


@pytest.mark.parametrize("rho", CCE_TABLE)
def test_bivariate_normals(rho):
    """Within 0.01 of the limit at N = 1000, as THEORY.md section 3 states, beyond 4 standard errors."""
    a, b = bivariate_normals(np.random.default_rng(7), 40, rho, 1000)
    values = np.asarray(jax.vmap(cce)(a, b))
    assert abs(values.mean() - CCE_TABLE[rho]) < 0.01 + 4 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("estimator", ["log_bins", "vasicek", "histogram"])
def test_independent_representations_give_zero(estimator):
    a, b = np.random.default_rng(0).normal(size=(2, 30, 1000, 3))
    values = np.array([cce(x, y, estimator=estimator) for x, y in zip(a, b, strict=True)])
    assert abs(values.mean()) < (0.002 if estimator == "log_bins" else 0.02)
    assert np.abs(values).max() < 0.04


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e3])
def test_constant_representations_are_independent(estimator, constant):
    x = np.random.default_rng(0).normal(size=(1000, 3))
    dead = np.full((1000, 3), constant)
    assert abs(cce(x, dead, estimator=estimator)) < (0.02 if estimator == "vasicek" else 1e-6)
    assert abs(cce(dead, x, estimator=estimator)) < 0.03
    assert abs(cce(dead, dead, estimator=estimator)) < (0.02 if estimator == "vasicek" else 1e-6)


def test_the_floor_of_the_other_estimators():
    x = np.random.default_rng(0).normal(size=(1000, 3))
    np.testing.assert_allclose(cce(x, x, estimator="histogram"), -np.log(20), rtol=1e-6)
    np.testing.assert_allclose(cce(x, x, estimator="vasicek"), -np.log(999), atol=0.03)


def test_it_is_directed():
    """A determines B = its first coordinate better than B determines A."""
    a = np.random.default_rng(0).normal(size=(1000, 3))
    b = a * [1, 1, 0]
    assert cce(a, b) < cce(b, a) - 0.1


def test_jit_and_vmap():
    a, b = bivariate_normals(np.random.default_rng(0), 4, 0.8, 101)
    single = np.array([cce(x, y) for x, y in zip(a, b, strict=True)])
    np.testing.assert_allclose(jax.jit(jax.vmap(cce))(a, b), single, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(a=np.zeros(5)), "a must be a real array of shape"),
        (dict(b=np.zeros((5, 2, 2))), "b must be a real array of shape"),
        (dict(b=np.zeros((6, 2))), r"b must be an array of as many probes \(rows\) as a, 5, got \(6, 2\)"),
        (dict(a=np.zeros((2, 2)), b=np.zeros((2, 2))), "N >= 3"),
        (dict(a=np.zeros((5, 0))), "D >= 1"),
        (dict(a=np.zeros((5, 2), complex)), "a must be a real array .* got dtype"),
        (dict(a=np.full((5, 2), "x")), "a must be a real array"),
        (dict(a=[[1, 2], [3]]), "a must be a real array .* ragged"),
        (dict(neighbors=0), "neighbors must be an integer of at least 1 and at most 3, got 0"),
        (dict(neighbors=4), "neighbors must be .* got 4"),
        (dict(neighbors=True), "neighbors must be .* got True"),
        (dict(estimator="log_bin"), "estimator must be one of histogram, log_bins, vasicek; .*did you mean 'log_bins'"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        cce(**dict(a=np.zeros((5, 2)), b=np.zeros((5, 2))) | arguments)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32, np.uint8, bool])
def test_any_real_dtype(dtype):
    x = np.random.default_rng(0).integers(0, 2, (50, 6)).astype(dtype)
    assert cce(x, x) == cce(x.astype(np.float32), x.astype(np.float32))


def test_values_that_are_not_finite_give_nan():
    x = np.random.default_rng(0).normal(size=(20, 3))
    for bad in (np.nan, np.inf, -np.inf):
        y = x.copy()
        y[3, 1] = bad
        assert np.isnan(cce(x, y)) and np.isnan(cce(y, x))


def test_the_null_over_many_pairs():
    values = all_pairs(np.random.default_rng(5).normal(size=(40, 1000, 4)), ("cce",))["cce"]
    null = values[~np.eye(40, dtype=bool)]
    assert abs(null.mean()) < 0.002
