"""Means over members and pairs with their standard errors, and the interpolation threshold."""

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.alignment.registry import METRICS
from jaxalign.sweep.result import MEMBER_VARIABLES, noise_dimension


def summarize(dataset: xr.Dataset) -> xr.Dataset:
    """The mean of every result over members, and over pairs of different members, with standard errors.

    The K (K - 1) pairs of K members are not independent, so the standard error of a measure is the delete-one-member
    jackknife, se^2 = (K - 1)/K sum_k (m_k - m)^2 with m_k the mean over the pairs without member k. With at least
    two replicates it is instead the standard error over replicates of their means. Members that diverged are left
    out and counted in `n_diverged`.

    Args:
      dataset: what `run_sweep` returned.

    Returns:
      A Dataset with, for each error and accuracy, NAME and NAME_stderr of dims (network, noise, n_train); for each
      measure, NAME and NAME_stderr of dims (network_a, network_b, noise, n_train), from a to b, where pairs of two
      networks are of different members too; and `n_diverged` and `interpolation_threshold`. A standard error is NaN
      where there is nothing to estimate it from.

    Raises:
      ValueError: if `dataset` is not the result of a sweep.
    """
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
            means = _mean_of_pairs(dataset[name].transpose(*order).values.astype(np.float64))
            out[name], out[f"{name}_stderr"] = ((("network_a", "network_b", *cell), v) for v in means)
    diverged = dataset["test_error"].isnull()
    out["n_diverged"] = diverged.sum(("replicate", "member")).transpose("network", *cell)
    out["interpolation_threshold"] = interpolation_threshold(dataset)
    kept = {
        name: c for name, c in dataset.coords.items() if not {"replicate", "member", "member_a", "member_b"} & {*c.dims}
    }
    return xr.Dataset(out, kept, dataset.attrs)


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


def _mean_of_members(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error of (..., replicate, member), leaving out NaN."""
    if values.shape[-2] > 1:
        return _mean_of_replicates(_nanmean(values, -1))
    values = values[..., 0, :]
    count = np.isfinite(values).sum(-1)
    mean = _nanmean(values, -1)
    squares = np.nansum((values - mean[..., None]) ** 2, -1)
    return mean, _root_ratio(squares, count * (count - 1), count > 1)


def _mean_of_pairs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error of (..., replicate, member_a, member_b) over pairs of different members."""
    members = values.shape[-1]
    values = np.where(np.eye(members, dtype=bool), np.nan, values)
    if values.shape[-3] > 1:
        return _mean_of_replicates(_nanmean(values, (-2, -1)))
    values = values[..., 0, :, :]
    present = np.isfinite(values)
    filled = np.where(present, values, 0.0)

    def touching(x: np.ndarray) -> np.ndarray:
        return x.sum(-1) + x.sum(-2)  # all pairs of which member k is one side

    total, count = filled.sum((-2, -1)), present.sum((-2, -1))
    left = count[..., None] - touching(present)
    without = np.divide(total[..., None] - touching(filled), left, out=np.full(left.shape, np.nan), where=left > 0)
    # A member without any pair (it diverged) is no sample; leaving it out changes nothing.
    without = np.where(touching(present) > 0, without, np.nan)
    used = np.isfinite(without).sum(-1)
    squares = np.nansum((without - _nanmean(without, -1)[..., None]) ** 2, -1) * np.maximum(used - 1, 0)
    return _nanmean(values, (-2, -1)), _root_ratio(squares, used, used > 2)


def _mean_of_replicates(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = np.isfinite(means).sum(-1)
    mean = _nanmean(means, -1)
    return mean, _root_ratio(np.nansum((means - mean[..., None]) ** 2, -1), count * (count - 1), count > 1)


def _nanmean(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """`np.nanmean` without its warning where everything is NaN."""
    count = np.isfinite(values).sum(axis)
    return np.divide(np.nansum(values, axis), count, out=np.full(count.shape, np.nan), where=count > 0)


def _root_ratio(numerator: np.ndarray, denominator: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.sqrt(np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=where))
