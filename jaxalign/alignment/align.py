"""The alignment of representations of the user's own."""

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from jaxalign import checks
from jaxalign._version import __version__
from jaxalign.alignment import degeneracy, pairs, stacks, uncertainty
from jaxalign.alignment.plan import Family, plan_family
from jaxalign.alignment.registry import METRICS
from jaxalign.threads import one_blas_thread

_PAIRS = ("network_a", "network_b")


def align(
    representations: Any,
    metrics: Sequence[str] = ("cce", "information_imbalance"),
    names: Sequence[str] | None = None,
    neighbors: int | None = None,
    null: int | None = None,
    progress: bool = False,
    *,
    seed: int = 0,
    memory_budget: int | None = None,
) -> xr.Dataset:
    """How alike representations are: every measure for every ordered pair, from any framework.

    The work of a measure that concerns one representation (nearest neighbours, centred kernels, singular vectors) is
    done once; pairs are compared in tiles that fit the memory budget.

    Args:
      representations: real array of shape (K, N, D), or a sequence of K arrays (N, D_k), or a dict from names to such
        arrays: one row for each of the same N probes. Computed in float32; columns of numbers that float32 does not
        hold are centred in their own precision first. Rows are compared by position: where DataFrames and DataArrays
        have row labels, these have to agree.
      metrics: names of measures, as in `jaxalign.alignment.METRICS`.
      names: of the K representations; by default the keys of a dict, or "0", "1", ...
      neighbors: how many nearest neighbours are used by the measures that use them, 1 to N - 2; by default as many as
        each measure's publication takes (1 for "cce" and "information_imbalance", 10 for "mutual_knn" and "cknna").
      null: permutations of the rows of B of which the null distribution is made; None for no null. The smallest p
        is 1 / (null + 1).
      progress: whether to show a progress bar.
      seed: of the permutations.
      memory_budget: bytes; by default half of what is free on the device.

    Returns:
      A Dataset with, for each measure, a float32 variable NAME of dims (network_a, network_b), from a to b, the
      diagonal computed like the rest; undefined entries are NaN. With a null also NAME_null_mean, NAME_null_std,
      NAME_z = (value - mean)/std and NAME_p, the one-sided p-value of being more similar than under shuffled rows, and
      NAME_null_of_mean of dim `permutation`, the mean over pairs of different networks. Of each network (dim
      `network`): `units`, `finite`, `constant`, `duplicated_rows`, and `rank` if a measure depends on it.
      `summarize` gives the mean over pairs with its standard error.

    Raises:
      ValueError: if the representations are no such arrays, have masked entries, or differ in their numbers of probes
        or their row labels; if a name, `neighbors`, `null` or `seed` is not allowed; or, before anything is copied, if
        the budget is too small for the smallest plan, with the figures.

    Warns:
      DegenerateRepresentationWarning: once, naming what is not finite, constant, duplicated or of too small a rank, and
        what has neighbours nearer than float32 can tell apart.

    Reference:
      For the null: Phipson & Smyth 2010, Statistical Applications in Genetics and Molecular Biology 9.

    Example:
      >>> import jaxalign
      >>> import numpy as np
      >>> rng = np.random.default_rng(0)
      >>> a, noise = rng.normal(size=(2, 300, 4))
      >>> representations = {"a": a, "noisy": a + 0.5 * noise, "other": rng.normal(size=(300, 7))}
      >>> ds = jaxalign.align(representations, ("linear_cka", "mutual_knn"), null=19)
      >>> [round(value, 1) for value in ds["linear_cka"].sel(network_a="a").values.tolist()]
      [1.0, 0.8, 0.0]
      >>> float(ds["mutual_knn_p"].sel(network_a="a", network_b="noisy").round(3))  # the smallest there is, 1/20
      0.05
    """
    chosen, keys = pairs.check_metrics(metrics), None
    if isinstance(representations, Mapping):
        keys = list(representations)
        names = [str(key) for key in keys] if names is None else names
        representations = list(representations.values())
    checked = stacks.check(representations, keys)
    k, n = len(checked.widths), checked.probes
    names = _check_names(names, k)
    permutations = 0 if null is None else checks.integer("null", null)
    orders = uncertainty.draw_orders(permutations, n, checks.integer("seed", seed, 0))
    budget = pairs.check_budget(memory_budget)
    families = pairs.families_of(chosen, neighbors, n)
    plans = [plan_family(family, k, n, checked.padded, permutations, budget) for family in families]
    stacked = stacks.stack(checked)
    points = stacked.points
    reports = _report(stacked, checked, names, chosen)

    found: dict[str, Any] = {}
    steps = sum(1 + permutations * bool(_directed(family)) for family in families)
    with one_blas_thread(), tqdm(total=steps, unit="comparison", disable=not progress) as bar:
        for family, plan in zip(families, plans, strict=True):
            bar.set_description(", ".join(family.names))
            matrices = checked.restore(pairs.measure_family(points, family, plan))
            bar.update()
            found |= {name: (_PAIRS, matrix) for name, matrix in matrices.items()}
            nulls = {name: uncertainty.Null(matrices[name], larger) for name, larger in _directed(family).items()}
            of_mean: dict[str, list[float]] = {name: [] for name in nulls}
            if permutations and nulls:
                shuffles = pairs.null_matrices(points, family, plan, orders, checked.order)
                for shuffled in map(checked.restore, shuffles):
                    for name, distribution in nulls.items():
                        distribution.add(shuffled[name])
                        of_mean[name].append(float(uncertainty.mean_of_pairs(shuffled[name]).mean))
                    bar.update()
                found |= _null_variables(nulls, of_mean)
    found = {name: found[name] for name in sorted(found, key=lambda name: _position(name, chosen))}
    attributes = {
        "probes": n,
        "neighbors": json.dumps({name: f.neighbors for f in families for name in f.names if f.neighbors}),
        "permutations": permutations,
        "seed": seed,
        "versions": f"jaxalign {__version__}, jax {jax.__version__}",
        "device": jax.devices()[0].device_kind,
    }
    return xr.Dataset(found | reports, dict.fromkeys(("network", *_PAIRS), names), attributes)


