"""Alignment against error."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.alignment.registry import METRICS
from jaxalign.plots.style import (
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


def plot_decoupling(dataset: xr.Dataset, theory: xr.Dataset | bool | None = True, *, metric: str = "cce") -> "Figure":
    """Draws the alignment against the generalization error: the path of each network as its sample size grows.

    If one were a function of the other, all points of a noise level would fall on one monotone curve. One panel for
    each network; circles are measured, with one standard error in both, and curves are theory. The first and the last
    sample size are named, and a star marks the sample size of weakest alignment of the theory, or else of the points.

    Args:
      dataset: what `run_sweep` returned.
      theory: as in `plot_sweep`.
      metric: the measure of alignment.

    Returns:
      A matplotlib Figure; it is not shown.

    Raises:
      ValueError: as `plot_sweep`.
    """
    noise = noise_dimension(dataset)
    checks.choice("metric", metric, [name for name in METRICS if name in dataset])
    lines = theory_lines(dataset, theory, metric)
    summary = summarize(dataset).sortby("n_train")
    networks = summary["network"].values
    figure = new_figure(figsize=(5.0 * len(networks), 4.4))
    panels = figure.subplots(1, len(networks), squeeze=False, sharey=True)[0]
    for axes, network in zip(panels, networks, strict=True):
        for level, color in zip(summary[noise].values, level_colors(summary.sizes[noise]), strict=True):
            at = {noise: level}
            names = (("test_error", ""), (metric, ""), ("test_error", "_stderr"), (metric, "_stderr"))
            error, value, dx, dy = (curve_of(summary, name + end, at, network).values for name, end in names)
            label = f"{NOISE_LABELS[noise]} {level:g}"
            style = {"color": color, "marker": "o", "markersize": 4, "capsize": 2, "label": label}
            joined = "-" if lines is None else "none"
            axes.errorbar(error, value, np.nan_to_num(dy), np.nan_to_num(dx), linestyle=joined, **style)
            path = (error, value, summary["n_train"].values)
            if lines is not None:
                error_line, line = (curve_of(lines, name, at, network).values for name in ("test_error", metric))
                path = (np.where(np.isfinite(error_line), error_line, np.nan), line, lines["n_train"].values)
                axes.plot(path[0], path[1], color=color)
            _mark_ends(axes, path, color, METRICS[metric].larger_is_more_similar is True)
        errors = positive(summary["test_error"].sel(network=network).values)
        if errors.size and not is_classification(dataset):
            axes.set_xscale("log")
            label_plainly(axes)
            axes.set_xlim(0.6 * errors.min(), 2.0 * errors.max())
        axes.set_title(str(network), fontsize=9)
        axes.set_xlabel(error_label(dataset))
        axes.grid(alpha=0.2)
    panels[0].set_ylabel(METRICS[metric].label + "\n" + direction(metric))
    title = "Star: weakest alignment"
    add_legend(figure, panels[0], title if lines is None else f"Points: measured. Curves: theory. {title}")
    return figure


def _mark_ends(axes: "Axes", path: tuple[Any, Any, Any], color: Any, larger_is_more_similar: bool) -> None:
    """Names the first and last sample size of a path and puts a star at its weakest alignment."""
    error, value, sizes = (np.asarray(part, float) for part in path)
    drawn = np.flatnonzero(np.isfinite(error) & np.isfinite(value))
    if not drawn.size:
        return
    weakest = drawn[np.argmax(value[drawn] * (-1.0 if larger_is_more_similar else 1.0))]
    axes.plot(error[weakest], value[weakest], marker="*", markersize=13, color=color, markeredgecolor="white")
    for i in (drawn[0], drawn[-1]):
        text = f"n = {sizes[i]:g}"
        axes.annotate(text, (error[i], value[i]), (6, -9), textcoords="offset points", fontsize=7, color=color)
