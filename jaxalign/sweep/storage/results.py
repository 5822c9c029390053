"""Results on disk: `save_sweep` and `load_sweep`."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import xarray as xr

from jaxalign.sweep.result import noise_dimension
from jaxalign.sweep.storage.arrays import DONE, MEMBER_AXES, quiet
from jaxalign.sweep.storage.lock import StoreLock
from jaxalign.sweep.storage.store import Store


def save_sweep(dataset: xr.Dataset, path: str | os.PathLike) -> None:
    """Writes the result of a sweep to a zarr store, cell by cell.

    A store that is there is written over or grows if its configuration is the same or a part of this one.

    Args:
      dataset: what `run_sweep` returned.
      path: a path, whose parent folders are made, or a URL that fsspec knows.

    Raises:
      ValueError: if `dataset` is no result of a sweep, or `path` exists and is a store of another configuration, of
        a larger one, or no store at all.
      OSError: if the store cannot be written, or another process writes it.

    Example:
      >>> import jaxalign
      >>> task, network = jaxalign.LinearTeacher(dim=10), jaxalign.LinearNetwork(hidden=5)
      >>> config = jaxalign.SweepConfig(task, (network,), noise=(5.0,), n_train=(3, 10, 40), members=4, probes=100)
      >>> ds = jaxalign.run_sweep(config, progress=False)
      >>> jaxalign.save_sweep(ds, "sweep.zarr")
      >>> jaxalign.load_sweep("sweep.zarr")["cce"].identical(ds["cce"])
      True
    """
    noise = noise_dimension(dataset)
    with StoreLock(path) as lock, Store.open(path, dataset) as store:
        if not store.grid.holds(store.grids[-1]) or store.representation is not None:
            raise ValueError(f"the store {path} holds more than dataset; name another store")
        grid = store.grid
        for replicate, level, n_train in np.ndindex(grid.replicates, len(grid.noise), len(grid.n_train)):
            cell = dataset.isel({"replicate": replicate, noise: level, "n_train": n_train})
            members = int(cell[DONE]) if DONE in cell else grid.members
            part = cell.isel({dim: slice(members) for dim in MEMBER_AXES if dim in cell.dims})
            lock.check()
            store.forget([(replicate, level, n_train)])
            store.write_cell(
                replicate,
                grid.noise[level],
                grid.n_train[n_train],
                {str(name): variable.values for name, variable in part.data_vars.items() if name != DONE},
                members,
            )
        store.update_attributes({name: value for name, value in dataset.attrs.items() if name != "config"})


def load_sweep(path: str | os.PathLike) -> xr.Dataset:
    """Reads the result of a sweep into memory, also while it is computed.

    Args:
      path: a path, or a URL that fsspec knows.

    Returns:
      The Dataset that `run_sweep` returns. If cells are not computed it is NaN there (False, 0), and has a variable
      `members_done` of dims (replicate, noise, n_train) that says how many members each cell holds.

    Raises:
      FileNotFoundError: if there is nothing at `path`.
      ValueError: if what is there is not a store that `save_sweep` or `run_sweep` wrote.
      OSError: if it cannot be read.

    Example:
      >>> import jaxalign
      >>> task, network = jaxalign.LinearTeacher(dim=10), jaxalign.LinearNetwork(hidden=5)
      >>> config = jaxalign.SweepConfig(task, (network,), noise=(5.0,), n_train=(3, 10, 40), members=4, probes=100)
      >>> ds = jaxalign.run_sweep(config, store="sweep.zarr", progress=False)
      >>> jaxalign.load_sweep("sweep.zarr").equals(ds)
      True
    """
    with Store.open_to_read(path) as store:
        return store.read()


def write_store(dataset: xr.Dataset, path: Path) -> None:
    """Writes a Dataset beside its place and moves it there when it is complete, replacing what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        written = Path(scratch) / "written"
        with quiet():
            dataset.to_zarr(written, mode="w", consolidated=False)
        if path.exists():
            os.replace(path, Path(scratch) / "replaced")
        os.replace(written, path)
        shutil.rmtree(Path(scratch) / "replaced", ignore_errors=True)
