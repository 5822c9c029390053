"""The look that all figures share: colours, markers, labels, legends, and how notebooks show them."""

import ast
import io
import itertools
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.alignment.registry import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

X_AXES = {
    "n_train": "training samples",
    "n_parameters": "training samples / parameters",
    "alpha": "training samples / input dimensions",
}
NOISE_LABELS = {"snr": "SNR", "label_noise": "label noise"}
MARKERS = "osD^vPX<>ph"
LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
# Okabe & Ito, Color Universal Design; without its yellow, too pale on white, and with black last.
CATEGORIES = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000")
# Where a heat map has no value, and the diagonal of a matrix.
BLANK = "0.85"

# Of an axis that has room for labels at 1, 2 and 5.
_FEW_DECADES = 500.0
_MOST_COLUMNS = 4
_CHARACTERS_PER_INCH = 12.5
_ACTIVATIONS = {"relu": "ReLU", "gelu": "GELU"}


def new_figure(figsize: tuple[float, float]) -> "Figure":
    """A figure that notebooks show as the value of a cell, without pyplot and its global state."""
    from matplotlib.figure import Figure

    class InlineFigure(Figure):
        def _repr_png_(self) -> bytes:
            image = io.BytesIO()
            self.savefig(image, format="png", dpi=100)
            return image.getvalue()

    return InlineFigure(figsize=figsize, layout="constrained")


def check_axes(ax: Any) -> None:
    """Refuses what is neither None nor matplotlib Axes.

    Raises:
      ValueError: if it is not.
    """
    from matplotlib.axes import Axes

    if ax is not None and not isinstance(ax, Axes):
        checks.reject("ax", "None or matplotlib Axes", ax)


def axes_of(ax: "Axes | None", figsize: tuple[float, float]) -> "Axes":
    """The given axes, or those of a new figure."""
    return new_figure(figsize).subplots() if ax is None else ax


def level_colors(count: int) -> list:
    """Steps of one colour-blind safe map that stays readable in grey, without its palest end."""
    from matplotlib import colormaps

    return [colormaps["viridis"](0.85 * i / max(count - 1, 1)) for i in range(count)]


def category_color(number: int) -> str:
    """The colour of one of several things without an order."""
    return CATEGORIES[number % len(CATEGORIES)]


def color_map() -> Any:
    """The colours of heat maps, grey where there is no value."""
    from matplotlib import colormaps

    return colormaps["viridis"].with_extremes(bad=BLANK)


def network_labels(names: Sequence[str]) -> list[str]:
    """Short names that tell the networks of a sweep apart.

    A network is called by its kind, and several of one kind by the arguments in which they differ:
    "LinearNetwork(hidden=20, solver=MinNorm())" beside "MLP(hidden=20, activation='relu')" is "linear" beside
    "ReLU MLP". A name that is no call of a dataclass stays as it is.
    """
    calls = [_call_of(name) for name in names]
    kinds = [name if call is None else _kind(*call) for name, call in zip(names, calls, strict=True)]
    labels = []
    for kind, call in zip(kinds, calls, strict=True):
        alike = [c[1] for k, c in zip(kinds, calls, strict=True) if k == kind and c is not None]
        if call is None or len(alike) < 2:
            labels.append(kind)
            continue
        arguments = call[1]
        differing = [key for key in arguments if any(other.get(key) != arguments[key] for other in alike)]
        labels.append(f"{kind} ({', '.join(_argument(key, arguments[key]) for key in differing)})")
    return labels if len({*labels}) == len(labels) else list(names)


def _call_of(name: str) -> tuple[str, dict[str, str]] | None:
    """The type and the arguments of a network by the text of its dataclass, or None if it is no such text."""
    try:
        tree = ast.parse(name, mode="eval").body
    except SyntaxError:
        return None
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name) or tree.args:
        return None
    return tree.func.id, {word.arg: ast.unparse(word.value) for word in tree.keywords if word.arg is not None}


def _kind(type_name: str, arguments: dict[str, str]) -> str:
    if type_name == "LinearNetwork":
        return "linear"
    if type_name == "MLP":
        activation = arguments.pop("activation", "").strip("'\"")
        return f"{_ACTIVATIONS.get(activation, activation)} MLP".strip()
    return type_name


def _argument(key: str, value: str) -> str:
    """An argument as people would call it; a spectral filter needs no name of its own."""
    if key == "solver":
        return "trained" if value == "None" else value.removesuffix("()")
    return f"{key}={value}"


def shorten(labels: Sequence[str], longest: int) -> list[str]:
    """Labels without their end, start or middle if they are too long, as long as that tells them apart."""
    half = (longest - 1) // 2
    cuts = (
        lambda text: f"{text[: longest - 1]}…",
        lambda text: f"…{text[1 - longest :]}",
        lambda text: f"{text[:half]}…{text[-half:]}",
    )
    for cut in cuts:
        shortened = [text if len(text) <= longest else cut(text) for text in labels]
        if len({*shortened}) == len({*labels}):
            return shortened
    return list(labels)


def is_classification(dataset: xr.Dataset) -> bool:
    """Whether errors are shares of wrong answers."""
    return "train_accuracy" in dataset


