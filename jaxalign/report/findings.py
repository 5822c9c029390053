"""What a sweep shows: thresholds and weakest alignment, the table of all results, and the check against theory."""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from jaxalign import tables
from jaxalign.alignment import METRICS
from jaxalign.report import words
from jaxalign.report.markup import Markup, bullets, element, joined, paragraph, table
from jaxalign.sweep.result import noise_dimension

_WORST_POINTS = 8
# A point is near the threshold within this factor of it.
_NEAR = 1.25


class Counts(NamedTuple):
    """Of each cell (network, noise, n_train) of a sweep, how many members are not as they should be.

    Attributes:
      diverged: whose errors are not finite.
      not_converged: finite, but with a training error above the tolerance.
      missing: not computed yet.
    """

    diverged: xr.DataArray
    not_converged: xr.DataArray
    missing: xr.DataArray

    @classmethod
    def of(cls, dataset: xr.Dataset, summary: xr.Dataset) -> "Counts":
        """Those of a sweep and its summary."""
        diverged = summary["n_diverged"]
        stopped_short = dataset["test_error"].notnull() & ~dataset["converged"]
        not_converged = stopped_short.sum(("replicate", "member")).sel(n_train=summary["n_train"])
        missing = summary.get("n_unfinished", xr.zeros_like(diverged.isel(network=0, drop=True)))
        return cls(diverged, not_converged, missing)

    def flags(self, dataset: xr.Dataset) -> list[str]:
        """What a reader must know before anything else, in sentences."""
        total = dataset["test_error"].size
        found = []
        missing, diverged, short = (int(counts.sum()) for counts in (self.missing, self.diverged, self.not_converged))
        if missing:
            cells = int((self.missing > 0).sum())
            found.append(
                f"Incomplete: {missing * dataset.sizes['network']:,} of {total:,} networks are not computed yet, in"
                f" {cells} of {self.missing.size} combinations of noise and n_train. What is shown is of the others."
            )
        if diverged:
            found.append(f"{diverged:,} of {total:,} networks diverged and are left out of all means.")
        if short:
            found.append(f"{short:,} of {total:,} networks ended above the tolerated training error; they are kept.")
        return found


def findings(summary: xr.Dataset) -> Markup:
    """The thresholds, the weakest alignment and the rank correlation of each network."""
    found = tables.findings(summary)
    noise = noise_dimension(summary)
    metric = found[0].metric
    head = ["network", words.NOISE_NAMES[noise], "interpolation threshold (n)"]
    head += [f"weakest {metric} (n)", "ratio", "Spearman"] if metric else []
    rows = []
    for of_network in found:
        for at in of_network.levels:
            threshold = at.threshold_text() if at.threshold > 0 else "none in the sweep"
            row = [of_network.network, words.level_name(noise, at.level), threshold]
            if metric:
                end = ", an end of the sweep" if at.at_an_end else ""
                row.append(f"{at.weakest:g}{end}" if at.weakest > 0 else "does not vary")
                row.append(f"{at.ratio:.2f}" if np.isfinite(at.ratio) else "–")
                row.append(at.spearman_text() if np.isfinite(at.spearman) else "–")
            rows.append(tuple(row))
    said = [(of_network.network, " ".join(_sentences(of_network))) for of_network in found]
    sentences = bullets(joined([element("b", network), f": {text}"]) for network, text in said if text)
    caption = (
        f"Numbers of training samples; thresholds with one standard error ({summary.attrs['standard_errors']}) and the"
        " sizes between which they lie."
    )
    if metric:
        caption += (
            f" Spearman is the rank correlation of {metric} with the test error over the numbers of training samples,"
            " with its jackknife error."
        )
    numbers = table("findings", caption, head, rows, row_headers=2, class_="numbers")
    return joined([sentences if metric else None, numbers])


def _sentences(found: tables.Findings) -> list[str]:
    """What stands out, in words."""
    if found.metric is None:
        return []
    sentences = []
    # At an end of the sweep alignment may be weaker still beyond.
    ratios = [at.ratio for at in found.levels if np.isfinite(at.ratio) and not at.at_an_end]
    name = words.metric_name(found.metric)
    if ratios:
        low, high = f"{min(ratios):.2f}", f"{max(ratios):.2f}"
        times = low if low == high else f"{low} to {high}"
        where = f"{len(ratios)} of {words.counted(len(found.levels), 'noise level')}"
        sentences.append(
            f"Alignment ({name}) is weakest inside of the sweep, at {times} times the interpolation threshold, at"
            f" {where}."
        )
    known = [at.spearman for at in found.levels if np.isfinite(at.spearman)]
    if known:
        low, high = f"{min(known):.2f}", f"{max(known):.2f}"
        levels = words.counted(len(known), "noise level")
        sentences.append(
            f"Spearman's correlation of {found.metric} with the test error over the numbers of training samples is"
            f" {low if low == high else f'{low} to {high}'} at {levels} with noise; were one a monotone function of the"
            " other, it would be 1 or -1."
        )
    return sentences


