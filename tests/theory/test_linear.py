import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from jaxalign.theory import (
    GradientDescent,
    GradientFlow,
    MinNorm,
    Ridge,
    SpectralFilter,
    TunedRidge,
    generalization_error,
    moments,
    overlap,
    weakest_alignment,
)

FILTERS = (MinNorm(), Ridge(0.1), TunedRidge(), GradientFlow(10.0), GradientDescent(0.05, 100))
ALPHAS = np.array([1e-3, 0.2, 0.5, 0.99, 1.01, 1.5, 4.0, 1e3])


class Interpolating(SpectralFilter):
    """`MinNorm` by another name, so that it takes the quadrature."""

    def response(self, eigenvalues, *, alpha, snr):
        return MinNorm().response(eigenvalues, alpha=alpha, snr=snr)


def test_min_norm_formulas():
    # THEORY section 2, at alpha = 1/2 and 3/2 with SNR = 2.
    assert overlap(0.5, 2.0) == pytest.approx(1 / (1 + 1 / (2 * 0.5)))
    assert overlap(0.5, 2.0, shared_inputs=False) == pytest.approx(0.5 / (1 + 1 / (2 * 0.5)))
    assert overlap(1.5, 2.0) == overlap(1.5, 2.0, shared_inputs=False) == pytest.approx(1 / (1 + 1 / (2 * 0.5)))
    assert generalization_error(0.5, 2.0) == pytest.approx(0.5 + 0.5 / (2 * 0.5))
    assert generalization_error(1.5, 2.0) == pytest.approx(1 / (2 * 0.5))


def test_min_norm_closed_form_is_the_quadrature():
    for closed, integral in zip(moments(ALPHAS, 1.0), moments(ALPHAS, 1.0, filter=Interpolating()), strict=True):
        np.testing.assert_allclose(integral, closed, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("lam", [1e-4, 0.1, 3.0])
def test_ridge_against_the_deterministic_equivalent(lam):
    # THEORY section 5 with all eigenvalues 1: kappa, gamma, V, and from them signal, error and overlaps.
    snr = 3.0
    b = 1.0 - lam - 1.0 / ALPHAS
    root = np.sqrt(b**2 + 4.0 * lam)
    kappa = np.where(b < 0, 0.5 * (root - b), 2.0 * lam / (root + b))
    gamma = 1.0 / (ALPHAS * (1.0 + kappa) ** 2)
    spread = gamma / (1.0 - gamma)
    mean, bias = 1.0 / (1.0 + kappa) ** 2, kappa**2 / (1.0 + kappa) ** 2
    total = mean + spread * (bias + 1.0 / snr)
    filter = Ridge(lam)
    np.testing.assert_allclose(overlap(ALPHAS, snr, filter=filter), (mean + spread * bias) / total, rtol=1e-11)
    np.testing.assert_allclose(overlap(ALPHAS, snr, filter=filter, shared_inputs=False), mean / total, rtol=1e-11)
    np.testing.assert_allclose(
        generalization_error(ALPHAS, snr, filter=filter), (bias + gamma / snr) / (1.0 - gamma), rtol=1e-11
    )


def test_limits():
    assert overlap(1.0, 5.0) == 0.0
    assert generalization_error(1.0, 5.0) == np.inf
    assert overlap(1e-9, 3.0) == pytest.approx(0.75)
    assert generalization_error(1e-9, 3.0) == pytest.approx(1.0)
    assert overlap(1e-9, 3.0, shared_inputs=False) == pytest.approx(0.0, abs=1e-8)
    for filter in (MinNorm(), TunedRidge()):
        assert overlap(np.inf, 0.1, filter=filter) == 1.0
        assert generalization_error(np.inf, 0.1, filter=filter) == pytest.approx(0.0, abs=1e-30)
    np.testing.assert_allclose([overlap(a, np.inf) for a in (0.3, 1.0, 2.0)], 1.0)
    np.testing.assert_allclose([generalization_error(a, np.inf) for a in (0.3, 1.0, 2.0)], [0.7, 0.0, 0.0])
    assert overlap(0.3, np.inf, filter=Ridge(0.1)) == pytest.approx(1.0)
    nearly_deterministic = overlap(np.geomspace(1e8, 1e20, 50), np.inf, filter=Ridge(0.1), shared_inputs=False)
    assert nearly_deterministic.max() <= 1.0
    assert overlap(0.5, 2.0, filter=Ridge(1e-12)) == pytest.approx(overlap(0.5, 2.0))


def test_students_that_answer_nothing_and_students_that_diverge():
    assert overlap(0.5, 1.0, filter=GradientFlow(0.0)) == 0.0
    assert generalization_error(0.5, 1.0, filter=GradientFlow(0.0)) == pytest.approx(1.0)
    diverging = GradientDescent(0.5, 5000)
    assert np.isnan(overlap(0.01, 1.0, filter=diverging))
    assert generalization_error(0.01, 1.0, filter=diverging) == np.inf


def test_broadcasting_and_types():
    rho = overlap([0.5, 2.0, 3.0], np.array([[1.0], [2.0]]), filter=TunedRidge())
    assert rho.shape == (2, 3) and rho.dtype == np.float64
    assert rho[1, 2] == pytest.approx(overlap(3, 2, filter=TunedRidge()), rel=1e-14)
    assert isinstance(overlap(0.5, 1), float) and isinstance(generalization_error(0.5, 1), float)
    assert overlap(jnp.asarray([0.5, 2.0]), 1.0).dtype == np.float64
    # More points than are integrated at once.
    many = np.linspace(0.1, 5.0, 5000)
    assert overlap(many, 1.0, filter=Ridge(0.1))[4500] == overlap(many[4500], 1.0, filter=Ridge(0.1))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    alpha=st.floats(1e-3, 1e3).filter(lambda a: abs(a - 1.0) > 1e-6),
    snr=st.floats(1e-3, 1e3),
    factor=st.floats(1.01, 10.0),
    filter=st.sampled_from(FILTERS[:4]),
    shared=st.booleans(),
)
def test_monotone_in_snr(alpha, snr, factor, filter, shared):
    low, high = overlap(alpha, np.array([snr, snr * factor]), filter=filter, shared_inputs=shared)
    errors = generalization_error(alpha, np.array([snr, snr * factor]), filter=filter)
    assert 0.0 <= low < high <= 1.0
    assert errors[0] > errors[1] >= 0.0


