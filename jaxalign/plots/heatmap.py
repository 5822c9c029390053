"""Alignment or error over noise level and sample size."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.alignment.registry import METRICS
from jaxalign.plots import style
from jaxalign.sweep.result import MEMBER_VARIABLES, noise_dimension
from jaxalign.sweep.summary import summarize
from jaxalign.sweep.threshold import weakest_alignment, within_networks

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_heatmap(
    dataset: xr.Dataset,
    *,
    metric: str = "cce",
    network: str | None = None,
    x: str = "n_train",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws the alignment, or an error, of one network as colours over noise level and sample size.

    Sample sizes are at their places on a logarithmic axis, each cell reaching half way to the next; noise levels are
    rows of equal height in ascending order. A line joins the interpolation thresholds of the noise levels, and a star
    in each row marks the sample size of weakest alignment. Cells that are not finite are grey, as are noise levels at
    which all members are identical. The colours of a generalization error of regression are logarithmic.

    Args:
      dataset: what `run_sweep` returned.
      metric: the measure of alignment, or "test_error" or "train_error".
      network: the name of a network of the sweep; None for the first.
      x: "n_train"; "n_parameters" or "alpha" divide it by the number of parameters or of input dimensions.
      ax: the axes to draw in; None for those of a new figure.

    Returns:
      The Axes; `.figure` of it is what a notebook shows.

    Raises:
      ValueError: if `dataset` is not the result of a sweep, or holds no such metric, network or axis; or if `ax` is
        neither None nor Axes.
    """
    style.check_axes(ax)
    noise = noise_dimension(dataset)
    style.check_metric(dataset, metric, *MEMBER_VARIABLES)
    style.check_x(dataset, x)
    names = [str(name) for name in dataset["network"].values]
    number = 0 if network is None else names.index(checks.choice("network", network, names))

    others = [name for name in METRICS if name in dataset and name != metric]
    summary = summarize(dataset.drop_vars(others)).sortby("n_train").sortby(noise)
    levels, sizes = (summary[name].values.astype(np.float64) for name in (noise, "n_train"))
    unit = style.unit_of(dataset, number, x)
    labels = [f"{level:g}" for level in levels]
    if metric in METRICS:
        values = within_networks(summary, metric)[number]
        identical = style.identical_levels(values, metric, dataset.attrs.get("probes"))
        values = np.where(identical[:, None], np.nan, values)
        labels = [f"{label}\nidentical" if same else label for label, same in zip(labels, identical, strict=True)]
        label = style.metric_label(metric)
    else:
        values = summary[metric].transpose("network", noise, "n_train").values[number]
        label = style.error_label(dataset, metric)

    axes = style.axes_of(ax, (6.4, 4.2))
    rows = np.arange(len(levels))
    finite = np.where(np.isfinite(values), values, np.nan)
    mesh = axes.pcolormesh(
        _edges(sizes) / unit,
        np.arange(len(levels) + 1) - 0.5,
        finite,
        cmap=style.color_map(),
        norm=_logarithmic(finite) if metric == "test_error" and not style.is_classification(dataset) else None,
        linewidth=0,
        # Neighbouring cells of a vector drawing would show seams between them.
        rasterized=True,
    )
    axes.figure.colorbar(mesh, ax=axes).set_label(label)
    _mark(axes, summary["interpolation_threshold"].values[number] / unit, rows, "interpolation threshold", "o-")
    if metric in METRICS and METRICS[metric].larger_is_more_similar is not None:
        weakest = weakest_alignment(summary, metric).values[number] / unit
        _mark(axes, np.where(identical, np.nan, weakest), rows, "weakest alignment", "*")
    style.use_log_x(axes)
    axes.set_xlabel(style.X_AXES[x])
    axes.set_ylabel(style.NOISE_LABELS[noise])
    axes.set_yticks(rows, labels)
    style.add_legend_above(axes, title=style.network_labels(names)[number] if len(names) > 1 else None, columns=2)
    return axes


def _edges(sizes: np.ndarray) -> np.ndarray:
    """The ends of cells around sample sizes, half way to the next on a logarithmic axis."""
    logs = np.log(sizes)
    if len(logs) == 1:
        return sizes * np.array([0.8, 1.25])
    middles = (logs[1:] + logs[:-1]) / 2
    return np.exp(np.concatenate([[2 * logs[0] - middles[0]], middles, [2 * logs[-1] - middles[-1]]]))


def _logarithmic(values: np.ndarray) -> Any:
    """A logarithmic range of colours, or None where there is nothing positive."""
    from matplotlib.colors import LogNorm

    known = style.positive(values)
    return LogNorm(known.min(), known.max()) if known.size and known.min() < known.max() else None


def _mark(axes: "Axes", x: np.ndarray, rows: np.ndarray, label: str, form: str) -> None:
    """A white line or marker with a dark rim, which is seen on every colour."""
    from matplotlib.patheffects import Normal, Stroke

    if not np.isfinite(x).any():
        return
    star = form == "*"
    look: dict[str, Any] = {"markersize": 13 if star else 4, "linewidth": 1.5, "markeredgecolor": "black"}
    (line,) = axes.plot(x, rows, form, color="white", label=label, zorder=3 if star else 2, **look)
    if not star:
        line.set_path_effects([Stroke(linewidth=3.5, foreground="black"), Normal()])
