"""Distances in float64, by differences, for what float32 cannot decide: on any device, inside a program of float32.

The results are float64 arrays also where JAX has 64-bit types disabled: use them within `jax.enable_x64(True)`, and
leave that scope with float32, int32 or bool.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32, Float64

# Coordinates whose squared differences are added in one pass over the block.
_COORDINATES = 8


def exact_distances(points: Float32[Array, "n d"], probes: Float32[Array, "r d"]) -> Float64[Array, "n r"]:
    """Squared distances of float32 points, |p_j - q_i|^2 at [j, i], to the rounding of float64.

    No common offset and no large norm costs a digit: differences of float32 numbers are exact in float64, unless one is
    2^29 times the other. Nothing underflows, and equal points are at equal distances, bit for bit.
    """
    return _sum_of_squares(points.T[:, :, None], probes.T[:, None, :])


def exact_pair_distances(points: Float32[Array, "*s d"], probes: Float32[Array, "*s d"]) -> Float64[Array, "*s"]:
    """Squared distances of pairs of points, the same to the bit as in `exact_distances`."""
    return _sum_of_squares(jnp.moveaxis(points, -1, 0), jnp.moveaxis(probes, -1, 0))


def _sum_of_squares(points: Float32[Array, "d ..."], probes: Float32[Array, "d ..."]) -> Array:
    """The sum of squared differences over the first axis, in the order of the coordinates."""
    d = len(points)
    with jax.enable_x64(True):
        # Whole tables of float64: a loop that slices and converts small pieces takes thirty times as long on a CPU.
        tables = [
            jnp.pad(x.astype(jnp.float64), [(0, -d % _COORDINATES), *[(0, 0)] * (x.ndim - 1)]) for x in (points, probes)
        ]

        # Whether a compiler contracts a product and a sum into one rounding depends on the loop. A factor of one, which
        # it cannot know, makes the bits of equal distances the same in all loops.
        one = 1 + 0 * tables[0].reshape(-1)[0]

        def add(group: Array, total: Array) -> Array:
            for coordinate in range(_COORDINATES):
                at = group * _COORDINATES + coordinate
                point, probe = (lax.dynamic_index_in_dim(table, at, 0, keepdims=False) for table in tables)
                difference = point - probe
                total = total + difference * difference * one
            return total

        zero = jnp.zeros(jnp.broadcast_shapes(points.shape[1:], probes.shape[1:]), jnp.float64)
        return lax.fori_loop(0, len(tables[0]) // _COORDINATES, add, zero)
