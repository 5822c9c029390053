"""The result of a sweep as an `xarray.Dataset`."""

import importlib.metadata

import jax
import numpy as np
import xarray as xr

from jaxalign._version import __version__
from jaxalign.networks import n_parameters
from jaxalign.sweep.config import SweepConfig, from_json, to_json

MEMBER_VARIABLES = ("train_error", "test_error")
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def empty_arrays(config: SweepConfig) -> dict[str, np.ndarray]:
    """One NaN array for each result, in the axis order of the Dataset; `finite` is False throughout."""
    shape = (len(config.networks), config.replicates, len(config.noise), len(config.n_train), config.members)
    pairs = (*shape[1:4], len(config.networks), config.members, len(config.networks), config.members)
    arrays: dict[str, np.ndarray] = {name: np.full(shape, np.nan, np.float32) for name in MEMBER_VARIABLES}
    arrays["finite"] = np.zeros(shape, bool)
    arrays["steps_trained"] = np.zeros(shape, np.int32)
    return arrays | {name: np.full(pairs, np.nan, np.float32) for name in config.metrics}


def assemble(config: SweepConfig, arrays: dict[str, np.ndarray], seconds: dict[str, float]) -> xr.Dataset:
    """Names the dimensions, coordinates and attributes of the computed arrays."""
    task, noise_name = config.task, config.task.noise_name
    cell = ("replicate", noise_name, "n_train")
    dims = ("network", *cell, "member")
    pair_dims = (*cell, "network_a", "member_a", "network_b", "member_b")
    variables = {name: (dims, arrays[name]) for name in MEMBER_VARIABLES}
    if task.classification:
        variables["train_accuracy"] = (dims, 1.0 - arrays["train_error"])
    converged = arrays["finite"]
    if config.training.tolerance is not None:
        converged = converged & (arrays["train_error"] <= config.training.tolerance)
    variables["converged"] = (dims, converged)
    variables["steps_trained"] = (dims, arrays["steps_trained"])
    variables |= {name: (pair_dims, arrays[name]) for name in config.metrics}

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
    packages = [f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES]
    attributes = {
        "config": to_json(config),
        "versions": ", ".join([f"jaxalign {__version__}", *packages]),
        "device": jax.devices()[0].device_kind,
        "probes": config.probes,
        **{f"seconds_{phase}": round(value, 3) for phase, value in seconds.items()},
    }
    return xr.Dataset(variables, coordinates, attributes)


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
