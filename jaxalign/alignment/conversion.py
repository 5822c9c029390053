"""From numbers of any real type to float32, without losing what the measures depend on.

float32 holds 24 bits of a number, so that an offset of 1e7 leaves nothing of differences below 1. All measures but a
few are the same for columns that are shifted and for representations that are scaled. So wider numbers are shifted and
scaled in their own precision, and only then rounded.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32

Centring = Literal["columns", "rows"] | None
"""Which shifts change no measure: of columns, of rows (each of which may be scaled too), or none."""

# Numbers of a block that is converted at once, 32 MiB in float64.
_BLOCK = 2**22
_EXACT_INTEGERS = 2**24


class Converted(NamedTuple):
    """A representation in float32.

    Attributes:
      points: shape (N, D), or (K, N, D) of several.
      displacement: shape (N,) or (K, N), how far rounding moved each probe, in the units of the points; or None.
    """

    points: Float32[np.ndarray, "*k n d"]
    displacement: Float32[np.ndarray, "*k n"] | None


def to_float32(values: np.ndarray, centring: Centring = "columns") -> Converted:
    """Converts one representation of shape (N, D).

    Numbers that float32 holds, of whatever type, stay as they are. Otherwise each column is shifted by about its
    median, and all are scaled by one power of two to a largest value in [1/2, 1), in the precision of `values`. A
    column that is constant becomes zeros. The shift is a multiple of a power of two of the size of the interquartile
    range, or, where that is 0, the median, which is one of the values: so integers and other multiples of a power of
    two keep their differences exactly, and a column that lies about 0 is not shifted at all. Huge or tiny numbers
    neither overflow nor underflow. A representation with a value that is not finite is rounded as it is.

    Args:
      values: of any real dtype.
      centring: "rows" shifts and scales each row instead, by a power of two of its own; None only scales.
    """
    points = np.empty(values.shape, np.float32)
    if _copy_exactly(values, points) or not _is_finite(values):
        return Converted(points, None)
    if centring == "rows":
        _shift_and_scale(values.T, points.T, shift=True, one_scale=False)
        return Converted(points, None)
    errors = _shift_and_scale(values, points, shift=centring is not None, one_scale=True)
    return Converted(points, np.sqrt(errors).astype(np.float32))


def _copy_exactly(values: np.ndarray, points: np.ndarray) -> bool:
    """Rounds the values; whether that changed none."""
    if values.dtype == np.float32 or values.dtype.itemsize <= 2:
        points[...] = values
        return True
    exact = True
    for rows in _blocks(*values.shape):
        block = values[rows]
        with np.errstate(over="ignore", under="ignore"):
            points[rows] = block
        if not exact:
            continue
        if values.dtype.kind in "iu":
            exact = -_EXACT_INTEGERS <= int(block.min()) and int(block.max()) <= _EXACT_INTEGERS
        else:
            # Devices take numbers below the smallest normal one for zeros.
            small = np.abs(points[rows]) < np.finfo(np.float32).tiny
            exact = bool((points[rows] == block).all() and (block[small] == 0).all())
    return exact


def _is_finite(values: np.ndarray) -> bool:
    return values.dtype.kind in "iu" or all(np.isfinite(values[rows]).all() for rows in _blocks(*values.shape))


def _shift_and_scale(values: np.ndarray, points: np.ndarray, *, shift: bool, one_scale: bool) -> np.ndarray:
    """Fills `points`; returns the squared errors of rounding, summed over columns: shape (N,)."""
    n, d = values.shape
    centre, largest = np.zeros((2, d), np.longdouble)
    for columns in _blocks(d, n):
        block = _halves(values[:, columns], shift)
        if shift:
            centre[columns] = _centres(block)
        largest[columns] = np.maximum(block.max(1) - centre[columns], centre[columns] - block.min(1))
    exponent = np.frexp(np.broadcast_to(largest.max(), d) if one_scale else largest)[1]
    errors = np.zeros(n)
    for columns in _blocks(d, n):
        block = _halves(values[:, columns], shift)
        block -= centre[columns, None].astype(block.dtype)
        block = np.ldexp(block, -exponent[columns, None])
        rounded = block.astype(np.float32)
        points[:, columns] = rounded.T
        errors += np.sum((block - rounded).astype(np.float64) ** 2, axis=0)
    return errors


def _centres(columns: np.ndarray) -> np.ndarray:
    """A shift for each row of an array of columns."""
    last = columns.shape[1] - 1
    at = [last // 4, last // 2, 3 * last // 4]
    low, median, high = np.partition(columns, at, axis=1)[:, at].T
    grid = np.ldexp(np.ones_like(median), np.frexp(high - low)[1])
    return np.where(high > low, np.rint(median / grid) * grid, median)


def _halves(values: np.ndarray, shift: bool) -> np.ndarray:
    """A copy of columns as rows, halved, so that no difference overflows; of integers, less the smallest of each.

    The differences of 64-bit integers are exact modulo 2^64, which floats could not hold before.
    """
    if values.dtype.kind in "iu":
        if shift:
            values = values.astype(np.uint64) - values.min(0).astype(np.uint64)
        return np.ascontiguousarray(values.T, np.float64) * 0.5
    return np.multiply(values.T, 0.5, dtype=values.dtype, order="C")


def _blocks(number: int, size: int) -> Iterator[slice]:
    """Slices of so many rows or columns of this size that a block of them is converted at once."""
    step = max(1, _BLOCK // size)
    return (slice(start, start + step) for start in range(0, number, step))
