"""Error and alignment against the sample size."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.alignment.registry import METRICS
from jaxalign.plots.style import (
    LINES,
    MARKERS,
    NOISE_LABELS,
    add_legend,
    direction,
    error_label,
    is_classification,
    label_plainly,
    level_colors,
    new_figure,
    positive,
)
from jaxalign.plots.theory import curve_of, theory_lines
from jaxalign.sweep.result import noise_dimension
from jaxalign.sweep.summary import summarize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

X_AXES = {
    "n_train": "training samples",
    "n_parameters": "training samples / parameters",
    "alpha": "training samples / input dimensions",
}


def plot_sweep(
    dataset: xr.Dataset, theory: xr.Dataset | bool | None = None, *, metric: str = "cce", x: str = "n_train"
) -> "Figure":
    """Draws the generalization error and the alignment against the sample size, one curve per noise level.

    Points are means, with one standard error as `summarize` gives it. A vertical line in the colour of a noise level
    marks its interpolation threshold, where the training error leaves zero, and a band one standard error to either
    side, as far as there are sample sizes. Several networks differ by marker and line. A noise level at which all
    members are identical, as without noise, is named in the legend instead of drawn as a line far below the others.
    With a theory the points are not joined, and lines are the theory. An infinite error leaves a gap in them.

    Args:
      dataset: what `run_sweep` returned.
      theory: True for that of `predict`, at more sample sizes than were measured where it is in closed form; or a
        Dataset as `predict` returns it, of the same networks and noise levels and any sample sizes. None or False
        draws lines between the points.
      metric: the measure of alignment.
      x: "n_train"; "n_parameters" or "alpha" divide it by the number of parameters or of input dimensions.

    Returns:
      A matplotlib Figure; it is not shown.

    Raises:
      ValueError: if `dataset` is not the result of a sweep, or holds no such metric or axis; if `theory` has no such
        metric, network or noise level; as `predict`.
    """
    noise = noise_dimension(dataset)
    checks.choice("metric", metric, [name for name in METRICS if name in dataset])
    checks.choice("x", x, [name for name in X_AXES if name in dataset.coords])
    lines = theory_lines(dataset, theory, metric)
    summary = summarize(dataset).sortby("n_train")
    figure = new_figure(figsize=(10, 4.2))
    left, right = figure.subplots(1, 2)
    colors = level_colors(dataset.sizes[noise])
    for i, network in enumerate(summary["network"].values):
        error = summary.sel(network=network)
        same = summary[[metric, f"{metric}_stderr"]].sel(network_a=network, network_b=network)
        unit = _unit(dataset, i, x)
        identical = _identical_levels(same, metric, noise, dataset.attrs.get("probes"))
        for level, color in zip(summary[noise].values, colors, strict=True):
            label = f"{NOISE_LABELS[noise]} {level:g}"
            if summary.sizes["network"] > 1:
                label = f"{network}, {label}"
            style = {"color": color, "marker": MARKERS[i % 5], "linestyle": LINES[i % 4], "label": label}
            drawn = [(left, error, "test_error"), (right, same, metric)]
            if lines is None and level in identical:
                style["label"] += ": identical members"
                drawn.pop()
            for axes, source, name in drawn:
                curve = None if lines is None else curve_of(lines, name, {noise: level}, network)
                _draw_curve(axes, source.sel({noise: level}), name, unit, style, curve)
            for axes in (left, right):
                _mark_threshold(axes, error.sel({noise: level}), unit, style)
    left.set_ylabel(error_label(dataset))
    right.set_ylabel(METRICS[metric].label + "\n" + direction(metric))
    for axes in (left, right):
        axes.set_xscale("log")
        label_plainly(axes)
        axes.set_xlabel(X_AXES[x])
        axes.grid(alpha=0.2)
    errors = positive(summary["test_error"].values)
    if errors.size and not is_classification(dataset):
        left.set_yscale("log")
    if errors.size and lines is not None:
        # The theory diverges at the interpolation threshold; the points say how much of that is to be seen.
        left.set_ylim(0.6 * errors.min(initial=1.0), 1.6 * errors.max())
    title = "Vertical lines: interpolation threshold (training error leaves zero) ± standard error"
    add_legend(figure, left, title if lines is None else f"Points: measured. Curves: theory. {title}")
    return figure


def _mark_threshold(axes: "Axes", cells: xr.Dataset, unit: float, style: dict) -> None:
    """Draws the interpolation threshold of one network and noise level, with its standard error as a band."""
    threshold, stderr = (float(cells[f"interpolation_threshold{end}"]) for end in ("", "_stderr"))
    if np.isfinite(threshold):
        color, line = style["color"], style["linestyle"]
        axes.axvline(threshold / unit, color=color, linewidth=1, alpha=0.5, linestyle=line, zorder=0)
    if np.isfinite(stderr):
        sizes = cells["n_train"].values
        band = np.clip([threshold - stderr, threshold + stderr], sizes.min(), sizes.max()) / unit
        axes.axvspan(*band, color=style["color"], alpha=0.15, linewidth=0, zorder=0)


def _draw_curve(
    axes: "Axes", source: xr.Dataset, name: str, unit: float, style: dict, theory: xr.DataArray | None
) -> None:
    sizes = source["n_train"].values / unit
    stderr = np.nan_to_num(source[f"{name}_stderr"].values)
    points = style if theory is None else {**style, "linestyle": "none"}
    axes.errorbar(sizes, source[name].values, stderr, capsize=2, markersize=4, linewidth=1.5, **points)
    if theory is not None:
        finite = np.where(np.isfinite(theory.values), theory.values, np.nan)
        axes.plot(theory["n_train"].values / unit, finite, color=style["color"], linestyle=style["linestyle"])


def _identical_levels(summary: xr.Dataset, metric: str, noise: str, probes: int | None) -> list:
    """The noise levels at which a measure has the value of identical representations throughout, if others have not."""
    if probes is None:
        return []
    identical = METRICS[metric].identical(probes)
    values = summary[metric].transpose(noise, "n_train").values
    constant = np.isclose(values, identical, atol=1e-3).all(1)
    return [] if constant.all() else summary[noise].values[constant].tolist()


def _unit(dataset: xr.Dataset, network: int, x: str) -> float:
    if x == "n_parameters":
        return float(dataset["n_parameters"][network])
    return float(dataset["n_train"][0] / dataset["alpha"][0]) if x == "alpha" else 1.0
