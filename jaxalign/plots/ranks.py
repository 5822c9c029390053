"""The ranks behind a conditional copula entropy."""

import functools
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Array, Float32
from numpy.typing import ArrayLike

from jaxalign import checks
from jaxalign.alignment import inputs
from jaxalign.alignment.copula import bin_masses, log_bin_edges, log_bins
from jaxalign.alignment.neighbors import mean_rank
from jaxalign.alignment.ranks import pair_ranks
from jaxalign.alignment.uncertainty import draw_orders
from jaxalign.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The least and the greatest of 39 values enclose a further one with probability 38/40.
_SHUFFLES = 39


def plot_ranks(
    a: ArrayLike, b: ArrayLike, *, neighbors: int = 1, null: bool = True, ax: "Axes | None" = None
) -> "Axes":
    """Draws the distribution whose entropy is the conditional copula entropy from A to B.

    For every probe, c = r/(N - 1) is the rank r among the distances in B of its nearest neighbour in A. Its density is
    1 where B knows nothing of A, and piles up at c -> 0 where they are aligned. Bins are those of the estimator
    "log_bins"; the first one, of rank 1 alone, begins at half a rank here, as a logarithmic axis has no zero.

    Args:
      a: representation A, shape (N, D_a): one row per probe.
      b: representation B of the same probes, shape (N, D_b).
      neighbors: how many nearest neighbours in A are pooled, 1 to N - 2.
      null: whether to draw what shuffled rows of B give: a band from the least to the greatest density of each bin in
        39 shufflings, which holds that of one more with probability 0.95.
      ax: the axes to draw in; None for those of a new figure.

    Returns:
      The Axes; `.figure` of it is what a notebook shows. Its legend has the entropy and the information imbalance.

    Raises:
      ValueError: if an array is not real and two-dimensional with at least 3 rows or is not finite, the numbers of
        rows differ, `neighbors` is out of its range, or `ax` is neither None nor Axes.

    Reference:
      Umar & Laio 2026, arXiv:2605.26973.
    """
    style.check_axes(ax)
    checks.boolean("null", null)
    a, b, neighbors = inputs.pair(a, b, neighbors)
    for name, values in (("a", a), ("b", b)):
        if not np.isfinite(values).all():
            checks.reject(name, "finite", "an array with values that are not")
    n = a.shape[0]
    edges = log_bin_edges(n) / (n - 1)
    widths = np.diff(edges)
    masses, entropy, imbalance = _distribution(a, b, neighbors)

    axes = style.axes_of(ax, (6.0, 4.4))
    drawn = np.concatenate([[0.5 / (n - 1)], edges[1:]])
    density = np.asarray(masses, np.float64) / widths
    bottom = 0.5 * min(1.0, style.positive(density).min())
    if null:
        shuffled = [_distribution(a, b[order], neighbors) for order in draw_orders(_SHUFFLES, n, 0)]
        densities = np.array([found[0] for found in shuffled], np.float64) / widths
        low, high = densities.min(0), densities.max(0)
        mean = np.mean([found[1] for found in shuffled])
        label = f"shuffled rows: CCE {_number(mean)} nats (95% band of density)"
        band: dict[str, Any] = {"baseline": np.maximum(low, bottom), "fill": True, "linewidth": 0}
        axes.stairs(np.maximum(high, bottom), drawn, color="0.8", label=label, **band)
    axes.axhline(1.0, color="0.3", linestyle="--", linewidth=1, label="independent: density 1, CCE 0")
    label = f"A→B: CCE {_number(entropy)} nats, information imbalance {float(imbalance):.3f}"
    axes.stairs(density, drawn, color=style.category_color(0), linewidth=1.8, label=label)
    axes.set_ylim(bottom)
    axes.set_xlim(drawn[0], 1.0)
    style.use_log_y(axes)
    style.use_log_x(axes)
    of = "nearest neighbour in A" if neighbors == 1 else f"{neighbors} nearest neighbours in A"
    style.set_up_axes(axes, f"c = rank in B of the {of} / (N - 1)", "density p(c)")
    style.add_legend_above(axes)
    return axes


@functools.partial(jax.jit, static_argnames="neighbors")
def _distribution(
    a: Float32[Array, "n da"], b: Float32[Array, "n db"], neighbors: int
) -> tuple[Float32[Array, " bins"], Float32[Array, ""], Float32[Array, ""]]:
    """The share of ranks in each bin, the conditional copula entropy, and the information imbalance."""
    ranks, _ = pair_ranks(a, b, neighbors)
    return bin_masses(ranks, log_bin_edges(a.shape[0])), log_bins(ranks), mean_rank(ranks)


def _number(value: Any) -> str:
    return f"{float(value):.2f}".replace("-0.00", "0.00")
