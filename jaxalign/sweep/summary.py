"""Means over members and pairs with their standard errors, and what a sweep as a whole shows."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy
import xarray as xr

from jaxalign.alignment.registry import METRICS
from jaxalign.alignment.uncertainty import (
    Estimate,
    Null,
    jackknife,
    mean_of_pairs,
    mean_of_samples,
    nanmean,
)
from jaxalign.sweep.result import MEMBER_VARIABLES, noise_dimension
from jaxalign.sweep.threshold import interpolation_threshold, is_noisy


def summarize(dataset: xr.Dataset) -> xr.Dataset:
    """The mean of every result over members, and over pairs of different members, with standard errors.

    The K (K - 1) pairs of K members are not independent, so the standard error of a measure is the delete-one-member
    jackknife, se^2 = (K - 1)/K sum_k (m_k - m)^2 with m_k the mean over the pairs without member k. With at least
    two replicates it is instead the standard error over replicates of their means. Members that diverged are left
    out and counted in `n_diverged`.

    A standard error covers what is drawn anew from sample to sample. Over replicates that is everything: task, inputs,
    noise, initial weights and minibatches. Over the members of one replicate it is what differs between them, by
    default their noise alone, and another replicate may well lie outside. The attribute `standard_errors` says which.
    Of few replicates an error is itself uncertain, and 95% intervals take Student's t, as those of `compare` do: 12.7
    standard errors of two replicates, 4.3 of three, 2.3 of ten.

    Args:
      dataset: what `run_sweep` or `align` returned.

    Returns:
      Of a sweep, a Dataset with, for each error and accuracy, NAME and NAME_stderr of dims (network, noise, n_train);
      for each measure, NAME and NAME_stderr of dims (network_a, network_b, noise, n_train), from a to b, where pairs of
      two networks are of different members too; `n_diverged`; of a sweep that is not finished `n_unfinished` of dims
      (noise, n_train), the members of each network that are not computed yet; and what `interpolation_threshold`
      returns. A standard error is NaN where there is nothing to estimate it from.
      For each measure also NAME_error_spearman of dims (network, noise): Spearman's rank correlation over the sample
      sizes, at one noise level, between the mean of the measure as it stands, over pairs of that network, and the mean
      test error. Of a measure that is lower for more aligned networks, such as `cce`, it is 1 if the more aligned
      networks always have the lower error; of one that is higher for them it is then -1. NaN of fewer than three sample
      sizes, and without noise, where members may be identical. NAME_error_spearman_stderr is its delete-one jackknife,
      over replicates, or over the members of a single one; it is 0 where no deletion changes the order of any two
      sample sizes.
      Of an alignment, a Dataset with NAME and NAME_stderr for each measure, scalars over pairs of different networks,
      and where there is a null NAME_null_mean, NAME_null_std, NAME_z and NAME_p of that mean.

    Raises:
      ValueError: if `dataset` is neither.

    Example:
      >>> import jaxalign
      >>> task, network = jaxalign.LinearTeacher(dim=10), jaxalign.LinearNetwork(hidden=5)
      >>> config = jaxalign.SweepConfig(task, (network,), noise=(5.0,), n_train=(3, 10, 40), members=4, probes=100)
      >>> summary = jaxalign.summarize(jaxalign.run_sweep(config, progress=False))
      >>> summary["test_error"].dims, summary["cce_stderr"].dims
      (('network', 'snr', 'n_train'), ('network_a', 'network_b', 'snr', 'n_train'))
      >>> int(summary["test_error"].squeeze().idxmax("n_train"))  # where as many samples as dimensions are fitted
      10
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
    missing = dataset["test_error"].isnull()
    if "members_done" in dataset:
        computed = dataset["member"] < dataset["members_done"]
        missing = missing & computed
        out["n_unfinished"] = (~computed).sum(("replicate", "member")).transpose(*cell)
    out["n_diverged"] = missing.sum(("replicate", "member")).transpose("network", *cell)
    kept = {
        name: c for name, c in dataset.coords.items() if not {"replicate", "member", "member_a", "member_b"} & {*c.dims}
    }
    summary = xr.Dataset(out, kept, dataset.attrs).assign(interpolation_threshold(dataset).data_vars)
    summary.attrs["standard_errors"] = _what_errors_cover(dataset)
    for name in [name for name in METRICS if name in dataset]:
        for variable, values in _error_correlations(dataset, name).items():
            summary[variable] = (("network", noise), values)
    return summary


def _what_errors_cover(dataset: xr.Dataset) -> str:
    replicates = dataset.sizes["replicate"]
    if replicates > 1:
        return f"over {replicates} replicates"
    config = json.loads(dataset.attrs.get("config", "{}"))
    alone = all(config.get(f"shared_{what}", True) for what in ("inputs", "init", "batches"))
    return f"over members of one replicate, {'their noise' if alone else 'what differs between them'} alone"


def _error_correlations(dataset: xr.Dataset, name: str) -> dict[str, np.ndarray]:
    """NAME_error_spearman and its standard error, both (network, noise)."""
    noise = noise_dimension(dataset)
    noisy = np.flatnonzero(is_noisy(dataset))
    errors = dataset["test_error"].transpose("network", noise, "n_train", "replicate", "member").values
    order = ("network_a", "network_b", noise, "n_train", "replicate", "member_a", "member_b")
    pairs = dataset[name].transpose(*order).values
    found = np.full((2, len(pairs), len(dataset[noise])), np.nan)
    for i, level in itertools.product(range(len(pairs)), noisy):
        whole, *without = _with_deletions(pairs[i, i, level], errors[i, level])
        found[0, i, level] = _rank_correlation(*whole)
        found[1, i, level] = jackknife(np.array([_rank_correlation(*means) for means in without]))
    return dict(zip((f"{name}_error_spearman", f"{name}_error_spearman_stderr"), found, strict=True))


def _with_deletions(pairs: np.ndarray, errors: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The means (n_train) of a measure and of the error; then without each replicate, or each member of a single one.

    Args:
      pairs: the measure, (n_train, replicate, member, member).
      errors: (n_train, replicate, member).
    """
    measure, error = mean_of_pairs(pairs).mean, nanmean(errors, -1)
    yield nanmean(measure, -1), nanmean(error, -1)
    if errors.shape[1] > 1:
        for k in np.flatnonzero(np.isfinite(error).any(0)):
            yield nanmean(np.delete(measure, k, 1), -1), nanmean(np.delete(error, k, 1), -1)
    else:
        for k in np.flatnonzero(np.isfinite(errors[:, 0]).any(0)):
            others = np.delete(np.delete(pairs[:, 0], k, 1), k, 2)
            yield mean_of_pairs(others).mean, nanmean(np.delete(errors[:, 0], k, 1), -1)


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


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, over the entries where both are finite; NaN of fewer than three, or where one does not vary."""
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3 or np.ptp(a[both]) == 0 or np.ptp(b[both]) == 0:
        return np.nan
    result: Any = scipy.stats.spearmanr(a[both], b[both])
    return float(result.statistic)


def _mean_of_members(values: np.ndarray) -> Estimate:
    """Of (..., replicate, member): over members, or over the means of replicates where there are several."""
    return mean_of_samples(nanmean(values, -1) if values.shape[-2] > 1 else values[..., 0, :])


def _mean_of_replicated_pairs(values: np.ndarray) -> Estimate:
    """Of (..., replicate, member_a, member_b), over pairs of different members."""
    estimate = mean_of_pairs(values)
    if values.shape[-3] > 1:
        return mean_of_samples(estimate.mean)
    return Estimate(estimate.mean[..., 0], estimate.stderr[..., 0])
