"""Figures from the result of a sweep."""

from jaxalign.plots.decoupling import plot_decoupling
from jaxalign.plots.style import X_AXES
from jaxalign.plots.sweep import plot_alignment, plot_error, plot_sweep

__all__ = ["X_AXES", "plot_alignment", "plot_decoupling", "plot_error", "plot_sweep"]
