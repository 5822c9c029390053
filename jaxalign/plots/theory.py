"""The theory that is drawn beside a measurement."""

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.plots.style import select
from jaxalign.sweep.predict import MEASURES, in_closed_form, predict
from jaxalign.sweep.result import config_of, noise_dimension

_SIZES_OF_A_CURVE = 120


def theory_lines(dataset: xr.Dataset, theory: Any, name: str) -> xr.Dataset | None:
    """What a figure was given as theory of a variable, as a Dataset in the order of n_train; None for none."""
    if theory is None or theory is False:
        return None
    if theory is True:
        if name != "test_error":
            checks.choice("metric (with theory)", name, MEASURES)
        config = config_of(dataset)
        if in_closed_form(config):
            between = np.geomspace(min(config.n_train), max(config.n_train), _SIZES_OF_A_CURVE).round().astype(int)
            config = dataclasses.replace(config, n_train=tuple(sorted({*between.tolist(), *config.n_train})))
        theory = predict(config)
    if not isinstance(theory, xr.Dataset):
        checks.reject("theory", "True, False, None or a Dataset that predict returned", theory)
    checks.choice("metric (with theory)", name, [str(variable) for variable in theory.data_vars])
    for dimension in ("network", noise_dimension(dataset)):
        known = theory[dimension].values.tolist() if dimension in theory else ()
        missing = set(dataset[dimension].values.tolist()) - set(known)
        if missing:
            checks.reject("theory", f"of the same {dimension} as dataset", f"a Dataset without {sorted(missing)}")
    return theory.sortby("n_train")


def curve_of(lines: xr.Dataset | None, name: str | None, at: dict[str, Any]) -> xr.DataArray | None:
    """One variable along n_train, NaN where it is not finite; None where there is no theory of it."""
    if lines is None or name is None or name not in lines:
        return None
    curve = select(lines[name], at)
    finite = np.isfinite(curve)
    return curve.where(finite) if finite.any() else None
