"""Figures from the result of a sweep."""

import io
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.alignment.registry import METRICS
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
_NOISE_LABELS = {"snr": "SNR", "label_noise": "label noise"}
_MARKERS = "osD^v"
_LINES = ("-", "--", ":", "-.")


def plot_sweep(
    dataset: xr.Dataset, theory: xr.Dataset | None = None, *, metric: str = "cce", x: str = "n_train"
) -> "Figure":
    """Draws the generalization error and the alignment against the sample size, one curve per noise level.

    Points are means, with one standard error as `summarize` gives it. A vertical line in the colour of a noise level
    marks its interpolation threshold, where the training error leaves zero. Several networks differ by marker and line.

    Args:
      dataset: what `run_sweep` returned.
      theory: a Dataset of the same coordinates, with dims (network, noise, n_train) and variables `test_error` and
        `metric`, drawn as lines; None draws lines between the points.
      metric: the measure of alignment.
      x: "n_train"; "n_parameters" or "alpha" divide it by the number of parameters or of input dimensions.

    Returns:
      A matplotlib Figure; it is not shown.

    Raises:
      ValueError: if `dataset` is not the result of a sweep, or holds no such metric or axis.
    """
    noise = noise_dimension(dataset)
    checks.choice("metric", metric, [name for name in METRICS if name in dataset])
    checks.choice("x", x, [name for name in X_AXES if name in dataset.coords])
    summary = summarize(dataset).sortby("n_train")
    figure = _new_figure(figsize=(10, 4.2))
    left, right = figure.subplots(1, 2)
    colors = _colors(dataset.sizes[noise])
    for i, network in enumerate(summary["network"].values):
        error = summary.sel(network=network)
        same = summary[[metric, f"{metric}_stderr"]].sel(network_a=network, network_b=network)
        unit = _unit(dataset, i, x)
        for level, color in zip(summary[noise].values, colors, strict=True):
            label = f"{_NOISE_LABELS[noise]} {level:g}"
            if summary.sizes["network"] > 1:
                label = f"{network}, {label}"
            style = {"color": color, "marker": _MARKERS[i % 5], "linestyle": _LINES[i % 4], "label": label}
            for axes, source, name in ((left, error, "test_error"), (right, same, metric)):
                curve = None if theory is None else theory[name].sel(network=network, **{noise: level})
                _draw_curve(axes, source.sel({noise: level}), name, unit, style, curve)
            threshold = float(error["interpolation_threshold"].sel({noise: level})) / unit
            for axes in (left, right):
                if np.isfinite(threshold):
                    axes.axvline(threshold, color=color, linewidth=1, alpha=0.5, linestyle=_LINES[i % 4], zorder=0)
    left.set_ylabel("1 - test accuracy" if noise == "label_noise" else "generalization error / teacher variance")
    right.set_ylabel(METRICS[metric].label + "\n" + _direction(metric))
    for axes in (left, right):
        axes.set_xscale("log")
        _label_plainly(axes)
        axes.set_xlabel(X_AXES[x])
        axes.grid(alpha=0.2)
    if noise == "snr":
        left.set_yscale("log")
    handles, labels = left.get_legend_handles_labels()
    title = "Vertical lines: interpolation threshold (training error leaves zero)"
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), title=title, frameon=False)
    return figure


def _new_figure(figsize: tuple[float, float]) -> "Figure":
    """A figure that notebooks show as the value of a cell, without pyplot and its global state."""
    from matplotlib.figure import Figure

    class InlineFigure(Figure):
        def _repr_png_(self) -> bytes:
            image = io.BytesIO()
            self.savefig(image, format="png", dpi=100)
            return image.getvalue()

    return InlineFigure(figsize=figsize, layout="constrained")


def _draw_curve(
    axes: "Axes", source: xr.Dataset, name: str, unit: float, style: dict, theory: xr.DataArray | None
) -> None:
    sizes = source["n_train"].values / unit
    stderr = np.nan_to_num(source[f"{name}_stderr"].values)
    points = style if theory is None else {**style, "linestyle": "none"}
    axes.errorbar(sizes, source[name].values, stderr, capsize=2, markersize=4, linewidth=1.5, **points)
    if theory is not None:
        curve = theory.sortby("n_train")
        axes.plot(curve["n_train"].values / unit, curve.values, color=style["color"], linestyle=style["linestyle"])


def _unit(dataset: xr.Dataset, network: int, x: str) -> float:
    if x == "n_parameters":
        return float(dataset["n_parameters"][network])
    return float(dataset["n_train"][0] / dataset["alpha"][0]) if x == "alpha" else 1.0


def _colors(count: int) -> list:
    """Steps of one colour-blind safe map that stays readable in grey, without its palest end."""
    from matplotlib import colormaps

    return [colormaps["viridis"](0.85 * i / max(count - 1, 1)) for i in range(count)]


def _direction(metric: str) -> str:
    larger = METRICS[metric].larger_is_more_similar
    return "" if larger is None else f"({'higher' if larger else 'lower'} = more aligned)"


def _label_plainly(axes: "Axes") -> None:
    """Labels round values of the logarithmic axis in plain digits."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
