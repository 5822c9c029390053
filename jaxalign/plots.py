"""Figures from the result of a sweep."""

import dataclasses
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.alignment.registry import METRICS
from jaxalign.sweep.predict import MEASURES, in_closed_form, predict
from jaxalign.sweep.result import config_of, noise_dimension
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
_SIZES_OF_A_CURVE = 120


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
    lines = _theory_lines(dataset, theory, metric)
    summary = summarize(dataset).sortby("n_train")
    figure = _new_figure(figsize=(10, 4.2))
    left, right = figure.subplots(1, 2)
    colors = _colors(dataset.sizes[noise])
    for i, network in enumerate(summary["network"].values):
        error = summary.sel(network=network)
        same = summary[[metric, f"{metric}_stderr"]].sel(network_a=network, network_b=network)
        unit = _unit(dataset, i, x)
        identical = _identical_levels(same, metric, noise, dataset.attrs.get("probes"))
        for level, color in zip(summary[noise].values, colors, strict=True):
            label = f"{_NOISE_LABELS[noise]} {level:g}"
            if summary.sizes["network"] > 1:
                label = f"{network}, {label}"
            style = {"color": color, "marker": _MARKERS[i % 5], "linestyle": _LINES[i % 4], "label": label}
            drawn = [(left, error, "test_error"), (right, same, metric)]
            if lines is None and level in identical:
                style["label"] += ": identical members"
                drawn.pop()
            for axes, source, name in drawn:
                curve = None if lines is None else _curve(lines, name, {noise: level}, network)
                _draw_curve(axes, source.sel({noise: level}), name, unit, style, curve)
            for axes in (left, right):
                _mark_threshold(axes, error.sel({noise: level}), unit, style)
    left.set_ylabel(_error_label(dataset))
    right.set_ylabel(METRICS[metric].label + "\n" + _direction(metric))
    for axes in (left, right):
        axes.set_xscale("log")
        _label_plainly(axes)
        axes.set_xlabel(X_AXES[x])
        axes.grid(alpha=0.2)
    errors = _positive(summary["test_error"].values)
    if errors.size and not _is_classification(dataset):
        left.set_yscale("log")
    if errors.size and lines is not None:
        # The theory diverges at the interpolation threshold; the points say how much of that is to be seen.
        left.set_ylim(0.6 * errors.min(initial=1.0), 1.6 * errors.max())
    title = "Vertical lines: interpolation threshold (training error leaves zero) ± standard error"
    _add_legend(figure, left, title if lines is None else f"Points: measured. Curves: theory. {title}")
    return figure


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
    lines = _theory_lines(dataset, theory, metric)
    summary = summarize(dataset).sortby("n_train")
    networks = summary["network"].values
    figure = _new_figure(figsize=(5.0 * len(networks), 4.4))
    panels = figure.subplots(1, len(networks), squeeze=False, sharey=True)[0]
    for axes, network in zip(panels, networks, strict=True):
        for level, color in zip(summary[noise].values, _colors(summary.sizes[noise]), strict=True):
            at = {noise: level}
            names = (("test_error", ""), (metric, ""), ("test_error", "_stderr"), (metric, "_stderr"))
            error, value, dx, dy = (_curve(summary, name + end, at, network).values for name, end in names)
            label = f"{_NOISE_LABELS[noise]} {level:g}"
            style = {"color": color, "marker": "o", "markersize": 4, "capsize": 2, "label": label}
            joined = "-" if lines is None else "none"
            axes.errorbar(error, value, np.nan_to_num(dy), np.nan_to_num(dx), linestyle=joined, **style)
            path = (error, value, summary["n_train"].values)
            if lines is not None:
                error_line, line = (_curve(lines, name, at, network).values for name in ("test_error", metric))
                path = (np.where(np.isfinite(error_line), error_line, np.nan), line, lines["n_train"].values)
                axes.plot(path[0], path[1], color=color)
            _mark_ends(axes, path, color, METRICS[metric].larger_is_more_similar is True)
        errors = _positive(summary["test_error"].sel(network=network).values)
        if errors.size and not _is_classification(dataset):
            axes.set_xscale("log")
            _label_plainly(axes)
            axes.set_xlim(0.6 * errors.min(), 2.0 * errors.max())
        axes.set_title(str(network), fontsize=9)
        axes.set_xlabel(_error_label(dataset))
        axes.grid(alpha=0.2)
    panels[0].set_ylabel(METRICS[metric].label + "\n" + _direction(metric))
    title = "Star: weakest alignment"
    _add_legend(figure, panels[0], title if lines is None else f"Points: measured. Curves: theory. {title}")
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


