"""How the work of all pairs is cut so that it fits in memory, and what it will take."""

import functools
import itertools
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxalign.alignment.forms import MATRIX_ROWS, Form, FromMatrices, FromRanks, FromStates, embed_one
from jaxalign.alignment.passes import Tile
from jaxalign.alignment.ranks import choose_tile, padded_size
from jaxalign.alignment.resolve import VECTOR

# Counts held at once by a block of the rank kernel on a CPU, where they should stay in the cache.
_CPU_BLOCK_COUNTS = 2**20
# Several permutations are compared as if they were further representations A, up to this many in all.
_TARGET_SOURCES = 64
_PAIRS = 64
_SHARE_OF_MEMORY = 0.5
_FLOAT = 4
_DOUBLE = 8


class Family(NamedTuple):
    """Measures that are computed together, from the same ranks or the same states; all symmetric, or none."""

    names: tuple[str, ...]
    forms: tuple[Form, ...]
    neighbors: int
    symmetric: bool


class Plan(NamedTuple):
    """Sizes of what is held at once while one family compares all pairs; all are static in the compiled program.

    Attributes:
      tile: how the passes over distances are cut.
      group: representations B that are ranked against all A.
      pairs: pairs compared side by side, of measures of prepared states.
      rows: rows of the N x N matrices, of measures of matrices.
      permutations: permutations compared side by side.
      workers: threads among which the probes are divided, of measures of ranks.
      bytes: the predicted peak of memory, input included.
    """

    tile: Tile
    group: int
    pairs: int
    rows: int
    permutations: int
    workers: int
    bytes: int


def plan_family(
    family: Family, k: int, n: int, d: int | tuple[int, ...], permutations: int, budget: int, workers: int | None = None
) -> Plan:
    """The plan that is fastest within a budget.

    Args:
      family: the measures.
      k: representations.
      n: probes.
      d: units of all representations, or of each, in the order of the stacks that hold them.
      permutations: shuffles of the null, 0 for none.
      budget: bytes.
      workers: threads; by default one per core of a CPU, where one execution leaves cores idle.

    Raises:
      ValueError: if the smallest plan exceeds the budget, with the figures.
    """
    if workers is None:
        workers = (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1
    widths = (d,) * k if isinstance(d, int) else d
    plan = _fastest(family, n, widths, permutations, workers)
    while plan.bytes > budget:
        smaller = _smaller(family, plan, n, widths, permutations > 0)
        if smaller == plan:
            raise ValueError(
                f"memory_budget must be at least {_gigabytes(plan.bytes)} to compute {', '.join(family.names)} for "
                f"{k} representations of {n} probes and {_units(widths)} units, got {_gigabytes(budget)}"
            )
        plan = smaller
    return plan


@functools.lru_cache(maxsize=1024)
def _fastest(family: Family, n: int, widths: tuple[int, ...], permutations: int, workers: int) -> Plan:
    k = len(widths)
    side_by_side = max(1, min(permutations, _TARGET_SOURCES // k))
    tile, group = choose_tile(n), k
    if jax.default_backend() == "cpu":
        counts = k * side_by_side * max(1, family.neighbors) * tile.rows
        group = max(1, min(k, _CPU_BLOCK_COUNTS // counts))
    # Groups of equal size, so that none is padded with more than it holds.
    group = -(-k // -(-k // group))
    plan = Plan(tile, group, pairs=_PAIRS, rows=MATRIX_ROWS, permutations=side_by_side, workers=workers, bytes=0)
    return plan._replace(bytes=_bytes(family, plan, n, widths, permutations > 0))


@functools.lru_cache(maxsize=1024)
def _smaller(family: Family, plan: Plan, n: int, widths: tuple[int, ...], permuted: bool) -> Plan:
    """Half of everything; the same plan if nothing is left to halve."""
    halved = plan._replace(
        tile=plan.tile._replace(rows=max(plan.tile.rows // 2 // plan.tile.chunk, 1) * plan.tile.chunk),
        group=-(-plan.group // 2),
        pairs=-(-plan.pairs // 2),
        rows=-(-plan.rows // 2),
        permutations=-(-plan.permutations // 2),
        workers=-(-plan.workers // 2),
    )
    return halved._replace(bytes=_bytes(family, halved, n, widths, permuted))


def default_budget() -> int:
    """Bytes that a comparison may use: half of what is free, of the device or of the machine."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(_SHARE_OF_MEMORY * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        if "MemAvailable" in fields:
            return int(_SHARE_OF_MEMORY * 1024 * int(fields["MemAvailable"].split()[0]))
    return int(_SHARE_OF_MEMORY * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _bytes(family: Family, plan: Plan, n: int, widths: tuple[int, ...], permuted: bool) -> int:
    """The peak: the input, what is kept for each representation, and the largest step of the computation."""
    k, points = len(widths), 2 * _FLOAT * n * sum(widths)
    form = family.forms[0]
    if isinstance(form, FromRanks):
        padded = padded_size(n, plan.tile.rows)
        sources = k * plan.permutations
        # `less` and `equal`, once more where they are joined from several workers; statistics take one B at a time.
        samples = plan.group * sources * family.neighbors * n
        blocks = 2 * _FLOAT * k * padded * plan.tile.rows * plan.workers
        nearest = 3 * _FLOAT * sources * family.neighbors * n * (1 + family.neighbors)
        # What a block leaves open, and the few rows that are computed again in float64.
        parts = -(-padded // plan.tile.part)
        left_open = _FLOAT * parts * plan.group * sources * family.neighbors * plan.tile.rows
        again = _DOUBLE * padded * (max(widths) + 4 * VECTOR)
        return (
            points
            + 2 * _FLOAT * padded * (sum(widths) + k)
            + nearest
            + blocks
            + plan.workers * (2 * left_open + again)
            + (2 if plan.workers == 1 else 4) * _FLOAT * samples
        )
    states = {d: _state_size(family, n, d) for d in set(widths)}
    if isinstance(form, FromStates):
        # Each form holds copies of the two states; measures of neighbours compare every one with every other.
        copies = (2 + 1.3 * len(family.forms)) / 2
        neighbors = 2 * _FLOAT * family.neighbors**2 * n
        counts = Counter(widths)
        working = 0
        for d, e in itertools.product(counts, counts):
            pairs = counts[d] * (counts[d] + 1) // 2 if d == e and family.symmetric else counts[d] * counts[e]
            working = max(working, min(plan.pairs, pairs) * (round(copies * (states[d] + states[e])) + neighbors))
    else:
        assert isinstance(form, FromMatrices)
        working = 4 * _FLOAT * k * plan.rows * n * (2 if permuted else 1)
        if family.neighbors:
            working += _DOUBLE * n * (4 * plan.rows + 2 * max(widths))
    # One representation at a time is embedded, which takes a few times its state, or a few copies of it in float64.
    embedding = max(7 * max(states[d], _FLOAT * n * d) for d in states)
    return points + (2 if permuted else 1) * sum(states[d] for d in widths) + max(working, embedding)


def _state_size(family: Family, n: int, d: int) -> int:
    """Of what is kept of one representation."""
    form, shape = family.forms[0], jax.ShapeDtypeStruct((n, d), jnp.float32)
    assert not isinstance(form, FromRanks)
    return _size_of(jax.eval_shape(lambda points: embed_one(form, points, family.neighbors), shape))


def _size_of(tree: object) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB"


def _units(widths: tuple[int, ...]) -> str:
    low, high = min(widths), max(widths)
    return str(low) if low == high else f"{low} to {high}"
