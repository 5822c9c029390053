"""Alignment against error."""

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from jaxalign.alignment.registry import METRICS
from jaxalign.plots import style
from jaxalign.plots.theory import curve_of, theory_lines
from jaxalign.sweep.result import noise_dimension
from jaxalign.sweep.summary import summarize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# In pixels between names: the layout may still move by a few when the figure is drawn again.
_MARGIN = 2.0


def plot_decoupling(dataset: xr.Dataset, theory: xr.Dataset | bool | None = True, *, metric: str = "cce") -> "Figure":
    """Draws the alignment against the generalization error: the path of each network as its sample size grows.

    If one were a function of the other, all points of a noise level would fall on one monotone curve. One panel for
    each network; circles are measured, with one standard error in both, and curves are theory. A star marks the sample
    size of weakest alignment of the theory, or else of the points. The first and the last sample size and that of the
    star are named, as far as there is room.

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
    style.check_metric(dataset, metric)
    lines = theory_lines(dataset, theory, metric)
    summary = summarize(dataset.drop_vars([name for name in METRICS if name in dataset and name != metric]))
    summary = summary.sortby("n_train")
    names = [str(name) for name in summary["network"].values]
    figure = style.new_figure(figsize=(max(5.0 * len(names), 6.0), 4.4))
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    handles: list[Any] = []
    has_theory = []
    for axes, name in zip(panels, names, strict=True):
        at = {"network": name, "network_a": name, "network_b": name}
        known = curve_of(lines, "test_error", at) is not None and curve_of(lines, metric, at) is not None
        has_theory.append(known)
        handles = [
            _draw_path(axes, summary, lines if known else None, metric, {**at, noise: level}, color)
            for level, color in zip(summary[noise].values, style.level_colors(summary.sizes[noise]), strict=True)
        ]
        errors = style.positive(summary["test_error"].sel(network=name).values)
        style.set_up_axes(axes, style.error_label(dataset), "")
        if errors.size and not style.is_classification(dataset):
            axes.set_xlim(0.6 * errors.min(), 2.0 * errors.max())
            style.use_log_x(axes)
    for axes, label, known in zip(panels, style.network_labels(names), has_theory, strict=True):
        note = "" if lines is None or all(has_theory) else (" (curves: theory)" if known else " (points joined)")
        axes.set_title(label + note, fontsize="medium")
    panels[0].set_ylabel(style.metric_label(metric))
    sentences = [] if lines is None else ["Points: measured."]
    if lines is not None and all(has_theory):
        sentences.append("Curves: theory.")
    style.add_legend(figure, [handles], [*sentences, "Star: weakest alignment."])
    _spread_names(figure, panels)
    return figure


def _draw_path(
    axes: "Axes", summary: xr.Dataset, lines: xr.Dataset | None, metric: str, at: dict[str, Any], color: Any
) -> Any:
    """One network at one noise level: measured points, and the theory or a line that joins them."""
    names = ("test_error", metric, "test_error_stderr", f"{metric}_stderr")
    error, value, dx, dy = (style.select(summary[name], at).values for name in names)
    noise = noise_dimension(summary)
    look: dict[str, Any] = {"color": color, "marker": "o", "markersize": 4, "capsize": 2}
    look |= {"label": f"{style.NOISE_LABELS[noise]} {at[noise]:g}", "linestyle": "-" if lines is None else "none"}
    points = axes.errorbar(error, value, np.nan_to_num(dy), np.nan_to_num(dx), **look)
    sizes = summary["n_train"].values
    if lines is not None:
        sizes = lines["n_train"].values
        curves = [curve_of(lines, name, at) for name in ("test_error", metric)]
        error, value = (np.full(sizes.size, np.nan) if curve is None else curve.values for curve in curves)
        axes.plot(error, value, color=color)
    _mark_sizes(axes, (error, value, sizes), color, METRICS[metric].larger_is_more_similar is True)
    return points


def _mark_sizes(axes: "Axes", path: tuple[Any, Any, Any], color: Any, larger_is_more_similar: bool) -> None:
    """Puts a star at the weakest alignment of a path, and names its sample size and the first and last of the path."""
    from matplotlib.patheffects import withStroke

    error, value, sizes = (np.asarray(part, float) for part in path)
    drawn = np.flatnonzero(np.isfinite(error) & np.isfinite(value))
    if not drawn.size:
        return
    weakest = drawn[np.argmax(value[drawn] * (-1.0 if larger_is_more_similar else 1.0))]
    look: dict[str, Any] = {"marker": "*", "markersize": 13, "color": color, "markeredgecolor": "white", "zorder": 5}
    axes.plot(error[weakest], value[weakest], **look)
    for i in dict.fromkeys((drawn[0], drawn[-1], weakest)):
        place: dict[str, Any] = {"xytext": (0, 0), "textcoords": "offset points", "zorder": 6}
        named = axes.annotate(f"n = {sizes[i]:g}", (error[i], value[i]), fontsize="small", color=color, **place)
        named.set_path_effects([withStroke(linewidth=2, foreground="white")])
        named.set_in_layout(False)


def _spread_names(figure: "Figure", panels: Iterable["Axes"]) -> None:
    """Moves names of sample sizes off each other and off the stars, and removes those for which there is no room."""
    figure.draw_without_rendering()
    for axes in panels:
        inside = axes.get_window_extent()
        taken = [line.get_window_extent() for line in axes.lines if line.get_marker() == "*"]
        for text in list(axes.texts):
            box = next((box for box in _places_of(text) if _is_free(box, inside, taken)), None)
            if box is None:
                text.remove()
            else:
                taken.append(box)


def _places_of(text: Any) -> Iterator[Any]:
    """The boxes of a name, with a margin, that is being moved around its point."""
    for distance, horizontal, vertical in itertools.product((6, 14), ("left", "right"), ("top", "bottom")):
        text.xyann = (distance if horizontal == "left" else -distance, -3 if vertical == "top" else 3)
        text.set(horizontalalignment=horizontal, verticalalignment=vertical)
        yield text.get_window_extent().padded(_MARGIN)


def _is_free(box: Any, inside: Any, taken: list[Any]) -> bool:
    contained = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
    return contained and not any(box.overlaps(other) for other in taken)
