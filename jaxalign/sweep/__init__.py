"""The main job: a configuration, the cells it stands for, their training and comparison, and the store."""

from jaxalign.sweep.compare import compare
from jaxalign.sweep.config import SweepConfig
from jaxalign.sweep.plan import plan
from jaxalign.sweep.predict import predict
from jaxalign.sweep.presets import presets
from jaxalign.sweep.run import run_sweep
from jaxalign.sweep.storage.parameters import load_parameters
from jaxalign.sweep.storage.results import load_sweep, save_sweep
from jaxalign.sweep.summary import interpolation_threshold, summarize

__all__ = [
    "SweepConfig",
    "compare",
    "interpolation_threshold",
    "load_parameters",
    "load_sweep",
    "plan",
    "predict",
    "presets",
    "run_sweep",
    "save_sweep",
    "summarize",
]
