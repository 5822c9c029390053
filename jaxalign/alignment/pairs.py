"""All ordered pairs of an ensemble of representations."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32

from jaxalign import checks
from jaxalign.alignment import inputs
from jaxalign.alignment.distances import all_finite, prepare
from jaxalign.alignment.ranks import Ranks, Tile, choose_tile, nearest_neighbors, neighbor_ranks, ranks_of
from jaxalign.alignment.registry import get_metric

# Counts held at once, per representation B: more are processed in groups of B. On a CPU one group's counts of one
# block stay in the cache; elsewhere the limit is the memory of a group's ranks of all probes.
CPU_BLOCK_COUNTS = 2**20
GROUP_RANKS = 2**25


def all_pairs(representations: Any, metrics: Sequence[str], *, neighbors: int = 1) -> dict[str, np.ndarray]:
    """Every measure for every ordered pair of representations of the same N probes.

    One program per (K, N, D, metrics, neighbors) is compiled; calls from several threads are safe.

    Args:
      representations: real array of shape (K, N, D), or a sequence of K arrays of shape (N, D_k). Computed in float32.
      metrics: names of measures, as in `METRICS`.
      neighbors: how many nearest neighbours are pooled by the measures that use them, 1 to N - 2.

    Returns:
      For each name a float32 array (K, K) whose entry [a, b] is the measure A->B, the diagonal computed like the rest.
      Rows and columns of a representation with a value that is not finite are NaN, the others as without it.

    Raises:
      ValueError: if the representations are no such arrays, or a name or `neighbors` is not allowed.
    """
    names = checks.sequence("metrics", metrics, "names of measures")
    names = tuple(get_metric(name).name for name in names)
    points = _stack(representations)
    neighbors = checks.integer("neighbors", neighbors, 1, points.shape[1] - 2)
    matrices = _compiled(jax.default_backend())(points, names, neighbors)
    return {name: np.asarray(values) for name, values in matrices.items()}


def pair_matrices(
    representations: Float32[Array, "k n d"], metrics: tuple[str, ...], neighbors: int = 1, tile: Tile | None = None
) -> dict[str, Float32[Array, "k k"]]:
    """What `all_pairs` computes, as a pure function for use inside a larger jitted program.

    Args:
      representations: shape (K, N, D).
      metrics: names of measures; static.
      neighbors: static.
      tile: static; how the kernel cuts its work, by default chosen for N and the backend.
    """
    k, n, d = representations.shape
    tile = tile or choose_tile(n)
    statistics = {name: get_metric(name).from_ranks for name in metrics}
    points = prepare(representations)

    def summarize(ranks: Ranks) -> dict[str, Array]:
        def over_pairs(statistic: Callable[[Ranks], Array]) -> Array:
            def of(less: Array, equal: Array, reciprocal: Array) -> Array:
                return statistic(Ranks(less, equal, reciprocal))

            # `reciprocal` belongs to A and is the same for every B.
            return jax.vmap(jax.vmap(of), in_axes=(0, 0, None))(*ranks)

        return {name: over_pairs(statistic) for name, statistic in statistics.items()}

    group = _group_size(k, n, neighbors, tile)
    if group >= k:
        by_target = summarize(neighbor_ranks(points, neighbors, tile))
    else:
        nearest = nearest_neighbors(points, neighbors, tile)
        groups = -(-k // group)
        padded = jnp.pad(points, [(0, groups * group - k), (0, 0), (0, 0)])
        by_target = lax.map(lambda b: summarize(ranks_of(b, nearest, tile)), padded.reshape(groups, group, n, d))
        by_target = {name: values.reshape(-1, k)[:k] for name, values in by_target.items()}
    finite = all_finite(representations)
    both = finite[:, None] & finite[None, :]
    return {name: jnp.where(both, values.T, jnp.nan) for name, values in by_target.items()}


@functools.cache
def _compiled(backend: str) -> Any:
    """The jitted `pair_matrices`; on a CPU with full-width vectors, which the compiler avoids by itself."""
    options: Any = {"xla_cpu_prefer_vector_width": 512} if backend == "cpu" else None
    return jax.jit(pair_matrices, static_argnames=("metrics", "neighbors", "tile"), compiler_options=options)


def _group_size(k: int, n: int, neighbors: int, tile: Tile) -> int:
    """How many representations B are processed together."""
    block = CPU_BLOCK_COUNTS if jax.default_backend() == "cpu" else GROUP_RANKS
    largest = max(1, min(block // (k * neighbors * tile.rows), GROUP_RANKS // (k * neighbors * n)))
    return -(-k // -(-k // largest))


def _stack(representations: Any) -> Float32[Array, "k n d"]:
    """The representations as one array; narrower ones are widened by zeros, which change no distance."""
    allowed = f"a real array of shape (K, N, D) with N >= {inputs.MIN_PROBES}, or a sequence of arrays (N, D_k)"
    if hasattr(representations, "shape"):
        return inputs.real_array("representations", representations, 3, allowed)
    if not isinstance(representations, Sequence) or isinstance(representations, str) or not representations:
        checks.reject("representations", allowed, representations)
    members = [inputs.representation(f"representations[{i}]", x) for i, x in enumerate(representations)]
    n, width = members[0].shape[0], max(x.shape[1] for x in members)
    for i, x in enumerate(members):
        if x.shape[0] != n:
            checks.reject(f"representations[{i}]", f"an array of as many probes (rows) as the first, {n}", x.shape)
    return jnp.stack([jnp.pad(x, [(0, 0), (0, width - x.shape[1])]) for x in members])