@pytest.mark.parametrize("filter", (MinNorm(), Ridge(0.1), GradientFlow(10.0)))
@pytest.mark.parametrize("alpha", (0.5, 1.5))
def test_simulation(filter, alpha):
    d, snr, replicates = 80, 2.0, 40
    n = int(alpha * d)
    rng = np.random.default_rng(7)
    shared, independent, errors = [], [], []
    # Matrices this small are slower on two busy cores than on one.
    with threadpool_limits(1):
        for _ in range(replicates):
            beta = rng.standard_normal(d)
            beta /= np.linalg.norm(beta)
            xs = rng.standard_normal((2, n, d))
            noise = rng.standard_normal((3, n)) / np.sqrt(snr)
            a, b = solve(filter, xs[0], xs[0] @ beta + noise[:2], alpha, snr)
            (c,) = solve(filter, xs[1], xs[1] @ beta + noise[2:], alpha, snr)
            shared.append((a @ b, (a @ a + b @ b) / 2))
            independent.append((a @ c, (a @ a + c @ c) / 2))
            errors.append(np.sum((a - beta) ** 2))
    within(ratio_with_error(shared), overlap(alpha, snr, filter=filter), 4.0 / d)
    within(ratio_with_error(independent), overlap(alpha, snr, filter=filter, shared_inputs=False), 4.0 / d)
    mean = np.mean(errors), np.std(errors, ddof=1) / np.sqrt(replicates)
    # Exactly, the noise of MinNorm has d - 1 or n - 1 where the limit has d or n: a bias of a few 1/d.
    within(mean, generalization_error(alpha, snr, filter=filter), 4.0 / d)


def solve(filter, x, targets, alpha, snr):
    if isinstance(filter, MinNorm):
        return np.linalg.lstsq(x, targets.T, rcond=None)[0].T
    u, sv, vt = np.linalg.svd(x, full_matrices=False)
    f = filter.response(sv**2 / len(x), alpha=alpha, snr=snr)
    return (targets @ u * (f / sv)) @ vt


