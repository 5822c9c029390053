"""Distances between the probes of one representation in float32, and how far they can be wrong."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Float32, Int

# Stands for an infinite distance. Finite, because a product at precision "highest" may be computed from pieces
# (infinity minus infinity); far above every distance, because coordinates are scaled to order one.
FAR = 1e30

# Differences cost no more than products up to this many units, and float32 does them nearly exactly.
DIFFERENCE_UNITS = 8

# The unit roundoff of float32.
_ROUNDOFF = 2.0**-24

# Roundings of products of more than some 30 terms are taken as independent and uniform, so that the sum of those of two
# products is below this many times its largest standard deviation but for one in 1e10; of fewer terms every rounding
# counts in full.
_DEVIATIONS = 4.0

# What else is rounded, in units of roundoff: the standardized coordinates, norms and, on a TPU, the pieces of a factor.
_OTHER_ROUNDINGS = 12

# Squares below the smallest float32 are lost, so distances closer than this are never certain.
_UNDERFLOW = 1e-30


class Points(NamedTuple):
    """K representations of N probes as the rank kernel needs them, padded to M points that are far from everything.

    Attributes:
      raw: the float32 numbers that were given.
      rows: [h, |h|^2] of standardized points h; of few units scaled points.
      norms: |h|; zeros of few units.
    """

    raw: Float32[Array, "k m d"]
    rows: Float32[Array, "k m d1"]
    norms: Float32[Array, "k m"]


def power_of_two_below(x: Float32[Array, "..."]) -> Float32[Array, "..."]:
    """The largest power of two that is at most x > 0; 1 for x = 0. Exact, unlike exp2(floor(log2(x)))."""
    bits = lax.bitcast_convert_type(x, jnp.int32) & 0x7F800000
    return jnp.where(bits == 0, 1.0, lax.bitcast_convert_type(bits, jnp.float32))


def scale(x: Float32[Array, "n d"]) -> Float32[Array, "n d"]:
    """Scales a representation by a power of two, so that its largest coordinate is between one and two."""
    return x / power_of_two_below(jnp.max(jnp.abs(x)))


def standardize(x: Float32[Array, "n d"]) -> Float32[Array, "n d"]:
    """Centres a representation and scales it to coordinates of order one.

    The product |h|^2 - 2 h.h' loses the digits that a common offset takes. Only powers of two scale, and each
    column's centre is rounded to an eighth of its spread (a power of two), so that data on a grid stays on a grid
    and its ties stay exact. The mean is taken of differences to the minimum, which are exact where the offset
    is large.
    """
    x = scale(x)
    low = jnp.min(x, axis=0)
    grid = power_of_two_below(jnp.max(x, axis=0) - low) / 8
    centre = low + jnp.round(jnp.mean(x - low[None], axis=0) / grid) * grid
    return x - centre[None]


def finite_points(representations: Float32[Array, "k n d"]) -> Float32[Array, "k n d"]:
    """The representations; one with a value that is not finite becomes all zeros."""
    return jnp.where(all_finite(representations)[:, None, None], representations, 0.0)


def all_finite(representations: Float32[Array, "k n d"]) -> Array:
    """Shape (k,): whether every coordinate of the representation is finite."""
    return jnp.all(jnp.isfinite(representations), axis=(1, 2))


def arrange(representations: Float32[Array, "k n d"], padded: int) -> Points:
    """Arranges representations for `distance_block`, padded to `padded` points."""
    k, n, d = representations.shape
    padding = [(0, 0), (0, padded - n), (0, 0)]
    raw = jnp.pad(representations, padding)
    if d <= DIFFERENCE_UNITS:
        rows = jnp.pad(jax.vmap(scale)(representations), padding, constant_values=math.sqrt(FAR))
        return Points(raw, rows, jnp.zeros((k, padded)))
    points = jax.vmap(standardize)(representations)
    squares = jnp.sum(points * points, axis=-1, keepdims=True)
    rows = jnp.pad(jnp.concatenate([points, squares], axis=-1), padding).at[:, n:, -1].set(FAR)
    return Points(raw, rows, jnp.sqrt(jnp.pad(squares[..., 0], padding[:2])))


def distance_block(points: Points, start: Int[Array, ""], rows: int) -> Float[Array, "k m {rows}"]:
    """Squared distances from `rows` probes i, from `start` on, to all points j, as [representation, j, i].

    In units of the scaled points. Products leave out |h_i|^2, which no comparison at a fixed i needs. The probe itself
    is far.
    """
    probes = lax.dynamic_slice_in_dim(points.rows, start, rows, axis=1)
    if points.raw.shape[2] <= DIFFERENCE_UNITS:
        differences = [points.rows[:, :, None, unit] - probes[:, None, :, unit] for unit in range(probes.shape[2])]
        distances = functools.reduce(jnp.add, [difference * difference for difference in differences])
    else:
        probes = jnp.concatenate([-2 * probes[..., :-1], jnp.ones_like(probes[..., :1])], axis=-1)
        distances = jnp.einsum("kjd,kid->kji", points.rows, probes, precision=lax.Precision.HIGHEST)
    own = lax.dynamic_slice_in_dim(distances, start, rows, axis=1)
    own = jnp.where(jnp.eye(rows, dtype=bool)[None], FAR, own)
    return lax.dynamic_update_slice_in_dim(distances, own, start, axis=1)


def resolution(
    points: Points, start: Int[Array, ""], distances: Float32[Array, "k x rows"]
) -> Float32[Array, "k x rows"]:
    """How far from the given values of `distance_block` another one at the same probe is in the right order for sure.

    Two products of D + 1 terms are off by less than c u (2 |h_i| |h_j| + |h_j|^2), with u the unit roundoff and c =
    2 (D + 1), or 4 sqrt(2 (D + 1)) where so many roundings act as independent ones (Higham & Mary 2019, SIAM J. Sci.
    Comput. 41). A point j at the distance r of the one given has |h_j| <= |h_i| + r. Each difference is off by
    (D + 3) u r^2.
    """
    d = points.raw.shape[2]
    if d <= DIFFERENCE_UNITS:
        return 2.1 * (d + 3) * _ROUNDOFF * distances + _UNDERFLOW
    factor = min(2 * (d + 1), _DEVIATIONS * math.sqrt(2 * (d + 1)))
    rows = distances.shape[-1]
    own = lax.dynamic_slice_in_dim(points.norms, start, rows, axis=1)[:, None]
    largest = jnp.max(points.norms, axis=1)[:, None, None]
    reach = jnp.sqrt(jnp.maximum(distances + own * own, 0.0))
    both = own + jnp.minimum(largest, own + reach)
    error = _ROUNDOFF * (factor * (both * both - own * own) + _OTHER_ROUNDINGS * both * both)
    # A twentieth more, because |h_j| may exceed its bound by as much as the distance may be wrong.
    return 1.05 * error + _UNDERFLOW
