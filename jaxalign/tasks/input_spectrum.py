"""The covariance of the inputs of a linear teacher, by its eigenvalues."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxalign import checks

ISOTROPIC = "isotropic"


@dataclasses.dataclass(frozen=True)
class PowerLaw:
    """Eigenvalues l_i = c i^-exponent for i = 1, ..., dim, with c such that their mean is 1 (the trace is dim).

    Attributes:
      exponent: at least 0; 0 is isotropic.

    Raises:
      ValueError: if `exponent` is not a finite number of at least 0.

    Example:
      >>> from jaxalign.tasks.input_spectrum import eigenvalues
      >>> eigenvalues(PowerLaw(1.0), 4).round(2).tolist()  # of mean 1
      [1.92, 0.96, 0.64, 0.48]
    """

    exponent: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "exponent", checks.real("exponent", self.exponent, 0.0))


Spectrum = str | PowerLaw | tuple[float, ...]


def check_spectrum(spectrum: Any, dim: int) -> Spectrum:
    """Returns the spectrum, explicit eigenvalues as a tuple of floats.

    Raises:
      ValueError: if it is neither "isotropic", nor a `PowerLaw`, nor `dim` positive numbers, or if float32 cannot
        hold the eigenvalues or their reciprocals.
    """
    if isinstance(spectrum, str):
        return checks.choice("spectrum", spectrum, (ISOTROPIC,))
    if not isinstance(spectrum, PowerLaw):
        spectrum = numbers("spectrum", spectrum, dim, "'isotropic', a PowerLaw or eigenvalues")
        spectrum = tuple(
            checks.real(f"spectrum[{i}]", value, 0.0, exclude_minimum=True) for i, value in enumerate(spectrum)
        )
    values, float32 = eigenvalues(spectrum, dim), np.finfo(np.float32)
    if not (values.min() >= float32.tiny and values.max() <= 1.0 / float(float32.tiny)):
        checks.reject("spectrum", f"eigenvalues between {float32.tiny:.2g} and {1 / float(float32.tiny):.2g}", spectrum)
    return spectrum


def eigenvalues(spectrum: Spectrum, dim: int) -> Float[np.ndarray, " dim"]:
    """The eigenvalues of the covariance, float64, in the order of the input coordinates."""
    if isinstance(spectrum, str):
        return np.ones(dim)
    if isinstance(spectrum, PowerLaw):
        relative = np.arange(1, dim + 1, dtype=np.float64) ** -spectrum.exponent
        return relative * (dim / relative.sum())
    return np.array(spectrum, dtype=np.float64)


def numbers(name: str, values: Any, count: int, of: str) -> tuple[Any, ...]:
    """Returns `values` as a tuple of `count` items, which may repeat.

    Raises:
      ValueError: if `values` is no iterable, or of another length.
    """
    allowed = f"{of} as a sequence of {count} numbers"
    if isinstance(values, str) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) != 1:
        checks.reject(name, allowed, values)
    items = tuple(values)
    if len(items) != count:
        checks.reject(name, allowed, items)
    return items
