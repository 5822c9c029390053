"""Several outputs of unequal strength: a hidden mode for each, with an overlap of its own.

The teacher is y = B x + noise with singular values b_j and x ~ N(0, I_d), the noise of variance sigma^2 on every
output. Up to a rotation, which no distance sees, the hidden spaces of two students at the balanced minimum are jointly
Gaussian with independent modes. With the integrals of `linear.moments` and X = signal for shared inputs, response^2
for independent ones,

    tau_j = signal b_j^2 + noise sigma^2,    Var[mode j] = sqrt(tau_j),    rho_j = X b_j^2 / tau_j,

in the limit of many dimensions and samples at a fixed number C of outputs. `alignment.linear_cka` takes the two arrays
of `hidden_covariances` as they are.

**The limit is of no use unless C is far below n SNR.** The noise of the C outputs shares the geometry of the n samples:
its C x C block N N^T is no multiple of the identity, but a sample of a Wishart matrix of about n (or d) degrees of
freedom, which both students see. This adds about C / n to linear CKA: for `MinNorm`, d = 100, C = 10, n = 120 and SNR
0.5 it is 0.34, and 0.0075 in the limit. `jaxalign.predict` samples the exact law at the size of a sweep instead.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxalign.alignment import all_pairs
from jaxalign.checks import boolean, integer, real, reject
from jaxalign.theory.alignment import relative
from jaxalign.theory.filters import MinNorm, SpectralFilter
from jaxalign.theory.linear import moments
from jaxalign.theory.spectrum import Numbers, positive

_MIN_NORM = MinNorm()


class HiddenModes(NamedTuple):
    """The joint law of two hidden spaces; arrays of one shape, the last axis over modes, the strongest first.

    Attributes:
      variance: sqrt(tau_j), the variance of mode j in each of the two networks; the covariance is rho_j sqrt(tau_j).
      overlap: rho_j, the correlation of mode j between them.
    """

    variance: Float[np.ndarray, "*alpha modes"]
    overlap: Float[np.ndarray, "*alpha modes"]


class SampledMeasures(NamedTuple):
    """Means of the rank-based measures over draws, each with its standard error."""

    conditional_copula_entropy: float
    conditional_copula_entropy_error: float
    information_imbalance: float
    information_imbalance_error: float


def hidden_covariances(
    alpha: Numbers,
    strengths: Numbers,
    noise_variance: float,
    *,
    filter: SpectralFilter = _MIN_NORM,
    shared_inputs: bool = True,
    hidden: int | None = None,
) -> HiddenModes:
    """The variances and overlaps of the hidden modes of two students that differ by the noise of their targets.

    The limit of many dimensions and samples. With several outputs the corrections are large, see the module's text.

        tau_j = S b_j^2 + V sigma^2,    rho_j = X b_j^2 / tau_j,
        S = ∫ f^2 dmu,    V = ∫ f^2 / s dmu / alpha,    X = S for shared inputs, (∫ f dmu)^2 for independent ones.

    Args:
      alpha: samples per input dimension n / d, above 0, possibly infinite; an array of any shape.
      strengths: the singular values b_j of the teacher, shape (C,), at least 0 and not all 0.
      noise_variance: sigma^2 of each output, at least 0.
      filter: how the students were trained. One that is tuned to the noise is given the mean SNR over the outputs,
        mean(b_j^2) / sigma^2, which makes `TunedRidge` the common penalty of least total error.
      shared_inputs: whether both saw the same training inputs, or each its own draw of them.
      hidden: hidden units k; if fewer than outputs, the k modes with the largest b_j are kept. None keeps all.

    Returns:
      float64 arrays of shape `alpha.shape + (min(hidden, C),)`. For `MinNorm` at alpha = 1 the variances are infinite
      and the overlaps 0, unless there is no noise. A mode of variance 0 has overlap 0.

    Raises:
      ValueError: if `alpha` is not above 0, `strengths` are no such array, `noise_variance` is no finite number of at
        least 0, `filter` is no spectral filter or `hidden` no positive integer.

    Reference:
      Umar & Laio 2026, arXiv:2605.26973.
    """
    b = np.asarray(strengths, dtype=np.float64)
    if b.ndim != 1 or not np.all(b >= 0) or not np.all(np.isfinite(b)) or not np.any(b):
        reject("strengths", "a sequence of finite numbers of at least 0, not all 0", strengths)
    noise_variance = real("noise_variance", noise_variance, 0.0)
    boolean("shared_inputs", shared_inputs)
    kept = b.size if hidden is None else min(integer("hidden", hidden), b.size)
    power = np.mean(b**2)
    m = moments(positive("alpha", alpha), power / noise_variance if noise_variance > 0 else np.inf, filter=filter)
    powers = np.sort(b**2)[::-1][:kept]
    cross = m.signal if shared_inputs else np.square(m.response)
    # An infinite moment times no noise is no noise.
    added = np.asarray(m.noise * noise_variance if noise_variance > 0 else np.zeros_like(m.noise))
    tau = np.asarray(m.signal)[..., None] * powers + added[..., None]
    shared = np.asarray(cross)[..., None] * powers
    rho = np.divide(shared, tau, out=np.zeros_like(tau), where=tau > 0)
    # Without noise and with one eigenvalue cross and tau are equal up to rounding; the measures refuse rho > 1.
    return HiddenModes(np.sqrt(tau), np.minimum(rho, 1.0))


def sampled_measures(modes: HiddenModes, n_probes: int, *, draws: int = 32, seed: int = 0) -> SampledMeasures:
    """What the rank-based measures of `jaxalign.alignment` show on probes drawn from the law of two hidden spaces.

    For modes of unequal variance no closed form is known. Each draw is a fresh set of N probes; the two directions,
    which have the same law, are averaged in each. For equal modes the measures are those of
    `conditional_copula_entropy` and `information_imbalance` with `n_probes`, without sampling error.

    Args:
      modes: of shape (modes,), as `hidden_covariances` returns them for one alpha.
      n_probes: N, at least 3.
      draws: how many sets of probes, at least 2.
      seed: of the draws, a non-negative integer.

    Returns:
      Means and standard errors over the draws.

    Raises:
      ValueError: if `modes` hold more than one alpha or are of unequal shapes, if a variance is negative or all are 0,
        if an overlap is outside [0, 1], or if a number is out of its range.

    Reference:
      Umar & Laio 2026, arXiv:2605.26973; Glielmo et al. 2022, PNAS Nexus 1.
    """
    if modes.variance.ndim != 1 or modes.variance.shape != modes.overlap.shape or modes.variance.size == 0:
        shapes = (modes.variance.shape, modes.overlap.shape)
        reject("modes", "variances and overlaps of one shape (modes,), those of a single alpha", shapes)
    scale = np.sqrt(relative(modes.variance))
    rho = modes.overlap
    if not (np.all((rho >= 0.0) & (rho <= 1.0)) and np.any(scale > 0)):
        reject("modes", "variances that are not all 0 and overlaps in [0, 1]", modes)
    n = integer("n_probes", n_probes, 3)
    draws = integer("draws", draws, 2)
    rng = np.random.default_rng(integer("seed", seed, 0))
    rest = np.sqrt((1.0 - rho) * (1.0 + rho))
    values = np.empty((draws, 2))
    names = ("cce", "information_imbalance")
    for draw in values:
        a, b = rng.standard_normal((2, n, rho.size))
        matrices = all_pairs(np.stack([a * scale, (rho * a + rest * b) * scale]), names)
        draw[:] = [0.5 * (matrices[name][0, 1] + matrices[name][1, 0]) for name in names]
    means, errors = values.mean(0), values.std(0, ddof=1) / np.sqrt(draws)
    return SampledMeasures(float(means[0]), float(errors[0]), float(means[1]), float(errors[1]))
