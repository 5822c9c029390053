"""The eigenvalues of representations."""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxalign import checks
from jaxalign.alignment import inputs
from jaxalign.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Relative to the largest eigenvalue; what is smaller in float32 is rounding.
_SMALLEST = 1e-12
_MARKED_EIGENVALUES = 12
# In characters of a legend, beside the participation ratio of one representation or of an ensemble.
_LONGEST_NAME = 36
_LONGEST_NAME_OF_ENSEMBLE = 24
_HALF_OF_THE_WIDTH = 34


class _Group(NamedTuple):
    """A representation, or the members of an ensemble, and its name."""

    name: str
    spectra: list[Float[np.ndarray, " units"]]


def plot_spectrum(representations: Any, *, names: Sequence[str] | None = None, ax: "Axes | None" = None) -> "Axes":
    """Draws the eigenvalues of the covariance of representations over probes, in descending order and of sum 1.

    The legend gives the participation ratio (sum_i l_i)^2 / sum_i l_i^2, a number of dimensions: 1 if all variance is
    along one direction, D if it is the same along D.

    Args:
      representations: a real array of shape (N, D); or (K, N, D), the members of one ensemble, which are thin lines of
        one colour with the mean and standard deviation of their participation ratios; or a sequence or a dict from
        names of such arrays.
      names: of the representations, or of the ensembles; by default the keys of a dict, those that are networks of a
        sweep as short as in its other figures, or "0", "1", ... For an array (K, N, D), K names tell its members apart.
      ax: the axes to draw in; None for those of a new figure.

    Returns:
      The Axes; `.figure` of it is what a notebook shows.

    Raises:
      ValueError: if the representations are no such arrays, are not finite, or are constant over probes; if the number
        of names is another; or if `ax` is neither None nor Axes.
    """
    style.check_axes(ax)
    groups = _groups(representations, names)
    axes = style.axes_of(ax, (6.0, 4.4))
    for i, group in enumerate(groups):
        look: dict[str, Any] = {"color": style.category_color(i), "linestyle": style.LINES[i % len(style.LINES)]}
        several = len(group.spectra) > 1
        look |= {"linewidth": 0.8, "alpha": 0.6} if several else {"linewidth": 1.5}
        marker: dict[str, Any] = {"marker": style.MARKERS[i % len(style.MARKERS)], "markersize": 4}
        for k, spectrum in enumerate(group.spectra):
            kept = spectrum[spectrum > _SMALLEST * spectrum[0]]
            # A single one is 1 exactly; an axis of rounding errors would have no labels.
            kept = kept / kept.sum()
            # A line through one point is not to be seen.
            marked = {} if several and kept.size > 1 else {**marker, "markevery": _few(kept.size)}
            axes.plot(np.arange(1, kept.size + 1), kept, label=_label(group) if k == 0 else None, **look, **marked)
    axes.set_yscale("log")
    style.set_up_axes(axes, "index of the eigenvalue", "eigenvalue of the covariance / sum")
    style.use_log_x(axes)
    handles = [copy.copy(line) for line in axes.get_legend_handles_labels()[0]]
    for handle in handles:
        handle.set(linewidth=1.5, alpha=1.0)
    columns = (
        2 if len(groups) > 4 and max(len(str(handle.get_label())) for handle in handles) < _HALF_OF_THE_WIDTH else 1
    )
    if ax is None:
        figure: Any = axes.figure
        figure.set_figheight(figure.get_figheight() + 0.19 * max(-(-len(groups) // columns) - 3, 0))
    style.add_legend_above(axes, columns=columns, handles=handles)
    return axes


def _label(group: _Group) -> str:
    ratios = [1 / np.sum(spectrum**2) for spectrum in group.spectra]
    label = f"{group.name}: " if group.name else ""
    if len(ratios) == 1:
        return f"{label}participation ratio {ratios[0]:.3g}"
    # What is smaller is the rounding of float32, as between members of rank one.
    deviation = np.round(np.std(ratios, ddof=1), 6)
    return f"{label}participation ratio {np.mean(ratios):.3g} ± {deviation:.2g} ({len(ratios)} members)"


def _few(count: int) -> list[int]:
    """Positions of markers, about evenly on a logarithmic axis."""
    return sorted({int(i) - 1 for i in np.geomspace(1, count, _MARKED_EIGENVALUES).round()})


def _groups(representations: Any, names: Any) -> list[_Group]:
    if isinstance(representations, Mapping):
        names = style.network_labels([str(name) for name in representations]) if names is None else names
        items = list(representations.values())
    elif isinstance(representations, (list, tuple)):
        items = list(representations)
    else:
        ndim = np.ndim(representations)
        split = ndim == 3 and names is not None and len(names) == len(representations)
        items = list(representations) if split else [representations]
        names = [""] if names is None else names
    if not items:
        checks.reject("representations", "at least one array", representations)
    if names is None:
        names = [str(i) for i in range(len(items))]
    names = checks.sequence("names", names, "names, one for each representation")
    if len(names) != len(items) or not all(isinstance(name, str) for name in names):
        checks.reject("names", f"{len(items)} strings, one for each representation", names)
    single = len(items) == 1
    spectra = [_spectra("representations" if single else f"representations[{i}]", x) for i, x in enumerate(items)]
    longest = _LONGEST_NAME if max(map(len, spectra)) == 1 else _LONGEST_NAME_OF_ENSEMBLE
    return [_Group(name, own) for name, own in zip(style.shorten(names, longest), spectra, strict=True)]


def _spectra(argument: str, values: Any) -> list[np.ndarray]:
    allowed = f"a real array of shape (N, D) or (K, N, D) with N >= {inputs.MIN_PROBES}, D >= 1 and K >= 1"
    ndim = 3 if getattr(values, "ndim", 2) == 3 else 2
    array = np.asarray(inputs.single_precision(inputs.checked_array(argument, values, ndim, allowed)), np.float64)
    if not np.isfinite(array).all():
        checks.reject(argument, "finite", "an array with values that are not")
    spectra = []
    for member in array if ndim == 3 else array[None]:
        # The largest entry is divided out first: squares of float32 values may lie outside of their range.
        centred = member - member.mean(0)
        largest = np.abs(centred).max()
        if largest <= np.finfo(np.float32).eps * np.abs(member).max():
            checks.reject(argument, "variable over probes", "one that is constant, which has no spectrum")
        eigenvalues = np.linalg.svd(centred / largest, compute_uv=False) ** 2
        spectra.append(eigenvalues / eigenvalues.sum())
    return spectra
