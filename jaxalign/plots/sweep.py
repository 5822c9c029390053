"""Error and alignment against the sample size."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.alignment.registry import METRICS
from jaxalign.plots import style
from jaxalign.plots.theory import curve_of, theory_lines
from jaxalign.sweep.result import noise_dimension
from jaxalign.sweep.summary import summarize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One line of the narrower figures, those of a single panel.
_THRESHOLD = "Vertical lines: interpolation threshold; bands hold it."

# In characters: two of them, which are compared, and what is noted of them fit into a single panel.
_LONGEST_NAME = 22


def plot_sweep(
    dataset: xr.Dataset,
    theory: xr.Dataset | bool | None = None,
    *,
    metric: str = "cce",
    x: str = "n_train",
    between: bool = False,
) -> "Figure":
    """Draws the generalization error and the alignment against the sample size, one curve per noise level.

    Points are means, with one standard error as `summarize` gives it; the legend says whether it is over replicates, or
    over the members of a single one, which do not show how replicates differ. A vertical line in the colour of a noise
    level marks its interpolation threshold, where the training error leaves zero, and a band the interval that holds
    it, from `interpolation_threshold_low` to `interpolation_threshold_high`. Several networks differ by marker and
    line. A noise level at which all members are identical, as without noise, is named in the legend instead of drawn
    as a line far below the others. With a theory the points are not joined, and lines are the theory, but of networks
    without one the points are joined. An infinite error leaves a gap in the lines.

    Args:
      dataset: what `run_sweep` returned.
      theory: True for that of `predict`: sampled at the size of the sweep for several outputs, and for one at up to 300
        isotropic input dimensions; otherwise the limit of many dimensions. With one output and isotropic inputs there
        are more sample sizes than were measured. Or a Dataset as
        `predict` returns it, of the same networks and noise levels and any sample sizes. None or False draws lines
        between the points.
      metric: the measure of alignment.
      x: "n_train"; "n_parameters" or "alpha" divide it by the number of parameters or of input dimensions.
      between: whether to draw also, with hollow markers, the alignment between each two different networks, the mean
        over both directions and over pairs of different members.

    Returns:
      A matplotlib Figure; it is not shown.

    Raises:
      ValueError: if `dataset` is not the result of a sweep, or holds no such metric or axis; if `theory` has no such
        metric, network or noise level; if `between` is True of a single network, or with "n_parameters" of networks
        whose numbers of parameters differ; as `predict`.
    """
    curves = _curves(dataset, theory, metric, x, between)
    figure = style.new_figure(figsize=(10, 4.2))
    left, right = figure.subplots(1, 2)
    _draw_error(left, curves)
    _draw_alignment(right, curves, metric)
    _add_legend(figure, curves, metric)
    return figure


def plot_error(
    dataset: xr.Dataset, theory: xr.Dataset | bool | None = None, *, x: str = "n_train", ax: "Axes | None" = None
) -> "Axes":
    """Draws the generalization error against the sample size: the left panel of `plot_sweep`.

    Args:
      dataset: what `run_sweep` returned.
      theory: as in `plot_sweep`.
      x: as in `plot_sweep`.
      ax: the axes to draw in, without a legend (`ax.legend()` adds one); None for those of a new figure with one.

    Returns:
      The Axes; `.figure` of it is what a notebook shows.

    Raises:
      ValueError: as `plot_sweep`, or if `ax` is neither None nor Axes.
    """
    style.check_axes(ax)
    return _single_panel(_draw_error, _curves(dataset, theory, None, x, False), None, ax)


def plot_alignment(
    dataset: xr.Dataset,
    theory: xr.Dataset | bool | None = None,
    *,
    metric: str = "cce",
    x: str = "n_train",
    between: bool = False,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws the alignment against the sample size: the right panel of `plot_sweep`.

    Args:
      dataset: what `run_sweep` returned.
      theory: as in `plot_sweep`.
      metric: the measure of alignment.
      x: as in `plot_sweep`.
      between: as in `plot_sweep`.
      ax: the axes to draw in, without a legend (`ax.legend()` adds one); None for those of a new figure with one.

    Returns:
      The Axes; `.figure` of it is what a notebook shows.

    Raises:
      ValueError: as `plot_sweep`, or if `ax` is neither None nor Axes.
    """
    style.check_axes(ax)
    draw = functools.partial(_draw_alignment, metric=metric)
    return _single_panel(draw, _curves(dataset, theory, metric, x, between), metric, ax)


class _Series(NamedTuple):
    """A network, or two networks that are compared: what its curves have in common.

    Attributes:
      label: its name.
      at: the coordinates of its results.
      unit: what n_train is divided by.
      look: the marker and the line of its curves.
    """

    label: str
    at: dict[str, str]
    unit: float
    look: dict[str, Any]


