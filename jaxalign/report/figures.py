"""The figures of a report, each with its caption and what it says to those who do not see it."""

import base64
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from jaxalign import tables
from jaxalign.plots import plot_alignment, plot_decoupling, plot_error, plot_heatmap, plot_matrix, plot_sweep
from jaxalign.report import words
from jaxalign.report.markup import Markup, element, image
from jaxalign.sweep.predict import MEASURES
from jaxalign.sweep.result import noise_dimension

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# A vector drawing of many cells takes more room than its pixels.
_MOST_BYTES_OF_SVG = 300_000
_DPI = 200
# The width from which on a figure scrolls on narrow screens instead of shrinking.
_WIDE_INCHES = 7.0


class Drawing(NamedTuple):
    """A figure with its words.

    Attributes:
      name: of the figure on the page, unique.
      title: the first words of the caption.
      caption: what is seen and how to read it.
      alt: what it shows, for those who do not see it.
      figure: a matplotlib Figure.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: "Figure"


def drawings(
    dataset: xr.Dataset, summary: xr.Dataset, lines: xr.Dataset | bool | None, found: list[tables.Findings]
) -> Iterator[Drawing]:
    """All figures that a sweep has.

    Args:
      dataset: what `run_sweep` returned.
      summary: what `summarize` made of it.
      lines: the theory to draw, as `plot_sweep` takes it.
      found: what `findings` told of it.
    """
    metrics = tables.directed_metrics(dataset)
    if not metrics:
        yield _error(dataset, lines, summary.attrs["standard_errors"])
        return
    main, *others = metrics
    covered = summary.attrs["standard_errors"]
    yield _sweep(dataset, main, _known(lines, main), covered)
    if dataset.sizes["network"] > 1:
        yield _between(dataset, main, _known(lines, main))
    yield _decoupling(dataset, main, _known(lines, main), found, covered)
    if dataset.sizes[noise_dimension(dataset)] >= 2 and dataset.sizes["n_train"] >= 3:
        for network in dataset["network"].values.tolist():
            yield _heat_maps(dataset, main, network)
    matrix = _matrices(dataset, summary, main, found[0])
    if matrix is not None:
        yield matrix
    for metric in others:
        yield _other_measure(dataset, metric, _known(lines, metric))


def shown(drawing: Drawing, number: int) -> Markup:
    """A figure of the page, its picture inside of the page."""
    is_wide = drawing.figure.get_figwidth() > _WIDE_INCHES
    picture = element("div", image(_data_uri(drawing.figure), drawing.alt), tabindex=0 if is_wide else None)
    caption = element("figcaption", element("b", f"Figure {number}. {drawing.title}."), f" {drawing.caption}")
    return element("figure", picture, caption, id=f"figure-{drawing.name}", class_="wide" if is_wide else None)


def _sweep(dataset: xr.Dataset, metric: str, lines: xr.Dataset | bool | None, covered: str) -> Drawing:
    name, direction = words.metric_name(metric), words.direction(metric)
    points = (
        "Points are measured, curves are theory where the legend says so"
        if lines is not None
        else "Lines join the measured points"
    )
    caption = (
        f"Left the test error, right the {name} between members ({direction}), against the number of training samples;"
        f" one colour for each noise level. {points}; bars are one standard error {covered}. Vertical lines, if any,"
        " mark the interpolation threshold, beyond which members no longer fit their noise, and bands the sizes between"
        " which it lies."
    )
    alt = f"Two panels against the number of training samples: the test error, and {name}, by noise level."
    figure = plot_sweep(dataset, lines, metric=metric)
    return Drawing(f"sweep-{metric}", f"Error and {name}", caption, alt, figure)


def _other_measure(dataset: xr.Dataset, metric: str, lines: xr.Dataset | bool | None) -> Drawing:
    name = words.metric_name(metric)
    caption = f"The same alignment by another measure ({words.direction(metric)}), drawn as in figure 1."
    alt = f"The {name} against the number of training samples, by noise level."
    figure = _figure_of(plot_alignment(dataset, lines, metric=metric))
    return Drawing(f"alignment-{metric}", name[0].upper() + name[1:], caption, alt, figure)


def _error(dataset: xr.Dataset, lines: xr.Dataset | bool | None, covered: str) -> Drawing:
    caption = (
        f"The test error against the number of training samples, with one standard error {covered}; one colour for each"
        " noise level. Vertical lines, if any, mark the interpolation threshold. The sweep has no measure of alignment."
    )
    alt = "The test error against the number of training samples, by noise level."
    return Drawing("error", "Error", caption, alt, _figure_of(plot_error(dataset, lines)))


def _between(dataset: xr.Dataset, metric: str, lines: xr.Dataset | bool | None) -> Drawing:
    name = words.metric_name(metric)
    caption = (
        f"The {name} ({words.direction(metric)}) between members of different networks, with hollow markers, beside"
        " that between members of one: how alike the representations of different architectures are."
    )
    alt = f"The {name} within and between networks, against the number of training samples, by noise level."
    figure = _figure_of(plot_alignment(dataset, lines, metric=metric, between=True))
    return Drawing("between", "Alignment between networks", caption, alt, figure)


def _decoupling(
    dataset: xr.Dataset,
    metric: str,
    lines: xr.Dataset | bool | None,
    found: list[tables.Findings],
    covered: str,
) -> Drawing:
    name, noise = words.metric_name(metric), noise_dimension(dataset)
    correlations = [
        f"{at.spearman_text()} ({f'{of.network}, ' if len(found) > 1 else ''}{words.level_name(noise, at.level)})"
        for of in found
        for at in of.levels
        if np.isfinite(at.spearman)
    ]
    caption = (
        f"Each curve is the path of a network in the plane of test error and {name} as its training set grows; the"
        " first and last sizes are named and a star marks the weakest alignment; bars are one standard error"
        f" {covered}. Were alignment a function of the error, all points would lie on one curve."
    )
    if correlations:
        of = words.NOISE_NAMES[noise]
        caption += f" Spearman's correlation along the paths, by {of}: {words.listed(correlations)}."
    alt = f"The {name} against the test error, one path for each noise level as the number of training samples grows."
    figure = plot_decoupling(dataset, lines, metric=metric)
    return Drawing("decoupling", "Alignment against error", caption, alt, figure)


def _heat_maps(dataset: xr.Dataset, metric: str, network: str) -> Drawing:
    from matplotlib.figure import Figure

    name = words.metric_name(metric)
    figure = Figure(figsize=(10.0, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot_heatmap(dataset, metric=metric, network=network, ax=left)
    plot_heatmap(dataset, metric="test_error", network=network, ax=right)
    caption = (
        f"The {name} ({words.direction(metric)}) and the test error of {network} over all noise levels and numbers of"
        " training samples. The line joins the interpolation thresholds, stars mark the weakest alignment; grey is"
        " where there is no value, or all members are identical."
    )
    alt = (
        f"Two heat maps over noise level and number of training samples, of {name} and of the test error of {network}."
    )
    number = dataset["network"].values.tolist().index(network)
    return Drawing(f"heatmap-{number}", f"Heat maps of {network}", caption, alt, figure)


def _matrices(dataset: xr.Dataset, summary: xr.Dataset, metric: str, found: tables.Findings) -> Drawing | None:
    """Those of the cell nearest the threshold, or of weakest alignment where there is none, and of one far from it."""
    noise = noise_dimension(dataset)
    whole = dataset[metric].isel(replicate=0).transpose(noise, "n_train", ...)
    usable = np.asarray(np.isfinite(whole.values).any((2, 3, 4, 5)))
    anchors = [
        (at.threshold if at.threshold > 0 else at.weakest, at.threshold > 0, i) for i, at in enumerate(found.levels)
    ]
    anchors = [anchor for anchor in anchors if np.isfinite(anchor[0]) and usable[anchor[2]].any()]
    if not anchors:
        return None
    # A level in the middle of those that have a threshold, or else of all.
    anchors = [anchor for anchor in anchors if anchor[1]] or anchors
    anchor, is_threshold, level = anchors[len(anchors) // 2]
    sizes = dataset["n_train"].values[usable[level]]
    distance = np.abs(np.log(sizes / anchor))
    near, far = int(sizes[distance.argmin()]), int(sizes[distance.argmax()])
    return _draw_matrices(
        dataset, metric, found.levels[level].level, [near] if near == far else [near, far], is_threshold
    )


def _draw_matrices(dataset: xr.Dataset, metric: str, level: float, sizes: list[int], is_threshold: bool) -> Drawing:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0 * len(sizes), 4.4), layout="constrained")
    for axes, n in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
        plot_matrix(dataset, metric=metric, noise=level, n_train=n, replicate=0, ax=axes)
    _share_colors([panel for axes in figure.axes for panel in axes.images])
    noise = noise_dimension(dataset)
    at = f"{words.NOISE_NAMES[noise]} {words.level_name(noise, level)}"
    place = "nearest the interpolation threshold" if is_threshold else "of weakest alignment"
    other = f", and at {sizes[1]:,}, the farthest from it" if len(sizes) > 1 else ""
    name = words.metric_name(metric)
    caption = (
        f"The {name} from the network of each row to that of each column ({words.direction(metric)}), at {at} and"
        f" {sizes[0]:,} training samples, {place}{other}. Members are put in the order in which they are alike; blocks"
        " are networks that resemble each other more than the rest. Colours mean the same in all panels."
    )
    alt = f"Matrices of {name} between all members, at {at} and n_train {words.listed([str(n) for n in sizes])}."
    return Drawing("matrix", "Alignment matrices", caption, alt, figure)


def _share_colors(mapped: list["AxesImage"]) -> None:
    """Gives all of them the range of colours of their values together."""
    lowest, highest = np.array([panel.get_clim() for panel in mapped], np.float64).T
    for panel in mapped:
        panel.set_clim(lowest.min(), highest.max())


def _known(lines: xr.Dataset | bool | None, metric: str) -> xr.Dataset | bool | None:
    """The theory, where it knows the measure."""
    if lines is True:
        return True if metric in MEASURES else None
    return lines if isinstance(lines, xr.Dataset) and metric in lines else None


def _figure_of(axes: "Axes") -> "Figure":
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def _data_uri(figure: "Figure") -> str:
    """A picture as an address that holds all of it: a vector drawing, unless its pixels take less room."""
    from matplotlib import rc_context

    # Letters as curves look the same everywhere, and fixed names make files of equal figures equal.
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "jaxalign"}):
        content, kind = _saved(figure, format="svg", dpi=_DPI, metadata={"Date": None}), "svg+xml"
    if len(content) > _MOST_BYTES_OF_SVG:
        pixels = _saved(figure, format="png", dpi=_DPI)
        if len(pixels) < len(content):
            content, kind = pixels, "png"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _saved(figure: "Figure", **options: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, **options)
    return file.getvalue()
