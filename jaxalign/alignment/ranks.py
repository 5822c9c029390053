"""Ranks, in one representation, of the nearest neighbours found in another: the kernel of all rank-based measures.

Rows are processed in blocks: a block holds the distances from a few probes i to all points j as [representation,
j, i], so that i fills the vector lanes and every pass over j is element-wise. Nothing is sorted and no N x N matrix
is stored.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float32, Int, Int32, UInt32

from jaxalign.alignment.distances import all_finite, augment, distance_block, finite_points, standardize


class Ranks(NamedTuple):
    """Where each neighbour found in A lies among the distances in B.

    In B the neighbour occupies the positions less + 1 ... less + equal, which is one position unless it is tied.
    """

    less: Int32[Array, "..."]  # points strictly nearer to the probe than the neighbour
    equal: Int32[Array, "..."]  # points at the neighbour's distance, itself included
    reciprocal: Int32[Array, "..."]  # the sample, of all neighbors * n, that has this pair the other way round, or -1


class Tile(NamedTuple):
    """How the passes over an N x N distance matrix are cut."""

    rows: int  # probes in a block; a multiple of `chunk`
    chunk: int  # points j that one step of a pass takes


def choose_tile(n: int) -> Tile:
    """The tile for n probes: on a CPU the block that pads least, elsewhere a block large enough to fill the device."""
    if jax.default_backend() != "cpu":
        return Tile(rows=32 * min(32, -(-n // 32)), chunk=32)
    candidates = [rows for rows in (64, 80, 96, 112, 128, 48, 32, 16) if rows < n + 16]
    return Tile(rows=min(candidates, key=lambda rows: padded_size(n, rows)), chunk=16)


def padded_size(n: int, rows: int) -> int:
    """The size n rounded up to a multiple of `rows`."""
    return -(-n // rows) * rows


def neighbor_ranks(points: Float32[Array, "k n d"], neighbors: int, tile: Tile) -> Ranks:
    """Ranks in B of the neighbours found in A, for every ordered pair: fields of shape (B, A, neighbors, n).

    `reciprocal` belongs to A alone: its shape is (A, neighbors, n).
    """
    n = points.shape[1]
    count = padded_size(n, tile.rows) // tile.rows
    nearest, less, equal = (_join_blocks(x, n) for x in rank_blocks(points, neighbors, tile, 0, count))
    return Ranks(less, equal, reciprocal_samples(nearest))


def rank_blocks(
    points: Float32[Array, "k n d"], neighbors: int, tile: Tile, first: Int[Array, ""] | int, count: int
) -> tuple[Int32[Array, "count k neighbors rows"], Int32[Array, "..."], Int32[Array, "..."]]:
    """The neighbours, and the fields `less` and `equal`, for `count` blocks of probes from the `first` on."""
    augmented = augment(jax.vmap(standardize)(points), padded_size(points.shape[1], tile.rows))

    def block(start: Int[Array, ""]) -> tuple[Array, Array, Array]:
        distances = distance_block(augmented, start, tile.rows)
        nearest = _nearest(distances, start, neighbors, tile.chunk)
        return nearest, *_count(distances, nearest, tile.chunk)

    return lax.map(block, (first + jnp.arange(count)) * tile.rows)


def join_ranks(parts: list[tuple[Array, Array, Array]], blocks: int, n: int) -> Ranks:
    """The ranks of n probes from parts of `rank_blocks`; the last part may begin with blocks that the others have."""
    overlap = sum(len(part[0]) for part in parts) - blocks
    last = tuple(x[overlap:] for x in parts[-1])
    fields = zip(*parts[:-1], last, strict=True)
    nearest, less, equal = (_join_blocks(jnp.concatenate(field), n) for field in fields)
    return Ranks(less, equal, reciprocal_samples(nearest))


def nearest_neighbors(points: Float32[Array, "k n d"], neighbors: int, tile: Tile) -> Int32[Array, "k neighbors n"]:
    """Indices of the nearest neighbours of each probe, nearest first.

    Among points at the same distance from probe i those with the smallest `tie_order` (i, j) come first: a choice
    by index would make one point the neighbour of all probes where a representation is constant.
    """
    n = points.shape[1]
    augmented = augment(jax.vmap(standardize)(points), padded_size(n, tile.rows))

    def block(start: Int[Array, ""]) -> Int32[Array, "k neighbors rows"]:
        return _nearest(distance_block(augmented, start, tile.rows), start, neighbors, tile.chunk)

    return _join_blocks(_over_blocks(block, augmented.shape[1], tile.rows), n)


def ranks_of(points: Float32[Array, "b n d"], nearest: Int32[Array, "a neighbors n"], tile: Tile) -> Ranks:
    """Ranks of given neighbours among the distances of `points`: as `neighbor_ranks` returns them."""
    n = points.shape[1]
    augmented = augment(jax.vmap(standardize)(points), padded_size(n, tile.rows))
    reciprocal = reciprocal_samples(nearest)
    nearest = jnp.pad(nearest, [(0, 0), (0, 0), (0, augmented.shape[1] - n)])

    def block(start: Int[Array, ""]) -> tuple[Array, Array]:
        own = lax.dynamic_slice_in_dim(nearest, start, tile.rows, axis=2)
        return _count(distance_block(augmented, start, tile.rows), own, tile.chunk)

    less, equal = (_join_blocks(x, n) for x in _over_blocks(block, augmented.shape[1], tile.rows))
    return Ranks(less, equal, reciprocal)


def reciprocal_samples(nearest: Int32[Array, "a neighbors n"]) -> Int32[Array, "a neighbors n"]:
    """For the sample (m, i), whose neighbour is j: the flat index of the sample (m', j) whose neighbour is i, or -1."""
    neighbors, n = nearest.shape[1:]

    def of(nearest: Int32[Array, "neighbors n"]) -> Int32[Array, "neighbors n"]:
        back = nearest[:, nearest] == jnp.arange(n)[None, None]  # (m', m, i): whether that neighbour's m'-th is i
        return jnp.where(back.any(0), jnp.argmax(back, axis=0) * n + nearest, -1).astype(jnp.int32)

    return jax.vmap(of)(nearest)


def pair_ranks(a: Float32[Array, "n da"], b: Float32[Array, "n db"], neighbors: int) -> tuple[Ranks, Bool[Array, ""]]:
    """Ranks of one pair A->B, fields of shape (neighbors, n), and whether both representations are finite."""
    tile = choose_tile(a.shape[0])
    nearest = nearest_neighbors(finite_points(a[None]), neighbors, tile)
    ranks = ranks_of(finite_points(b[None]), nearest, tile)
    ranks = Ranks(ranks.less[0, 0], ranks.equal[0, 0], ranks.reciprocal[0])
    return ranks, all_finite(a[None])[0] & all_finite(b[None])[0]


def tie_order(i: UInt32[Array, "..."], j: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """A fixed pseudorandom order of the points j for each probe i; a bijection of j."""
    return _mix(j + _mix(i * jnp.uint32(0x9E3779B9) + jnp.uint32(1)))


def _point_of(order: UInt32[Array, "..."], i: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """The j that has this `tie_order`."""
    return _unmix(order) - _mix(i * jnp.uint32(0x9E3779B9) + jnp.uint32(1))


def _mix(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """The finalizer of MurmurHash3."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def _unmix(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """The inverse of `_mix`: the constants are the inverses of its multipliers modulo 2^32."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7ED1B41D)
    x = (x ^ (x >> 13) ^ (x >> 26)) * jnp.uint32(0xA5CB9243)
    return x ^ (x >> 16)


def _nearest(
    distances: Float32[Array, "k m rows"], start: Int[Array, ""], neighbors: int, chunk: int
) -> Int32[Array, "k {neighbors} rows"]:
    """The points with the smallest (distance, tie order).

    For each neighbour one pass finds the smallest distance beyond the last one found, and another the first in tie
    order of the points at that distance: two plain minima, where one pass would carry both.
    """
    k, m, rows = distances.shape
    probe = (start + jnp.arange(rows)).astype(jnp.uint32)
    order = tie_order(probe[None, :], jnp.arange(m, dtype=jnp.uint32)[:, None])

    def following(last: tuple[Array, Array] | None) -> tuple[Array, Array]:
        def beyond(distance: Array, order: Array) -> Array | bool:
            if last is None:
                return True
            return (distance > last[0]) | ((distance == last[0]) & (order > last[1]))

        def smaller(best: Array, distance: Array, order: Array) -> Array:
            return jnp.minimum(best, jnp.where(beyond(distance, _widen(order, k)), distance, jnp.inf))

        nearest = _fold(smaller, jnp.full((k, rows), jnp.inf), (distances, order), chunk)

        def earlier(best: Array, distance: Array, order: Array) -> Array:
            order = _widen(order, k)
            return jnp.where((distance == nearest) & beyond(distance, order), jnp.minimum(best, order), best)

        return nearest, _fold(earlier, jnp.full((k, rows), 2**32 - 1, jnp.uint32), (distances, order), chunk)

    def again(last: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        found = following(last)
        return found, found[1]

    # The first has nothing to lie beyond, which is less to compare; the others are one compiled pass.
    first = following(None)
    _, others = lax.scan(again, first, length=neighbors - 1)
    orders = jnp.concatenate([first[1][None], others])
    return jnp.moveaxis(_point_of(orders, probe[None, None]).astype(jnp.int32), 0, 1)


def _widen(order: UInt32[Array, " rows"], k: int) -> UInt32[Array, "k rows"]:
    return jnp.broadcast_to(order[None], (k, len(order)))


def _count(
    distances: Float32[Array, "b m rows"], nearest: Int32[Array, "a neighbors rows"], chunk: int
) -> tuple[Array, Array]:
    """Counts, in every representation b, the points nearer than and as near as the given ones."""
    a, neighbors, rows = nearest.shape
    index = nearest.reshape(1, a * neighbors, rows)
    thresholds = jnp.take_along_axis(distances, index, axis=1)

    def count(counts: Any, distance: Array) -> tuple[Array, Array]:
        less, equal = counts
        distance = distance[:, None]
        return (
            jnp.where(distance < thresholds, less + 1, less),
            jnp.where(distance == thresholds, equal + 1, equal),
        )

    zero = jnp.zeros(thresholds.shape, jnp.int32)
    less, equal = _fold(count, (zero, zero), (distances,), chunk)
    return less.reshape(-1, a, neighbors, rows), equal.reshape(-1, a, neighbors, rows)


def _fold(step: Callable, carry: Any, tables: tuple[Array, ...], chunk: int) -> Any:
    """Folds `step` over the points j, the last axis but one of each table.

    A chunk of points is unrolled into one element-wise expression, so that the carry is read and written once a chunk.
    """

    def body(t: Int[Array, ""], carry: Any) -> Any:
        rows = [lax.dynamic_slice_in_dim(table, t * chunk, chunk, axis=table.ndim - 2) for table in tables]
        for u in range(chunk):
            carry = step(carry, *(row[..., u, :] for row in rows))
        return carry

    return lax.fori_loop(0, tables[0].shape[-2] // chunk, body, carry)


def _over_blocks(block: Callable, padded: int, rows: int) -> Any:
    return lax.map(block, jnp.arange(0, padded, rows))


def _join_blocks(x: Array, n: int) -> Array:
    """(block, ..., row) -> (..., probe), without the padded probes."""
    x = jnp.moveaxis(x, 0, -2)
    return x.reshape(*x.shape[:-2], -1)[..., :n]
