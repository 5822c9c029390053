"""jaxalign: when do networks trained on noisy data end up with the same representation?

ds = jaxalign.run_sweep("quickstart")   # trains the ensembles, compares all pairs of members
jaxalign.plan(config)                   # what a sweep would do, its memory and time
jaxalign.summarize(ds)                  # means with standard errors
jaxalign.plot_sweep(ds)                 # error and alignment against the sample size
jaxalign.predict(config)                # the theory of solved linear networks, on the same grid
jaxalign.compare(ds)                    # how far the measurement is from it, in standard errors
jaxalign.write_report(ds, path)         # all of it as one HTML file
jaxalign.align(representations)         # every measure, all pairs, of networks trained anywhere
jaxalign.selfcheck()                    # reference cases on this device
"""

import importlib
from typing import TYPE_CHECKING

from jaxalign._version import __version__

# Its module has the same name, so only an import that comes first makes the name that of the function.
from jaxalign.selfcheck import selfcheck

if TYPE_CHECKING:
    from jaxalign import alignment, ensemble, networks, plots, report, sweep, tasks, theory
    from jaxalign.alignment import align
    from jaxalign.ensemble import Training
    from jaxalign.networks import CNN, MLP, FlaxNetwork, LinearNetwork
    from jaxalign.plots import plot_sweep
    from jaxalign.report import write_report
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
else:
    # What is above for type checkers, imported when it is first used: JAX and what builds on it take seconds to load.
    _ROOMS = {
        "alignment": ["align"],
        "ensemble": ["Training"],
        "networks": ["CNN", "MLP", "FlaxNetwork", "LinearNetwork"],
        "plots": ["plot_sweep"],
        "report": ["write_report"],
        "sweep": [
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
        ],
        "tasks": ["ImageTask", "LinearTeacher", "PowerLaw"],
        "theory": ["GradientDescent", "GradientFlow", "MinNorm", "Ridge", "TunedRidge"],
    }
    _ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

    def __getattr__(name: str) -> object:
        """Imports a room of the package, or a public name from its room, when it is first used."""
        if name in _ROOMS:
            return importlib.import_module(f"jaxalign.{name}")
        if name in _ROOM_OF:
            value = getattr(importlib.import_module(f"jaxalign.{_ROOM_OF[name]}"), name)
            globals()[name] = value
            return value
        raise AttributeError(f"module 'jaxalign' has no attribute {name!r}")

    def __dir__() -> list[str]:
        """All names, whether or not they were used before."""
        return sorted({*globals(), *_ROOMS, *_ROOM_OF})


__all__ = [
    "CNN",
    "MLP",
    "FlaxNetwork",
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
    "write_report",
]
