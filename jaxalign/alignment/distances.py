"""Distances between the probes of one representation, in the form the rank kernel needs."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Float32, Int

# Stands for an infinite distance. Finite, because a product at precision "highest" may be computed from pieces
# (infinity minus infinity); far above every distance, because `standardize` bounds the coordinates.
FAR = 1e30


def power_of_two_below(x: Float32[Array, "..."]) -> Float32[Array, "..."]:
    """The largest power of two that is at most x > 0; 1 for x = 0. Exact, unlike exp2(floor(log2(x)))."""
    bits = lax.bitcast_convert_type(x, jnp.int32) & 0x7F800000
    return jnp.where(bits == 0, 1.0, lax.bitcast_convert_type(bits, jnp.float32))


def standardize(x: Float32[Array, "n d"]) -> Float32[Array, "n d"]:
    """Centres a representation and scales it to coordinates of order one, without changing a rank.

    The product |h|^2 - 2 h.h' loses the digits that a common offset takes. Only powers of two scale, and each
    column's centre is rounded to an eighth of its spread (a power of two), so that data on a grid stays on a grid
    and its ties stay exact. The mean is taken of differences to the minimum, which are exact where the offset
    is large.
    """
    x = x / power_of_two_below(jnp.max(jnp.abs(x)))
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


def augment(points: Float32[Array, "k n d"], padded: int) -> Float32[Array, "k m d1"]:
    """Rows [h, |h|^2], padded to `padded` rows that are far from everything."""
    norms = jnp.sum(points * points, axis=-1, keepdims=True)
    rows = jnp.concatenate([points, norms], axis=-1)
    padding = [(0, 0), (0, padded - points.shape[1]), (0, 0)]
    return jnp.pad(rows, padding).at[:, points.shape[1] :, -1].set(FAR)


def distance_block(augmented: Float32[Array, "k m d1"], start: Int[Array, ""], rows: int) -> Float[Array, "k m {rows}"]:
    """Squared distances from `rows` probes i, from `start` on, to all points j, as [representation, j, i].

    Less |h_i|^2, which no comparison at a fixed i needs. The probe itself is far.
    """
    probes = lax.dynamic_slice_in_dim(augmented, start, rows, axis=1)
    probes = jnp.concatenate([-2 * probes[..., :-1], jnp.ones_like(probes[..., :1])], axis=-1)
    distances = jnp.einsum("kjd,kid->kji", augmented, probes, precision=lax.Precision.HIGHEST)
    own = lax.dynamic_slice_in_dim(distances, start, rows, axis=1)
    own = jnp.where(jnp.eye(rows, dtype=bool)[None], FAR, own)
    return lax.dynamic_update_slice_in_dim(distances, own, start, axis=1)
