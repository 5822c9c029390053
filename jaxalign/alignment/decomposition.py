"""The singular value decomposition and the numerical rank of one representation, from its Gram matrix in float64."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Float64, Int32

# How many times larger than the rounding of the float32 values a direction must be to count. Half a unit in the last
# place, 2^-24, is then at most 1e-4 of its variance; what a network computes has a few of them.
_ROUNDINGS = 64
_HALF_UNIT = 2.0**-24


class Decomposition(NamedTuple):
    """X = U S V^T without V: singular values descending, those from `rank` on are rounding."""

    u: Float32[Array, "n m"]
    s: Float32[Array, " m"]  # relative to the largest value of X
    rank: Int32[Array, ""]
    limit: Int32[Array, ""]  # the rank from which the columns span all there is


class UnitDecomposition(NamedTuple):
    """A decomposition and S V^T, the projections of the units on the principal components."""

    principal: Decomposition
    units: Float32[Array, "m d"]


def decompose(points: Float32[Array, "n d"], neighbors: int = 1) -> Decomposition:
    """The state of all measures of shapes but `pwcca`; `neighbors` is not used."""
    return decompose_units(points, neighbors).principal


def decompose_units(points: Float32[Array, "n d"], neighbors: int = 1) -> UnitDecomposition:
    """The state of `pwcca`; `neighbors` is not used."""
    return _decompose_centred(points)


def decompose_uncentred(points: Float32[Array, "n d"]) -> Decomposition:
    """The columns as they are."""
    return _decompose_raw(points).principal


def matrix_rank(points: Float32[np.ndarray, "n d"]) -> int:
    """The rank of the centred representation, as measures count it: of directions that rounding does not make.

    Each column is divided by the root mean square of its values, offset included, which is what their rounding is
    relative to. A direction counts if its singular value is then above 2^-18 sqrt(max(N, D)), D the number of columns
    that vary: 64 times what rounding to half a unit in the last place makes of a direction without extent. So the scale
    of a column does not matter, and the number of probes neither.
    """
    return int(_rank(jnp.asarray(points)))


def _rows_or_columns(z: Float64[Array, "n d"]) -> Float64[Array, "m m"]:
    """The smaller of Z^T Z and Z Z^T, divided by N."""
    n, d = z.shape
    return (z.T @ z if d <= n else z @ z.T) / n


def _scaled(points: Float32[Array, "n d"], centred: bool) -> tuple[Array, Array, Array]:
    """The columns in float64, centred; the same in units of their root mean squares; and the least variance."""
    x = points.astype(jnp.float64)
    scale = jnp.sqrt(jnp.mean(x * x, axis=0, keepdims=True))
    if centred:
        # Rounding of the mean must not give a representation to probes that are all the same.
        varies = jnp.any(points != points[:1], axis=0, keepdims=True)
        x = jnp.where(varies, x - jnp.mean(x, axis=0, keepdims=True), 0.0)
    else:
        varies = scale > 0
    columns = jnp.sum(varies.astype(jnp.float64))
    least = (_ROUNDINGS * _HALF_UNIT) ** 2 * jnp.maximum(columns / len(points), 1.0)
    return x, x / jnp.where(scale > 0, scale, 1.0), least


def _decomposition(points: Float32[Array, "n d"], *, centred: bool) -> UnitDecomposition:
    """Two small eigenproblems: of columns of equal rounding, which give the span; and of the columns within it.

    The first alone would not give principal components, the second alone would lose columns of small scale.
    """
    n, d = points.shape
    with jax.enable_x64(True):
        x, z, least = _scaled(points, centred)
        variances, vectors = jnp.linalg.eigh(_rows_or_columns(z))
        counts = variances > least
        if d <= n:
            basis = z @ jnp.where(counts[None], vectors / jnp.sqrt(n * jnp.where(counts, variances, 1.0))[None], 0.0)
        else:
            basis = jnp.where(counts[None], vectors, 0.0)
        largest = jnp.max(jnp.abs(x))
        units = basis.T @ (x / jnp.where(largest > 0, largest, 1.0))
        # Directions that do not count are zero; they must come last.
        inner = units @ units.T - jnp.diag(jnp.where(counts, 0.0, 1.0))
        squares, rotation = jnp.linalg.eigh(inner)
        squares, rotation = squares[::-1], rotation[:, ::-1]
        singular = jnp.sqrt(jnp.maximum(squares, 0.0)).astype(jnp.float32)
        u, units = (basis @ rotation).astype(jnp.float32), (rotation.T @ units).astype(jnp.float32)
        rank = jnp.sum(counts, dtype=jnp.int32)
    return UnitDecomposition(Decomposition(u, singular, rank, jnp.int32(n - 1 if centred else n)), units)


# Products of float64 cannot be batched within a program of float32; one representation at a time can.
def _one_at_a_time(centred: bool) -> Callable[[Float32[Array, "n d"]], UnitDecomposition]:
    return jax.custom_batching.sequential_vmap(lambda points: _decomposition(points, centred=centred))


_decompose_centred = _one_at_a_time(True)
_decompose_raw = _one_at_a_time(False)


@jax.jit
def _rank(points: Float32[Array, "n d"]) -> Int32[Array, ""]:
    with jax.enable_x64(True):
        _, z, least = _scaled(points, True)
        return jnp.sum(jnp.linalg.eigvalsh(_rows_or_columns(z)) > least, dtype=jnp.int32)
