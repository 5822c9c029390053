"""Where ensembles stop fitting their noise, and where they are least aligned."""

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.alignment.registry import METRICS
from jaxalign.alignment.uncertainty import nanmean
from jaxalign.sweep.result import noise_dimension

_INPUT_NOISE_ERROR = 0.01


def interpolation_threshold(dataset: xr.Dataset, fraction: float = 0.1) -> xr.Dataset:
    """The n_train at which the mean training error leaves zero, with its standard error.

    The threshold n* is where the training error, a mean over members that is interpolated linearly in log n_train,
    crosses a limit for the last time: beyond, members no longer fit their noise. The limit is

        noise on targets    `fraction` of the training error of a network that answers all clean targets
                            (1/SNR, or the corrupted fraction p (1 - 1/C)),
        noise on inputs     0.01, whatever `fraction` is: a network that answers all clean targets has training error
                            0, so there is no error to take a fraction of (classification with an SNR).

    The standard error is the delete-one-member jackknife of log n*, in units of n_train by the delta method,

        se = n* s,    s^2 = (K - 1)/K sum_k (l_k - l)^2,

    with l_k = log n* of the mean training error of the K - 1 members other than k, l the mean of the l_k. It tells how
    n* varies with what differs between members, by default their noise alone. With at least two replicates, s is
    instead the standard error over replicates of their log n*, and the mean is over the means of replicates.

    Members that diverged are left out, as are sample sizes at which all of them did.

    Args:
      dataset: what `run_sweep` returned.
      fraction: in (0, 1).

    Returns:
      A Dataset with `interpolation_threshold` and `interpolation_threshold_stderr`, of dims (network, noise). The
      threshold is NaN where there is no noise, or where the grid has no crossing. The standard error is NaN with it,
      with fewer than two members (or replicates), and also where one of the l_k has no crossing: that one lies beyond
      the grid at an unknown distance, and leaving it out would make the error too small.

    Raises:
      ValueError: if `dataset` is not the result of a sweep or `fraction` is outside (0, 1).

    Example:
      >>> import jaxalign
      >>> task, network = jaxalign.LinearTeacher(dim=10), jaxalign.LinearNetwork(hidden=5)
      >>> config = jaxalign.SweepConfig(task, (network,), noise=(5.0,), n_train=(3, 10, 40), members=4, probes=100)
      >>> threshold = jaxalign.interpolation_threshold(jaxalign.run_sweep(config, progress=False))
      >>> 10 < threshold["interpolation_threshold"].item() < 20
      True
    """
    noise = noise_dimension(dataset)
    if checks.real("fraction", fraction, 0.0, 1.0, exclude_minimum=True) == 1.0:
        checks.reject("fraction", "below 1", fraction)
    ordered = dataset.sortby("n_train")
    log_n = np.log(ordered["n_train"].values)
    errors = ordered["train_error"].transpose("network", noise, "replicate", "member", "n_train")
    limits = _limits(dataset, fraction)
    found = np.full((2, *errors.shape[:2]), np.nan)
    for at in np.ndindex(*errors.shape[:2]):
        found[:, *at] = _threshold(log_n, errors.values[at].astype(np.float64), float(limits[at[1]]))
    like = errors.isel(replicate=0, member=0, n_train=0, drop=True)
    names = ("interpolation_threshold", "interpolation_threshold_stderr")
    return xr.Dataset({name: like.copy(data=values) for name, values in zip(names, found, strict=True)})


def weakest_alignment(summary: xr.Dataset, metric: str = "cce") -> xr.DataArray:
    """The n_train at which members are least aligned, on average over their pairs.

    Args:
      summary: what `summarize` made of a sweep.
      metric: a measure that says which of two pairs is more alike, in `summary`.

    Returns:
      One of the sample sizes of the sweep, of dims (network, noise); NaN where the measure does not vary, as between
      identical members, or is nowhere finite.

    Raises:
      ValueError: if `summary` is not of a sweep, or holds no such measure.
    """
    noise = noise_dimension(summary)
    directed = [name for name in METRICS if name in summary and METRICS[name].larger_is_more_similar is not None]
    larger_is_more_similar = METRICS[checks.choice("metric", metric, directed)].larger_is_more_similar
    distance = within_networks(summary, metric) * (-1.0 if larger_is_more_similar else 1.0)
    sizes = summary["n_train"].values.astype(np.float64)
    known = np.isfinite(distance)
    largest = np.where(known, distance, -np.inf)
    varies = largest.max(-1) > np.where(known, distance, np.inf).min(-1)
    weakest = np.where(varies, sizes[largest.argmax(-1)], np.nan)
    return xr.DataArray(weakest, {name: summary[name] for name in ("network", noise)}, ("network", noise))


def within_networks(summary: xr.Dataset, metric: str) -> np.ndarray:
    """The mean of a measure over pairs of members of the same network, of shape (network, noise, n_train)."""
    order = ("network_a", "network_b", noise_dimension(summary), "n_train")
    return np.stack([same[i] for i, same in enumerate(summary[metric].transpose(*order).values)])


def is_noisy(dataset: xr.Dataset) -> np.ndarray:
    """Of each noise level of a sweep, or of its summary, whether there is any noise."""
    noise = noise_dimension(dataset)
    levels = dataset[noise].values
    return np.isfinite(levels) if noise == "snr" else levels > 0


def _limits(dataset: xr.Dataset, fraction: float) -> np.ndarray:
    """The training error to be crossed at each noise level, NaN where there is no noise to fit."""
    clean = dataset["clean_train_error"].values
    of_clean_targets = _INPUT_NOISE_ERROR if "train_accuracy" in dataset else np.nan
    return np.where(is_noisy(dataset), np.where(clean > 0, fraction * clean, of_clean_targets), np.nan)


def _threshold(log_n: np.ndarray, errors: np.ndarray, limit: float) -> tuple[float, float]:
    """The threshold and its standard error, of training errors (replicate, member, n_train)."""
    curves = nanmean(errors, 1)
    threshold = float(np.exp(_crossing(log_n, nanmean(curves, 0), limit)))
    if len(errors) > 1:
        samples = curves[np.isfinite(curves).any(-1)]
        inflation = 1 / max(len(samples) - 1, 1)
    else:
        members = errors[0][np.isfinite(errors[0]).any(-1)]
        samples = [nanmean(np.delete(members, k, axis=0), 0) for k in range(len(members))]
        inflation = len(members) - 1
    if len(samples) < 2:
        return threshold, np.nan
    variance = np.var([_crossing(log_n, sample, limit) for sample in samples])
    return threshold, threshold * float(np.sqrt(inflation * variance))


def _crossing(log_n: np.ndarray, error: np.ndarray, limit: float) -> float:
    """The log n_train where the error rises above the limit for the last time; NaN where it does not."""
    known = np.isfinite(error)
    log_n, excess = log_n[known], error[known] - limit
    below = np.flatnonzero(excess <= 0)
    if not len(below) or below[-1] + 1 == len(excess):
        return np.nan
    i = below[-1]
    share = -excess[i] / (excess[i + 1] - excess[i])
    return float(log_n[i] + share * (log_n[i + 1] - log_n[i]))