class _Curves(NamedTuple):
    """All that is drawn: `networks` in both panels, `pairs` of them in that of the alignment."""

    summary: xr.Dataset
    lines: xr.Dataset | None
    x: str
    networks: list[_Series]
    pairs: list[_Series]

    @property
    def levels(self) -> list[tuple[dict[str, float], str, Any]]:
        """The coordinate, the label and the colour of each noise level."""
        noise = noise_dimension(self.summary)
        values = self.summary[noise].values.tolist()
        colors = style.level_colors(len(values))
        return [
            ({noise: v}, f"{style.NOISE_LABELS[noise]} {v:g}", color) for v, color in zip(values, colors, strict=True)
        ]

    def identical(self, series: _Series, metric: str) -> np.ndarray:
        """The noise levels at which a series is not drawn, as all members are identical."""
        if self.lines is not None:
            return np.zeros(len(self.levels), bool)
        values = style.select(self.summary[metric], series.at).transpose(..., "n_train").values
        return style.identical_levels(values, metric, self.summary.attrs.get("probes"))

    def theory(self, series: _Series, name: str | None) -> list[xr.DataArray | None]:
        """The curve of each noise level, None throughout for a network without a theory."""
        return [curve_of(self.lines, name, {**series.at, **at}) for at, _, _ in self.levels]


def _curves(dataset: xr.Dataset, theory: Any, metric: str | None, x: str, between: bool) -> _Curves:
    noise_dimension(dataset)
    if metric is not None:
        style.check_metric(dataset, metric)
    style.check_x(dataset, x)
    names = [str(name) for name in dataset["network"].values]
    units = [style.unit_of(dataset, i, x) for i in range(len(names))]
    if checks.boolean("between", between):
        if len(names) < 2:
            checks.reject("between", "False for a sweep of one network", between)
        if len({*units}) > 1:
            allowed = " or ".join(name for name in ("n_train", "alpha") if name in dataset.coords)
            checks.reject("x", f"{allowed} between networks of different numbers of parameters", x)
    lines = theory_lines(dataset, theory, "test_error" if metric is None else metric)
    labels = style.shorten(style.network_labels(names), _LONGEST_NAME)
    networks, pairs = [], []
    for i, (name, label) in enumerate(zip(names, labels, strict=True)):
        at = {"network": name, "network_a": name, "network_b": name}
        networks.append(_Series(label, at, units[i], _look(i)))
    if between:
        for (i, a), (j, b) in itertools.combinations(enumerate(names), 2):
            look = {**_look(len(names) + len(pairs)), "markerfacecolor": "white"}
            at = {"network_a": a, "network_b": b}
            pairs.append(_Series(f"{labels[i]} – {labels[j]}", at, units[i], look))
    others = [name for name in METRICS if name in dataset and name != metric]
    measured = dataset.drop_vars(others)
    if metric is not None and between:
        measured = measured.assign({metric: _both_directions(measured[metric])})
    return _Curves(summarize(measured).sortby("n_train"), lines, x, networks, pairs)


def _look(number: int) -> dict[str, Any]:
    return {
        "marker": style.MARKERS[number % len(style.MARKERS)],
        "linestyle": style.LINES[number % len(style.LINES)],
    }


def _both_directions(values: xr.DataArray) -> xr.DataArray:
    """The mean of A->B and B->A of every pair of members."""
    swapped = {"network_a": "network_b", "network_b": "network_a", "member_a": "member_b", "member_b": "member_a"}
    back = values.rename({name: f"{name}_" for name in swapped})
    back = back.rename({f"{name}_": other for name, other in swapped.items()}).transpose(*values.dims)
    return values.copy(data=(values.values.astype(np.float64) + back.values) / 2)


def _single_panel(
    draw: Callable[["Axes", _Curves], None], curves: _Curves, metric: str | None, ax: "Axes | None"
) -> "Axes":
    axes = style.axes_of(ax, (5.6, 4.2))
    draw(axes, curves)
    if ax is None:
        _add_legend(axes.get_figure(), curves, metric)
    return axes


def _draw_error(axes: "Axes", curves: _Curves) -> None:
    for series in curves.networks:
        _draw_series(axes, curves, series, "test_error", np.zeros(len(curves.levels), bool))
    _finish(axes, curves, style.error_label(curves.summary))
    errors = style.positive(curves.summary["test_error"].values)
    if errors.size and not style.is_classification(curves.summary):
        axes.set_yscale("log")
    if errors.size and curves.lines is not None:
        # The theory diverges at the interpolation threshold; the points say how much of that is to be seen.
        axes.set_ylim(0.6 * errors.min(initial=1.0), 1.6 * errors.max())


