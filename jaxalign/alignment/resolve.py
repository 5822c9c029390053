"""Decides by exact distances what a pass over float32 distances leaves open.

Of ordinary data little is open: single comparisons, decided many at a time, and a few rows. Where representations are
clustered, tied or of low rank everything may be, and all rows are computed again.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float64, Int, Int32, UInt32

from jaxalign.alignment.distances import Points
from jaxalign.alignment.exact import exact_distances, exact_pair_distances
from jaxalign.alignment.passes import SEVERAL, Counts, Tile

# Of all comparisons of a block this part is decided side by side, within these numbers.
_SHARE, _FEWEST, _MOST = 64, 32, 1024

# Probes that are computed again side by side: one vector of float64.
VECTOR = 8

_Carry = TypeVar("_Carry")


def resolve_nearest(
    points: Points,
    n: int,
    start: Int[Array, ""],
    nearest: Int32[Array, "k neighbors rows"],
    sure: Bool[Array, "k rows"],
) -> Int32[Array, "k neighbors rows"]:
    """The nearest points, decided again by exact distances where they are not sure.

    Among points at the same distance from probe i those with the smallest `tie_order` (i, j) come first: a choice
    by index would make one point the neighbour of all probes where a representation is constant.
    """
    neighbors, rows = nearest.shape[1:]

    def decide(nearest: Array, a: Array, row: Array) -> Array:
        found = _exact_nearest(points.raw, a, n, start + row, neighbors)
        return lax.dynamic_update_slice(nearest, found[None], (a, 0, row))

    inside = (start + jnp.arange(rows, dtype=jnp.int32)) < n
    unsure = ~sure & inside[None]
    return _decide_rows(unsure, decide, nearest)


def resolve_counts(
    points: Points,
    n: int,
    start: Int[Array, ""],
    nearest: Int32[Array, "a rows"],
    counts: Counts,
    tile: Tile,
) -> tuple[Int32[Array, "b a rows"], Int32[Array, "b a rows"]]:
    """How many points are nearer than the neighbours, and how many as near, the neighbours included."""
    parts, b, a, rows = counts.open.shape
    inside = (start + jnp.arange(rows, dtype=jnp.int32)) < n
    several = jnp.any(counts.open == SEVERAL, axis=2) & inside[None, None]
    single = (counts.open > 0) & (inside[None, None] & ~several)[:, :, None]
    several = several.reshape(parts * b, rows)
    less = jnp.sum(counts.less, axis=0, dtype=jnp.int32)
    found = less, jnp.ones_like(less)
    found = _decide_single(points, start, nearest, counts.open, single, tile, found)

    def recount(found: tuple[Array, Array], unit: Array, row: Array) -> tuple[Array, Array]:
        part, target = unit // b, unit % b
        own = lax.dynamic_slice(nearest, (0, row), (a, VECTOR))
        exact = _exact_counts(points.raw, target, own, n, start + row, part, tile.part)
        before = lax.dynamic_slice(counts.less, (part, target, 0, row), (1, 1, a, VECTOR))[0, 0].astype(jnp.int32)
        at = (target, 0, row)
        sums = (lax.dynamic_slice(x, at, (1, a, VECTOR)) for x in found)
        # The other probes of the block have been decided before.
        chosen = lax.dynamic_slice(several, (unit, row), (1, VECTOR))
        changes = (jnp.where(chosen, x, 0)[None] for x in (exact[0] - before, exact[1] - (own // tile.part == part)))
        less, equal = (
            lax.dynamic_update_slice(x, total + change, at)
            for x, total, change in zip(found, sums, changes, strict=True)
        )
        return less, equal

    return _decide_rows(several, recount, found)


def _decide_single(
    points: Points,
    start: Array,
    nearest: Int32[Array, "a rows"],
    others: Array,
    single: Bool[Array, "parts b a rows"],
    tile: Tile,
    found: tuple[Array, Array],
) -> tuple[Array, Array]:
    """Adds the points that alone in their part lie within the resolution of the neighbour's distance."""
    _, b, a, rows = single.shape
    # Small groups, in which a flag is found quickly.
    listed = _list(single.reshape(-1, tile.chunk))
    size = min(max(b * a * rows // _SHARE, _FEWEST), _MOST)

    def some(t: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
        places = t * size + jnp.arange(size, dtype=jnp.int32)
        exists = places < listed.total
        group, place = _entries(listed, jnp.minimum(places, listed.total - 1))
        unit, row = group // (rows // tile.chunk), group % (rows // tile.chunk) * tile.chunk + place
        part, target, source = unit // (a * b), unit // a % b, unit % a
        point = part * tile.part + others[part, target, source, row].astype(jnp.int32) - 1
        probe, other, neighbor = (points.raw[target, index] for index in (start + row, point, nearest[source, row]))
        with jax.enable_x64(True):
            probe, other, neighbor = (x.astype(jnp.float64) for x in (probe, other, neighbor))
            # |other - probe|^2 - |neighbor - probe|^2, in one sum.
            difference = jnp.sum((other - neighbor) * (other + neighbor - 2 * probe), axis=-1)
            nearer, as_near = difference < 0, difference == 0
        less, equal = (
            x.at[target, source, row].add((exists & change).astype(jnp.int32))
            for x, change in zip(found, (nearer, as_near), strict=True)
        )
        return less, equal

    return lax.fori_loop(0, (listed.total + size - 1) // size, some, found)


def _exact_nearest(points: Array, target: Array, n: int, first: Array, neighbors: int) -> Int32[Array, "neighbors r"]:
    """The points of representation `target` with the smallest (exact distance, tie order) from probes `first` on."""
    m, d = points.shape[1:]
    own = first + jnp.arange(VECTOR, dtype=jnp.int32)
    order = tie_order(own.astype(jnp.uint32)[:, None], jnp.arange(m, dtype=jnp.uint32)[None])
    with jax.enable_x64(True):
        distances = _exact_rows(points, target, n, own, jnp.int32(0), m)

        def following(last: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
            distance, earlier = (x[:, None] for x in last)
            beyond = (distances > distance) | ((distances == distance) & (order > earlier))
            nearest = jnp.min(jnp.where(beyond, distances, jnp.inf), axis=1)
            earliest = jnp.where(beyond & (distances == nearest[:, None]), order, jnp.uint32(2**32 - 1)).min(axis=1)
            return (nearest, earliest), earliest

        nobody = jnp.full(VECTOR, -1.0, jnp.float64), jnp.zeros(VECTOR, jnp.uint32)
        _, orders = lax.scan(following, nobody, length=neighbors)
    return point_of(orders, own.astype(jnp.uint32)[None]).astype(jnp.int32)


def _exact_counts(
    points: Array, target: Array, nearest: Int32[Array, "a r"], n: int, first: Array, part: Array, size: int
) -> tuple[Int32[Array, "a r"], Int32[Array, "a r"]]:
    """The points of one part that are nearer than, and as near as, the neighbours of the probes from `first` on."""
    m, d = points.shape[1:]
    own = first + jnp.arange(VECTOR, dtype=jnp.int32)
    # A slice that would reach beyond the end begins earlier; the points before the part do not count.
    begin = jnp.minimum(part * size, m - min(size, m))
    index = begin + jnp.arange(min(size, m), dtype=jnp.int32)
    with jax.enable_x64(True):
        probes = jnp.broadcast_to(points[target, own][None], (*nearest.shape, d))
        thresholds = exact_pair_distances(points[target, nearest], probes)
        distances = _exact_rows(points, target, n, own, begin, min(size, m))
        distances = jnp.where((index >= part * size)[None], distances, jnp.inf)

        def of_source(threshold: Float64[Array, " r"]) -> tuple[Array, Array]:
            nearer, as_near = distances < threshold[:, None], distances == threshold[:, None]
            return jnp.sum(nearer, axis=1, dtype=jnp.int32), jnp.sum(as_near, axis=1, dtype=jnp.int32)

        return lax.map(of_source, thresholds)


def _exact_rows(
    points: Array, target: Array, n: int, own: Int32[Array, " r"], begin: Array, count: int
) -> Float64[Array, "r count"]:
    """Exact distances from probes to `count` points; infinite to the probe itself and to the padded points."""
    index = begin + jnp.arange(count, dtype=jnp.int32)
    others = lax.dynamic_slice(points, (target, begin, jnp.int32(0)), (1, count, points.shape[2]))[0]
    distances = exact_distances(points[target, own], others)
    return jnp.where((index[None] == own[:, None]) | (index >= n)[None], jnp.inf, distances)


class _Listed(NamedTuple):
    """Where flags are set, in their order."""

    flags: Bool[Array, "groups l"]
    ends: Int32[Array, " groups"]  # flags that are set in the groups up to this one, included
    total: Int32[Array, ""]


def _list(flags: Bool[Array, "groups l"]) -> _Listed:
    ends = jnp.cumsum(jnp.sum(flags, axis=1, dtype=jnp.int32), dtype=jnp.int32)
    return _Listed(flags, ends, ends[-1])


def _entries(listed: _Listed, places: Int32[Array, "*s"]) -> tuple[Int32[Array, "*s"], Int32[Array, "*s"]]:
    """The group and the position in it of the flags that are set at these places of their order."""
    group = jnp.searchsorted(listed.ends, places, side="right", method="scan_unrolled").astype(jnp.int32)
    flags = listed.flags[group]
    before = places - (listed.ends[group] - jnp.sum(flags, axis=-1, dtype=jnp.int32))
    counted = jnp.cumsum(flags, axis=-1, dtype=jnp.int32)
    return group, jnp.sum(counted <= before[..., None], axis=-1, dtype=jnp.int32)


def _decide_rows(flags: Bool[Array, "groups rows"], decide: Callable[..., _Carry], carry: _Carry) -> _Carry:
    """Calls `decide(carry, group, row)`, which decides `VECTOR` rows from this one on, until all flagged ones are."""
    groups, rows = flags.shape
    listed = _list(jnp.any(flags.reshape(groups, rows // VECTOR, VECTOR), axis=-1))

    def following(t: Array, carry: _Carry) -> _Carry:
        group, place = _entries(listed, t)
        return decide(carry, group, place * VECTOR)

    return lax.fori_loop(0, listed.total, following, carry)


def tie_order(i: UInt32[Array, "..."], j: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """A fixed pseudorandom order of the points j for each probe i; a bijection of j."""
    return _mix(j + _mix(i * jnp.uint32(0x9E3779B9) + jnp.uint32(1)))


def point_of(order: UInt32[Array, "..."], i: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
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
