"""Passes over a block of float32 distances: what can be told of neighbours and ranks, and what is left open.

Values of a block closer than their `resolution` may be in the wrong order. So a pass finds which points lie clearly
nearer than a threshold, and how many lie within the resolution of it, and which one if it is one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float32, Int, Int32, UInt16

# A sum over points of 1 + 2^16 j holds their number and, of a single point, which one.
_INDEX_SHIFT = 16

# Several points beside the neighbour lie within the resolution of its distance.
SEVERAL = 2**16 - 1

Slack = Callable[[Float32[Array, "k x rows"]], Float32[Array, "k x rows"]]
"""`distances.resolution` of one block."""


class Tile(NamedTuple):
    """How the passes over an N x N distance matrix are cut."""

    rows: int  # probes in a block; a multiple of `chunk`
    chunk: int  # points j that one step of a pass takes
    part: int = 256  # points j whose ambiguous ones are kept apart; a multiple of `chunk`


class Counts(NamedTuple):
    """How many points are nearer than the neighbours, as far as float32 can tell.

    Attributes:
      less: of each part of the points, those that are clearly nearer.
      open: of each part of the points, 0 if no other point lies within the resolution of the neighbour's distance,
        1 + j if the j-th of the part alone does, else `SEVERAL`.
    """

    less: UInt16[Array, "parts b a rows"]
    open: UInt16[Array, "parts b a rows"]


def find_nearest(
    distances: Float32[Array, "k m rows"], slack: Slack, neighbors: int, chunk: int
) -> tuple[Int32[Array, "k {neighbors} rows"], Bool[Array, "k rows"]]:
    """The nearest points of each probe, nearest first, and whether float32 is sure of all of them."""
    k, m, rows = distances.shape
    index = jnp.arange(m, dtype=jnp.int32)[:, None]

    def following(beyond: Array | None) -> tuple[Array, Array, Array]:
        def candidate(distance: Array) -> Array | bool:
            return True if beyond is None else distance > beyond

        def smaller(best: Array, distance: Array) -> Array:
            return jnp.minimum(best, jnp.where(candidate(distance), distance, jnp.inf))

        nearest = _fold(smaller, jnp.full((k, rows), jnp.inf), (distances,), chunk)
        limit = nearest + slack(nearest[:, None])[:, 0]

        def within(found: tuple[Array, Array], distance: Array, j: Array) -> tuple[Array, Array]:
            near = (distance <= limit) & candidate(distance)
            first, last = found
            j = jnp.broadcast_to(j[None], near.shape)
            return jnp.where(near, jnp.minimum(first, j), first), jnp.where(near, j, last)

        nobody = jnp.full((k, rows), m, jnp.int32), jnp.zeros((k, rows), jnp.int32)
        first, last = _fold(within, nobody, (distances, index), chunk)
        return limit, last, first == last

    def again(beyond: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        limit, found, sure = following(beyond)
        return limit, (found, sure)

    # The first has nothing to lie beyond, which is less to compare; the others are one compiled pass.
    limit, found, sure = following(None)
    _, (others, others_sure) = lax.scan(again, limit, length=neighbors - 1)
    nearest = jnp.moveaxis(jnp.concatenate([found[None], others]), 0, 1)
    return nearest, sure & jnp.all(others_sure, axis=0)


def count_nearer(
    distances: Float32[Array, "b m rows"], nearest: Int32[Array, "a rows"], slack: Slack, tile: Tile
) -> Counts:
    """Counts, in every representation b, the points nearer than the given ones."""
    b, m, rows = distances.shape
    thresholds = jnp.take_along_axis(distances, nearest[None], axis=1)
    width = slack(thresholds)
    low, high = thresholds - width, thresholds + width
    zero = jnp.zeros(thresholds.shape, jnp.uint32)
    index = jnp.arange(m, dtype=jnp.uint32)[:, None] % tile.part
    weights = 1 + (index << _INDEX_SHIFT)

    def count(sums: tuple[Array, Array], distance: Array, weight: Array) -> tuple[Array, Array]:
        below, up_to = sums
        distance, weight = distance[:, None], weight[None, None]
        return jnp.where(distance < low, below + weight, below), jnp.where(distance <= high, up_to + weight, up_to)

    def of_part(part: Array) -> Counts:
        first, end = part * tile.part, jnp.minimum((part + 1) * tile.part, m)
        below, up_to = _fold(count, (zero, zero), (distances, weights), tile.chunk, first, end)
        inside = (nearest >= first) & (nearest < end)
        own = jnp.where(inside, 1 + ((nearest % tile.part) << _INDEX_SHIFT), 0).astype(jnp.uint32)
        others = up_to - below - own[None]
        number, which = others & (2**_INDEX_SHIFT - 1), others >> _INDEX_SHIFT
        found = jnp.where(number == 0, 0, jnp.where(number == 1, which + 1, SEVERAL))
        return Counts(below.astype(jnp.uint16), found.astype(jnp.uint16))

    return lax.map(of_part, jnp.arange(-(-m // tile.part), dtype=jnp.int32))


def _fold(
    step: Callable,
    carry: Any,
    tables: tuple[Array, ...],
    chunk: int,
    first: Int[Array, ""] | int = 0,
    end: Int[Array, ""] | int | None = None,
) -> Any:
    """Folds `step` over the points j from `first` to `end`, the last axis but one of each table.

    A chunk of points is unrolled into one element-wise expression, so that the carry is read and written once a chunk.
    """
    end = tables[0].shape[-2] if end is None else end

    def body(t: Int[Array, ""], carry: Any) -> Any:
        rows = [lax.dynamic_slice_in_dim(table, t * chunk, chunk, axis=table.ndim - 2) for table in tables]
        for u in range(chunk):
            carry = step(carry, *(row[..., u, :] for row in rows))
        return carry

    return lax.fori_loop(first // chunk, end // chunk, body, carry)
