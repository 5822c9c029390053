"""Representations of several widths as few arrays, none of which is much larger than what it holds."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32

from jaxalign import checks
from jaxalign.alignment import inputs

# Representations share an array if zeros at most double them, or if all zeros together take no more than this.
_LARGEST_PADDING = 2.0
_SMALL_BYTES = 2**24
_FLOAT = 4


class Stacked(NamedTuple):
    """Representations in float32.

    Attributes:
      points: one array (members, N, D) for each group.
      displacements: of each representation, how far rounding moved each probe, shape (N,); None if it moved none.
    """

    points: tuple[Float32[Array, "..."], ...]
    displacements: tuple[np.ndarray | None, ...]


class Checked(NamedTuple):
    """K representations of the same N probes, not yet copied.

    Attributes:
      arrays: (K, N, D), or K arrays (N, D_k), in their own precision.
      probes: N.
      widths: D_k of each.
      groups: indices of the representations that share an array, in the order of the arrays.
    """

    arrays: np.ndarray | jax.Array | list[np.ndarray | jax.Array]
    probes: int
    widths: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]

    @property
    def order(self) -> tuple[int, ...]:
        """The index of each representation, in the order of the groups."""
        return tuple(i for group in self.groups for i in group)

    @property
    def padded(self) -> tuple[int, ...]:
        """The width that each representation is given, in the order of the groups."""
        return tuple(max(self.widths[i] for i in group) for group in self.groups for _ in group)

    def restore(self, matrices: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Matrices (K, K) with rows and columns in the order of the groups, in that of the representations."""
        order = np.argsort(self.order)
        return {name: matrix[np.ix_(order, order)] for name, matrix in matrices.items()}

    def members(self, stacks: Sequence[jax.Array]) -> list[np.ndarray]:
        """Each representation, in its own width, of the points that `stack` returned."""
        found: dict[int, np.ndarray] = {}
        for group, points in zip(self.groups, stacks, strict=True):
            values = np.asarray(points)
            found |= {i: values[slot, :, : self.widths[i]] for slot, i in enumerate(group)}
        return [found[i] for i in range(len(self.widths))]


def check(representations: Any, keys: Sequence[Any] | None = None) -> Checked:
    """Checks representations without copying any.

    Args:
      representations: real array (K, N, D), or sequence of K arrays (N, D_k).
      keys: what messages call the members of a sequence; by default their indices.

    Raises:
      ValueError: if they are anything else, of different N, or of rows with different labels.
    """
    allowed = f"a real array of shape (K, N, D) with N >= {inputs.MIN_PROBES}, or a sequence of arrays (N, D_k)"
    if hasattr(representations, "shape"):
        array = inputs.checked_array("representations", representations, 3, allowed)
        k, n, d = array.shape
        return Checked(array, n, (d,) * k, (tuple(range(k)),))
    if not isinstance(representations, Sequence) or isinstance(representations, str) or not representations:
        checks.reject("representations", allowed, representations)
    names = [f"representations[{key!r}]" for key in (range(len(representations)) if keys is None else keys)]
    inputs.check_same_probes(names, representations)
    arrays = [inputs.checked_matrix(name, x) for name, x in zip(names, representations, strict=True)]
    n = arrays[0].shape[0]
    for name, x in zip(names, arrays, strict=True):
        if x.shape[0] != n:
            checks.reject(name, f"an array of as many probes (rows) as the first, {n}", x.shape)
    widths = tuple(x.shape[1] for x in arrays)
    return Checked(arrays, n, widths, group_widths(n, widths))


def group_widths(n: int, widths: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Indices of the representations that share an array: as few arrays as the padding allows.

    Each array takes time to compile, and zeros, which change no measure, take memory.
    """
    if _FLOAT * n * (len(widths) * max(widths) - sum(widths)) <= _SMALL_BYTES:
        return (tuple(range(len(widths))),)
    groups: list[list[int]] = []
    for i in sorted(range(len(widths)), key=lambda i: -widths[i]):
        if not groups or widths[groups[-1][0]] > _LARGEST_PADDING * widths[i]:
            groups.append([])
        groups[-1].append(i)
    return tuple(tuple(sorted(group)) for group in groups)


def stack(checked: Checked) -> Stacked:
    """The representations in float32, one array for each group, narrower ones widened by zeros."""
    arrays = checked.arrays
    if not isinstance(arrays, list):
        if _is_single(arrays):
            return Stacked((inputs.single_precision(arrays),), (None,) * len(checked.widths))
        arrays = list(np.asarray(arrays))
    points, moved = [], {}
    for group in checked.groups:
        members = [arrays[i] for i in group]
        width = max(x.shape[1] for x in members)
        if all(_is_single(x) for x in members) and any(isinstance(x, jax.Array) for x in members):
            rounded = [inputs.single_precision(x) for x in members]
            points.append(jnp.stack([jnp.pad(x, [(0, 0), (0, width - x.shape[1])]) for x in rounded]))
        else:
            converted = inputs.stacked([np.asarray(x) for x in members])
            points.append(jnp.asarray(converted.points))
            assert converted.displacement is not None
            moved |= {i: own for i, own in zip(group, converted.displacement, strict=True) if own.any()}
    return Stacked(tuple(points), tuple(moved.get(i) for i in range(len(checked.widths))))


def _is_single(array: np.ndarray | jax.Array) -> bool:
    return array.dtype in (jnp.float32, jnp.bfloat16, jnp.float16)