def _check_names(names: Any, k: int) -> list[str]:
    if names is None:
        return [str(i) for i in range(k)]
    names = checks.sequence("names", names, "names, one for each representation")
    if len(names) != k or not all(isinstance(name, str) for name in names):
        checks.reject("names", f"{k} strings, one for each representation", names)
    return list(names)


def _report(
    stacked: stacks.Stacked, checked: stacks.Checked, names: list[str], chosen: tuple[str, ...]
) -> dict[str, Any]:
    """What is degenerate: warns of it, and returns it as variables of each network."""
    rank = any(METRICS[name].undefined_if_saturated for name in chosen)
    members = checked.members(stacked.points)
    reports = [degeneracy.report(name, member, rank) for name, member in zip(names, members, strict=True)]
    findings = [degeneracy.describe(reports)]
    if any(METRICS[name].neighbors for name in chosen):
        findings += [
            degeneracy.rounding(names[i], checked.arrays[i], members[i], moved)
            for i, moved in enumerate(stacked.displacements)
            if moved is not None
        ]
    text = "\n".join(finding for finding in findings if finding)
    if text:
        warnings.warn(text, degeneracy.DegenerateRepresentationWarning, stacklevel=3)
    fields = ["units", "finite", "constant", "duplicated_rows", *(["rank"] if rank else [])]
    return {field: ("network", [getattr(report, field) for report in reports]) for field in fields}


def _directed(family: Family) -> dict[str, bool]:
    """Whether larger is more similar, of the measures of similarity; a diagnostic has no direction to test."""
    directions = {name: METRICS[name].larger_is_more_similar for name in family.names}
    return {name: direction for name, direction in directions.items() if direction is not None}


def _null_variables(nulls: dict[str, uncertainty.Null], of_mean: dict[str, list[float]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, null in nulls.items():
        found[f"{name}_null_mean"] = (_PAIRS, null.mean())
        found[f"{name}_null_std"] = (_PAIRS, null.std())
        found[f"{name}_z"] = (_PAIRS, null.z())
        found[f"{name}_p"] = (_PAIRS, null.p())
        found[f"{name}_null_of_mean"] = ("permutation", np.array(of_mean[name]))
    return found


def _position(variable: str, metrics: tuple[str, ...]) -> tuple[int, int]:
    """Orders variables as the measures were asked for, each followed by its null."""
    metric = max((name for name in metrics if variable.startswith(name)), key=len)
    return metrics.index(metric), len(variable) > len(metric)
