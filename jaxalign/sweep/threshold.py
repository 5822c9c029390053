"""Where ensembles stop fitting their noise, and where they are least aligned."""

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.alignment.registry import METRICS
from jaxalign.alignment.uncertainty import jackknife, mean_of_samples, nanmean
from jaxalign.sweep.result import noise_dimension

_INPUT_NOISE_ERROR = 0.01


def interpolation_threshold(dataset: xr.Dataset, fraction: float = 0.1) -> xr.Dataset:
    """The n_train at which the mean training error leaves zero, its standard error, and an interval that holds it.

    The threshold n* is where the training error, a mean over members, crosses a limit for the last time: beyond,
    members no longer fit their noise. The limit is

        noise on targets    `fraction` of the training error of a network that answers all clean targets
                            (1/SNR, or the corrupted fraction p (1 - 1/C)),
        noise on inputs     0.01, whatever `fraction` is: a network that answers all clean targets has training error
                            0, so there is no error to take a fraction of (classification with an SNR).

    A fraction above 0 is what finite ensembles and trainings that end can be measured by, and it moves n*. For least
    squares in d dimensions the training error is (1 - d/n)/SNR at n > d, and 0 below, so that

        n* = d / (1 - fraction),

    11% beyond n = d by default; n* tends to the point where the training error leaves zero as `fraction` tends to 0.

    Between sample sizes the error is taken for linear in x = -1/n, which it is for least squares beyond d. It may be
    flat below the limit and start to rise anywhere before the next sample size, so a chord from one to the other
    crosses the limit too early. The crossing x* is put as late as the neighbouring sample sizes allow,

        x* = max(chord, min(before, beyond)),

    where the line through the last two sample sizes below the limit, and that through the first two above it, cross
    the limit at `before` and `beyond`. For least squares n* is exact on any grid with two sample sizes beyond d.

    How far n* may be off is told by two numbers. The standard error is the delete-one-member jackknife of log n*, in
    units of n_train by the delta method,

        se = n* s,    s^2 = (K - 1)/K sum_k (l_k - l)^2,

    with l_k = log n* of the mean training error of the K - 1 members other than k, l the mean of the l_k. It tells how
    n* varies with what differs between members, by default their noise alone. With at least two replicates, s is
    instead the delete-one jackknife over replicates. Neither knows what happens between two sample sizes. The interval
    does: it reaches from the largest sample size whose training error is below the limit to the smallest from which on
    it is above, each by two standard errors of the training error. It holds n* whatever shape the curve has in between,
    if the training error crosses the limit once.

    Members that diverged are left out, as are sample sizes at which all of them did.

    Args:
      dataset: what `run_sweep` returned.
      fraction: in (0, 1).

    Returns:
      A Dataset with `interpolation_threshold`, `interpolation_threshold_stderr`, `interpolation_threshold_low` and
      `interpolation_threshold_high`, the ends of the interval, of dims (network, noise). The threshold and its interval
      are NaN where there is no noise, or where the grid has no crossing. An end is 0 or infinite where no sample size
      bounds it. The standard error is NaN with the threshold, with fewer than two members (or replicates), and also
      where one of the l_k has no crossing: that one lies beyond the grid at an unknown distance, and leaving it out
      would make the error too small.

    Raises:
      ValueError: if `dataset` is not the result of a sweep or `fraction` is outside (0, 1).

    Example:
      >>> import jaxalign
      >>> task, network = jaxalign.LinearTeacher(dim=10), jaxalign.LinearNetwork(hidden=5)
      >>> config = jaxalign.SweepConfig(task, (network,), noise=(5.0,), n_train=(3, 20, 40), members=9, probes=100)
      >>> threshold = jaxalign.interpolation_threshold(jaxalign.run_sweep(config, progress=False))
      >>> [threshold[f"interpolation_threshold{end}"].item() for end in ("_low", "_high")]
      [3.0, 20.0]
      >>> error = threshold["interpolation_threshold"].item() - 10 / 0.9  # the exact one
      >>> abs(error) < 2 * threshold["interpolation_threshold_stderr"].item()
      True
    """
    noise = noise_dimension(dataset)
    if checks.real("fraction", fraction, 0.0, 1.0, exclude_minimum=True) == 1.0:
        checks.reject("fraction", "below 1", fraction)
    ordered = dataset.sortby("n_train")
    sizes = ordered["n_train"].values.astype(np.float64)
    errors = ordered["train_error"].transpose("network", noise, "replicate", "member", "n_train")
    limits = _limits(dataset, fraction)
    found = np.full((4, *errors.shape[:2]), np.nan)
    for at in np.ndindex(*errors.shape[:2]):
        found[:, *at] = _threshold(sizes, errors.values[at].astype(np.float64), float(limits[at[1]]))
    like = errors.isel(replicate=0, member=0, n_train=0, drop=True)
    names = [f"interpolation_threshold{end}" for end in ("", "_stderr", "_low", "_high")]
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


def _threshold(sizes: np.ndarray, errors: np.ndarray, limit: float) -> tuple[float, float, float, float]:
    """The threshold, its standard error and its interval, of training errors (replicate, member, n_train)."""
    samples = nanmean(errors, 1) if len(errors) > 1 else errors[0]
    samples = samples[np.isfinite(samples).any(-1)]
    mean, stderr = mean_of_samples(samples.T)
    threshold = _crossing(sizes, mean, limit)
    if not np.isfinite(threshold):
        return np.nan, np.nan, np.nan, np.nan
    low, high = _interval(sizes, mean, np.nan_to_num(stderr), limit)
    without = [_crossing(sizes, nanmean(np.delete(samples, k, axis=0), 0), limit) for k in range(len(samples))]
    return threshold, threshold * float(jackknife(np.log(without))), low, high


def _crossing(sizes: np.ndarray, error: np.ndarray, limit: float) -> float:
    """The n_train where the error rises above the limit for the last time; NaN where it does not."""
    known = np.isfinite(error)
    # Increasing with n_train, and what the training error of least squares is linear in.
    x, excess = -1 / sizes[known], error[known] - limit
    below = np.flatnonzero(excess <= 0)
    if not len(below) or below[-1] + 1 == len(excess):
        return np.nan
    i = below[-1]

    def zero_of_line(j: int, otherwise: float) -> float:
        """Where the line through the points j and j + 1 crosses the limit, if there is such a line and it rises."""
        if j < 0 or j + 1 >= len(x) or excess[j + 1] <= excess[j]:
            return otherwise
        return x[j] - excess[j] * (x[j + 1] - x[j]) / (excess[j + 1] - excess[j])

    chord = zero_of_line(i, float(x[i]))
    extrapolated = min(zero_of_line(i - 1, np.inf), zero_of_line(i + 1, chord))
    return float(-1 / max(chord, extrapolated))


def _interval(sizes: np.ndarray, error: np.ndarray, stderr: np.ndarray, limit: float) -> tuple[float, float]:
    """The sample sizes between which the error rises above the limit, by two standard errors."""
    known = np.isfinite(error)
    sizes, excess, margin = sizes[known], error[known] - limit, 2 * stderr[known]
    below, not_above = np.flatnonzero(excess + margin <= 0), np.flatnonzero(excess - margin <= 0)
    low = sizes[below[-1]] if len(below) else 0.0
    return float(low), float(np.append(sizes, np.inf)[not_above[-1] + 1])
