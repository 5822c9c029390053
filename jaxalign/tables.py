"""Results as text, for people."""

import numpy as np
import xarray as xr

from jaxalign.alignment import METRICS
from jaxalign.sweep import summarize
from jaxalign.sweep.result import noise_dimension
from jaxalign.sweep.threshold import is_noisy, weakest_alignment, within_networks


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
        mean = f"mean over pairs {_with_error(summary, metric, {})}"
        lines.append(mean + (f", p = {float(summary[f'{metric}_p']):.4f}" if f"{metric}_p" in summary else ""))
    return "\n".join(lines[1:])


def table(dataset: xr.Dataset) -> str:
    """The summary of a sweep as text: a line per network, noise level and sample size, then what they show together."""
    noise = noise_dimension(dataset)
    summary = summarize(dataset).sortby("n_train")
    metrics = [name for name in METRICS if name in summary]
    directed = [name for name in metrics if METRICS[name].larger_is_more_similar is not None]
    errors = [name for name in ("train_error", "test_error") if name in summary]
    lines = ["  ".join([f"{noise:>11}", f"{'n_train':>8}", *(f"{name:>22}" for name in (*errors, *metrics))])]
    for network in summary["network"].values:
        lines.append(f"{network}, {int(summary['n_parameters'].sel(network=network))} parameters")
        for level in summary[noise].values:
            for n in summary["n_train"].values:
                at = {noise: level, "n_train": n}
                cells = [(name, {"network": network}) for name in errors]
                cells += [(name, {"network_a": network, "network_b": network}) for name in metrics]
                values = [_with_error(summary, name, {**at, **where}) for name, where in cells]
                lines.append("  ".join([f"{level:>11g}", f"{n:>8}", *(f"{value:>22}" for value in values)]))
        lines += _findings(summary, network, directed[0] if directed else None)
    diverged = int(summary["n_diverged"].sum())
    if diverged:
        lines.append(f"{diverged} of {dataset['test_error'].size} networks diverged and are left out")
    return "\n".join(lines)


def _findings(summary: xr.Dataset, network: str, metric: str | None) -> list[str]:
    """What the sweep of one network shows: its thresholds, where it is least aligned, and whether the error follows."""
    noise = noise_dimension(summary)
    of_network = summary.sel(network=[network])
    lines = []
    for level in summary[noise].values:
        at = {"network": network, noise: level}
        cell = summary.sel(at)
        n, error = (float(cell[f"interpolation_threshold{end}"]) for end in ("", "_stderr"))
        found = f"interpolation threshold n = {_rounded(n, error)}" if n > 0 else "no interpolation threshold"
        lines.append(f"{found} ({noise} {level:g})")
        weakest = float(weakest_alignment(summary, metric).sel(at)) if metric else np.nan
        if weakest > 0:
            at_an_end = weakest in (summary["n_train"].min(), summary["n_train"].max())
            lines[-1] += f"; weakest {metric} at n = {weakest:g}" + (", an end of the sweep" if at_an_end else "")
            lines[-1] += f", {weakest / n:.2f} of the threshold" if n > 0 else ""
    if metric:
        own = within_networks(summary, metric)[summary["network"].values == network]
        cells = (np.isfinite(own) & np.isfinite(of_network["test_error"].values))[:, is_noisy(summary)]
        rho = of_network[f"{metric}_error_spearman"].item()
        lines.append(f"Spearman correlation of {metric} with the test error over {cells.sum()} cells: {rho:.2f}")
    return lines


def _rounded(value: float, error: float) -> str:
    """A sample size with its standard error, to the first digit of that error but at least to a whole number."""
    if not np.isfinite(error):
        return f"{value:.0f}"
    digits = int(np.clip(-np.floor(np.log10(error)), 0, 2)) if error > 0 else 0
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _with_error(summary: xr.Dataset, name: str, at: dict) -> str:
    value, error = (float(summary[variable].sel(at)) for variable in (name, f"{name}_stderr"))
    return f"{value:.4f}" + (f" ± {error:.4f}" if np.isfinite(error) else "")
