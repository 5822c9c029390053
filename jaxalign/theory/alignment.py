"""From the overlap of two networks to what the measures of alignment see, for infinitely many probes or for N.

The setting throughout: r equal and orthogonal output modes at the balanced minimum, so that the hidden spaces of the
two networks are isotropic, jointly Gaussian and of correlation rho in each of r dimensions; r = 1 is a scalar output.
With q = rho^2, a probe of squared norm l = |v|^2 ~ chi^2_r in network B, and x the quantile of the noncentral
chi^2_r(l) at the copula variable c, the density of c given l is

    L = (1 - q^2)^(-r/2) exp[q l / (1 + q) - q^2 x / (2 (1 - q^2))]
        0F1(; r/2; l x / (4 (1 + q)^2)) / 0F1(; r/2; l x / 4)

and the copula density is p(c) = E_l L. All depends on rho^2 alone: the sign of a mode does not change a distance.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy
from jaxtyping import Float
from numpy.polynomial import Chebyshev
from scipy.special import betainc, expit, gammaln, ive, logsumexp

from jaxalign.checks import integer, reject
from jaxalign.theory import finite
from jaxalign.theory.spectrum import Float64, Numbers

# Beyond this number of modes the limit of infinitely many probes is of no use, and neither law is verified.
_MAX_OUTPUTS = 20
# As in the measures: beside a probe and its neighbour there is a point that can be nearer.
_MIN_PROBES = 3
_MAX_PROBES = 100_000
# The end of the interpolant; from there on the entropy follows its asymptote.
_MIN_DISTANCE = 2e-6
# An average over all c is content with fewer radii than the density at one c, where L falls off steeply in |v|.
_RADII_OF_ENTROPY = 80
_RADII_OF_DENSITY = 320
_DEGREE = 80
_STEP = 0.25


class _Radii(NamedTuple):
    """Gauss-Legendre nodes in |v| with the chi_r weight: l = |v|^2, and the logarithms of the weights."""

    squared: Float[np.ndarray, " radii"]
    log_weights: Float[np.ndarray, " radii"]


def conditional_copula_entropy(overlap: Numbers, *, outputs: int = 1, n_probes: int | None = None) -> Float64:
    """The conditional copula entropy of two linear networks, for infinitely many probes or as N probes show it.

        CCE = -∫_0^1 p(c) log p(c) dc    for infinitely many probes,
        CCE_N = -sum_b q_b log(q_b / w_b)    for N,

    with q_b the probability that the rank of the neighbour lies in bin b of the estimator "log_bins" and w_b the
    bin's part of the N - 1 ranks: what that estimator estimates.

    The limit tends to -a_r rho^4 for rho -> 0 (a_1 = 0.2146) and to (r/2) log(1 - rho^4) + h_r for rho -> 1
    (h_1 = 0.1931). For r = 1 and rho <= 0.99 it is within 0.003 of the value at N = 1000; at r >= 5 it is far
    below: -4.92 against -2.67 for r = 10, rho = 0.9.

    Args:
      overlap: rho in [0, 1], an array of any shape; of a measured one that is negative take the absolute value.
      outputs: r, the number of equal output modes, 1 to 20.
      n_probes: N, 3 to 100,000; None for infinitely many.

    Returns:
      The entropy in nats, float64, of the shape of `overlap`: 0 at rho = 0, negative elsewhere; at rho = 1
      -log(N - 1), or -inf in the limit. Interpolated from a table made at the first call for each r and N, which
      takes a second or three. In the limit the error is below 1e-7 for rho <= 1 - 1e-6. For N probes the table
      comes from quasi-Monte Carlo with a fixed seed: its standard error is below 1e-3, typically 2e-4, to which a
      bias of up to 2e-3 is added within 1 of the floor (5e-3 for r = 1 and N < 100).

    Raises:
      ValueError: if an overlap is NaN or outside [0, 1], or `outputs` or `n_probes` is no integer in its range.

    Reference:
      Umar & Laio 2026, arXiv:2605.26973.
    """
    r = integer("outputs", outputs, 1, _MAX_OUTPUTS)
    q, distance = _squared(overlap)
    if n_probes is not None:
        return finite.entropy(_depth(distance), r, _probes(n_probes))[()]
    with np.errstate(divide="ignore"):
        beyond = np.log(distance * (1.0 + q) / (_MIN_DISTANCE * (2.0 - _MIN_DISTANCE)))
        depth = -np.log(np.maximum(distance, _MIN_DISTANCE))
    inside = np.minimum(q, 1.0 - _MIN_DISTANCE)
    return (inside**2 * _interpolant(r)(depth) + 0.5 * r * np.minimum(beyond, 0.0))[()]


def information_imbalance(overlap: Numbers, *, outputs: int = 1, n_probes: int | None = None) -> Float64:
    """The information imbalance of two linear networks, for infinitely many probes or as N probes show it.

        II = I_{1 - T^2}(r/2, 1/2),    T = rho^2 / sqrt(3 - 2 rho^2)    for infinitely many probes,
        II_N = 2/N E[rank]    for N,

    with the regularized incomplete beta function I; for r = 1 the former is 1 - (2 / pi) arcsin(T).

    Args:
      overlap: rho in [0, 1], an array of any shape; of a measured one that is negative take the absolute value.
      outputs: r, the number of equal output modes, at least 1; with `n_probes` at most 20.
      n_probes: N, 3 to 100,000; None for infinitely many.

    Returns:
      The imbalance, float64, of the shape of `overlap`: 1 at rho = 0; at rho = 1 it is 2/N, or 0 in the limit. For N
      probes from the table that `conditional_copula_entropy` uses, with an error of about 1e-4.

    Raises:
      ValueError: if an overlap is NaN or outside [0, 1], or `outputs` or `n_probes` is no integer in its range.

    Reference:
      Glielmo, Zeni, Cheng, Csanyi & Laio 2022, PNAS Nexus 1, for the measure; Umar & Laio 2026, arXiv:2605.26973.
    """
    r = integer("outputs", outputs, 1, None if n_probes is None else _MAX_OUTPUTS)
    q, distance = _squared(overlap)
    if n_probes is not None:
        return finite.imbalance(_depth(distance), r, _probes(n_probes))[()]
    # From T^2 near rho = 0, from 1 - T^2 near rho = 1: whichever is small has its digits.
    weak = 1.0 - betainc(0.5, 0.5 * r, q**2 / (3.0 - 2.0 * q))
    strong = betainc(0.5 * r, 0.5, np.minimum(distance * (3.0 + q) / (3.0 - 2.0 * q), 1.0))
    return np.where(q < 0.5, weak, strong)[()]


def linear_cka(overlap: Numbers, *, variance: Numbers | None = None) -> Float64:
    """The linear centered kernel alignment of two linear networks.

        CKA = rho^2    for any number of equal output modes,
        CKA = sum_j rho_j^2 v_j^2 / sum_j v_j^2    for modes of variances v_j.

    Args:
      overlap: rho in [0, 1], an array of any shape; of a measured one that is negative take the absolute value. With
        `variance` the last axis is over the modes.
      variance: v_j, at least 0, of the shape of `overlap`, as of `hidden_covariances`; only their ratios matter.

    Returns:
      The alignment in [0, 1], float64, of the shape of `overlap`, less the last axis if there is a `variance`; 0
      where all variances are 0.

    Raises:
      ValueError: if an overlap is NaN or outside [0, 1], a variance NaN or negative, or the shapes differ.

    Reference:
      Kornblith, Norouzi, Lee & Hinton 2019, ICML, for the measure; Umar & Laio 2026, arXiv:2605.26973.
    """
    q = _squared(overlap)[0]
    if variance is None:
        return q[()]
    variance = np.asarray(variance, dtype=np.float64)
    if q.ndim == 0 or variance.shape != q.shape:
        reject("variance", f"of the shape of overlap, {q.shape}, with an axis over modes", variance.shape)
    weights = relative(variance) ** 2
    total, aligned = np.sum(weights, axis=-1), np.asarray(np.sum(q * weights, axis=-1))
    return np.divide(aligned, total, out=np.zeros_like(aligned), where=total > 0)[()]


def relative(variance: Float[np.ndarray, "*s modes"]) -> Float[np.ndarray, "*s modes"]:
    """The variances over the largest of the last axis; infinite ones count as equal, and 0 stays 0.

    Raises:
      ValueError: if one is NaN or negative.
    """
    variance = _within("variance", variance, 0.0, np.inf)
    largest = np.max(variance, axis=-1, keepdims=True)
    scaled = np.divide(variance, largest, out=np.zeros_like(variance), where=(largest > 0) & np.isfinite(largest))
    return np.where(np.isinf(largest), np.isinf(variance).astype(np.float64), scaled)


def copula_density(c: Numbers, overlap: Numbers, *, outputs: int = 1) -> Float64:
    """The density p(c) of the copula variable of one network at the nearest neighbours found in the other.

        p(c) = E_l L(c, l),    p(0) = (1 - rho^2)^-r,    p(1) = 0 for rho != 0

    with L as in the docstring of the module. For N probes c is the rank of the neighbour over N - 1.

    Args:
      c: the copula variable in [0, 1]; values in (0, 1e-60) are taken as 1e-60.
      overlap: rho in [0, 1]; broadcasts against `c`.
      outputs: r, the number of equal output modes, 1 to 20.

    Returns:
      The density, float64, of the shape to which `c` and `overlap` broadcast. At rho = 1 it is 0 except for
      c = 0, where it is infinite. The relative error is below 1e-7 for c >= 1e-12 and rho <= 0.999.

    Raises:
      ValueError: if `c` is NaN or outside [0, 1], an overlap NaN or outside [0, 1], or `outputs` no integer
        from 1 to 20.

    Reference:
      Umar & Laio 2026, arXiv:2605.26973.
    """
    r = integer("outputs", outputs, 1, _MAX_OUTPUTS)
    c = _within("c", c, 0.0, 1.0)
    q, distance = _squared(overlap)
    np.broadcast_shapes(c.shape, q.shape)
    radii = _radii(r, _RADII_OF_DENSITY)
    # The ends have no quantile; any inner value serves until they are filled in below.
    inner = np.where((c > 0) & (c < 1), np.maximum(c, 1e-60), 0.5)[..., None]
    quantiles = scipy.stats.ncx2.ppf(inner, r, radii.squared)
    upper = inner[..., 0] > 0.5
    quantiles[upper] = scipy.stats.ncx2.isf(1.0 - inner[upper], r, radii.squared)
    same = distance == 0
    density = np.exp(_log_density(quantiles, np.where(same, 0.0, q), np.where(same, 1.0, distance), r, radii))
    with np.errstate(divide="ignore"):
        density = np.where(c == 0, distance**-r, np.where(same, 0.0, density))
    return np.where((c == 1) & (q > 0), 0.0, density)[()]


def _within(name: str, value: Numbers, low: float, high: float) -> Float[np.ndarray, "..."]:
    array = np.asarray(value, dtype=np.float64)
    bad = array[~((array >= low) & (array <= high))]
    if bad.size:
        reject(name, f"at least {low:g} and at most {high:g}", float(bad[0]))
    return array


def _squared(overlap: Numbers) -> tuple[Float[np.ndarray, "*s"], Float[np.ndarray, "*s"]]:
    """The squared overlap q, and 1 - q without cancellation."""
    rho = _within("overlap", overlap, 0.0, 1.0)
    return np.asarray(rho**2), np.asarray((1.0 - rho) * (1.0 + rho))


def _depth(distance: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log(distance))


def _probes(n_probes: int) -> int:
    return integer("n_probes", n_probes, _MIN_PROBES, _MAX_PROBES)


def _radii(r: int, count: int) -> _Radii:
    # The chi_r distribution has unit width around sqrt(r); the weight left out is below 1e-40.
    end = 14.0 + np.sqrt(r)
    nodes, weights = np.polynomial.legendre.leggauss(count)
    radius = 0.5 * end * (nodes + 1.0)
    log_chi = (r - 1) * np.log(radius) - 0.5 * radius**2 - (0.5 * r - 1.0) * np.log(2.0) - gammaln(0.5 * r)
    return _Radii(radius**2, np.log(0.5 * end * weights) + log_chi)


def _log_density(
    quantiles: Float[np.ndarray, "*c radii"],
    q: Float[np.ndarray, "*q"],
    distance: Float[np.ndarray, "*q"],
    r: int,
    radii: _Radii,
) -> Float[np.ndarray, "..."]:
    """The logarithm of p(c) from the quantiles x(c, l), with distance = 1 - q."""
    q, distance = q[..., None], distance[..., None]
    order = 0.5 * r - 1.0
    # 0F1(; r/2; w^2 / 4) is proportional to w^-order I_order(w); `ive` is I_order(w) exp(-w).
    w = np.sqrt(radii.squared * quantiles)
    log_ratio = order * np.log1p(q) + np.log(ive(order, w / (1.0 + q)) / ive(order, w)) - w * q / (1.0 + q)
    determinant = distance * (1.0 + q)
    exponent = q * radii.squared / (1.0 + q) - 0.5 * q**2 * quantiles / determinant
    terms = exponent + log_ratio - 0.5 * r * np.log(determinant) + radii.log_weights
    return np.asarray(logsumexp(terms, axis=-1))


@functools.lru_cache(maxsize=_MAX_OUTPUTS)
def _interpolant(r: int) -> Callable[[Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]:
    """CCE / q^2 as a function of -log(1 - q), which is smooth in both limits: a constant, then a straight line."""
    radii = _radii(r, _RADII_OF_ENTROPY)
    # The trapezoidal rule in t, c = expit(t), from where p(c) c is below 1e-11 for the largest q.
    tail = 26.0 + 1.5 * r
    t = np.arange(_log_scale(_MIN_DISTANCE, r) - tail, 24.0, _STEP)
    lower = t <= 0
    # Each side through its own small probability, which has all its digits.
    quantiles = np.concatenate(
        [
            scipy.stats.ncx2.ppf(expit(t[lower])[:, None], r, radii.squared),
            scipy.stats.ncx2.isf(expit(-t[~lower])[:, None], r, radii.squared),
        ]
    )

    def ratio(depth: float) -> float:
        distance, q = np.exp(-depth), -np.expm1(-depth)
        kept = t >= _log_scale(distance, r) - tail
        log_p = _log_density(quantiles[kept], np.asarray(q), np.asarray(distance), r, radii)
        # p log p - p + 1 integrates to the same as p log p and is of second order at p = 1: no cancellation.
        integrand = np.exp(log_p) * log_p - np.expm1(log_p)
        return float(-_STEP * np.sum(expit(t[kept]) * expit(-t[kept]) * integrand) / q**2)

    return Chebyshev.interpolate(np.vectorize(ratio), deg=_DEGREE, domain=[0.0, -np.log(_MIN_DISTANCE)])


def _log_scale(distance: float, r: int) -> float:
    """The logarithm of the c at which p(c) falls off, (1 - q^2)^(r/2)."""
    return 0.5 * r * float(np.log(distance * (2.0 - distance)))
