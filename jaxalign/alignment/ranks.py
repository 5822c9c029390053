"""Ranks, in one representation, of the nearest neighbours found in another: the kernel of all rank-based measures.

Rows are processed in blocks: a block holds the distances from a few probes i to all points j as [representation,
j, i], so that i fills the vector lanes and every pass over j is element-wise. Nothing is sorted and no N x N matrix
is stored.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float32, Int, Int32

from jaxalign.alignment.distances import Points, all_finite, arrange, distance_block, finite_points, resolution
from jaxalign.alignment.passes import Tile, count_nearer, find_nearest
from jaxalign.alignment.resolve import resolve_counts, resolve_nearest


class Ranks(NamedTuple):
    """Where each neighbour found in A lies among the distances in B.

    In B the neighbour occupies the positions less + 1 ... less + equal, which is one position unless it is tied.
    """

    less: Int32[Array, "..."]  # points strictly nearer to the probe than the neighbour
    equal: Int32[Array, "..."]  # points at the neighbour's distance, itself included
    reciprocal: Int32[Array, "..."]  # the sample, of all neighbors * n, that has this pair the other way round, or -1


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
    n = points.shape[1]
    arranged = arrange(points, padded_size(n, tile.rows))

    def block(start: Int[Array, ""]) -> tuple[Array, Array, Array]:
        distances = distance_block(arranged, start, tile.rows)
        nearest = _nearest(arranged, n, start, distances, neighbors, tile)
        return nearest, *_count(arranged, n, start, distances, nearest, tile)

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
    arranged = arrange(points, padded_size(n, tile.rows))

    def block(start: Int[Array, ""]) -> Int32[Array, "k neighbors rows"]:
        return _nearest(arranged, n, start, distance_block(arranged, start, tile.rows), neighbors, tile)

    return _join_blocks(_over_blocks(block, padded_size(n, tile.rows), tile.rows), n)


def ranks_of(points: Float32[Array, "b n d"], nearest: Int32[Array, "a neighbors n"], tile: Tile) -> Ranks:
    """Ranks of given neighbours among the distances of `points`: as `neighbor_ranks` returns them."""
    n = points.shape[1]
    padded = padded_size(n, tile.rows)
    arranged = arrange(points, padded)
    reciprocal = reciprocal_samples(nearest)
    nearest = jnp.pad(nearest, [(0, 0), (0, 0), (0, padded - n)])

    def block(start: Int[Array, ""]) -> tuple[Array, Array]:
        own = lax.dynamic_slice_in_dim(nearest, start, tile.rows, axis=2)
        return _count(arranged, n, start, distance_block(arranged, start, tile.rows), own, tile)

    less, equal = (_join_blocks(x, n) for x in _over_blocks(block, padded, tile.rows))
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


def _nearest(points: Points, n: int, start: Array, distances: Array, neighbors: int, tile: Tile) -> Array:
    """The nearest points of the probes of a block, of shape (k, neighbors, rows)."""
    slack = functools.partial(resolution, points, start)
    nearest, sure = find_nearest(distances, slack, neighbors, tile.chunk)
    return resolve_nearest(points, n, start, nearest, sure)


def _count(
    points: Points, n: int, start: Array, distances: Array, nearest: Int32[Array, "a neighbors rows"], tile: Tile
) -> tuple[Array, Array]:
    """How many points are nearer than the given ones, and how many as near, of shape (b, a, neighbors, rows)."""
    flat = nearest.reshape(-1, tile.rows)
    counts = count_nearer(distances, flat, functools.partial(resolution, points, start), tile)
    less, equal = resolve_counts(points, n, start, flat, counts, tile)
    return less.reshape(-1, *nearest.shape), equal.reshape(-1, *nearest.shape)


def _over_blocks(block: Callable, padded: int, rows: int) -> Any:
    return lax.map(block, jnp.arange(0, padded, rows))


def _join_blocks(x: Array, n: int) -> Array:
    """(block, ..., row) -> (..., probe), without the padded probes."""
    x = jnp.moveaxis(x, 0, -2)
    return x.reshape(*x.shape[:-2], -1)[..., :n]
