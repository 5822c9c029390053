"""Linear students of a noisy linear teacher: how alike two of them are, and how wrong.

The formulas are limits of many input dimensions d; for `MinNorm` the expectations at a finite d are known too.
"""

from typing import NamedTuple

import numpy as np
import scipy
from jaxtyping import Float

from jaxalign.checks import boolean, integer, real, reject
from jaxalign.theory.filters import GradientDescent, MinNorm, Ridge, SpectralFilter
from jaxalign.theory.spectrum import Float64, Numbers, marchenko_pastur, positive

_MIN_NORM = MinNorm()
# Points of (alpha, snr) whose quadrature nodes are held at once: some 13 MB for each temporary array.
_BLOCK = 4096


class Moments(NamedTuple):
    """Integrals of a filter f over the spectrum mu of the inputs, s > 0; arrays of one shape.

    Attributes:
      response: the integral of f, the overlap of a noiseless student with the teacher over |beta|^2.
      signal: the integral of f^2, the squared norm of a noiseless student over |beta|^2.
      bias: the integral of (1 - f)^2, the atom of mu at 0 included: the error of a noiseless student.
      noise: the integral of f^2 / s, over alpha: the squared norm that unit noise adds; divide it by the SNR.
    """

    response: Float64
    signal: Float64
    bias: Float64
    noise: Float64


