"""Spectral filters: what a linear student keeps of each eigenmode of its training inputs.

With the training inputs X = U diag(sv) V^T (n rows) and s_i = sv_i^2 / n, a student trained on targets y has weights

    w = sum_i v_i f(s_i) / sv_i (u_i . y).

The filter f is all that tells one training procedure from another. The same f acts on the eigenvalues of a data set,
which solves a linear network without training it, and on their limiting density, which gives the theory.
"""

import abc
import dataclasses

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxalign.checks import integer, real

Eigenvalues = Float[Array, "..."] | Float[np.ndarray, "..."]


class SpectralFilter(abc.ABC):
    """A function f(s) of the eigenvalues s of X^T X / n; one subclass for each way to train a linear student."""

    @abc.abstractmethod
    def response(self, eigenvalues: Eigenvalues, *, alpha: ArrayLike, snr: ArrayLike) -> Eigenvalues:
        """The filter f(s), of the same array namespace, shape and dtype as `eigenvalues`.

        Pure and elementwise: it may be called on NumPy arrays, and on JAX arrays under `jit` and `vmap`.

        Args:
          eigenvalues: s, of any shape, on the scale where x ~ N(0, I_d) has mean eigenvalue 1. An eigenvalue at or
            below 0 gives f = 0; the caller sets to 0 those that are zero up to rounding.
          alpha: samples per input dimension n / d, above 0; broadcasts against `eigenvalues`.
          snr: signal-to-noise ratio, above 0, possibly infinite; broadcasts against `eigenvalues`. Of the filters
            here only `TunedRidge` looks at `alpha` and `snr`.

        Returns:
          f(s), in [0, 1] except for a gradient descent with eta s > 1.

        Reference:
          Umar & Laio 2026, arXiv:2605.26973; Hastie, Montanari, Rosset & Tibshirani 2022, Annals of Statistics 50.
        """


@dataclasses.dataclass(frozen=True)
class MinNorm(SpectralFilter):
    """f(s) = 1 for s > 0: the least-squares solution of minimum norm, where gradient descent from zero ends."""

    def response(self, eigenvalues: Eigenvalues, *, alpha: ArrayLike, snr: ArrayLike) -> Eigenvalues:
        xp = eigenvalues.__array_namespace__()
        return xp.where(eigenvalues > 0, xp.ones_like(eigenvalues), xp.zeros_like(eigenvalues))


@dataclasses.dataclass(frozen=True)
class Ridge(SpectralFilter):
    """f(s) = s / (s + lam): the minimum of |X w - y|^2 / (2n) + lam |w|^2 / 2.

    Args:
      lam: the penalty, finite and above 0; without a penalty the solution is `MinNorm()`.

    Raises:
      ValueError: if `lam` is not a finite number above 0.
    """

    lam: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "lam", real("lam", self.lam, 0.0, exclude_minimum=True))

    def response(self, eigenvalues: Eigenvalues, *, alpha: ArrayLike, snr: ArrayLike) -> Eigenvalues:
        return _ridge(eigenvalues, self.lam)


@dataclasses.dataclass(frozen=True)
class TunedRidge(SpectralFilter):
    """f(s) = s / (s + lam) with lam = 1 / (SNR alpha), the penalty of least generalization error."""

    def response(self, eigenvalues: Eigenvalues, *, alpha: ArrayLike, snr: ArrayLike) -> Eigenvalues:
        # Two divisions: the product snr * alpha could overflow where its reciprocal does not matter.
        return _ridge(eigenvalues, 1.0 / snr / alpha)


@dataclasses.dataclass(frozen=True)
class GradientFlow(SpectralFilter):
    """f(s) = 1 - exp(-t s): gradient flow on |X w - y|^2 / (2n) from w = 0, stopped at time t.

    Args:
      t: the time, finite and at least 0; at 0 the student still answers 0.

    Raises:
      ValueError: if `t` is not a finite number of at least 0.
    """

    t: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "t", real("t", self.t, 0.0))

    def response(self, eigenvalues: Eigenvalues, *, alpha: ArrayLike, snr: ArrayLike) -> Eigenvalues:
        xp = eigenvalues.__array_namespace__()
        return -xp.expm1(-self.t * _positive_part(eigenvalues))


@dataclasses.dataclass(frozen=True)
class GradientDescent(SpectralFilter):
    """f(s) = 1 - (1 - eta s)^T: T full-batch steps on |X w - y|^2 / (2n) from w = 0.

    It converges where eta s < 2; beyond, f grows without bound and overflows to an infinity.

    Args:
      learning_rate: eta, finite and above 0.
      steps: T, at least 1.

    Raises:
      ValueError: if `learning_rate` is not a finite number above 0 or `steps` not an integer of at least 1.
    """

    learning_rate: float
    steps: int

    def __post_init__(self) -> None:
        rate = real("learning_rate", self.learning_rate, 0.0, exclude_minimum=True)
        object.__setattr__(self, "learning_rate", rate)
        object.__setattr__(self, "steps", integer("steps", self.steps))

    def response(self, eigenvalues: Eigenvalues, *, alpha: ArrayLike, snr: ArrayLike) -> Eigenvalues:
        xp = eigenvalues.__array_namespace__()
        progress = self.learning_rate * _positive_part(eigenvalues)
        # |1 - progress| = 1 + excess. Kept off the logarithm's pole at progress = 1, where f = 1 to the last digit.
        excess = xp.where(progress < 1, -progress, progress - 2)
        excess = xp.maximum(excess, xp.asarray(xp.finfo(excess.dtype).eps - 1, dtype=excess.dtype))
        # A float: in 32-bit JAX an integer above 2^31 would be refused.
        log_residual = float(self.steps) * xp.log1p(excess)
        with np.errstate(over="ignore"):
            converging = -xp.expm1(log_residual)
            return converging if self.steps % 2 == 0 else xp.where(progress > 1, 2 - converging, converging)


def _positive_part(eigenvalues: Eigenvalues) -> Eigenvalues:
    xp = eigenvalues.__array_namespace__()
    return xp.maximum(eigenvalues, xp.zeros_like(eigenvalues))


def _ridge(eigenvalues: Eigenvalues, lam: ArrayLike) -> Eigenvalues:
    xp = eigenvalues.__array_namespace__()
    # The denominator is replaced where s <= 0, so that lam = 0 (infinite SNR) gives 0 there and not 0 / 0.
    positive = eigenvalues > 0
    denominator = xp.where(positive, eigenvalues, xp.ones_like(eigenvalues)) + lam
    return xp.where(positive, eigenvalues / denominator, xp.zeros_like(eigenvalues))