def ratio_with_error(pairs):
    products, norms = np.array(pairs).T
    ratio = products.mean() / norms.mean()
    residual = (products - ratio * norms) / norms.mean()
    return ratio, np.std(residual, ddof=1) / np.sqrt(len(residual))


def within(measured, expected, bias):
    value, error = measured
    assert abs(value - expected) < 3.5 * error + bias * expected


def test_weakest_alignment_reference_values():
    # THEORY section 6.
    assert weakest_alignment(2.0) == (1.0, 0.0)
    ridge = weakest_alignment(1.0, Ridge(0.1))
    assert ridge.alpha == pytest.approx(0.791517, abs=5e-7)
    assert 1.0 / (1.0 / ridge.overlap - 1.0) == pytest.approx(0.498199, abs=5e-7)
    assert weakest_alignment(1.0, GradientFlow(10.0)).alpha == pytest.approx(0.765, abs=5e-4)


@pytest.mark.parametrize("filter", (Ridge(0.1), Ridge(2.0), GradientFlow(10.0), GradientDescent(0.05, 200)))
def test_weakest_alignment_is_the_minimum_for_every_snr(filter):
    at = [weakest_alignment(snr, filter).alpha for snr in (0.5, 5.0)]
    assert at[0] == pytest.approx(at[1], rel=1e-6)
    alpha, rho = weakest_alignment(2.0, filter)
    assert rho == pytest.approx(overlap(alpha, 2.0, filter=filter), rel=1e-12)
    # Not much below where gradient descent still converges.
    assert np.all(overlap(np.geomspace(0.05, 50.0, 400), 2.0, filter=filter) >= rho - 1e-12)


def test_gradient_descent_of_small_steps_is_gradient_flow():
    flow = weakest_alignment(1.0, GradientFlow(10.0))
    assert weakest_alignment(1.0, GradientDescent(1e-4, 100_000)) == pytest.approx(flow, rel=1e-4)


def test_tuned_ridge_dips_only_above_snr_one():
    assert weakest_alignment(0.8, TunedRidge()) == (0.0, pytest.approx(0.8 / 1.8))
    alpha, rho = weakest_alignment(2.0, TunedRidge())
    assert 0.0 < alpha < 1.0 and rho < 2.0 / 3.0
    errors = generalization_error(np.geomspace(0.01, 100, 200), 2.0, filter=TunedRidge())
    assert np.all(np.diff(errors) < 0)


def test_maximum_for_independent_inputs():
    # THEORY section 6: below the threshold the overlap of MinNorm peaks where alpha and rho have closed forms.
    snr = 3.0
    grid = np.linspace(0.01, 0.99, 9801)
    rho = overlap(grid, snr, shared_inputs=False)
    assert grid[rho.argmax()] == pytest.approx(1 + 1 / snr - np.sqrt(1 / snr**2 + 1 / snr), abs=1e-4)
    assert rho.max() == pytest.approx((np.sqrt(1 + 1 / snr) - np.sqrt(1 / snr)) ** 2, abs=1e-7)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, [0.5, np.nan]])
@pytest.mark.parametrize("function", [overlap, generalization_error])
def test_bad_input(function, bad):
    with pytest.raises(ValueError, match="alpha must be above 0, got"):
        function(bad, 1.0)
    with pytest.raises(ValueError, match="snr must be above 0, got"):
        function(0.5, bad)


@pytest.mark.parametrize(
    ("snr", "filter", "message"),
    [
        (0.0, MinNorm(), "snr must be a finite number above 0"),
        (float("inf"), MinNorm(), "snr must be a finite number above 0"),
        (1.0, GradientFlow(0.0), "filter must be one whose students do not answer 0"),
        (1.0, GradientDescent(2.0, 3), "filter must be a gradient descent with learning_rate below 2"),
    ],
)
def test_bad_input_of_weakest_alignment(snr, filter, message):
    with pytest.raises(ValueError, match=message):
        weakest_alignment(snr, filter)


