import numpy as np
import pytest

from jaxalign.theory import marchenko_pastur

ALPHAS = np.array([1e-3, 0.01, 0.5, 0.999, 1.0, 1.001, 2.0, 10.0, 1e3])


def test_moments_of_the_density():
    # Mass min(1, alpha) besides the atom; trace X^T X / n d has mean 1; second moment 1 + 1/alpha.
    s, weights = marchenko_pastur(ALPHAS)
    np.testing.assert_allclose(weights.sum(-1), np.minimum(ALPHAS, 1.0), rtol=1e-13)
    np.testing.assert_allclose((weights * s).sum(-1), 1.0, rtol=1e-13)
    np.testing.assert_allclose((weights * s**2).sum(-1), 1.0 + 1.0 / ALPHAS, rtol=1e-13)


@pytest.mark.parametrize("lam", [1e-9, 1e-3, 0.1, 10.0])
def test_integral_of_the_ridge(lam):
    # With kappa the positive root of kappa = lam + kappa / (alpha (1 + kappa)), it is 1 / (1 + kappa).
    s, weights = marchenko_pastur(ALPHAS)
    b = 1.0 - lam - 1.0 / ALPHAS
    root = np.sqrt(b**2 + 4.0 * lam)
    kappa = np.where(b < 0, 0.5 * (root - b), 2.0 * lam / (root + b))
    np.testing.assert_allclose((weights * s / (s + lam)).sum(-1), 1.0 / (1.0 + kappa), rtol=1e-13)


def test_agrees_with_the_eigenvalues_of_a_matrix():
    n, d = 600, 400
    x = np.random.default_rng(0).standard_normal((n, d))
    sampled = np.linalg.eigvalsh(x.T @ x / n)
    s, weights = marchenko_pastur(n / d)
    # A linear statistic fluctuates by O(1 / d).
    assert np.mean(np.exp(-sampled)) == pytest.approx(np.sum(weights * np.exp(-s)), abs=2.0 / d)


def test_infinite_alpha_is_one_eigenvalue():
    s, weights = marchenko_pastur(np.inf)
    np.testing.assert_allclose(s, 1.0)
    assert weights.sum() == pytest.approx(1.0, rel=1e-13)


@pytest.mark.parametrize("alpha", [0.0, -1.0, np.nan, [0.5, np.nan]])
def test_bad_input(alpha):
    with pytest.raises(ValueError, match="alpha must be above 0, got"):
        marchenko_pastur(alpha)
