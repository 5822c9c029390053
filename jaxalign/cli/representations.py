"""The representations that the store of a sweep keeps, for the figures of a single cell."""

from pathlib import Path

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.sweep.result import noise_dimension
from jaxalign.sweep.storage.arrays import REPRESENTATION
from jaxalign.sweep.storage.store import Store
from jaxalign.sweep.summary import summarize
from jaxalign.sweep.threshold import weakest_alignment
from jaxalign.tables import directed_metrics


def stored_representations(
    path: Path,
    dataset: xr.Dataset,
    *,
    network: str | None = None,
    noise: float | None = None,
    n_train: int | None = None,
    replicate: int = 0,
) -> np.ndarray:
    """The representations of all members of a network in one cell, (member, probe, unit).

    Args:
      path: of the store.
      dataset: what it holds.
      network: the name of the network; None for the first.
      noise: the noise level; None for the middle one.
      n_train: the number of training samples; None for that of weakest alignment at this noise level, or the largest
        where alignment does not vary.
      replicate: the index of the replicate.

    Raises:
      ValueError: if the store keeps no representations, has no such network or cell, or if the cell holds fewer than
        two members yet.
      OSError: if the store cannot be read.
    """
    level_name = noise_dimension(dataset)
    networks = [str(name) for name in dataset["network"].values]
    network = checks.choice("network", networks[0] if network is None else network, networks)
    levels = sorted(dataset[level_name].values.tolist())
    level = levels[len(levels) // 2] if noise is None else noise
    _among("noise", level, levels)
    with Store.open_to_read(path) as store:
        if store.representation is None:
            raise ValueError(f"the store {path} keeps no representations; sweep with --save-representations True")
        if n_train is None:
            n_train = _weakest(dataset, {"network": network, level_name: level})
        _among("n_train", n_train, dataset["n_train"].values.tolist())
        _among("replicate", replicate, dataset["replicate"].values.tolist())
        found = store.read_cell(replicate, level, n_train, [REPRESENTATION])[REPRESENTATION][networks.index(network)]
    if len(found) < 2:
        raise ValueError(f"the cell ({level_name} {level:g}, n_train {n_train}) is not computed yet in {path}")
    # Narrower representations were widened by zeros to be stored with wider ones.
    used = np.flatnonzero(found.any((0, 1)))
    return found[..., : used[-1] + 1 if used.size else 1]


def _weakest(dataset: xr.Dataset, at: dict) -> int:
    summary = summarize(dataset)
    for metric in directed_metrics(summary):
        n_train = float(weakest_alignment(summary, metric).sel(at))
        if np.isfinite(n_train):
            return int(n_train)
    return int(dataset["n_train"].max())


def _among(name: str, value: float, stored: list) -> None:
    if value not in stored:
        checks.reject(name, f"one of {', '.join(f'{item:g}' for item in stored)}", value)
