"""One cell of a stored sweep, and the representations that its store keeps of it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.sweep.result import noise_dimension
from jaxalign.sweep.storage.arrays import REPRESENTATION
from jaxalign.sweep.storage.store import Store
from jaxalign.sweep.summary import summarize
from jaxalign.sweep.threshold import weakest_alignment
from jaxalign.tables import directed_metrics


class Cell(NamedTuple):
    """A noise level, a number of training samples and the index of a replicate."""

    noise: float
    n_train: int
    replicate: int


def cell_of(
    dataset: xr.Dataset, noise: float | None = None, n_train: int | None = None, replicate: int | None = None
) -> Cell:
    """The cell that was asked for.

    Args:
      dataset: the result of a sweep.
      noise: the noise level; None for the middle one.
      n_train: the number of training samples; None for that of weakest alignment of the first network at this noise
        level, or the largest where alignment does not vary.
      replicate: the index of the replicate; None for the first.

    Raises:
      ValueError: if there is no such cell.
    """
    name = noise_dimension(dataset)
    levels = sorted(dataset[name].values.tolist())
    noise = float(levels[len(levels) // 2]) if noise is None else noise
    _check_is_in("noise", noise, levels)
    n_train = _weakest(dataset, {name: noise}) if n_train is None else n_train
    cell = Cell(noise, n_train, 0 if replicate is None else replicate)
    for axis in ("n_train", "replicate"):
        _check_is_in(axis, getattr(cell, axis), dataset[axis].values.tolist())
    return cell


def stored_representations(path: Path, dataset: xr.Dataset, cell: Cell) -> dict[str, np.ndarray]:
    """The representations in one cell, for each network those of all its members, (member, probe, unit).

    Args:
      path: of the store.
      dataset: what it holds.
      cell: one of its cells.

    Raises:
      ValueError: if the store keeps no representations, or if the cell holds fewer than two members yet.
      OSError: if the store cannot be read.
    """
    with Store.open_to_read(path) as store:
        if store.representation is None:
            raise ValueError(f"the store {path} keeps no representations; sweep with --save-representations True")
        found = store.read_cell(cell.replicate, cell.noise, cell.n_train, [REPRESENTATION])[REPRESENTATION]
    if found.shape[1] < 2:
        raise ValueError(f"{path} has not computed the cell of noise {cell.noise:g} and n_train {cell.n_train} yet")
    return {str(name): _narrowed(x) for name, x in zip(dataset["network"].values, found, strict=True)}


def _narrowed(representations: np.ndarray) -> np.ndarray:
    """Without the units of zeros by which narrower representations are widened to be stored with wider ones."""
    used = np.flatnonzero(representations.any((0, 1)))
    return representations[..., : used[-1] + 1 if used.size else 1]


def _weakest(dataset: xr.Dataset, at: dict) -> int:
    summary = summarize(dataset)
    for metric in directed_metrics(summary):
        n_train = float(weakest_alignment(summary, metric).isel(network=0).sel(at))
        if np.isfinite(n_train):
            return int(n_train)
    return int(dataset["n_train"].max())


def _check_is_in(name: str, value: float, stored: list) -> None:
    if value not in stored:
        checks.reject(name, f"one of {', '.join(f'{item:g}' for item in stored)}", value)
