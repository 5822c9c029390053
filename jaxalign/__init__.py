"""jaxalign: when do networks trained on noisy data end up with the same representation?

ds = jaxalign.run_sweep("quickstart")   # trains the ensembles, compares all pairs of members
jaxalign.plan(config)                   # what a sweep would do, its memory and time
jaxalign.summarize(ds)                  # means with standard errors
jaxalign.plot_sweep(ds)                 # error and alignment against the sample size
jaxalign.predict(config)                # the theory of solved linear networks, on the same grid
jaxalign.compare(ds)                    # how far the measurement is from it, in standard errors
jaxalign.align(representations)         # every measure, all pairs, of networks trained anywhere
jaxalign.selfcheck()                    # reference cases on this device
"""

from jaxalign import alignment, theory
from jaxalign._version import __version__
from jaxalign.alignment import align
from jaxalign.ensemble import Training
from jaxalign.networks import CNN, MLP, LinearNetwork
from jaxalign.plots import plot_sweep
from jaxalign.selfcheck import selfcheck
from jaxalign.sweep import (
    SweepConfig,
    compare,
    interpolation_threshold,
    load_parameters,
    load_sweep,
    plan,
    predict,
    presets,
    run_sweep,
    save_sweep,
    summarize,
)
from jaxalign.tasks import ImageTask, LinearTeacher, PowerLaw
from jaxalign.theory import GradientDescent, GradientFlow, MinNorm, Ridge, TunedRidge

__all__ = [
    "CNN",
    "MLP",
    "GradientDescent",
    "GradientFlow",
    "ImageTask",
    "LinearNetwork",
    "LinearTeacher",
    "MinNorm",
    "PowerLaw",
    "Ridge",
    "SweepConfig",
    "Training",
    "TunedRidge",
    "__version__",
    "align",
    "alignment",
    "compare",
    "interpolation_threshold",
    "load_parameters",
    "load_sweep",
    "plan",
    "plot_sweep",
    "predict",
    "presets",
    "run_sweep",
    "save_sweep",
    "selfcheck",
    "summarize",
    "theory",
]
