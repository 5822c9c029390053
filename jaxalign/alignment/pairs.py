"""All ordered pairs of an ensemble of representations, and their permutation null."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float32, Int, Int32, PyTree

from jaxalign import checks
from jaxalign.alignment import stacks
from jaxalign.alignment.distances import all_finite, finite_points
from jaxalign.alignment.forms import FromRanks, embed_one
from jaxalign.alignment.plan import Family, Plan, default_budget, plan_family
from jaxalign.alignment.programs import program
from jaxalign.alignment.ranks import (
    Ranks,
    join_ranks,
    nearest_neighbors,
    neighbor_ranks,
    padded_size,
    rank_blocks,
    ranks_of,
    reciprocal_samples,
)
from jaxalign.alignment.registry import METRICS, get_metric
from jaxalign.alignment.states import from_states


class Embedded(NamedTuple):
    """What one family of measures prepares once for each of K representations."""

    points: tuple[Float32[Array, "g n d"], ...]  # of ranks, which count in them; of the others none
    finite: Bool[Array, " k"]
    states: tuple[PyTree, ...]  # of ranks: the neighbours, (K, neighbors, N); else what `embed` returns, stacked
    positions: Int32[Array, " k"]  # of two representations the later one is shuffled in the null


Stacks = Float32[Array, "k n d"] | tuple[Float32[Array, "..."], ...]
"""Representations as one array, or as one for each group of about the same width, which together are K."""


def all_pairs(
    representations: Any,
    metrics: Sequence[str],
    *,
    neighbors: int | None = None,
    memory_budget: int | None = None,
    workers: int | None = None,
) -> dict[str, np.ndarray]:
    """Every measure for every ordered pair of representations of the same N probes.

    One program per family of measures and shape (K, N, D) is compiled; calls from several threads are safe.

    Args:
      representations: real array of shape (K, N, D), or a sequence of K arrays of shape (N, D_k). Computed in float32,
        as `align`.
      metrics: names of measures, as in `METRICS`.
      neighbors: how many nearest neighbours are used by the measures that use them, 1 to N - 2; by default
        as many as each measure's publication takes.
      memory_budget: bytes; by default half of what is free.
      workers: threads among which the probes are divided, by default one per core of a CPU; 1 for callers that have
        threads of their own.

    Returns:
      For each name a float32 array (K, K) whose entry [a, b] is the measure A->B, the diagonal computed like the rest.
      Rows and columns of a representation with a value that is not finite are NaN, the others as without it.

    Raises:
      ValueError: if the representations are no such arrays, a name or `neighbors` is not allowed, or the budget is
        too small for the smallest plan.

    Example:
      >>> import numpy as np
      >>> from jaxalign.alignment import all_pairs
      >>> representations = np.random.default_rng(0).normal(size=(3, 200, 5))
      >>> values = all_pairs(representations, ("linear_cka", "information_imbalance"))
      >>> values["linear_cka"].shape, values["linear_cka"].diagonal().round(3).tolist()
      ((3, 3), [1.0, 1.0, 1.0])
    """
    names = check_metrics(metrics)
    checked = stacks.check(representations)
    budget, n = check_budget(memory_budget), checked.probes
    families = families_of(names, neighbors, n)
    plans = [plan_family(family, len(checked.widths), n, checked.padded, 0, budget, workers) for family in families]
    points, found = stacks.stack(checked).points, {}
    for family, plan in zip(families, plans, strict=True):
        found |= measure_family(points, family, plan)
    found = checked.restore(found)
    return {name: found[name] for name in names}


def measure_family(points: Stacks, family: Family, plan: Plan) -> dict[str, np.ndarray]:
    """The matrices (K, K) of the measures of one family, in the order in which the stacks hold the representations.

    If the ranks of all pairs are held at once, the probes are divided among the workers of the plan.
    """
    plan = plan._replace(bytes=0, permutations=0)  # no program of these depends on them
    groups = _groups(points)
    blocks = padded_size(groups[0].shape[1], plan.tile.rows) // plan.tile.rows
    count = -(-blocks // plan.workers)
    if count == blocks or not _ranks_at_once(groups, family, plan):
        matrices = program(pair_matrices)(groups, family, plan)
    else:
        starts = [min(start, blocks - count) for start in range(0, blocks, count)]

        def rank(start: int) -> PyTree:
            return jax.block_until_ready(program(_rank_part)(groups[0], start, family, plan, count))

        with ThreadPoolExecutor(len(starts)) as threads:
            parts = list(threads.map(rank, starts))
        matrices = program(_join_parts)(groups[0], parts, family, plan, blocks)
    return {name: np.asarray(x) for name, x in matrices.items()}


def _groups(points: Stacks) -> tuple[Float32[Array, "..."], ...]:
    return points if isinstance(points, tuple) else (points,)


def _ranks_at_once(groups: tuple[Float32[Array, "..."], ...], family: Family, plan: Plan) -> bool:
    """Whether one pass over the distances finds the neighbours and counts the ranks of all pairs."""
    return isinstance(family.forms[0], FromRanks) and len(groups) == 1 and plan.group >= len(groups[0])


def _rank_part(
    representations: Float32[Array, "k n d"], first: Int[Array, ""], family: Family, plan: Plan, blocks: int
) -> tuple[Array, Array, Array]:
    return rank_blocks(finite_points(representations), family.neighbors, plan.tile, first, blocks)


def _join_parts(
    representations: Float32[Array, "k n d"],
    parts: list[tuple[Array, Array, Array]],
    family: Family,
    plan: Plan,
    blocks: int,
) -> dict[str, Array]:
    ranks, finite = join_ranks(parts, blocks, representations.shape[1]), all_finite(representations)
    return {name: _masked(values.T, finite) for name, values in _statistics(family, ranks).items()}


def null_matrices(
    points: Stacks,
    family: Family,
    plan: Plan,
    orders: Int32[np.ndarray, "permutations n"],
    positions: Sequence[int] | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """The measures A->B where the rows of one of the two are shuffled, for each order in turn; float32 arrays (K, K).

    What is prepared once for a representation is shuffled, not computed again. In both directions of a pair it is the
    later one of the two that is shuffled against the other. A->B and B->A then fluctuate together as those of
    independent representations do, and so does the mean over pairs. `positions` says which is later, by default in the
    order in which the stacks hold them.
    """
    embedded = program(embed)(points, family, plan._replace(bytes=0, permutations=0))
    if positions is not None:
        embedded = embedded._replace(positions=np.asarray(positions, np.int32))
    for start in range(0, len(orders), plan.permutations):
        batch = orders[start : start + plan.permutations]
        # A last batch that is not full repeats an order, so that it is no other program.
        filled = np.concatenate([batch, np.repeat(batch[-1:], plan.permutations - len(batch), axis=0)])
        matrices = program(permuted_matrices)(embedded, filled, family, plan._replace(bytes=0))
        matrices = {name: np.asarray(values) for name, values in matrices.items()}
        for i in range(len(batch)):
            yield {name: values[i] for name, values in matrices.items()}


def pair_matrices(representations: Stacks, family: Family, plan: Plan) -> dict[str, Array]:
    """What `all_pairs` computes for one family, as a pure function: arrays (K, K); `family` and `plan` are static."""
    groups = _groups(representations)
    if _ranks_at_once(groups, family, plan):
        ranks = neighbor_ranks(finite_points(groups[0]), family.neighbors, plan.tile)
        finite = all_finite(groups[0])
        return {name: _masked(values.T, finite) for name, values in _statistics(family, ranks).items()}
    embedded = embed(groups, family, plan)
    if isinstance(family.forms[0], FromRanks):
        values = _from_ranks(embedded.points, jnp.concatenate(embedded.states), family, plan)
    else:
        values = from_states(embedded.states, None, embedded.positions, family, plan)
    return {name: _masked(value, embedded.finite) for name, value in values.items()}


def embed(representations: Stacks, family: Family, plan: Plan) -> Embedded:
    """Prepares every representation; pure."""
    groups = _groups(representations)
    finite = jnp.concatenate([all_finite(group) for group in groups])
    points = tuple(finite_points(group) for group in groups)
    positions = jnp.arange(len(finite), dtype=jnp.int32)
    form = family.forms[0]
    if isinstance(form, FromRanks):
        nearest = tuple(nearest_neighbors(group, family.neighbors, plan.tile) for group in points)
        return Embedded(points, finite, nearest, positions)

    def one(representation: Float32[Array, "n d"]) -> PyTree:
        return embed_one(form, representation, family.neighbors)

    return Embedded((), finite, tuple(lax.map(one, group) for group in points), positions)


def permuted_matrices(
    embedded: Embedded, orders: Int32[Array, "permutations n"], family: Family, plan: Plan
) -> dict[str, Float32[Array, "permutations k k"]]:
    """The measures where the later one of each two representations is points[order], for each order; pure."""
    form = family.forms[0]
    if isinstance(form, FromRanks):
        values = _from_shuffled_ranks(embedded, orders, family, plan)
    else:

        def shuffled(order: Array) -> dict[str, Array]:
            permute = jax.vmap(form.permute, in_axes=(0, None))
            states = tuple(permute(state, order) for state in embedded.states)
            return from_states(embedded.states, states, embedded.positions, family, plan)

        values = lax.map(shuffled, orders)
    return {name: _masked(value, embedded.finite) for name, value in values.items()}


def families_of(names: tuple[str, ...], neighbors: int | None, n: int) -> list[Family]:
    """Groups measures by what they share per representation: the ranks, or the state.

    Raises:
      ValueError: if `neighbors` is not an integer in [1, n - 2].
    """
    if neighbors is not None:
        neighbors = checks.integer("neighbors", neighbors, 1, n - 2)
    families: dict[Any, list[str]] = {}
    for name in names:
        metric = METRICS[name]
        count = 0 if metric.neighbors is None else neighbors or min(metric.neighbors, n - 2)
        embed = None if isinstance(metric.form, FromRanks) else metric.form.embed
        families.setdefault((count, embed, metric.symmetric), []).append(name)
    return [
        Family(tuple(group), tuple(METRICS[name].form for name in group), count, symmetric)
        for (count, _, symmetric), group in families.items()
    ]


def check_metrics(metrics: Any) -> tuple[str, ...]:
    """Returns the names of measures.

    Raises:
      ValueError: if one is unknown or there is none.
    """
    return tuple(get_metric(name).name for name in checks.sequence("metrics", metrics, "names of measures"))


def check_budget(memory_budget: Any) -> int:
    """Returns a memory budget in bytes, by default half of what is free.

    Raises:
      ValueError: if it is no positive integer.
    """
    return default_budget() if memory_budget is None else checks.integer("memory_budget", memory_budget)


def _masked(values: Float32[Array, "*p k k"], finite: Bool[Array, " k"]) -> Float32[Array, "*p k k"]:
    both = finite[:, None] & finite[None, :]
    return jnp.where(jnp.broadcast_to(both, values.shape), values, jnp.nan)


def _statistics(family: Family, ranks: Ranks) -> dict[str, Float32[Array, "b a"]]:
    found = {}
    for name, form in zip(family.names, family.forms, strict=True):
        assert isinstance(form, FromRanks)

        def of(less: Array, equal: Array, reciprocal: Array, form: FromRanks = form) -> Array:
            return form.statistic(Ranks(less, equal, reciprocal))

        def of_target(target: tuple[Array, Array], of: Callable = of) -> Array:
            # `reciprocal` belongs to A and is the same for every B.
            return jax.vmap(of)(*target, ranks.reciprocal)

        # One target at a time: what a statistic passes over again and again stays in the cache.
        found[name] = lax.map(of_target, (ranks.less, ranks.equal))
    return found


def _from_ranks(
    groups: tuple[Float32[Array, "..."], ...], nearest: Int32[Array, "a neighbors n"], family: Family, plan: Plan
) -> dict[str, Float32[Array, "a k"]]:
    def of_targets(targets: Array) -> dict[str, Array]:
        return _statistics(family, ranks_of(targets, nearest, plan.tile))

    def of_group(points: Array) -> dict[str, Array]:
        k, n, d = points.shape
        parts = -(-k // plan.group)
        size = -(-k // parts)
        padded = jnp.pad(points, [(0, parts * size - k), (0, 0), (0, 0)])
        values = lax.map(of_targets, padded.reshape(parts, size, n, d))
        return {name: value.reshape(-1, len(nearest))[:k].T for name, value in values.items()}

    found = [of_group(points) for points in groups]
    return {name: jnp.concatenate([values[name] for values in found], axis=1) for name in family.names}


def _from_shuffled_ranks(
    embedded: Embedded, orders: Int32[Array, "permutations n"], family: Family, plan: Plan
) -> dict[str, Float32[Array, "permutations k k"]]:
    """One B at a time, as its shuffles of A are its own: the inverse order where A is the later one of the two.

    Shuffled rows of A against B are rows of A against B in the inverse order, for which B need not be moved.
    """
    shuffle = jax.vmap(_shuffle_neighbors, in_axes=(None, 0))
    # The inverse of a permutation is the order that sorts it.
    state = jnp.concatenate(embedded.states)
    nearest = shuffle(state, orders), shuffle(state, jnp.argsort(orders, axis=1))
    k, shape = len(state), state.shape[1:]
    # A block of one B takes as many more probes as a group of them would take room.
    blocks = -(-shape[-1] // (plan.tile.rows * plan.group))
    tile = plan.tile._replace(rows=padded_size(-(-shape[-1] // blocks), plan.tile.chunk))
    reciprocal = [reciprocal_samples(x.reshape(-1, *shape)).reshape(x.shape) for x in nearest]

    def of_target(points: Array, position: Array) -> dict[str, Array]:
        own, back = (
            jnp.where((embedded.positions <= position)[:, None, None], later, earlier).reshape(-1, *shape)
            for later, earlier in (nearest, reciprocal)
        )
        ranks = ranks_of(points[None], own, tile)._replace(reciprocal=back)
        return {name: value[0].reshape(-1, k) for name, value in _statistics(family, ranks).items()}

    found, first = [], 0
    for points in embedded.points:
        positions = embedded.positions[first : first + len(points)]
        found.append(lax.map(lambda of: of_target(*of), (points, positions)))
        first += len(points)
    return {name: jnp.moveaxis(jnp.concatenate([x[name] for x in found]), 0, 2) for name in family.names}


def _shuffle_neighbors(nearest: Int32[Array, "a neighbors n"], order: Int32[Array, " n"]) -> Int32[Array, "..."]:
    """Probe i and its neighbour j of A stand for the probes order[i] and order[j] of B."""
    return jnp.zeros_like(nearest).at[..., order].set(order[nearest])
