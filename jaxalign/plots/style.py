"""The look that all figures share: colours, markers, labels, legends, and how notebooks show them."""

import io
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from jaxalign.alignment.registry import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOISE_LABELS = {"snr": "SNR", "label_noise": "label noise"}
MARKERS = "osD^v"
LINES = ("-", "--", ":", "-.")


def new_figure(figsize: tuple[float, float]) -> "Figure":
    """A figure that notebooks show as the value of a cell, without pyplot and its global state."""
    from matplotlib.figure import Figure

    class InlineFigure(Figure):
        def _repr_png_(self) -> bytes:
            image = io.BytesIO()
            self.savefig(image, format="png", dpi=100)
            return image.getvalue()

    return InlineFigure(figsize=figsize, layout="constrained")


def add_legend(figure: "Figure", axes: "Axes", title: str) -> None:
    """Below the axes, with as many columns as the figure is wide for, and room of its own for more than one row."""
    handles, labels = axes.get_legend_handles_labels()
    characters = 13.5 * figure.get_figwidth()
    columns = int(np.clip(characters // (max(len(label) for label in labels) + 8), 1, min(len(labels), 4)))
    figure.set_figheight(figure.get_figheight() + 0.19 * ((len(labels) - 1) // columns))
    placed = {"loc": "outside lower center", "ncols": columns, "frameon": False}
    figure.legend(handles, labels, title=title, fontsize="small", **placed)


def level_colors(count: int) -> list:
    """Steps of one colour-blind safe map that stays readable in grey, without its palest end."""
    from matplotlib import colormaps

    return [colormaps["viridis"](0.85 * i / max(count - 1, 1)) for i in range(count)]


def is_classification(dataset: xr.Dataset) -> bool:
    """Whether errors are shares of wrong answers."""
    return "train_accuracy" in dataset


def error_label(dataset: xr.Dataset) -> str:
    """The label of the axis of the test error."""
    return "1 - test accuracy" if is_classification(dataset) else "generalization error / teacher variance"


def positive(values: np.ndarray) -> np.ndarray:
    """Those that a logarithmic axis can show, flat."""
    return values[np.isfinite(values) & (values > 0)]


def direction(metric: str) -> str:
    """Which way a measure reads, for the label of its axis."""
    larger = METRICS[metric].larger_is_more_similar
    return "" if larger is None else f"({'higher' if larger else 'lower'} = more aligned)"


def label_plainly(axes: "Axes") -> None:
    """Labels round values of the logarithmic axis in plain digits."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
