"""Linear students whose inputs have a covariance: ridge regression and the least-squares solution of minimum norm.

The inputs are x ~ N(0, Sigma) with eigenvalues l_i, the teacher y = beta.x + noise has coefficients beta_i in the
eigenvectors of Sigma, and a student is Ridge(lam) or MinNorm() (lam = 0) on n samples. All products of weights are in
the inner product w.Sigma.w', which is the covariance of two answers and so what distances between hidden activities
see. The formulas are deterministic equivalents, accurate to O(1/d); for isotropic inputs they are those of `linear`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxalign.checks import real, reject
from jaxalign.theory.filters import MinNorm, Ridge, SpectralFilter
from jaxalign.theory.spectrum import Float64, Numbers, positive

_MIN_NORM = MinNorm()
# Halves the interval of log(kappa) to below its rounding.
_BISECTIONS = 70


class CovarianceMoments(NamedTuple):
    """Products of two students that differ by the noise of their targets, in w.Sigma.w'; arrays of one shape.

    Attributes:
      kappa: the effective ridge.
      signal: the squared norm of a noiseless student.
      cross_shared: the product of two students that share their inputs; equal to `signal`.
      cross_independent: that of two with inputs of their own.
      noise: the squared norm that the noise adds.
      error: the excess test error, in units of the squared targets.
    """

    kappa: Float64
    signal: Float64
    cross_shared: Float64
    cross_independent: Float64
    noise: Float64
    error: Float64

    @property
    def overlap_shared(self) -> Float64:
        """The overlap rho of two students that share their inputs, cross / (signal + noise); 0 for students of 0."""
        return _ratio(self.cross_shared, self.signal + self.noise)

    @property
    def overlap_independent(self) -> Float64:
        """The overlap rho of two students with inputs of their own."""
        return _ratio(self.cross_independent, self.signal + self.noise)


def effective_ridge(eigenvalues: Numbers, n_train: Numbers, lam: float = 0.0) -> Float64:
    """The ridge kappa that infinitely many samples would need to shrink the eigenmodes as n samples do.

        kappa = lam + (kappa / n) sum_i l_i / (l_i + kappa);
        without a ridge sum_i l_i / (l_i + kappa) = n for n < d, and kappa = 0 for n >= d.

    Args:
      eigenvalues: l_i of the inputs' covariance, shape (d,), finite and above 0.
      n_train: n, finite and above 0; an array of any shape.
      lam: the ridge of |X w - y|^2 / (2n) + lam |w|^2 / 2, at least 0.

    Returns:
      kappa >= lam, float64, of the shape of `n_train`; to a relative 1e-13.

    Raises:
      ValueError: if an eigenvalue or `n_train` is not finite and above 0, or `lam` is no finite number of at least 0.

    Reference:
      Hastie, Montanari, Rosset & Tibshirani 2022, Annals of Statistics 50; Bach 2024, SIAM Journal on Mathematics of
      Data Science 6.
    """
    values = _finite("eigenvalues", eigenvalues)
    if values.ndim != 1 or values.size == 0:
        reject("eigenvalues", "of shape (d,)", values.shape)
    n = _finite("n_train", n_train)
    lam = real("lam", lam, 0.0)
    ridgeless = (lam == 0) & (n >= values.size)
    # lam / kappa + sum_i l_i / (l_i + kappa) / n falls with kappa, and is 1 at the solution.
    with np.errstate(divide="ignore", invalid="ignore"):
        lowest = lam if lam > 0 else values.min() * (values.size - n) / n
        low = np.where(ridgeless, 0.0, np.log(lowest))
    high = np.log(lam + values.sum() / n)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        kappa = np.exp(middle)
        excess = lam / kappa + np.mean(values / (values + kappa[..., None]), axis=-1) * (values.size / n) > 1.0
        low, high = np.where(excess, middle, low), np.where(excess, high, middle)
    return np.where(ridgeless, 0.0, np.maximum(np.exp(0.5 * (low + high)), lam))[()]


def covariance_moments(
    eigenvalues: Numbers,
    coefficients: Numbers,
    n_train: Numbers,
    noise_variance: float,
    *,
    filter: SpectralFilter = _MIN_NORM,
) -> CovarianceMoments:
    """The products, overlaps and error of students whose inputs have a covariance.

        gamma = (1/n) sum_i l_i^2 / (l_i + kappa)^2,    V = gamma / (1 - gamma),
        S = sum_i l_i^3 beta_i^2 / (l_i + kappa)^2,    B = kappa^2 sum_i l_i beta_i^2 / (l_i + kappa)^2,
        signal = cross_shared = S + V B,    cross_independent = S,    noise = V sigma^2,
        error = (B + gamma sigma^2) / (1 - gamma).

    Args:
      eigenvalues: l_i of the inputs' covariance, shape (d,), finite and above 0.
      coefficients: beta_i of the teacher in the eigenvectors, shape (d,); the teacher's variance is sum_i l_i beta_i^2.
      n_train: n, finite and above 0; an array of any shape.
      noise_variance: sigma^2 of the targets, at least 0; for a given SNR the teacher's variance over the SNR.
      filter: `Ridge(lam)` or `MinNorm()`.

    Returns:
      float64 arrays of the shape of `n_train`. For `MinNorm` with noise the noise and the error are infinite at n = d.
      There the limit misses most: the exact noise has n - d - 1 or d - n - 1 where the limit has n - d or d - n.

    Raises:
      ValueError: if an eigenvalue or `n_train` is not finite and above 0, `coefficients` are not d finite numbers,
        `noise_variance` is no finite number of at least 0, or `filter` is neither.

    Reference:
      Umar & Laio 2026, arXiv:2605.26973; Hastie, Montanari, Rosset & Tibshirani 2022, Annals of Statistics 50.
    """
    if not isinstance(filter, (MinNorm, Ridge)):
        reject("filter", "MinNorm() or Ridge(lam), the filters whose theory for correlated inputs is known", filter)
    lam = filter.lam if isinstance(filter, Ridge) else 0.0
    kappa = np.asarray(effective_ridge(eigenvalues, n_train, lam))
    values, n = np.asarray(eigenvalues, dtype=np.float64), np.asarray(n_train, dtype=np.float64)
    beta = np.asarray(coefficients, dtype=np.float64)
    if beta.shape != values.shape or not np.all(np.isfinite(beta)):
        reject("coefficients", f"{values.size} finite numbers, one for each eigenvalue", coefficients)
    noise_variance = real("noise_variance", noise_variance, 0.0)
    # A share per mode, so that small eigenvalues and a small kappa keep their digits.
    kept = values / (values + kappa[..., None])
    lost = kappa[..., None] / (values + kappa[..., None])
    variances = values * beta**2
    gamma = np.sum(kept**2, axis=-1) / n
    # 1 - gamma without cancellation: by the equation of kappa it is lam / kappa + sum_i kept lost / n.
    remainder = np.sum(kept * lost, axis=-1) / n + lam / np.where(kappa > 0, kappa, 1.0)
    remainder = np.where(kappa > 0, remainder, 1.0 - gamma)
    signal = np.sum(kept**2 * variances, axis=-1)
    bias = np.sum(lost**2 * variances, axis=-1)
    with np.errstate(divide="ignore"):
        spread, amplified = gamma / remainder, 1.0 / remainder
    total = signal + _product(bias, spread)
    noise = _product(np.full(kappa.shape, noise_variance), spread)
    error = _product(bias, amplified) + noise
    return CovarianceMoments(kappa[()], total, total, signal, noise, error)


def _finite(name: str, value: Numbers) -> Float[np.ndarray, "..."]:
    array = positive(name, value)
    if np.isinf(array).any():
        reject(name, "finite", float("inf"))
    return array


def _product(amount: Float64, factor: Float64) -> Float64:
    """Nothing remains nothing, whatever the factor: at n = d it is infinite."""
    return np.where(amount > 0, amount * np.where(amount > 0, factor, 1.0), 0.0)[()]


def _ratio(cross: Float64, total: Float64) -> Float64:
    total = np.asarray(total)
    return np.divide(cross, total, out=np.zeros_like(total), where=total > 0)[()]
