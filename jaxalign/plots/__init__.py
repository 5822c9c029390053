"""Figures: of the result of a sweep, of an alignment, and of representations."""

from jaxalign.plots.decoupling import plot_decoupling
from jaxalign.plots.heatmap import plot_heatmap
from jaxalign.plots.matrix import plot_matrix
from jaxalign.plots.ranks import plot_ranks
from jaxalign.plots.spectrum import plot_spectrum
from jaxalign.plots.style import X_AXES
from jaxalign.plots.sweep import plot_alignment, plot_error, plot_sweep

__all__ = [
    "X_AXES",
    "plot_alignment",
    "plot_decoupling",
    "plot_error",
    "plot_heatmap",
    "plot_matrix",
    "plot_ranks",
    "plot_spectrum",
    "plot_sweep",
]
