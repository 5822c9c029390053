"""Means over members and pairs with their standard errors, and the interpolation threshold."""

from typing import Any

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.alignment.registry import METRICS
from jaxalign.alignment.uncertainty import Estimate, Null, mean_of_pairs, mean_of_samples, nanmean
from jaxalign.sweep.result import MEMBER_VARIABLES, noise_dimension


def summarize(dataset: xr.Dataset) -> xr.Dataset:
    """The mean of every result over members, and over pairs of different members, with standard errors.

    The K (K - 1) pairs of K members are not independent, so the standard error of a measure is the delete-one-member
    jackknife, se^2 = (K - 1)/K sum_k (m_k - m)^2 with m_k the mean over the pairs without member k. With at least
    two replicates it is instead the standard error over replicates of their means. Members that diverged are left
    out and counted in `n_diverged`.

    Args:
      dataset: what `run_sweep` or `align` returned.

    Returns:
      Of a sweep, a Dataset with, for each error and accuracy, NAME and NAME_stderr of dims (network, noise, n_train);
      for each measure, NAME and NAME_stderr of dims (network_a, network_b, noise, n_train), from a to b, where pairs of
      two networks are of different members too; and `n_diverged` and `interpolation_threshold`. A standard error is NaN
      where there is nothing to estimate it from.
      Of an alignment, a Dataset with NAME and NAME_stderr for each measure, scalars over pairs of different networks,
      and where there is a null NAME_null_mean, NAME_null_std, NAME_z and NAME_p of that mean.

    Raises:
      ValueError: if `dataset` is neither.
    """
    if _is_alignment(dataset):
        return _summarize_alignment(dataset)
    noise = noise_dimension(dataset)
    cell = (noise, "n_train")
    out = {}
    for name in (*MEMBER_VARIABLES, "train_accuracy"):
        if name in dataset:
            values = dataset[name].transpose("network", *cell, "replicate", "member").values
            out[name], out[f"{name}_stderr"] = ((("network", *cell), v) for v in _mean_of_members(values))
    for name in METRICS:
        if name in dataset:
            order = ("network_a", "network_b", *cell, "replicate", "member_a", "member_b")
            means = _mean_of_replicated_pairs(dataset[name].transpose(*order).values)
            out[name], out[f"{name}_stderr"] = ((("network_a", "network_b", *cell), v) for v in means)
    diverged = dataset["test_error"].isnull()
    out["n_diverged"] = diverged.sum(("replicate", "member")).transpose("network", *cell)
    out["interpolation_threshold"] = interpolation_threshold(dataset)
    kept = {
        name: c for name, c in dataset.coords.items() if not {"replicate", "member", "member_a", "member_b"} & {*c.dims}
    }
    return xr.Dataset(out, kept, dataset.attrs)


def _is_alignment(dataset: Any) -> bool:
    return isinstance(dataset, xr.Dataset) and any(
        name in dataset and dataset[name].dims == ("network_a", "network_b") for name in METRICS
    )


def _summarize_alignment(dataset: xr.Dataset) -> xr.Dataset:
    out = {}
    for name in METRICS:
        if name not in dataset:
            continue
        mean, stderr = mean_of_pairs(dataset[name].values)
        out |= {name: float(mean), f"{name}_stderr": float(stderr)}
        if f"{name}_null_of_mean" in dataset:
            null = Null(mean, bool(METRICS[name].larger_is_more_similar))
            for value in dataset[f"{name}_null_of_mean"].values:
                null.add(value)
            statistics = {"null_mean": null.mean(), "null_std": null.std(), "z": null.z(), "p": null.p()}
            out |= {f"{name}_{key}": float(value) for key, value in statistics.items()}
    return xr.Dataset(out, attrs=dataset.attrs)


def interpolation_threshold(dataset: xr.Dataset, fraction: float = 0.1) -> xr.DataArray:
    """The n_train at which the mean training error leaves zero.

    It is where the training error, interpolated linearly in log n_train, crosses `fraction` of the training error
    that a network answering all clean targets would have (1/SNR, or the corrupted fraction p (1 - 1/C)), for the
    last time: beyond, members no longer fit their noise.

    Args:
      dataset: what `run_sweep` returned.
      fraction: in (0, 1).

    Returns:
      n_train at the threshold, of dims (network, noise); NaN where there is no noise, or no crossing in the grid.

    Raises:
      ValueError: if `dataset` is not the result of a sweep or `fraction` is outside (0, 1).
    """
    noise = noise_dimension(dataset)
    if checks.real("fraction", fraction, 0.0, 1.0, exclude_minimum=True) == 1.0:
        checks.reject("fraction", "below 1", fraction)
    ordered = dataset.sortby("n_train")
    log_n = np.log(ordered["n_train"].values)
    error = ordered["train_error"].mean(("replicate", "member")).transpose("network", noise, "n_train")
    limit = fraction * ordered["clean_train_error"].values
    found = np.full(error.shape[:2], np.nan)
    for at in np.ndindex(*found.shape):
        excess = error.values[at] - limit[at[1]]
        below = np.flatnonzero(excess <= 0)
        if limit[at[1]] > 0 and len(below) and below[-1] + 1 < len(log_n):
            i = below[-1]
            share = -excess[i] / (excess[i + 1] - excess[i])
            found[at] = np.exp(log_n[i] + share * (log_n[i + 1] - log_n[i]))
    return error.isel(n_train=0, drop=True).copy(data=found).rename("interpolation_threshold")


def _mean_of_members(values: np.ndarray) -> Estimate:
    """Of (..., replicate, member): over members, or over the means of replicates where there are several."""
    return mean_of_samples(nanmean(values, -1) if values.shape[-2] > 1 else values[..., 0, :])


def _mean_of_replicated_pairs(values: np.ndarray) -> Estimate:
    """Of (..., replicate, member_a, member_b), over pairs of different members."""
    estimate = mean_of_pairs(values)
    if values.shape[-3] > 1:
        return mean_of_samples(estimate.mean)
    return Estimate(estimate.mean[..., 0], estimate.stderr[..., 0])
