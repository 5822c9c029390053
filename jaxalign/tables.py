"""Results as text, for people, and what a sweep shows together."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from jaxalign.alignment import METRICS
from jaxalign.sweep import summarize
from jaxalign.sweep.result import noise_dimension
from jaxalign.sweep.threshold import weakest_alignment


def matrices(dataset: xr.Dataset) -> str:
    """An alignment as text: for each measure the matrix from row to column, the p-values if there are any, the mean."""
    names = [str(name) for name in dataset["network_a"].values]
    width = max(8, *(len(name) for name in names))
    summary = summarize(dataset)
    lines = []
    for metric in [name for name in METRICS if name in dataset]:
        for variable, title in ((metric, METRICS[metric].label), (f"{metric}_p", "p-value against shuffled rows")):
            if variable in dataset:
                lines += ["", f"{title}, from row to column"]
                lines.append("  ".join([" " * width, *(f"{name:>{width}}" for name in names)]))
                for name, row in zip(names, dataset[variable].values, strict=True):
                    lines.append("  ".join([f"{name:<{width}}", *(f"{value:>{width}.4f}" for value in row)]))
        mean = f"mean over pairs {with_error(summary, metric, {})}"
        lines.append(mean + (f", p = {float(summary[f'{metric}_p']):.4f}" if f"{metric}_p" in summary else ""))
    return "\n".join(lines[1:])


class LevelFinding(NamedTuple):
    """What one network shows at one noise level; an n_train is NaN where there is none.

    Attributes:
      level: the noise level.
      threshold: the interpolation threshold, an n_train.
      threshold_stderr: its standard error.
      threshold_low: the largest n_train that is below it; 0 if there is none.
      threshold_high: the smallest n_train that is beyond it; infinite if there is none.
      weakest: the n_train of weakest alignment.
      at_an_end: whether that is the smallest or the largest n_train of the sweep.
      spearman: the rank correlation of the measure and the test error, NAME_error_spearman of `summarize`.
      spearman_stderr: its standard error.
      sizes: over how many sample sizes.
    """

    level: float
    threshold: float
    threshold_stderr: float
    threshold_low: float
    threshold_high: float
    weakest: float
    at_an_end: bool
    spearman: float
    spearman_stderr: float
    sizes: int

    @property
    def ratio(self) -> float:
        """The n_train of weakest alignment over the interpolation threshold."""
        return self.weakest / self.threshold

    def threshold_text(self) -> str:
        """The threshold with its standard error and the sample sizes between which it lies."""
        ends = f"{self.threshold_low:g} to {self.threshold_high:g}"
        if not np.isfinite(self.threshold_high):
            ends = f"above {self.threshold_low:g}"
        elif not self.threshold_low:
            ends = f"below {self.threshold_high:g}"
        return f"{rounded(self.threshold, self.threshold_stderr)} ({ends})"

    def spearman_text(self) -> str:
        """The rank correlation with its standard error."""
        error = f" ± {self.spearman_stderr:.2f}" if np.isfinite(self.spearman_stderr) else ""
        return f"{self.spearman:.2f}{error}"


class Findings(NamedTuple):
    """What the sweep of one network shows: its thresholds, where it is least aligned, and whether the error follows.

    Attributes:
      network: its name.
      metric: the measure of alignment; None if there is none.
      levels: what it shows at each noise level.
    """

    network: str
    metric: str | None
    levels: tuple[LevelFinding, ...]


def directed_metrics(dataset: xr.Dataset) -> list[str]:
    """The measures in a result that say which of two pairs is more alike, in the order of the registry."""
    return [name for name in METRICS if name in dataset and METRICS[name].larger_is_more_similar is not None]


def findings(summary: xr.Dataset) -> list[Findings]:
    """What a sweep shows, for each of its networks.

    Args:
      summary: what `summarize` made of a sweep. Alignment is that of the first of its `directed_metrics`.

    Raises:
      ValueError: if `summary` is not of a sweep.
    """
    noise = noise_dimension(summary)
    metric = next(iter(directed_metrics(summary)), None)
    weakest = weakest_alignment(summary, metric) if metric else xr.full_like(summary["interpolation_threshold"], np.nan)
    ends = (summary["n_train"].min(), summary["n_train"].max())
    found = []
    for network in summary["network"].values:
        levels = []
        for level in summary[noise].values:
            cell = summary.sel({"network": network, noise: level})
            n, stderr, low, high = (
                float(cell[f"interpolation_threshold{end}"]) for end in ("", "_stderr", "_low", "_high")
            )
            least = float(weakest.sel({"network": network, noise: level}))
            spearman, spearman_stderr, sizes = np.nan, np.nan, 0
            if metric:
                spearman, spearman_stderr = (float(cell[f"{metric}_error_spearman{end}"]) for end in ("", "_stderr"))
                measured = cell[metric].sel(network_a=network, network_b=network)
                sizes = int((np.isfinite(measured) & np.isfinite(cell["test_error"])).sum())
            levels.append(
                LevelFinding(float(level), n, stderr, low, high, least, least in ends, spearman, spearman_stderr, sizes)
            )
        found.append(Findings(str(network), metric, tuple(levels)))
    return found


def table(dataset: xr.Dataset) -> str:
    """The summary of a sweep as text: a line per network, noise level and sample size, then what they show together."""
    noise = noise_dimension(dataset)
    summary = summarize(dataset).sortby("n_train")
    metrics = [name for name in METRICS if name in summary]
    errors = [name for name in ("train_error", "test_error") if name in summary]
    lines = ["  ".join([f"{noise:>11}", f"{'n_train':>8}", *(f"{name:>22}" for name in (*errors, *metrics))])]
    for found in findings(summary):
        network = found.network
        lines.append(f"{network}, {int(summary['n_parameters'].sel(network=network))} parameters")
        for level in summary[noise].values:
            for n in summary["n_train"].values:
                at = {noise: level, "n_train": n}
                cells = [(name, {"network": network}) for name in errors]
                cells += [(name, {"network_a": network, "network_b": network}) for name in metrics]
                values = [with_error(summary, name, {**at, **where}) for name, where in cells]
                lines.append("  ".join([f"{level:>11g}", f"{n:>8}", *(f"{value:>22}" for value in values)]))
        lines += _sentences(found, noise)
    if any(np.isfinite(summary[f"{name}_stderr"]).any() for name in (*errors, *metrics)):
        lines.append(f"± is a standard error {summary.attrs['standard_errors']}")
    diverged = int(summary["n_diverged"].sum())
    if diverged:
        lines.append(f"{diverged} of {dataset['test_error'].size} networks diverged and are left out")
    return "\n".join(lines)


def _sentences(found: Findings, noise: str) -> list[str]:
    lines = []
    for at in found.levels:
        line = "no interpolation threshold"
        if at.threshold > 0:
            line = f"interpolation threshold n = {at.threshold_text()}"
        line += f" ({noise} {at.level:g})"
        if at.weakest > 0:
            line += f"; weakest {found.metric} at n = {at.weakest:g}"
            line += ", an end of the sweep" if at.at_an_end else ""
            line += f", {at.ratio:.2f} of the threshold" if at.threshold > 0 else ""
        lines.append(line)
    known = [at for at in found.levels if np.isfinite(at.spearman)]
    if known:
        values = ", ".join(f"{at.spearman_text()} ({noise} {at.level:g}, {at.sizes} sizes)" for at in known)
        lines.append(f"Spearman correlation of {found.metric} with the test error: {values}")
    return lines


def rounded(value: float, error: float) -> str:
    """A sample size with its standard error, to the first digit of that error but at least to a whole number."""
    if not np.isfinite(error):
        return f"{value:.0f}"
    digits = int(np.clip(-np.floor(np.log10(error)), 0, 2)) if error > 0 else 0
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def with_error(summary: xr.Dataset, name: str, at: dict) -> str:
    """The value of a summary at some coordinates, with its standard error where there is one."""
    value, error = (float(summary[variable].sel(at)) for variable in (name, f"{name}_stderr"))
    return f"{value:.4f}" + (f" ± {error:.4f}" if np.isfinite(error) else "")
