"""The alignment of all pairs."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.alignment.registry import METRICS
from jaxalign.plots import style
from jaxalign.sweep.result import noise_dimension

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_TICKS = 24
_LONGEST_TICK = 28
_MOST_CHARACTERS = 36


class _Pairs(NamedTuple):
    """All pairs of K representations.

    Attributes:
      values: the measure from row to column, shape (K, K).
      labels: of the K.
      networks: the labels of their networks.
      owner: the index of the network of each of the K.
      title: which cell it is.
    """

    values: np.ndarray
    labels: list[str]
    networks: list[str]
    owner: np.ndarray
    title: str


def plot_matrix(
    dataset: xr.Dataset,
    *,
    metric: str = "cce",
    noise: float | None = None,
    n_train: int | None = None,
    replicate: int = 0,
    cluster: bool = True,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws the alignment of all pairs: of the members of all networks in one cell of a sweep, or of `align`.

    Rows are A and columns B of the measure A->B. The diagonal, each with itself, is grey, as is what is not finite,
    and does not count for the range of the colours.

    Args:
      dataset: what `run_sweep` or `align` returned.
      metric: the measure of alignment.
      noise: the noise level of the cell; None if the sweep has only one, and for an alignment.
      n_train: the number of training samples of the cell; None likewise.
      replicate: the index of the replicate of the cell.
      cluster: whether to order rows and columns by average linkage of the measure, symmetrized by the mean of both
        directions, with optimal leaf ordering; those that are not finite come last. False leaves the given order and
        draws lines between the networks of a sweep. A measure without a direction is not clustered.
      ax: the axes to draw in; None for those of a new figure.

    Returns:
      The Axes; `.figure` of it is what a notebook shows.

    Raises:
      ValueError: if `dataset` is neither, or holds no such measure; if there is no such cell, naming those there are;
        or if `ax` is neither None nor Axes.
    """
    style.check_axes(ax)
    checks.boolean("cluster", cluster)
    pairs = _pairs(dataset, metric, noise, n_train, replicate)
    shown = np.where(np.eye(len(pairs.values), dtype=bool), np.nan, pairs.values)
    order = _leaves(shown, METRICS[metric].larger_is_more_similar) if cluster else np.arange(len(shown))

    axes = style.axes_of(ax, (5.8, 4.8))
    colors = style.color_map()
    image = axes.imshow(shown[np.ix_(order, order)], cmap=colors, interpolation="nearest")
    bar = axes.figure.colorbar(image, ax=axes)
    bar.set_label(style.metric_label(metric))
    axes.set_ylabel("A")
    axes.set_xlabel("B" if METRICS[metric].symmetric else "B  (colour: from A to B)")
    axes.set_title(pairs.title, fontsize="medium")
    ends = np.flatnonzero(np.diff(pairs.owner[order])) + 1 if not cluster else np.array([], int)
    for end in ends:
        for line in (axes.axhline, axes.axvline):
            line(end - 0.5, color="white", linewidth=2)
    _label_ticks(axes, pairs, order, in_blocks=not cluster)
    return axes


def _pairs(dataset: Any, metric: str, noise: Any, n_train: Any, replicate: Any) -> _Pairs:
    if isinstance(dataset, xr.Dataset) and any(
        name in dataset and dataset[name].dims == ("network_a", "network_b") for name in METRICS
    ):
        style.check_metric(dataset, metric)
        for name, value in (("noise", noise), ("n_train", n_train)):
            if value is not None:
                checks.reject(name, "None for a result of align, which has no cells", value)
        if replicate != 0:
            checks.reject("replicate", "0 for a result of align, which has no cells", replicate)
        names = [str(name) for name in dataset["network_a"].values]
        values = dataset[metric].transpose("network_a", "network_b").values
        return _Pairs(values, names, names, np.arange(len(names)), "")
    level_name = noise_dimension(dataset)
    style.check_metric(dataset, metric)
    level = _position("noise", noise, dataset[level_name].values, np.isclose)
    size = _position("n_train", n_train, dataset["n_train"].values, np.equal)
    checks.integer("replicate", replicate, 0, dataset.sizes["replicate"] - 1)
    cell = dataset[metric].isel({level_name: level, "n_train": size, "replicate": replicate})
    networks = style.network_labels([str(name) for name in dataset["network"].values])
    k = len(networks) * dataset.sizes["member"]
    values = cell.transpose("network_a", "member_a", "network_b", "member_b").values.reshape(k, k)
    members = dataset["member"].values.tolist()
    labels = [f"{network} {i}" if len(networks) > 1 else str(i) for network in networks for i in members]
    title = f"{style.NOISE_LABELS[level_name]} {dataset[level_name].values[level]:g}"
    title += f", {dataset['n_train'].values[size]} training samples"
    return _Pairs(values, labels, networks, np.repeat(np.arange(len(networks)), len(members)), title)


