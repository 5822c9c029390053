import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from jaxalign.theory import (
    MinNorm,
    Ridge,
    TunedRidge,
    covariance_moments,
    effective_ridge,
    generalization_error,
    overlap,
)

DIM, SNR = 300, 5.0
EIGENVALUES = np.arange(1.0, DIM + 1.0) ** -1.2
EIGENVALUES *= DIM / EIGENVALUES.sum()
# A constant, with beta.Sigma.beta = 1.
COEFFICIENTS = np.full(DIM, EIGENVALUES.sum() ** -0.5)


def test_reference_values():
    # THEORY section 5.
    m = covariance_moments(EIGENVALUES, COEFFICIENTS, 450, 1.0 / SNR, filter=Ridge(0.1))
    assert m.kappa == effective_ridge(EIGENVALUES, 450, 0.1) == pytest.approx(0.162479, abs=5e-7)
    assert m.error == pytest.approx(0.110078, abs=5e-7)
    assert m.overlap_shared == pytest.approx(0.929075, abs=5e-7)
    assert m.overlap_independent == pytest.approx(0.917147, abs=5e-7)


@pytest.mark.parametrize("lam", [0.0, 1e-8, 0.1, 100.0])
def test_effective_ridge_solves_its_equation(lam):
    n = np.array([[1, 5, 150], [299, 450, 10**6]])
    kappa = effective_ridge(EIGENVALUES, n, lam)
    assert kappa.shape == n.shape and np.all(np.diff(kappa.ravel()) <= 0)
    used = np.sum(EIGENVALUES / (EIGENVALUES + kappa[..., None]), -1)
    if lam == 0:
        np.testing.assert_array_equal(kappa[n >= DIM], 0.0)
        np.testing.assert_allclose(used[n < DIM], n[n < DIM], rtol=1e-11)
    else:
        np.testing.assert_allclose(kappa, lam + kappa * used / n, rtol=1e-11)


@pytest.mark.parametrize("filter", [MinNorm(), Ridge(0.1)])
def test_isotropic_inputs(filter):
    d, n = 100, np.array([20, 90, 150, 1000])
    # The trace scales all by the same factor, with the ridge.
    for scale in (1.0, 4.0):
        scaled = filter if isinstance(filter, MinNorm) else Ridge(filter.lam * scale)
        eigenvalues, beta = np.full(d, scale), np.full(d, (d * scale) ** -0.5)
        m = covariance_moments(eigenvalues, beta, n, 1.0 / SNR, filter=scaled)
        np.testing.assert_allclose(m.overlap_shared, overlap(n / d, SNR, filter=filter), rtol=1e-10)
        independent = overlap(n / d, SNR, filter=filter, shared_inputs=False)
        np.testing.assert_allclose(m.overlap_independent, independent, rtol=1e-10)
        np.testing.assert_allclose(m.error, generalization_error(n / d, SNR, filter=filter), rtol=1e-10)


def test_limits():
    threshold = covariance_moments(EIGENVALUES, COEFFICIENTS, DIM, 1.0 / SNR)
    assert threshold.noise == threshold.error == np.inf
    assert threshold.overlap_shared == 0.0 and threshold.signal == pytest.approx(1.0)
    clean = covariance_moments(EIGENVALUES, COEFFICIENTS, [100, DIM, 900], 0.0)
    np.testing.assert_array_equal(clean.noise, 0.0)
    np.testing.assert_allclose(clean.overlap_shared, 1.0)
    np.testing.assert_allclose(clean.error[1:], 0.0, atol=1e-15)
    plenty = covariance_moments(EIGENVALUES, COEFFICIENTS, 10**9, 1.0 / SNR)
    assert plenty.overlap_independent == pytest.approx(1.0, abs=1e-6)
    assert plenty.error == pytest.approx(0.0, abs=1e-6)
    few = covariance_moments(EIGENVALUES, COEFFICIENTS, 1e-6, 1.0 / SNR, filter=Ridge(0.1))
    assert few.error == pytest.approx(1.0, abs=1e-6) and few.overlap_independent == pytest.approx(0.0, abs=1e-5)
    nothing = covariance_moments(EIGENVALUES, np.zeros(DIM), 100, 0.0)
    assert nothing.overlap_shared == nothing.error == 0.0
    # The smallest ridge is none.
    ridge = covariance_moments(EIGENVALUES, COEFFICIENTS, [100, 900], 0.2, filter=Ridge(1e-13))
    np.testing.assert_allclose(
        ridge, covariance_moments(EIGENVALUES, COEFFICIENTS, [100, 900], 0.2), rtol=1e-8, atol=1e-9
    )