def moments(alpha: Numbers, snr: Numbers, *, filter: SpectralFilter = _MIN_NORM, dim: int | None = None) -> Moments:
    """The integrals of which overlap and generalization error are made.

    Args:
      alpha: samples per input dimension n / d, above 0, possibly infinite.
      snr: signal-to-noise ratio, above 0, possibly infinite; broadcasts against `alpha`. Only a filter that is tuned
        to the noise depends on it.
      filter: how the student was trained.
      dim: d, for the expectations at that many input dimensions, with n = alpha d; only for `MinNorm`. The noise is
        d / (n - d - 1) for n > d + 1, n / (d - n - 1) for n < d - 1 and infinite between, the rest as in the limit.
        None for d -> infinity.

    Returns:
      The four integrals, float64, of the shape to which `alpha` and `snr` broadcast. For `MinNorm` in closed form,
      for the others by quadrature.

    Raises:
      ValueError: if `alpha` or `snr` is not above 0, or `filter` is no spectral filter; if `dim` is no positive
        integer, alpha dim no whole number of samples, or `dim` is given for another filter than `MinNorm`.

    Reference:
      Umar & Laio 2026, arXiv:2605.26973; Hastie, Montanari, Rosset & Tibshirani 2022, Annals of Statistics 50. At
      finite d: Breiman & Freedman 1983, Journal of the American Statistical Association 78; Belkin, Hsu & Xu 2020,
      SIAM Journal on Mathematics of Data Science 2.
    """
    if not isinstance(filter, SpectralFilter):
        reject("filter", "a spectral filter such as MinNorm() or Ridge(0.1)", filter)
    if dim is not None and not isinstance(filter, MinNorm):
        reject("dim", f"None for {type(filter).__name__}: only for MinNorm are the moments of finite size known", dim)
    alphas, snrs = np.broadcast_arrays(positive("alpha", alpha), positive("snr", snr))
    atom = np.maximum(1.0 - alphas, 0.0)
    if isinstance(filter, MinNorm):
        mass = np.minimum(alphas, 1.0)
        with np.errstate(divide="ignore"):
            noise = mass / np.abs(alphas - 1.0) if dim is None else _finite_noise(alphas, integer("dim", dim))
        return Moments(mass[()], mass[()], atom[()], noise[()])
    integrals = np.empty((4, alphas.size))
    for start in range(0, alphas.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        integrals[:, block] = _integrals(alphas.ravel()[block], snrs.ravel()[block], filter)
    response, signal, bias, noise = (row.reshape(alphas.shape) for row in integrals)
    return Moments(response[()], signal[()], (atom + bias)[()], (noise / alphas)[()])


def overlap(
    alpha: Numbers,
    snr: Numbers,
    *,
    filter: SpectralFilter = _MIN_NORM,
    shared_inputs: bool = True,
    dim: int | None = None,
) -> Float64:
    """The correlation of two students that differ by the noise of their targets.

        rho = cross / (signal + noise),    signal = ∫ f^2 dmu,    noise = ∫ f^2 / s dmu / (SNR alpha),
        cross = signal  for shared inputs,    (∫ f dmu)^2  for independent ones.

    For `MinNorm` and shared inputs rho = 1 / (1 + 1 / (SNR |1 - alpha|)) at alpha < 1 and the same at alpha > 1; for
    independent inputs alpha times that at alpha < 1.

    Args:
      alpha: samples per input dimension n / d, above 0, possibly infinite.
      snr: signal-to-noise ratio per output, above 0, possibly infinite (no noise); broadcasts against `alpha`.
      filter: how the students were trained.
      shared_inputs: whether both saw the same training inputs, or each its own draw of them.
      dim: d, only for `MinNorm`: the ratio E[w.w'] / E[|w|^2] at that many input dimensions, each expectation exact;
        the mean of the cosine of w and w' itself differs from it by O(1/d). None for d -> infinity.

    Returns:
      The overlap in [0, 1], float64, of the shape to which `alpha` and `snr` broadcast. For `MinNorm` it is 0 at
      alpha = 1 (with `dim` for |n - d| <= 1), unless there is no noise. It is 0 too where a student answers 0 to
      everything (gradient flow at t = 0), and NaN where gradient descent has overflowed.

    Raises:
      ValueError: as `moments`.

    Reference:
      Umar & Laio 2026, arXiv:2605.26973.
    """
    boolean("shared_inputs", shared_inputs)
    m = moments(alpha, snr, filter=filter, dim=dim)
    cross = m.signal if shared_inputs else np.square(m.response)
    total = np.asarray(m.signal + _noise(m, snr))
    with np.errstate(invalid="ignore"):
        rho = np.divide(cross, total, out=np.zeros_like(total), where=total != 0)
    # Without noise and with one eigenvalue cross and total are equal up to rounding; the measures refuse rho > 1.
    return np.minimum(rho, 1.0)[()]


def generalization_error(
    alpha: Numbers, snr: Numbers, *, filter: SpectralFilter = _MIN_NORM, dim: int | None = None
) -> Float64:
    """The mean squared error of a student to the clean teacher, over the variance of the teacher.

        error = 1 - 2 ∫ f dmu + ∫ f^2 dmu + ∫ f^2 / s dmu / (SNR alpha)

    For `MinNorm` it is 1 - alpha + alpha / (SNR (1 - alpha)) at alpha < 1 and 1 / (SNR (alpha - 1)) at alpha > 1.

    Args:
      alpha: samples per input dimension n / d, above 0, possibly infinite.
      snr: signal-to-noise ratio per output, above 0, possibly infinite (no noise); broadcasts against `alpha`.
      filter: how the student was trained.
      dim: d, only for `MinNorm`: the exact expectation at that many input dimensions. None for d -> infinity.

    Returns:
      The error, at least 0, float64, of the shape to which `alpha` and `snr` broadcast; a student that answers 0 has
      error 1. For `MinNorm` it is infinite at alpha = 1 (with `dim` for |n - d| <= 1), unless there is no noise.

    Raises:
      ValueError: as `moments`.

    Reference:
      Hastie, Montanari, Rosset & Tibshirani 2022, Annals of Statistics 50; Advani, Saxe & Sompolinsky 2020, Neural
      Networks 132.
    """
    m = moments(alpha, snr, filter=filter, dim=dim)
    return m.bias + _noise(m, snr)


class WeakestAlignment(NamedTuple):
    """Where the overlap of two students is smallest: samples per input dimension, and the overlap there."""

    alpha: float
    overlap: float


def weakest_alignment(snr: float, filter: SpectralFilter = _MIN_NORM) -> WeakestAlignment:
    """The sample size at which students that share their inputs are least alike.

        rho = 1 / (1 + 1 / (SNR R)),    R(alpha) = alpha ∫ f^2 dmu / ∫ f^2 / s dmu,

    so that the place of the minimum does not depend on the SNR unless the filter does. For `MinNorm` it is alpha = 1,
    where rho = 0. For `Ridge(lam)`, with kappa = 2 lam + sqrt(2 lam^2 + lam),

        alpha = kappa / ((kappa - lam)(1 + kappa)),    R = (2 kappa - lam) / (2 kappa + 1 - lam).

    The other filters are searched numerically over alpha in [1e-6, 100].

    Args:
      snr: signal-to-noise ratio per output, finite and above 0.
      filter: how the students were trained. For `GradientDescent` the search is over the alpha at which it
        converges, learning_rate (1 + alpha^-1/2)^2 <= 2, and may end at their edge.

    Returns:
      The alpha of smallest overlap and the overlap there. Where the overlap rises with alpha throughout (`TunedRidge`
      at SNR <= 1), alpha = 0 and the limit SNR / (1 + SNR), which is that of every filter.

    Raises:
      ValueError: if `snr` is not a finite number above 0; if `filter` is no spectral filter, answers 0 to everything
        or converges at no alpha.

    Reference:
      Umar & Laio 2026, arXiv:2605.26973.
    """
    snr = real("snr", snr, 0.0, exclude_minimum=True)
    if isinstance(filter, MinNorm):
        return WeakestAlignment(1.0, 0.0)
    if isinstance(filter, Ridge):
        lam = filter.lam
        kappa = 2.0 * lam + np.sqrt(2.0 * lam**2 + lam)
        alpha = kappa / ((kappa - lam) * (1.0 + kappa))
        ratio = (2.0 * kappa - lam) / (2.0 * kappa + 1.0 - lam)
        return WeakestAlignment(float(alpha), float(1.0 / (1.0 + 1.0 / (snr * ratio))))
    return _search(snr, filter)


def _search(snr: float, filter: SpectralFilter) -> WeakestAlignment:
    lowest, limit = 1e-6, snr / (1.0 + snr)
    if isinstance(filter, GradientDescent):
        if filter.learning_rate >= 2.0:
            reject("filter", "a gradient descent with learning_rate below 2, where it converges at some alpha", filter)
        lowest = max(lowest, (np.sqrt(2.0 / filter.learning_rate) - 1.0) ** -2)
        limit = np.inf
    if moments(1.0, snr, filter=filter).signal == 0:
        reject("filter", "one whose students do not answer 0 to everything", filter)

    def at(log_alpha: float) -> float:
        return float(overlap(np.exp(log_alpha), snr, filter=filter))

    grid = np.linspace(np.log(lowest), np.log(100.0 * max(1.0, lowest)), 200)
    # The global minimum is bracketed first: the bounded minimizer alone finds a local one.
    best = int(np.argmin(overlap(np.exp(grid), snr, filter=filter)))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)])
    found = scipy.optimize.minimize_scalar(at, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    if found.fun >= limit:
        return WeakestAlignment(0.0, limit)
    return WeakestAlignment(float(np.exp(found.x)), float(found.fun))


def _finite_noise(alpha: Float[np.ndarray, "*s"], dim: int) -> Float[np.ndarray, "*s"]:
    """E tr (X^T X)^+ for n = alpha dim rows of `dim` standard normal entries."""
    n = np.asarray(alpha * dim)
    with np.errstate(invalid="ignore"):
        # Negated, so that an infinite n is refused too: its distance to the next integer is NaN.
        off = ~(np.abs(n - np.rint(n)) <= 1e-9 * n)
    if off.any():
        reject("alpha", f"a positive whole number of samples over dim = {dim}", float(alpha[off][0]))
    n = np.rint(n)
    gap = np.abs(n - dim) - 1.0
    return np.where(gap > 0, np.minimum(n, dim) / np.where(gap > 0, gap, 1.0), np.inf)


def _integrals(
    alpha: Float[np.ndarray, " points"], snr: Float[np.ndarray, " points"], filter: SpectralFilter
) -> Float[np.ndarray, "4 points"]:
    s, weights = marchenko_pastur(alpha)
    # A diverged gradient descent gives infinities, which are the answer.
    with np.errstate(over="ignore", invalid="ignore"):
        f = filter.response(s, alpha=alpha[:, None], snr=snr[:, None])
        terms = (f, f**2, (1.0 - f) ** 2, f**2 / s)
        return np.stack([np.sum(weights * term, axis=-1) for term in terms])


def _noise(m: Moments, snr: Numbers) -> Float64:
    snrs = positive("snr", snr)
    # The moment may be infinite too, and no noise stays none.
    return np.where(np.isinf(snrs), 0.0, m.noise / np.where(np.isinf(snrs), 1.0, snrs))[()]
