"""Of solved networks only the units that are not silent are compared, which changes no measure."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

from jaxalign import MLP, LinearNetwork, LinearTeacher, Ridge, SweepConfig, Training, run_sweep
from jaxalign.alignment import all_pairs
from jaxalign.sweep.representations import compared_units

CONFIG = SweepConfig(
    task=LinearTeacher(dim=8, outputs=2, strengths=(1.0, 0.5)),
    networks=(LinearNetwork(hidden=6), LinearNetwork(hidden=5, solver=Ridge(0.1))),
    noise=(2.0,),
    n_train=(5, 20),
    members=3,
    probes=60,
    training=Training(steps=20),
    metrics=("cce", "linear_cka", "procrustes", "cca"),
)


@pytest.mark.parametrize(
    ("networks", "layer", "units"),
    [
        (CONFIG.networks, "hidden", 2),
        (CONFIG.networks, "output", 2),
        ((LinearNetwork(hidden=1),), "hidden", 1),
        ((LinearNetwork(hidden=6, solver=None),), "hidden", 6),
        ((LinearNetwork(hidden=6), MLP(hidden=4)), "hidden", 4),
    ],
)
def test_units_that_are_compared(networks, layer, units):
    assert compared_units(dataclasses.replace(CONFIG, networks=networks, layer=layer)) == units


@pytest.mark.slow
def test_silent_units_change_no_measure(tmp_path):
    dataset = run_sweep(CONFIG, tmp_path / "s.zarr", progress=False, save_representations=True)
    representations = xr.open_zarr(tmp_path / "s.zarr", consolidated=False)["representation"]
    cell = representations.isel(replicate=0, snr=0, n_train=1).transpose("network", "member", "probe", "unit").values
    assert cell.shape[-1] == 6 and not cell[..., 2:].any() and cell[..., :2].any()
    whole = all_pairs(cell.reshape(-1, *cell.shape[2:]), CONFIG.metrics)
    for name in CONFIG.metrics:
        values = dataset[name].isel(replicate=0, snr=0, n_train=1)
        values = values.transpose("network_a", "member_a", "network_b", "member_b").values.reshape(6, 6)
        off = ~np.eye(6, dtype=bool)
        np.testing.assert_allclose(values[off], whole[name][off], rtol=1e-4, atol=1e-5)
