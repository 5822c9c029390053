"""Results on disk: one zarr store per sweep, which appears whole or not at all."""

import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path

import xarray as xr

from jaxalign.sweep.config import SweepConfig, to_json
from jaxalign.sweep.result import noise_dimension


def save_sweep(dataset: xr.Dataset, path: str | os.PathLike) -> None:
    """Writes the result of a sweep to a zarr store.

    The store is written beside its place and moved there when it is complete; an existing store is replaced only if
    it holds the same configuration.

    Args:
      dataset: what `run_sweep` returned.
      path: where to; parent folders are made.

    Raises:
      ValueError: if `dataset` is no result of a sweep, or `path` exists and is not a store of this configuration.
    """
    noise_dimension(dataset)
    path = Path(path)
    _refuse_other(path, dataset.attrs["config"])
    write_store(dataset, path)


def write_store(dataset: xr.Dataset, path: Path) -> None:
    """Writes a Dataset beside its place and moves it there when it is complete, replacing what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        written = Path(scratch) / "written"
        with warnings.catch_warnings():
            # Text coordinates have no final specification in zarr format 3 yet; what is written here is read here.
            warnings.filterwarnings("ignore", message=".*(Zarr V3|Zarr format 3).*")
            dataset.to_zarr(written, mode="w", consolidated=False)
        if path.exists():
            os.replace(path, Path(scratch) / "replaced")
        os.replace(written, path)
        shutil.rmtree(Path(scratch) / "replaced", ignore_errors=True)


def load_sweep(path: str | os.PathLike) -> xr.Dataset:
    """Reads the result of a sweep into memory.

    Raises:
      FileNotFoundError: if there is nothing at `path`.
      ValueError: if what is there is not a store that `save_sweep` or `run_sweep` wrote.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no store at {path}")
    if not (path / "zarr.json").is_file():
        raise ValueError(f"{path} must be a zarr store written by jaxalign, got a {_kind(path)}")
    with xr.open_zarr(path, consolidated=False) as opened:
        dataset = opened.load()
    if "config" not in dataset.attrs:
        raise ValueError(f"{path} must be a zarr store written by jaxalign, got one without a configuration")
    return dataset


def load_same(path: Path, config: SweepConfig) -> xr.Dataset | None:
    """The result kept at `path`, None if there is nothing.

    Raises:
      ValueError: if what is there is not the result of `config`; the message names what differs.
    """
    if not path.exists():
        return None
    _refuse_other(path, to_json(config))
    return load_sweep(path)


def _refuse_other(path: Path, config: str) -> None:
    if not path.exists():
        return
    kept, wanted = json.loads(load_sweep(path).attrs["config"]), json.loads(config)
    if kept != wanted:
        differences = "; ".join(
            f"{name}: {json.dumps(kept.get(name))} there, {json.dumps(wanted.get(name))} asked for"
            for name in sorted({*kept, *wanted})
            if kept.get(name) != wanted.get(name)
        )
        raise ValueError(f"the store {path} holds another configuration ({differences}); name another store")


def _kind(path: Path) -> str:
    return "folder" if path.is_dir() else "file"