def _position(name: str, value: Any, values: np.ndarray, equal: Any) -> int:
    """The index of a level of the sweep, which may be left out where there is only one."""
    if value is None and len(values) == 1:
        return 0
    allowed = f"one of {', '.join(f'{v:g}' for v in values)}"
    if value is None:
        checks.reject(name, allowed, value)
    found = np.flatnonzero(equal(values, checks.real(name, value, finite=False)))
    if not found.size:
        checks.reject(name, allowed, value)
    return int(found[0])


def _leaves(values: np.ndarray, larger_is_more_similar: bool | None) -> np.ndarray:
    """The order in which alike rows are neighbours; rows without finite values come last."""
    distance = (values + values.T) / 2 * (-1.0 if larger_is_more_similar else 1.0)
    others = ~np.eye(len(values), dtype=bool)
    known = np.flatnonzero((np.isfinite(distance) & others).any(1))
    block = distance[np.ix_(known, known)]
    off_diagonal = ~np.eye(len(known), dtype=bool)
    if larger_is_more_similar is None or len(known) < 3 or not np.isfinite(block[off_diagonal]).all():
        return np.arange(len(values))
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    # Average linkage does not depend on a constant that is added to all distances.
    shifted = np.where(off_diagonal, block - block[off_diagonal].min(), 0.0)
    tree = linkage(squareform(shifted, checks=False), "average", optimal_ordering=True)
    return np.concatenate([known[leaves_list(tree)], np.setdiff1d(np.arange(len(values)), known)])


def _label_ticks(axes: "Axes", pairs: _Pairs, order: np.ndarray, in_blocks: bool) -> None:
    """Names of all where they are few, else of the networks: at their blocks, or as colours beside the rows."""
    k, several = len(order), 1 < len(pairs.networks) < len(pairs.labels)
    positions, labels = np.arange(k, dtype=float), [pairs.labels[i] for i in order]
    if several and in_blocks:
        positions = np.array([np.flatnonzero(pairs.owner == i).mean() for i in range(len(pairs.networks))])
        labels = pairs.networks
    elif k > _MOST_TICKS:
        positions, labels = np.array([]), []
        if several:
            _mark_networks(axes, pairs, order)
    labels = style.shorten(labels, _LONGEST_TICK)
    upright = sum(map(len, labels)) > _MOST_CHARACTERS
    axes.set_xticks(positions, labels, rotation=90 if upright else 0, fontsize="small")
    axes.set_yticks(positions, labels, fontsize="small")


def _mark_networks(axes: "Axes", pairs: _Pairs, order: np.ndarray) -> None:
    """A strip along the rows in the colour of each network."""
    from matplotlib.patches import Patch, Rectangle

    place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "clip_on": False, "linewidth": 0}
    for row, owner in enumerate(pairs.owner[order]):
        axes.add_patch(Rectangle((-0.03, row - 0.5), 0.025, 1, facecolor=style.category_color(owner), **place))
    axes.yaxis.labelpad = 14
    handles = [Patch(facecolor=style.category_color(i), label=name) for i, name in enumerate(pairs.networks)]
    style.add_legend_above(axes, title=pairs.title, handles=handles, columns=min(3, len(handles)))
    axes.set_title("")
