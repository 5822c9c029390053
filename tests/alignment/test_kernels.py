"""CKA against NumPy in float64 and against the values that the authors published."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxalign.alignment import kernels
from jaxalign.alignment.forms import measure
from jaxalign.alignment.kernels import linear_cka, rbf_cka
from jaxalign.alignment.median import median_of_rows

properties = settings(max_examples=15, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)

FORMS = {
    "linear": kernels.LINEAR_CKA,
    "linear debiased": kernels.LINEAR_CKA_DEBIASED,
    "rbf": kernels.RBF_CKA,
    "rbf debiased": kernels.RBF_CKA_DEBIASED,
}
MEASURES = {
    "linear": linear_cka,
    "linear debiased": functools.partial(linear_cka, debiased=True),
    "rbf": functools.partial(rbf_cka, bandwidth=0.7),
    "rbf debiased": functools.partial(rbf_cka, bandwidth=0.7, debiased=True),
}


def together(bandwidth):
    """The four measures in one program, which takes less time to compile than four."""

    @jax.jit
    def measures(a, b):
        return {
            "linear": linear_cka(a, b),
            "linear debiased": linear_cka(a, b, debiased=True),
            "rbf": rbf_cka(a, b, bandwidth=bandwidth),
            "rbf debiased": rbf_cka(a, b, bandwidth=bandwidth, debiased=True),
        }

    return measures


def gram_linear(x):
    x = np.asarray(x, np.float64)
    return x @ x.T


def gram_rbf(x, bandwidth):
    """The median is over the whole matrix, as in gram_rbf of github.com/google-research/representation_similarity."""
    x = np.asarray(x, np.float64)
    squared = ((x[:, None] - x[None]) ** 2).sum(-1)
    return np.exp(-squared / (2 * np.median(squared) * bandwidth**2))


def oracle_biased(k, l):  # noqa: E741
    h = np.eye(len(k)) - 1 / len(k)
    k, l = h @ k @ h, h @ l @ h  # noqa: E741
    return np.sum(k * l) / np.sqrt(np.sum(k * k) * np.sum(l * l))


def hsic_1(k, l):  # noqa: E741
    """Equation 5 of Song et al. 2012, JMLR 13, 1393."""
    n, one = len(k), np.ones(len(k))
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    total = (
        np.trace(k @ l) + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ l @ one)
    )
    return total / (n * (n - 3))


def oracle_debiased(k, l):  # noqa: E741
    return hsic_1(k, l) / np.sqrt(hsic_1(k, k) * hsic_1(l, l))


def pair(seed, n=24, p=3, q=3):
    """Two representations that are somewhat alike."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, p))
    return a, a @ rng.normal(size=(p, q)) + rng.normal(size=(n, q))


def test_the_published_values():
    """github.com/google-research/representation_similarity, demo.ipynb."""
    random = np.random.RandomState(1337)
    x = random.randn(100, 10)
    y = random.randn(100, 10) + x
    np.testing.assert_allclose(linear_cka(x, y), 0.55761, atol=5e-6)
    np.testing.assert_allclose(linear_cka(x, y, debiased=True), 0.51346, atol=5e-6)
    np.testing.assert_allclose(rbf_cka(x, y, bandwidth=0.5), 0.65483, atol=5e-6)


@pytest.mark.parametrize(("n", "p", "q", "bandwidth"), [(4, 2, 3, 0.7), (37, 60, 1, 2.0), (130, 5, 8, 0.4)])
def test_equals_the_oracle(n, p, q, bandwidth):
    a, b = pair(n, n, p, q)
    found = together(bandwidth)(a, b)
    linear = gram_linear(a), gram_linear(b)
    np.testing.assert_allclose(found["linear"], oracle_biased(*linear), atol=1e-5)
    np.testing.assert_allclose(found["linear debiased"], oracle_debiased(*linear), atol=1e-5)
    rbf = gram_rbf(a, bandwidth), gram_rbf(b, bandwidth)
    np.testing.assert_allclose(found["rbf"], oracle_biased(*rbf), atol=1e-5)
    np.testing.assert_allclose(found["rbf debiased"], oracle_debiased(*rbf), atol=1e-4)


@jax.jit
def median_of(matrix, sample):
    return median_of_rows(lambda indices: matrix[indices], len(matrix), sample)


@pytest.mark.parametrize(("n", "levels"), [(3, 10**6), (24, 2), (101, 10**6)])
def test_the_median_is_that_of_all_squared_distances(n, levels):
    for seed in range(4):
        x = np.random.default_rng(seed).integers(0, levels, (n, 2)) / levels
        matrix = ((x[:, None] - x[None]) ** 2).sum(-1).astype(np.float32)
        found = median_of(jnp.asarray(matrix), jnp.asarray(matrix[0]))
        assert found == np.median(matrix)


def test_a_wide_kernel_is_the_linear_one():
    """K - 1 is then proportional to the squared distance, whose centred matrix is that of inner products."""
    a, b = pair(0)
    np.testing.assert_allclose(rbf_cka(a, b, bandwidth=1e9), linear_cka(a, b), atol=1e-5)


def test_independent_gaussians():
    n, p, q, pairs = 100, 20, 50, 40
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(pairs, n, p)), rng.normal(size=(pairs, n, q))
    expected = {"linear": np.sqrt(p * q / ((n + p) * (n + q))), "linear debiased": 0, "rbf debiased": 0}
    found = jax.jit(jax.vmap(lambda a, b: {name: MEASURES[name](a, b) for name in expected}))(a, b)
    for name, mean in expected.items():
        values = np.asarray(found[name])
        assert abs(values.mean() - mean) < 4 * values.std() / np.sqrt(pairs) + 0.01 * mean