def error_label(dataset: xr.Dataset, name: str = "test_error") -> str:
    """The label of the axis of an error."""
    if name == "train_error":
        return "1 - training accuracy" if is_classification(dataset) else "training error / teacher variance"
    return "1 - test accuracy" if is_classification(dataset) else "generalization error / teacher variance"


def metric_label(metric: str) -> str:
    """The label of the axis of a measure: its unit and which way it reads."""
    larger = METRICS[metric].larger_is_more_similar
    label = METRICS[metric].label
    return label if larger is None else f"{label}\n({'higher' if larger else 'lower'} = more aligned)"


def positive(values: np.ndarray) -> np.ndarray:
    """Those that a logarithmic axis can show, flat."""
    return values[np.isfinite(values) & (values > 0)]


def identical_levels(values: np.ndarray, metric: str, probes: int | None) -> np.ndarray:
    """Of the noise levels of (noise, n_train), at which a measure is that of identical members throughout.

    None, where all are so.
    """
    if probes is None:
        return np.zeros(len(values), bool)
    constant = np.asarray(np.isclose(values, METRICS[metric].identical(probes), atol=1e-3).all(1))
    return np.zeros(len(values), bool) if constant.all() else constant


def check_metric(dataset: xr.Dataset, metric: Any, *others: str) -> str:
    """Returns a measure that is in a result, or one of some other variables.

    Raises:
      ValueError: if it is neither.
    """
    return checks.choice("metric", metric, [name for name in (*others, *METRICS) if name in dataset])


def check_x(dataset: xr.Dataset, x: Any) -> str:
    """Returns the name of an axis of sample sizes that a sweep has.

    Raises:
      ValueError: if it has none of that name.
    """
    return checks.choice("x", x, [name for name in X_AXES if name in dataset.coords])


def unit_of(dataset: xr.Dataset, network: int, x: str) -> float:
    """By what n_train is divided on an axis."""
    if x == "n_parameters":
        return float(dataset["n_parameters"][network])
    return float(dataset["n_train"][0] / dataset["alpha"][0]) if x == "alpha" else 1.0


def select(variable: xr.DataArray, at: dict[str, Any]) -> xr.DataArray:
    """Its values at those of some coordinates that it has."""
    return variable.sel({name: value for name, value in at.items() if name in variable.dims})


def set_up_axes(ax: "Axes", x_label: str, y_label: str) -> None:
    """Labels and a faint grid."""
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    ax.grid(alpha=0.2)


def use_log_x(ax: "Axes") -> None:
    """A logarithmic axis with round values in plain digits, as many as its present limits have room for."""
    ax.set_xscale("log")
    _label_plainly(ax.xaxis, ax.get_xlim())


def use_log_y(ax: "Axes") -> None:
    """As `use_log_x`, for the other axis."""
    ax.set_yscale("log")
    _label_plainly(ax.yaxis, ax.get_ylim())


def _label_plainly(axis: Any, limits: tuple[float, float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    subs = (1.0, 2.0, 5.0) if max(limits) < _FEW_DECADES * min(limits) else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def add_legend(figure: "Figure", groups: Sequence[Sequence[Any]], sentences: Sequence[str]) -> None:
    """Below all axes, in a figure that grows by what is more than one row.

    Args:
      figure: the figure.
      groups: handles with labels; each group begins a column.
      sentences: what the figure shows, above the handles.
    """
    from matplotlib.lines import Line2D

    groups = [group for group in groups if group]
    characters = _CHARACTERS_PER_INCH * figure.get_figwidth()
    longest = max(len(str(handle.get_label())) for group in groups for handle in group)
    room = int(np.clip(characters // (longest + 8), len(groups), max(_MOST_COLUMNS, len(groups))))
    rows = next(r for r in itertools.count(1) if sum(-(-len(group) // r) for group in groups) <= room)
    blank = Line2D([], [], linestyle="none", label=" ")
    handles = [handle for group in groups for handle in (*group, *[blank] * (-len(group) % rows))]
    lines = _lines_of(sentences, int(characters))
    figure.set_figheight(figure.get_figheight() + 0.19 * (rows + len(lines) - 2))
    placed: dict[str, Any] = {"loc": "outside lower center", "ncols": len(handles) // rows, "frameon": False}
    figure.legend(handles=handles, title="\n".join(lines), fontsize="small", title_fontsize="small", **placed)


def _lines_of(sentences: Sequence[str], width: int) -> list[str]:
    """Lines that break between sentences where they can."""
    lines: list[str] = []
    for sentence in sentences:
        if lines and len(lines[-1]) + 1 + len(sentence) <= width:
            lines[-1] += f" {sentence}"
        else:
            lines += textwrap.wrap(sentence, width)
    return lines


def add_legend_above(
    ax: "Axes", *, title: str | None = None, columns: int = 1, handles: Sequence[Any] | None = None
) -> None:
    """Between the axes and the top of their figure, where it hides nothing of what they show."""
    if handles is None:
        handles = ax.get_legend_handles_labels()[0]
    if not handles:
        ax.set_title(title or "", fontsize="small", loc="left")
        return
    placed: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.01), "borderaxespad": 0.0}
    text: dict[str, Any] = {"title": title, "fontsize": "small", "title_fontsize": "small", "alignment": "left"}
    ax.legend(handles=handles, frameon=False, ncols=columns, **text, **placed)
