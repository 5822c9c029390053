"""Distances between the probes of one representation, by blocks of rows, as accurate as the float32 values hold them.

A distance from products, |a|^2 + |b|^2 - 2 a.b, is wrong by about 2^-24 (|a|^2 + |b|^2): all of it where two probes are
near each other and far from the centre. So a block of rows is computed from products in float32; again in float64, if
that leaves one of its distances fewer than 14 of 24 digits; and from differences, if that too is not enough.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float32, Float64, Int32

from jaxalign.alignment.distances import power_of_two_below
from jaxalign.alignment.exact import exact_distances

# Up to this dimension differences of float32 are no slower than products.
_FEW_COLUMNS = 8

# Squared distances over squared norms from which those of products are taken, in float32 and in float64.
_RATIO = 2.0**-10
_RATIO_DOUBLE = 2.0**-30

# Coordinates are of this size, so that squares of differences 2^-110 times as large are no less than float32 holds.
_SCALE = 2.0**50

# Probes whose median is the centre: where nearly all points are, however far the others.
_CENTRE_PROBES = 65

_STEPS = 16


class Cloud(NamedTuple):
    """The probes of one representation, for `squared_distances`."""

    points: Float32[Array, "n d"]  # of size `_SCALE`; columns that are constant but for rounding are zero
    centre: Float32[Array, " d"]  # a probe-like point
    norms: Float32[Array, " n"]  # squared, of points - centre
    twins: Int32[Array, " n"]  # a number that the duplicates of a probe share with it, and no other


def make_cloud(points: Float32[Array, "n d"]) -> Cloud:
    """The state from a finite representation; distances are in units of no meaning."""
    x = without_rounding(points / power_of_two_below(jnp.max(jnp.abs(points)))) * _SCALE
    centre = robust_centre(x)
    centred = x - centre[None]
    return Cloud(x, centre, jnp.sum(centred * centred, axis=1), _twins(x))


def permute_cloud(cloud: Cloud, order: Int32[Array, " n"]) -> Cloud:
    """The state of the permuted probes."""
    return Cloud(cloud.points[order], cloud.centre, cloud.norms[order], cloud.twins[order])


def without_rounding(points: Float32[Array, "n d"]) -> Float32[Array, "n d"]:
    """The points; columns that differ by at most four units in the last place of their largest value become zero."""
    spread = jnp.max(points, axis=0) - jnp.min(points, axis=0)
    return jnp.where((spread <= 2.0**-21 * jnp.max(jnp.abs(points), axis=0))[None], 0.0, points)


def robust_centre(points: Float32[Array, "n d"]) -> Float32[Array, " d"]:
    """The median of some probes, a value of each column: data on a grid stays on it, and outliers do not count."""
    n = len(points)
    some = np.unique(np.linspace(0, n - 1, min(n, _CENTRE_PROBES)).astype(np.int32))
    return jnp.sort(points[some], axis=0)[len(some) // 2]


@jax.custom_batching.sequential_vmap  # batched, both sides of a condition would be computed
def squared_distances(cloud: Cloud, indices: Int32[Array, " rows"]) -> Float32[Array, "rows n"]:
    """Rows of the matrix of squared distances; exactly zero between duplicates, and only there.

    They are accurate to 2^-14, and to 2^-21 where they are not small beside the norms.
    """
    same = cloud.twins[indices][:, None] == cloud.twins[None]
    if cloud.points.shape[1] <= _FEW_COLUMNS:
        # Float32 holds differences to half a unit in the last place.
        columns = cloud.points.T
        rows = sum((column[indices][:, None] - column[None]) ** 2 for column in columns)
        return jnp.where(same, 0.0, rows)
    centred = cloud.points - cloud.centre[None]
    norms = cloud.norms[indices][:, None] + cloud.norms[None]
    rows = norms - 2 * jnp.matmul(centred[indices], centred.T, precision=lax.Precision.HIGHEST)
    wrong = jnp.any((rows < _RATIO * norms) & ~same)
    return jnp.where(same, 0.0, lax.cond(wrong, lambda: _double(cloud, indices, same), lambda: rows))


def some_squared_distances(cloud: Cloud) -> Float32[Array, " m"]:
    """Of each probe to a few others that lie evenly behind it, by differences."""
    n = len(cloud.points)
    steps = sorted({1 + i * (n - 1) // _STEPS for i in range(_STEPS)})
    return jnp.concatenate([jnp.sum((cloud.points - jnp.roll(cloud.points, s, axis=0)) ** 2, axis=1) for s in steps])


def _twins(points: Float32[Array, "n d"]) -> Int32[Array, " n"]:
    """The first duplicate of each probe, found by hashes of its bits, and a comparison of all that share theirs."""
    n, d = points.shape
    bits = lax.bitcast_convert_type(points + 0.0, jnp.uint32)
    odd = np.random.default_rng(0).integers(0, 2**31, (2, d), dtype=np.uint32) * 2 + 1
    mixed = (bits ^ (bits >> 15))[None] * odd[:, None]
    hashes = jnp.sum(mixed ^ (mixed >> 13), axis=2, dtype=jnp.uint32)
    place = jnp.arange(n, dtype=jnp.int32)
    *_, order = lax.sort((hashes[0], hashes[1], place), num_keys=2)
    same = jnp.all(points[order[1:]] == points[order[:-1]], axis=1)
    first = lax.cummax(jnp.where(jnp.concatenate([jnp.zeros(1, bool), same]), 0, place))
    return jnp.zeros(n, jnp.int32).at[order].set(order[first])


def _double(cloud: Cloud, indices: Int32[Array, " rows"], same: Bool[Array, "rows n"]) -> Float32[Array, "rows n"]:
    """By products in float64, or by differences if one of the distances needs them."""

    def by_differences() -> Float64[Array, "rows n"]:
        return exact_distances(cloud.points, cloud.points[indices]).T

    with jax.enable_x64(True):
        centred = cloud.points.astype(jnp.float64) - cloud.centre.astype(jnp.float64)[None]
        squares = jnp.sum(centred * centred, axis=1)
        norms = squares[indices][:, None] + squares[None]
        rows = norms - 2 * (centred[indices] @ centred.T)
        wrong = jnp.any((rows < _RATIO_DOUBLE * norms) & ~same)
        return lax.cond(wrong, by_differences, lambda: rows).astype(jnp.float32)