@pytest.mark.parametrize("name", MEASURES)
def test_identical_representations(name):
    x = pair(0)[0]
    np.testing.assert_allclose(MEASURES[name](x, x), 1, rtol=5e-6)


TRANSFORMS = {
    "rotation": lambda x, rng: x @ np.linalg.qr(rng.normal(size=(x.shape[1],) * 2))[0],
    "reflection": lambda x, rng: -x,
    "scale": lambda x, rng: 10 ** rng.uniform(-3, 3) * x,
    "tiny": lambda x, rng: 1e-30 * x,
    "huge": lambda x, rng: 1e30 * x,
    "translation": lambda x, rng: x + 1e3 * rng.normal(size=(1, x.shape[1])),
}


@pytest.mark.parametrize("name", MEASURES)
@properties
@given(seed=seeds, transform=st.sampled_from(sorted(TRANSFORMS)))
def test_invariances(name, seed, transform):
    rng, (a, b) = np.random.default_rng(seed), pair(seed)
    of, change = MEASURES[name], TRANSFORMS[transform]
    expected = of(a, b)
    np.testing.assert_allclose(of(change(a, rng), change(b, rng)), expected, atol=1e-3)
    np.testing.assert_allclose(of(b, a), expected, atol=1e-5)
    order = rng.permutation(len(a))
    np.testing.assert_allclose(of(a[order], b[order]), expected, atol=1e-5)


@pytest.mark.parametrize("name", MEASURES)
def test_it_is_not_invariant_to_a_linear_map(name):
    x = pair(0)[0]
    assert MEASURES[name](x, x * [10, 1, 0.1]) < 0.95


@pytest.mark.parametrize("name", FORMS)
@properties
@given(seed=seeds)
def test_permuting_a_state_is_permuting_the_points(name, seed):
    form = FORMS[name]
    embed, rows = jax.jit(form.embed), jax.jit(form.rows)
    points = jnp.asarray(pair(seed)[0], jnp.float32)
    order = jnp.asarray(np.random.default_rng(seed).permutation(len(points)), jnp.int32)
    indices = jnp.asarray([5, 0, 23, 23], jnp.int32)
    permuted = rows(jax.jit(form.permute)(embed(points), order), indices)
    np.testing.assert_allclose(permuted, rows(embed(points[order]), indices), atol=1e-4)
    np.testing.assert_allclose(permuted, rows(embed(points), order[indices])[:, order], atol=1e-5)


@pytest.mark.parametrize("name", MEASURES)
def test_jit_and_vmap(name):
    a, b = (np.stack(x) for x in zip(*(pair(seed) for seed in range(5)), strict=True))
    of = MEASURES[name]
    single = np.array([of(x, y) for x, y in zip(a, b, strict=True)])
    np.testing.assert_allclose(jax.jit(jax.vmap(of))(a, b), single, rtol=1e-4)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("value", [0, 0.1, -3e30, 1e-40])
def test_a_constant_representation_has_no_similarity(name, value):
    x = pair(0)[0]
    constant = np.full(x.shape, value)
    for a, b in ((x, constant), (constant, x), (constant, constant)):
        assert np.isnan(MEASURES[name](a, b))


@pytest.mark.parametrize("name", MEASURES)
def test_rounding_is_no_representation(name):
    x = pair(0)[0]
    noise = np.random.default_rng(0).integers(-1, 2, x.shape) * np.spacing(np.float32(1000))
    assert np.isnan(MEASURES[name](x, np.float32(1000) + noise))


@pytest.mark.parametrize("name", ["linear debiased", "rbf debiased"])
def test_equal_distances_leave_nothing_when_debiased(name):
    x = pair(0)[0]
    for equidistant in (np.eye(len(x)), np.eye(len(x)) * 0.3 + 5):
        assert np.isnan(MEASURES[name](x, equidistant))


def test_duplicates_of_most_probes_have_no_kernel():
    x, y = pair(0)
    duplicated = x.copy()
    duplicated[:20] = x[0]
    for debiased in (False, True):
        assert np.isnan(rbf_cka(y, duplicated, debiased=debiased))
        assert np.isfinite(linear_cka(y, duplicated, debiased=debiased))


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite(name, bad):
    a, b = pair(0)
    b[3, 1] = bad
    assert np.isnan(MEASURES[name](a, b))
    assert np.isnan(MEASURES[name](b, a))


def test_three_probes_are_too_few_for_the_unbiased_estimate():
    a, b = (jnp.asarray(x, jnp.float32) for x in pair(0, n=3))
    for form in (kernels.LINEAR_CKA_DEBIASED, kernels.RBF_CKA_DEBIASED):
        assert np.isnan(measure(form, a, b))
    for of in (linear_cka, rbf_cka):
        assert np.isfinite(of(a, b))
        with pytest.raises(ValueError, match="a must be an array of at least 4 probes"):
            of(a, b, debiased=True)


def test_bad_input():
    x = np.zeros((5, 2))
    for of in (linear_cka, rbf_cka):
        for b in (np.zeros((4, 2)), np.zeros((5, 2), complex), np.zeros(5)):
            with pytest.raises(ValueError, match="b must be"):
                of(x, b)
    for bandwidth in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="bandwidth must be a finite number above 0"):
            rbf_cka(x, x, bandwidth=bandwidth)


def test_a_bandwidth_has_one_form():
    assert kernels.rbf_form(1.0, False) is kernels.RBF_CKA
    assert kernels.rbf_form(0.3, True) is kernels.rbf_form(0.3, True)
