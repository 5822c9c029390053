"""How far a measurement is from theory, in standard errors."""

import numpy as np
import scipy
import xarray as xr

from jaxalign import checks
from jaxalign.sweep.config import SweepConfig
from jaxalign.sweep.finite_size import is_isotropic
from jaxalign.sweep.predict import MEASURES, check_predictable, predict
from jaxalign.sweep.result import config_of, noise_dimension
from jaxalign.sweep.summary import summarize

_CONFIDENCE = 0.95
# Of one output, and where a draw takes longer. The error of the theory is part of the standard error, and hardly widens
# it: there are some ten times, or a few times, as many draws as replicates.
_DRAWS, _FEWER_DRAWS = 256, 96
# Inputs with a covariance are decomposed; beyond, that takes long, and the limit of many dimensions is close.
_LARGEST_DECOMPOSED_DIM = 400


def compare(dataset: xr.Dataset, theory: xr.Dataset | None = None) -> xr.Dataset:
    """The deviations of a sweep from theory, in standard errors over its replicates.

        z = (m - theory) / sqrt(s^2 / R + e^2),    m, s: mean and standard deviation of R replicates' means,

    and e the standard error of a sampled theory, otherwise 0.

    If the theory holds, z follows Student's t distribution with R - 1 degrees of freedom, which is wider than a normal
    one: its standard deviation is sqrt((R - 1) / (R - 3)). Points of one sweep are not independent: sample sizes are
    nested, and noise levels and measures share their draws.

    Args:
      dataset: what `run_sweep` returned, of at least 2 replicates.
      theory: what `predict` returned for the same networks, and any noise levels and sample sizes: those in common
        count. None samples the theory of the configuration of `dataset` at its own numbers of dimensions, outputs and
        probes, by the estimators that it used: the limit of many dimensions is off by O(1 / dim), which many members
        resolve, and by far more for several outputs. Only for one output and inputs with a covariance, above 400
        dimensions, it takes the limit.

    Returns:
      A Dataset over the coordinates in common with, for each of `test_error`, `cce`, `information_imbalance` and
      `linear_cka` that both have, NAME_z, NaN where the theory is not finite or there are fewer than 2 replicates;
      NAME_within_95, whether the theory is inside the 95% interval |z| <= t (False where z is NaN); and
      NAME_replicates, the number R that did not diverge. `attrs["points"]` counts the z, `attrs["points_within_95"]`
      those inside.

    Raises:
      ValueError: if `dataset` is not the result of a sweep or has fewer than 2 replicates, if `theory` is no Dataset
        or shares no variable or coordinate with it, or as `predict`.
    """
    noise = noise_dimension(dataset)
    if dataset.sizes["replicate"] < 2:
        checks.reject(
            "dataset", "of at least 2 replicates, over which errors are estimated", dataset.sizes["replicate"]
        )
    if theory is None:
        config = config_of(dataset)
        theory = predict(config, draws=_draws(config))
    if not isinstance(theory, xr.Dataset):
        checks.reject("theory", "None or a Dataset that predict returned", theory)
    names = [name for name in ("test_error", *MEASURES) if name in dataset and name in theory]
    if not names:
        of = ", ".join(name for name in ("test_error", *MEASURES) if name in dataset)
        checks.reject("theory", f"a Dataset with one of {of}", list(theory.data_vars))
    sampled = [f"{name}_stderr" for name in names if f"{name}_stderr" in theory]
    measured, expected = xr.align(summarize(dataset), theory[[*names, *sampled]], join="inner")
    if not measured["test_error"].size or not expected[names[0]].size:
        given = {name: theory[name].values.tolist() for name in (noise, "n_train") if name in theory.coords}
        checks.reject("theory", "of networks, noise levels and sample sizes that dataset has", given)
    out = {}
    points = inside = 0
    for name in names:
        dims = measured[name].dims
        others = {*dataset[name].dims} - {*dims, "replicate"}
        counts = dataset[name].notnull().any(others).sum("replicate").reindex_like(measured[name])
        counts = counts.transpose(*dims).values
        expectation = expected[name].transpose(*dims).values
        stderr = measured[f"{name}_stderr"].values
        if f"{name}_stderr" in expected:
            stderr = np.hypot(stderr, expected[f"{name}_stderr"].transpose(*dims).values)
        z = _z(measured[name].values, stderr, expectation)
        within = np.abs(z) <= scipy.stats.t.ppf(0.5 + 0.5 * _CONFIDENCE, np.maximum(counts - 1, 1))
        out |= {f"{name}_z": (dims, z), f"{name}_within_95": (dims, within), f"{name}_replicates": (dims, counts)}
        points, inside = points + int(np.isfinite(z).sum()), inside + int(within.sum())
    return xr.Dataset(out, measured.coords, {**dataset.attrs, "points": points, "points_within_95": inside})


def _draws(config: SweepConfig) -> int | None:
    task = check_predictable(config).task
    if is_isotropic(task) and task.outputs == 1:
        return _DRAWS
    return _FEWER_DRAWS if is_isotropic(task) or task.outputs > 1 or task.dim <= _LARGEST_DECOMPOSED_DIM else None


def _z(mean: np.ndarray, stderr: np.ndarray, theory: np.ndarray) -> np.ndarray:
    theory = np.where(np.isfinite(theory), theory, np.nan)
    # Identical replicates, as without noise, still differ from the theory by the rounding of a float32.
    return (mean - theory) / np.maximum(stderr, np.finfo(np.float32).eps * np.abs(theory) + np.finfo(np.float32).tiny)
