"""Figures from the result of a sweep."""

from jaxalign.plots.decoupling import plot_decoupling
from jaxalign.plots.sweep import X_AXES, plot_sweep

__all__ = ["X_AXES", "plot_decoupling", "plot_sweep"]
