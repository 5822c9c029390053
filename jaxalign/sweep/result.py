"""The result of a sweep as an `xarray.Dataset`."""

import importlib.metadata
from typing import Any

import jax
import numpy as np
import xarray as xr

from jaxalign._version import __version__
from jaxalign.networks import n_parameters
from jaxalign.sweep.config import SweepConfig, from_json, to_json

MEMBER_VARIABLES = ("train_error", "test_error")
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def template(config: SweepConfig) -> xr.Dataset:
    """The result of a sweep before anything is computed: all names, dimensions, coordinates and attributes.

    The values are NaN, False or 0, each variable one value that is broadcast and takes no memory.
    """
    cell, member, pair = _dimensions(config)
    dtypes: dict[str, Any] = dict.fromkeys(MEMBER_VARIABLES, np.float32)
    if config.task.classification:
        dtypes["train_accuracy"] = np.float32
    dtypes |= {"converged": np.bool_, "steps_trained": np.int32}
    coordinates = _coordinates(config)
    sizes = {name: len(values) for name, values in coordinates.items() if not isinstance(values, tuple)}
    variables = {name: (member, _blank(dtype, [sizes[d] for d in member])) for name, dtype in dtypes.items()}
    variables |= {name: (pair, _blank(np.float32, [sizes[d] for d in pair])) for name in config.metrics}
    return xr.Dataset(variables, coordinates, _attributes(config))


def fill_value(dtype: Any) -> Any:
    """What stands where nothing was computed: NaN, False or 0."""
    return np.dtype(dtype).type(np.nan if np.issubdtype(dtype, np.floating) else 0)


def _dimensions(config: SweepConfig) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Those of a cell, of a result of members, and of a measure between pairs."""
    cell = ("replicate", config.task.noise_name, "n_train")
    return cell, ("network", *cell, "member"), (*cell, "network_a", "member_a", "network_b", "member_b")


def _coordinates(config: SweepConfig) -> dict[str, Any]:
    task, noise_name = config.task, config.task.noise_name
    names = [str(network) for network in config.networks]
    members = np.arange(config.members)
    coordinates = {
        "network": names,
        "replicate": np.arange(config.replicates),
        noise_name: list(config.noise),
        "n_train": list(config.n_train),
        "member": members,
        "n_parameters": ("network", [n_parameters(n, task.input_shape, task.n_outputs) for n in config.networks]),
        "clean_train_error": (noise_name, [task.clean_train_error(level) for level in config.noise]),
    }
    if config.metrics:
        coordinates |= {"network_a": names, "member_a": members, "network_b": names, "member_b": members}
    if task.alpha(1) is not None:
        coordinates["alpha"] = ("n_train", [task.alpha(n) for n in config.n_train])
    return coordinates


def _attributes(config: SweepConfig) -> dict[str, Any]:
    packages = [f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES]
    return {
        "config": to_json(config),
        "seed": config.seed,
        "versions": ", ".join([f"jaxalign {__version__}", *packages]),
        "device": jax.devices()[0].device_kind,
        "probes": config.probes,
    }


def _blank(dtype: Any, shape: list[int]) -> np.ndarray:
    return np.broadcast_to(fill_value(dtype), shape)


def noise_dimension(dataset: xr.Dataset) -> str:
    """The name of the noise dimension of a sweep's result.

    Raises:
      ValueError: if the Dataset is not the result of a sweep.
    """
    for name in ("snr", "label_noise"):
        if isinstance(dataset, xr.Dataset) and "test_error" in dataset and name in dataset.dims:
            return name
    raise ValueError(f"dataset must be the result of run_sweep, got another {type(dataset).__name__}")


def config_of(dataset: xr.Dataset) -> SweepConfig:
    """The configuration that a result was computed from.

    Raises:
      ValueError: if it holds a network type that is not jaxalign's own.
    """
    return from_json(dataset.attrs["config"])
