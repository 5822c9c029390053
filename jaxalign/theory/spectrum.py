"""The limiting spectrum of the training inputs, as a quadrature rule."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Real
from scipy.special import expit

from jaxalign.checks import reject

Numbers = float | int | np.number | Real[np.ndarray, "..."] | Real[Array, "..."] | Sequence[Any]
Float64 = Float[np.ndarray, "..."] | np.float64

# The trapezoidal rule in u, where s - s_min is proportional to expit(u). In the strip |Im u| < pi / 2 the eigenvalues
# fill the disc over [s_min, s_max], where every filter is analytic and bounded: the error is about
# exp(-pi^2 / step) = 1e-17 for a ridge of 1e-12 as for one of 1. The lower end is where sqrt(s - s_min) is 2e-16.
_STEP = 0.25
_LOGITS = np.arange(-72.0, 26.0 + _STEP, _STEP)


class Spectrum(NamedTuple):
    """A quadrature rule: the integral of g over s > 0 is the sum of weights * g(nodes) over the last axis."""

    nodes: Float[np.ndarray, "*alpha nodes"]
    weights: Float[np.ndarray, "*alpha nodes"]


def marchenko_pastur(alpha: Numbers) -> Spectrum:
    """The eigenvalues of X^T X / n for n = alpha d rows x ~ N(0, I_d), d -> infinity.

    With y = d / n = 1 / alpha the density is

        mu(s) = sqrt((s_max - s)(s - s_min)) / (2 pi y s),    s_min, s_max = (1 -+ sqrt(y))^2,

    of mass min(1, alpha); the atom 1 - alpha at s = 0 of alpha < 1 is no part of the rule.

    Args:
      alpha: samples per input dimension, above 0, possibly infinite (one eigenvalue, 1); an array of any shape.

    Returns:
      The nodes and weights, float64, of shape `alpha.shape + (393,)`. Accurate to about 1e-13 for the integrals of
      the spectral filters, alpha = 1 included, where the density diverges at 0.

    Raises:
      ValueError: if `alpha` is not above 0.

    Reference:
      Marchenko & Pastur 1967, Mathematics of the USSR-Sbornik 1. The substitution: Trefethen & Weideman 2014,
      SIAM Review 56.
    """
    inverse = 1.0 / positive("alpha", alpha)[..., None]
    below, above = expit(_LOGITS), expit(-_LOGITS)
    s_min = ((1.0 - inverse) / (1.0 + np.sqrt(inverse))) ** 2
    nodes = s_min + 4.0 * np.sqrt(inverse) * below
    weights = 8.0 / np.pi * _STEP * (below * above) ** 1.5 / nodes
    return Spectrum(nodes, weights)


def positive(name: str, value: Numbers) -> Float[np.ndarray, "..."]:
    """Returns `value` as a float64 array if all of it is above 0; infinity is allowed, NaN is not.

    Raises:
      ValueError: naming the first entry that is not.
    """
    array = np.asarray(value, dtype=np.float64)
    bad = array[~(array > 0)]
    if bad.size:
        reject(name, "above 0", float(bad[0]))
    return array