def test_finite_size_formulas():
    # By hand at d = 20 and n = 10, 30: sigma^2 n / (d - n - 1) and sigma^2 d / (n - d - 1), with sigma^2 = 1/2.
    assert generalization_error(0.5, 2.0, dim=20) == pytest.approx(0.5 + 0.5 * 10 / 9)
    assert generalization_error(1.5, 2.0, dim=20) == pytest.approx(0.5 * 20 / 9)
    assert overlap(0.5, 2.0, dim=20) == pytest.approx(0.5 / (0.5 + 0.5 * 10 / 9))
    assert overlap(0.5, 2.0, dim=20, shared_inputs=False) == pytest.approx(0.25 / (0.5 + 0.5 * 10 / 9))
    assert overlap(1.5, 2.0, dim=20) == overlap(1.5, 2.0, dim=20, shared_inputs=False)
    near = np.array([19, 20, 21]) / 20
    np.testing.assert_array_equal(generalization_error(near, 2.0, dim=20), np.inf)
    np.testing.assert_array_equal(overlap(near, 2.0, dim=20), 0.0)
    np.testing.assert_allclose(generalization_error(near, np.inf, dim=20), [0.05, 0.0, 0.0], atol=1e-15)


def test_finite_size_tends_to_the_limit():
    alphas = np.array([0.25, 0.5, 1.5, 3.0])
    np.testing.assert_allclose(overlap(alphas, 2.0, dim=10**8), overlap(alphas, 2.0), rtol=1e-6)
    np.testing.assert_allclose(
        generalization_error(alphas, 2.0, dim=10**8), generalization_error(alphas, 2.0), rtol=1e-6
    )


@pytest.mark.parametrize("n", (6, 24))
def test_finite_size_is_exact_in_small_dimensions(n):
    # Where the limit is off by 1/5 or more.
    d, snr, replicates = 12, 2.0, 3000
    rng = np.random.default_rng(4)
    beta = np.full(d, d**-0.5)
    x = rng.standard_normal((2, replicates, n, d))
    noise = rng.standard_normal((3, replicates, n)) / np.sqrt(snr)
    with threadpool_limits(1):
        inverse = np.linalg.pinv(x)[[0, 0, 1]]
    a, b, c = np.einsum("krdn,krn->krd", inverse, x[[0, 0, 1]] @ beta + noise)
    shared = np.stack([np.sum(a * b, -1), np.sum(a**2 + b**2, -1) / 2], -1)
    independent = np.stack([np.sum(a * c, -1), np.sum(a**2 + c**2, -1) / 2], -1)
    errors = np.sum((a - beta) ** 2, -1)
    within(ratio_with_error(shared), overlap(n / d, snr, dim=d), 0.0)
    within(ratio_with_error(independent), overlap(n / d, snr, dim=d, shared_inputs=False), 0.0)
    mean = np.mean(errors), np.std(errors, ddof=1) / np.sqrt(replicates)
    within(mean, generalization_error(n / d, snr, dim=d), 0.0)


def test_enough_ridge_removes_the_peak_of_the_error_but_not_the_dip_of_the_overlap():
    # THEORY section 6, for SNR > 1.
    alphas, filter = np.geomspace(1e-3, 100.0, 300), Ridge(1.0)
    assert np.all(np.diff(generalization_error(alphas, 2.0, filter=filter)) < 0)
    alpha, rho = weakest_alignment(2.0, filter)
    assert alphas[0] < alpha < alphas[-1] and rho < overlap(alphas[0], 2.0, filter=filter) - 0.01


@pytest.mark.parametrize("function", [overlap, generalization_error, moments])
def test_bad_dim(function):
    for bad in (0, -3):
        with pytest.raises(ValueError, match="dim must be an integer of at least 1, got"):
            function(0.5, 1.0, dim=bad)
    for alpha in (0.505, 0.001, np.inf, [0.5, 0.505]):
        with pytest.raises(ValueError, match="alpha must be a positive whole number of samples over dim = 100, got"):
            function(alpha, 1.0, dim=100)
    with pytest.raises(ValueError, match="dim must be None for Ridge: only for MinNorm .* got 100"):
        function(0.5, 1.0, filter=Ridge(0.1), dim=100)