def solve(x, targets, filter):
    if isinstance(filter, MinNorm):
        return np.linalg.lstsq(x, targets, rcond=None)[0]
    n, d = x.shape
    return np.linalg.solve(x.T @ x / n + filter.lam * np.eye(d), x.T @ targets / n)


@pytest.mark.parametrize(("filter", "n"), [(Ridge(0.1), 450), (Ridge(0.1), 150), (MinNorm(), 150), (MinNorm(), 600)])
def test_simulation(filter, n):
    draws = 24
    rng = np.random.default_rng(9)
    rows = []
    with threadpool_limits(1):
        for _ in range(draws):
            x, other = rng.standard_normal((2, n, DIM)) * np.sqrt(EIGENVALUES)
            noise = rng.standard_normal((n, 3)) / np.sqrt(SNR)
            a, b = solve(x, (x @ COEFFICIENTS)[:, None] + noise[:, :2], filter).T
            c = solve(other, other @ COEFFICIENTS + noise[:, 2], filter)
            errors = [EIGENVALUES @ (w - COEFFICIENTS) ** 2 for w in (a, b, c)]
            norms = [EIGENVALUES @ w**2 for w in (a, b, c)]
            shared, independent = EIGENVALUES @ (a * b), EIGENVALUES @ (a * c + b * c) / 2
            rows.append([shared, independent, np.mean(norms), np.mean(errors)])
    means, standard = np.mean(rows, 0), np.std(rows, 0, ddof=1) / np.sqrt(draws)
    m = covariance_moments(EIGENVALUES, COEFFICIENTS, n, 1.0 / SNR, filter=filter)
    expected = np.array([m.cross_shared, m.cross_independent, m.signal + m.noise, m.error])
    # A few 1/d: least for ridge, most for the noise of MinNorm.
    assert np.all(np.abs(means - expected) < 3.5 * standard + 3.0 / DIM * expected)


@pytest.mark.parametrize("bad", [[], [1.0, 0.0], [1.0, -1.0], [1.0, np.nan], [1.0, np.inf], [[1.0]], 1.0])
def test_bad_eigenvalues(bad):
    with pytest.raises(ValueError, match="eigenvalues must be"):
        effective_ridge(bad, 10, 0.1)
    with pytest.raises(ValueError, match="eigenvalues must be"):
        covariance_moments(bad, [1.0, 1.0], 10, 0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: effective_ridge([1.0], 0), "n_train must be above 0, got 0.0"),
        (lambda: effective_ridge([1.0], np.inf), "n_train must be finite, got inf"),
        (lambda: effective_ridge([1.0], 5, -1.0), "lam must be a finite number of at least 0, got -1.0"),
        (lambda: covariance_moments([1.0, 2.0], [1.0], 5, 0.1), "coefficients must be 2 finite numbers"),
        (lambda: covariance_moments([1.0], [np.nan], 5, 0.1), "coefficients must be 1 finite numbers"),
        (lambda: covariance_moments([1.0], [1.0], 5, -0.1), "noise_variance must be a finite number of at least 0"),
        (lambda: covariance_moments([1.0], [1.0], 5, 0.1, filter=TunedRidge()), "filter must be MinNorm"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