def results(dataset: xr.Dataset, summary: xr.Dataset, counts: Counts) -> Markup:
    """Means and standard errors of every cell; measures between networks have a table of their own."""
    noise = noise_dimension(summary)
    errors = [name for name in ("train_error", "test_error", "train_accuracy") if name in summary]
    metrics = [name for name in METRICS if name in summary]
    head = ["network", words.NOISE_NAMES[noise], "n_train", *errors, *metrics, "diverged", "not converged", "missing"]
    members = dataset.sizes["member"] * dataset.sizes["replicate"]
    rows, flagged = [], []
    for network in summary["network"].values:
        own = {"network_a": network, "network_b": network}
        for level, n in _cells(summary, noise):
            at = {noise: level, "n_train": n}
            numbers = [
                int(count.sel({**at, "network": network} if "network" in count.dims else at)) for count in counts
            ]
            values = [tables.with_error(summary, name, {**at, "network": network}) for name in errors]
            values += [tables.with_error(summary, name, {**at, **own}) for name in metrics]
            if any(numbers):
                flagged.append(len(rows))
            rows.append((network, words.level_name(noise, level), f"{n:,}", *map(_shown, values), *numbers))
    caption = (
        f"Means of {words.counted(members, 'member')} of each cell, with one standard error"
        f" {summary.attrs['standard_errors']}. Shaded rows have members"
        " that diverged, did not converge or are missing."
    )
    parts = [table("results", caption, head, rows, row_headers=3, flagged=flagged, class_="numbers tall")]
    if metrics and summary.sizes["network"] > 1:
        between = []
        for a in summary["network"].values:
            for b in summary["network"].values:
                if a == b:
                    continue
                for level, n in _cells(summary, noise):
                    at = {noise: level, "n_train": n, "network_a": a, "network_b": b}
                    values = [_shown(tables.with_error(summary, name, at)) for name in metrics]
                    between.append((a, b, words.level_name(noise, level), f"{n:,}", *values))
        head = ["from", "to", words.NOISE_NAMES[noise], "n_train", *metrics]
        caption = (
            "Alignment between members of different networks: means with one standard error"
            f" {summary.attrs['standard_errors']}."
        )
        parts.append(table("between", caption, head, between, row_headers=4, class_="numbers tall"))
    return joined(parts)


def theory_check(checked: xr.Dataset, summary: xr.Dataset) -> Markup:
    """How many points are inside their interval around the theory, and which are farthest from it.

    Args:
      checked: what `compare` returned.
      summary: what `summarize` made of the same sweep.
    """
    points = sorted(_deviations(checked, summary), key=lambda point: -abs(point["z"]))
    if not points:
        return paragraph("No point can be compared with theory: it is not finite, or replicates are missing.")
    inside = [point["inside"] for point in points]
    away = [point["inside"] for point in points if not point["near"]]
    said = f"{_fraction(inside)} lie inside the 95% interval (Student's t over replicates) around theory."
    if 0 < len(away) < len(points):
        said += f" Of those farther than a factor of {_NEAR:g} from the interpolation threshold, {_fraction(away)}."
    said += (
        " Points are not independent: sample sizes are nested, and noise levels and measures share their draws, so that"
        " deviations come in groups."
    )
    noise = noise_dimension(summary)
    head = [
        "quantity",
        "network",
        words.NOISE_NAMES[noise],
        "n_train",
        "measured",
        "z",
        "inside",
        "n / threshold",
        "near",
    ]
    rows = [
        (
            point["name"],
            point["network"],
            words.level_name(noise, point["level"]),
            f"{point['n']:,}",
            point["measured"],
            f"{point['z']:+.2f}",
            "yes" if point["inside"] else "no",
            f"{point['ratio']:.2f}" if np.isfinite(point["ratio"]) else "–",
            "yes" if point["near"] else "no",
        )
        for point in points[:_WORST_POINTS]
    ]
    caption = (
        f"The {len(rows)} points farthest from theory: z is the deviation in standard errors, near means within a"
        f" factor of {_NEAR:g} of the interpolation threshold."
    )
    flagged = [i for i, point in enumerate(points[:_WORST_POINTS]) if not point["inside"]]
    return joined(
        [paragraph(said), table("deviations", caption, head, rows, row_headers=4, flagged=flagged, class_="numbers")]
    )


def _deviations(checked: xr.Dataset, summary: xr.Dataset) -> list[dict[str, Any]]:
    """Every point with a theory; a measure between two networks takes the threshold of the first."""
    noise = noise_dimension(summary)
    points = []
    for variable in [str(name) for name in checked.data_vars if str(name).endswith("_z")]:
        name = variable.removesuffix("_z")
        z, inside = checked[variable], checked[f"{name}_within_95"]
        for at in zip(*np.nonzero(np.isfinite(z.values)), strict=True):
            where = {str(dim): z[dim].values[i] for dim, i in zip(z.dims, at, strict=True)}
            names = [str(where[dim]) for dim in ("network", "network_a", "network_b") if dim in where]
            threshold = float(summary["interpolation_threshold"].sel({"network": names[0], noise: where[noise]}))
            ratio = float(where["n_train"]) / threshold
            points.append(
                {
                    "name": name,
                    "network": " → ".join(dict.fromkeys(names)),
                    "level": float(where[noise]),
                    "n": int(where["n_train"]),
                    "measured": tables.with_error(summary, name, where),
                    "z": float(z.values[at]),
                    "inside": bool(inside.values[at]),
                    "ratio": ratio,
                    "near": bool(1 / _NEAR <= ratio <= _NEAR),
                }
            )
    return points


def _cells(summary: xr.Dataset, noise: str) -> list[tuple[float, int]]:
    return [(float(level), int(n)) for level in summary[noise].values for n in summary["n_train"].values]


def _fraction(inside: list[bool]) -> str:
    return f"{sum(inside)} of {words.counted(len(inside), 'point')} ({100 * np.mean(inside):.1f}%)"


def _shown(value: str) -> Any:
    return element("span", "–", title="nothing computed, or all diverged") if value.startswith("nan") else value
