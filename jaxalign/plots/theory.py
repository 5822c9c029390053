"""The theory that is drawn beside a measurement."""

import dataclasses
import functools
from typing import Any

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.plots.style import select
from jaxalign.sweep.config import SweepConfig
from jaxalign.sweep.finite_size import is_isotropic
from jaxalign.sweep.predict import MEASURES, check_predictable, in_closed_form, predict
from jaxalign.sweep.result import config_of, noise_dimension

# Of a curve in closed form, and of a sampled one, whose draws take a second or two in all.
_SIZES, _SAMPLED_SIZES = 120, 30
# Students of fewer samples than dimensions fluctuate more, and take less time.
_DRAWS, _DRAWS_BELOW = 48, 200
# Beyond, a draw takes long, and the limit of many dimensions is close.
_LARGEST_SAMPLED_DIM = 300


def theory_lines(dataset: xr.Dataset, theory: Any, name: str) -> xr.Dataset | None:
    """What a figure was given as theory of a variable, as a Dataset in the order of n_train; None for none."""
    if theory is None or theory is False:
        return None
    if theory is True:
        if name != "test_error":
            checks.choice("metric (with theory)", name, MEASURES)
        theory = _predicted(config_of(dataset))
    if not isinstance(theory, xr.Dataset):
        checks.reject("theory", "True, False, None or a Dataset that predict returned", theory)
    checks.choice("metric (with theory)", name, [str(variable) for variable in theory.data_vars])
    for dimension in ("network", noise_dimension(dataset)):
        known = theory[dimension].values.tolist() if dimension in theory else ()
        missing = set(dataset[dimension].values.tolist()) - set(known)
        if missing:
            checks.reject("theory", f"of the same {dimension} as dataset", f"a Dataset without {sorted(missing)}")
    return theory.sortby("n_train")


@functools.lru_cache(maxsize=4)
def _predicted(config: SweepConfig) -> xr.Dataset:
    """At the size of the sweep where that can be sampled, and at more sample sizes if they are cheap."""
    task = check_predictable(config).task
    if not in_closed_form(config):
        return predict(config)
    if is_isotropic(task) and task.dim <= _LARGEST_SAMPLED_DIM:
        return _sampled(_with_sizes_between(config, _SAMPLED_SIZES), task.dim)
    return predict(_with_sizes_between(config, _SIZES) if is_isotropic(task) else config)


def _sampled(config: SweepConfig, dim: int) -> xr.Dataset:
    below, others = [n for n in config.n_train if n < dim], [n for n in config.n_train if n >= dim]
    parts = [
        predict(dataclasses.replace(config, n_train=tuple(sizes)), draws=draws)
        for sizes, draws in ((below, _DRAWS_BELOW), (others, _DRAWS))
        if sizes
    ]
    return xr.concat(parts, "n_train", combine_attrs="override") if len(parts) > 1 else parts[0]


def _with_sizes_between(config: SweepConfig, count: int) -> SweepConfig:
    between = np.geomspace(min(config.n_train), max(config.n_train), max(0, count - len(config.n_train)))
    sizes = {*config.n_train, *between.round().astype(int).tolist()}
    return dataclasses.replace(config, n_train=tuple(sorted(sizes)))


def curve_of(lines: xr.Dataset | None, name: str | None, at: dict[str, Any]) -> xr.DataArray | None:
    """One variable along n_train, NaN where it is not finite; None where there is no theory of it."""
    if lines is None or name is None or name not in lines:
        return None
    curve = select(lines[name], at)
    finite = np.isfinite(curve)
    return curve.where(finite) if finite.any() else None