def _new_figure(figsize: tuple[float, float]) -> "Figure":
    """A figure that notebooks show as the value of a cell, without pyplot and its global state."""
    from matplotlib.figure import Figure

    class InlineFigure(Figure):
        def _repr_png_(self) -> bytes:
            image = io.BytesIO()
            self.savefig(image, format="png", dpi=100)
            return image.getvalue()

    return InlineFigure(figsize=figsize, layout="constrained")


def _add_legend(figure: "Figure", axes: "Axes", title: str) -> None:
    """Below the axes, with as many columns as the figure is wide for, and room of its own for more than one row."""
    handles, labels = axes.get_legend_handles_labels()
    characters = 13.5 * figure.get_figwidth()
    columns = int(np.clip(characters // (max(len(label) for label in labels) + 8), 1, min(len(labels), 4)))
    figure.set_figheight(figure.get_figheight() + 0.19 * ((len(labels) - 1) // columns))
    placed = {"loc": "outside lower center", "ncols": columns, "frameon": False}
    figure.legend(handles, labels, title=title, fontsize="small", **placed)


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


def _theory_lines(dataset: xr.Dataset, theory: Any, metric: str) -> xr.Dataset | None:
    """What `plot_sweep` was given as theory, as a Dataset in the order of n_train."""
    if theory is None or theory is False:
        return None
    if theory is True:
        checks.choice("metric (with theory)", metric, MEASURES)
        config = config_of(dataset)
        if in_closed_form(config):
            between = np.geomspace(min(config.n_train), max(config.n_train), _SIZES_OF_A_CURVE).round().astype(int)
            config = dataclasses.replace(config, n_train=tuple(sorted({*between.tolist(), *config.n_train})))
        theory = predict(config)
    if not isinstance(theory, xr.Dataset):
        checks.reject("theory", "True, False, None or a Dataset that predict returned", theory)
    checks.choice("metric (with theory)", metric, [str(name) for name in theory.data_vars])
    for name in ("network", noise_dimension(dataset)):
        missing = set(dataset[name].values.tolist()) - set(theory[name].values.tolist() if name in theory else ())
        if missing:
            checks.reject("theory", f"of the same {name} as dataset", f"a Dataset without {sorted(missing)}")
    return theory.sortby("n_train")


def _curve(lines: xr.Dataset, name: str, level: dict[str, Any], network: str) -> xr.DataArray:
    at = {"network": network} if "network" in lines[name].dims else {"network_a": network, "network_b": network}
    return lines[name].sel({**level, **at})


def _unit(dataset: xr.Dataset, network: int, x: str) -> float:
    if x == "n_parameters":
        return float(dataset["n_parameters"][network])
    return float(dataset["n_train"][0] / dataset["alpha"][0]) if x == "alpha" else 1.0


def _colors(count: int) -> list:
    """Steps of one colour-blind safe map that stays readable in grey, without its palest end."""
    from matplotlib import colormaps

    return [colormaps["viridis"](0.85 * i / max(count - 1, 1)) for i in range(count)]


def _is_classification(dataset: xr.Dataset) -> bool:
    return "train_accuracy" in dataset


def _error_label(dataset: xr.Dataset) -> str:
    return "1 - test accuracy" if _is_classification(dataset) else "generalization error / teacher variance"


def _positive(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values) & (values > 0)]


def _direction(metric: str) -> str:
    larger = METRICS[metric].larger_is_more_similar
    return "" if larger is None else f"({'higher' if larger else 'lower'} = more aligned)"


def _label_plainly(axes: "Axes") -> None:
    """Labels round values of the logarithmic axis in plain digits."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
