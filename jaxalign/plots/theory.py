"""The theory that is drawn beside a measurement."""

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.sweep.predict import MEASURES, in_closed_form, predict
from jaxalign.sweep.result import config_of, noise_dimension

_SIZES_OF_A_CURVE = 120


def theory_lines(dataset: xr.Dataset, theory: Any, metric: str) -> xr.Dataset | None:
    """What `plot_sweep` was given as theory, as a Dataset in the order of n_train."""
    if theory is None or theory is False:
        return None
    if theory is True:
        checks.choice("metric (with theory)", metric, MEASURES)
        config = config_of(dataset)
        if in_closed_form(config):
            between = np.geomspace(min(config.n_train), max(config.n_train), _SIZES_OF_A_CURVE).round().astype(int)
            config = dataclasses.replace(config, n_train=tuple(sorted({*between.tolist(), *config.n_train})))
        theory = predict(config)
    if not isinstance(theory, xr.Dataset):
        checks.reject("theory", "True, False, None or a Dataset that predict returned", theory)
    checks.choice("metric (with theory)", metric, [str(name) for name in theory.data_vars])
    for name in ("network", noise_dimension(dataset)):
        missing = set(dataset[name].values.tolist()) - set(theory[name].values.tolist() if name in theory else ())
        if missing:
            checks.reject("theory", f"of the same {name} as dataset", f"a Dataset without {sorted(missing)}")
    return theory.sortby("n_train")


def curve_of(lines: xr.Dataset, name: str, level: dict[str, Any], network: str) -> xr.DataArray:
    """One variable of one network at one noise level."""
    at = {"network": network} if "network" in lines[name].dims else {"network_a": network, "network_b": network}
    return lines[name].sel({**level, **at})