def _draw_alignment(axes: "Axes", curves: _Curves, metric: str) -> None:
    for series in [*curves.networks, *curves.pairs]:
        _draw_series(axes, curves, series, metric, curves.identical(series, metric))
    _finish(axes, curves, style.metric_label(metric))


def _draw_series(axes: "Axes", curves: _Curves, series: _Series, name: str, left_out: np.ndarray) -> None:
    """Points with error bars at each noise level, joined by lines or beside the theory."""
    alone = len(curves.networks) == 1
    lines = curves.theory(series, name)
    for (level, label, color), line, leave in zip(curves.levels, lines, left_out, strict=True):
        if leave:
            continue
        at = {**series.at, **level}
        values, stderr = (style.select(curves.summary[name + end], at).values for end in ("", "_stderr"))
        sizes = curves.summary["n_train"].values / series.unit
        look = {**series.look, "color": color, "label": label if alone else f"{series.label}, {label}"}
        if line is not None:
            axes.plot(line["n_train"].values / series.unit, line.values, color=color, linestyle=look["linestyle"])
            look["linestyle"] = "none"
        axes.errorbar(sizes, values, np.nan_to_num(stderr), capsize=2, markersize=4, linewidth=1.5, **look)


def _finish(axes: "Axes", curves: _Curves, y_label: str) -> None:
    for series, (level, _, color) in itertools.product(curves.networks, curves.levels):
        cells = curves.summary.sel({"network": series.at["network"], **level})
        _mark_threshold(axes, cells, series.unit, color, series.look["linestyle"])
    style.set_up_axes(axes, style.X_AXES[curves.x], y_label)
    style.use_log_x(axes)


def _mark_threshold(axes: "Axes", cells: xr.Dataset, unit: float, color: Any, line: Any) -> None:
    """Draws the interpolation threshold of one network and noise level, with the interval that holds it as a band."""
    threshold, *ends = (float(cells[f"interpolation_threshold{end}"]) for end in ("", "_low", "_high"))
    if np.isfinite(threshold):
        sizes = cells["n_train"].values
        axes.axvline(threshold / unit, color=color, linewidth=1, alpha=0.5, linestyle=line, zorder=0)
        axes.axvspan(*np.clip(ends, sizes.min(), sizes.max()) / unit, color=color, alpha=0.1, linewidth=0, zorder=0)


def _add_legend(figure: Any, curves: _Curves, metric: str | None) -> None:
    """Below all axes: an entry for each noise level, and for each network or pair where there are several."""
    series = [*curves.networks, *curves.pairs]
    sentences = [] if curves.lines is None else ["Points: measured."]
    notes = [""] * len(series)
    if curves.lines is not None:
        has_theory = [
            any(line is not None for name in names for line in curves.theory(s, name))
            for group, names in ((curves.networks, ("test_error", metric)), (curves.pairs, (metric,)))
            for s in group
        ]
        if all(has_theory):
            sentences.append("Curves: theory.")
        else:
            notes = [" (curves: theory)" if known else " (points joined)" for known in has_theory]
    groups = [_level_handles(curves, metric), _series_handles(series, notes) if len(series) > 1 else []]
    if np.isfinite(curves.summary["interpolation_threshold"]).any():
        sentences.append(_THRESHOLD)
    drawn = [f"{name}_stderr" for name in ("test_error", metric) if name is not None]
    if any(np.isfinite(curves.summary[name]).any() for name in drawn):
        sentences.append(f"Bars: {curves.summary.attrs['standard_errors']}.")
    style.add_legend(figure, groups, sentences)


def _level_handles(curves: _Curves, metric: str | None) -> list[Any]:
    """In the colour of each noise level; with the marker and line of the network if there is one only."""
    from matplotlib.lines import Line2D

    series = [*curves.networks, *curves.pairs]
    masks = [np.zeros(len(curves.levels), bool) if metric is None else curves.identical(s, metric) for s in series]
    look: dict[str, Any] = {**series[0].look, "markersize": 4} if len(series) == 1 else {"linewidth": 4}
    handles = []
    for i, (_, label, color) in enumerate(curves.levels):
        which = [s.label for s, mask in zip(series, masks, strict=True) if mask[i]]
        if which:
            label += ": identical members"
            label += "" if len(which) == len(series) else f" of {', '.join(which)}"
        handles.append(Line2D([], [], color=color, label=label, **look))
    return handles


def _series_handles(series: Sequence[_Series], notes: Sequence[str]) -> list[Any]:
    from matplotlib.lines import Line2D

    look: dict[str, Any] = {"color": "0.2", "markersize": 5}
    return [Line2D([], [], label=s.label + note, **look, **s.look) for s, note in zip(series, notes, strict=True)]
