"""Distances in float64, by differences, for what float32 cannot decide: on any device, inside a program of float32."""

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

    The result is a float64 array also where JAX has 64-bit types disabled: use it within `jax.enable_x64(True)`, and
    leave that scope with float32, int32 or bool.
    """
    d = points.shape[1]
    groups = -(-d // _COORDINATES)
    padding = [(0, groups * _COORDINATES - d), (0, 0)]
    left, right = (jnp.pad(x.T, padding).reshape(groups, _COORDINATES, -1) for x in (points, probes))
    with jax.enable_x64(True):

        def add(total: Array, group: tuple[Array, Array]) -> tuple[Array, None]:
            of_points, of_probes = (x.astype(jnp.float64) for x in group)
            for point, probe in zip(of_points, of_probes, strict=True):
                total = total + (point[:, None] - probe[None, :]) ** 2
            return total, None

        zero = jnp.zeros((len(points), len(probes)), jnp.float64)
        if groups == 1:
            return add(zero, (left[0], right[0]))[0]
        return lax.scan(add, zero, (left, right))[0]
