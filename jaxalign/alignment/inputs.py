"""Checks of the arrays and options that all measures take, before anything compiles."""

import math
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxalign import checks
from jaxalign.alignment.conversion import Centring, Converted, to_float32

# One probe has to leave, beside itself and its neighbour, a point that the neighbour can rank behind.
MIN_PROBES = 3

_ALIGNMENT = 64


def representation(name: str, values: Any, centring: Centring = "columns") -> jax.Array:
    """Returns `values` as a float32 array of shape (N, D), converted as `conversion.to_float32` says.

    Raises:
      ValueError: as `checked_array`, or if it is not two-dimensional with at least `MIN_PROBES` rows and one column.
    """
    return single_precision(checked_matrix(name, values), centring)


def checked_matrix(name: str, values: Any) -> np.ndarray | jax.Array:
    """Returns `values` as an array of shape (N, D) in its own precision.

    Raises:
      ValueError: as `representation`.
    """
    return checked_array(name, values, 2, f"a real array of shape (N, D) with N >= {MIN_PROBES} and D >= 1")


def checked_array(name: str, values: Any, ndim: int, allowed: str) -> np.ndarray | jax.Array:
    """Returns `values` as an array of `ndim` axes, of which the last two are probes and units, in its own precision.

    Takes whatever NumPy takes, and tensors of PyTorch on any device, with or without a gradient. Copies nothing that
    NumPy can look at in place.

    Raises:
      ValueError: if it is anything else (`allowed` says what would do), or has masked entries, whose values mean
        nothing.
    """
    array = values if isinstance(values, jax.Array) else _as_numpy(name, values, allowed)
    kinds = (jnp.floating, jnp.integer, jnp.bool_)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in kinds):
        checks.reject(name, allowed, array.dtype)
    if array.ndim != ndim or array.shape[-2] < MIN_PROBES or 0 in array.shape:
        checks.reject(name, allowed, array.shape)
    return array


def single_precision(array: np.ndarray | jax.Array, centring: Centring = "columns") -> jax.Array:
    """Converts what `checked_array` returns, each representation of a stack by itself.

    What a transformation of JAX traces has no values yet, and is rounded as it is.
    """
    if isinstance(array, Tracer) or array.dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        return jnp.asarray(array, jnp.float32)
    array = np.asarray(array)
    if array.ndim == 2:
        return jnp.asarray(to_float32(array, centring).points)
    return jnp.asarray(stacked(list(array)).points)


def stacked(members: Sequence[np.ndarray]) -> Converted:
    """Converts arrays (N, D_k) into one of shape (K, N, max D), widened by zeros; displacements of shape (K, N)."""
    shape = len(members), members[0].shape[0], max(x.shape[1] for x in members)
    points = _aligned_zeros(shape)
    displacement = np.zeros(shape[:2], np.float32)
    for slot, moved, member in zip(points, displacement, members, strict=True):
        converted = to_float32(member)
        slot[:, : member.shape[1]] = converted.points
        moved[...] = 0 if converted.displacement is None else converted.displacement
    return Converted(points, displacement)


def _aligned_zeros(shape: tuple[int, ...]) -> np.ndarray:
    """An array that a device of the kind "cpu" takes without copying it."""
    size = math.prod(shape) * np.dtype(np.float32).itemsize
    buffer = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT
    return buffer[start : start + size].view(np.float32).reshape(shape)


def pair(a: Any, b: Any, neighbors: Any, centring: Centring = "columns") -> tuple[jax.Array, jax.Array, int]:
    """Returns two checked representations of the same probes, and the checked number of neighbours.

    Raises:
      ValueError: as `representation` and `check_same_probes`, or if `neighbors` is not an integer in [1, N - 2].
    """
    check_same_probes(("a", "b"), (a, b))
    a, b = representation("a", a, centring), representation("b", b, centring)
    if a.shape[0] != b.shape[0]:
        checks.reject("b", f"an array of as many probes (rows) as a, {a.shape[0]}", b.shape)
    return a, b, checks.integer("neighbors", neighbors, 1, a.shape[0] - 2)


def check_same_probes(names: Sequence[str], representations: Sequence[Any]) -> None:
    """Checks that the rows of all representations with labels have the same ones, in the same order.

    Labels are the index of a pandas DataFrame, and the coordinate of the last dimension but one of a DataArray.
    Arrays, and DataArrays without the coordinate, have none.

    Raises:
      ValueError: naming the first whose labels differ.
    """
    first, expected = "", None
    for name, values in zip(names, representations, strict=True):
        labels = _labels(values)
        if labels is None or (expected is not None and (len(labels) != len(expected) or labels.equals(expected))):
            continue
        if expected is None:
            first, expected = name, labels
            continue
        rows = enumerate(zip(labels.tolist(), expected.tolist(), strict=True))
        at, own, other = next((i, *two) for i, two in rows if two[0] != two[1])
        checks.reject(
            name,
            f"of the same row labels as {first}, in the same order (rows are compared by position; pass arrays to "
            "ignore labels)",
            f"{own!r} for {other!r} in row {at}",
        )


def _labels(values: Any) -> Any:
    """The pandas Index of the rows, if there is one. What was never imported made no argument."""
    pandas, xarray = sys.modules.get("pandas"), sys.modules.get("xarray")
    if pandas is not None and isinstance(values, pandas.DataFrame):
        return values.index
    if xarray is not None and isinstance(values, xarray.DataArray) and values.ndim >= 2:
        return values.indexes.get(values.dims[-2])
    return None


def _as_numpy(name: str, values: Any, allowed: str) -> np.ndarray:
    """What `values` holds as a NumPy array."""
    if hasattr(values, "nnz"):
        checks.reject(name, allowed, "a sparse matrix")
    if np.ma.is_masked(values) or isinstance(values, (list, tuple)) and any(map(np.ma.is_masked, values)):
        checks.reject(name, "an array without masked entries (fill them, or leave out their probes)", "a masked array")
    try:
        if hasattr(values, "detach"):
            return _of_tensor(values)
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        ragged = "inhomogeneous" in str(error)
        checks.reject(name, allowed, "a ragged sequence" if ragged else f"{type(values).__name__}: {error}")


def _of_tensor(tensor: Any) -> np.ndarray:
    """A tensor of PyTorch; those of types that NumPy does not have, such as bfloat16, by float32."""
    tensor = tensor.detach().cpu()
    try:
        return tensor.numpy(force=True)
    except TypeError:
        return tensor.float().numpy(force=True)
