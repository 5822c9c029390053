"""The theory of a sweep: what its solved linear networks are expected to show, without solving any."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.ensemble import is_solved
from jaxalign.networks import LinearNetwork, Network
from jaxalign.sweep.config import SweepConfig, to_json
from jaxalign.sweep.finite_size import MEASURES, PAIRED, sample
from jaxalign.sweep.limits import has_limit, limit
from jaxalign.sweep.presets import presets
from jaxalign.tasks import LinearTeacher

__all__ = ["MEASURES", "Predictable", "check_predictable", "in_closed_form", "predict"]

# Where nothing but samples is known: the standard error is an eighth of the deviation of one replicate.
_DRAWS = 64


class Predictable(NamedTuple):
    """What of a sweep has a theory, and of each other network why it has none."""

    task: LinearTeacher
    networks: list[LinearNetwork]
    reasons: list[str]


def predict(config: SweepConfig | str, *, draws: int | None = None) -> xr.Dataset:
    """The expected result of a sweep over solved linear networks, by the theory of `jaxalign.theory`.

    With `draws` nothing is neglected: all are expectations at the sweep's own numbers of samples, input dimensions,
    outputs and probes, for every spectral filter, shared or independent inputs, outputs of unequal strength, inputs
    with a covariance and hidden layers narrower than the outputs. The end-to-end maps of solved networks are drawn from
    their exact law, without training (inputs with a covariance are drawn and decomposed). With one output every measure
    follows from the cosine of two maps. With several the hidden activities of the drawn networks are compared by the
    measures of `jaxalign.alignment` on `config.probes` probes, with the bias that their estimators have there.

    Without `draws`, for one output, the limit of many dimensions is taken:

        rho = cross / sqrt(norm_a norm_b),    norm = signal + noise / SNR,    error = bias + noise / SNR,
        cross = ∫ f_a f_b dmu for shared inputs, ∫ f_a dmu ∫ f_b dmu for independent ones

    for two networks solved by the filters f_a and f_b, which differ by their noise; with a covariance the equivalents
    of `theory.covariance_moments`, a mean over 256 drawn teachers where `coefficients` are "isotropic". Corrections are
    O(1 / dim), largest near n_train = dim, where the expected cosine differs from the ratio of expectations. What is
    known exactly is taken: `MinNorm` with the noise of `dim` input dimensions (with a covariance for n_train > dim),
    and entropy and imbalance of the rank at `config.probes` (above 100,000 probes, at that number).

    For several outputs, and for inputs with a covariance and a filter other than `MinNorm`, `Ridge` and `TunedRidge`,
    None draws 64 samples. The limit of many dimensions at a fixed number C of outputs exists, but is of no use unless
    C is far below n_train SNR: the noise of C outputs shares the geometry of n samples, which adds about C / n_train to
    linear CKA: .34 instead of .01 with MinNorm, 100 dimensions, 10 outputs, 120 samples and SNR 0.5. It is
    `theory.hidden_covariances`.

    Args:
      config: a `SweepConfig` with a `LinearTeacher`, or the name of one of `jaxalign.presets`. Its layer is "hidden",
        at the balanced minimum, or "output"; for one output the two are alike.
      draws: how many samples to take, at least 2. With one output and isotropic inputs one takes about a millisecond
        at dim 200; with several outputs 10 to 50 milliseconds for each noise level and sample size at 1000 probes;
        inputs with a covariance are decomposed, some 50 milliseconds at dim 400.

    Returns:
      A Dataset with the coordinates of `run_sweep`, less replicates and members, over which these are expectations:
      `test_error` of dims (network, snr, n_train), and `overlap`, the correlation of the end-to-end maps, `cce`,
      `information_imbalance` and `linear_cka` of dims (network_a, network_b, snr, n_train), those of `summarize`.
      Networks without a theory are NaN, and `attrs["no_theory"]` lists them with the reason; in the limit, with a
      covariance, pairs of different networks are NaN too. The error of `MinNorm` is infinite at n_train = dim and
      beside it. Where samples are taken also NAME_stderr of each, the standard error of the sampling; the error of
      `MinNorm` is exact.

    Raises:
      ValueError: if `config` is no configuration, its task is no `LinearTeacher`, or none of its networks has a theory;
        the message says why; or if `draws` is no integer of at least 2.

    Reference:
      Umar & Laio 2026, arXiv:2605.26973.
    """
    if isinstance(config, str):
        config = presets[config]
    if not isinstance(config, SweepConfig):
        checks.reject("config", "a SweepConfig or the name of a preset", config)
    task, networks, reasons = check_predictable(config)
    if draws is not None:
        checks.integer("draws", draws, 2)
    elif not has_limit(task, networks):
        draws = _DRAWS
    if draws is None:
        return _dataset(config, task, _spread(config, networks, limit(config, task, networks)), {}, reasons)
    mean, stderr = (_spread(config, networks, values) for values in sample(config, task, networks, draws))
    return _dataset(config, task, mean, stderr, reasons)


def check_predictable(config: SweepConfig) -> Predictable:
    """Returns the part of a sweep that `predict` knows the theory of, without computing it.

    Raises:
      ValueError: if there is none; the message says why.
    """
    task = config.task
    if not isinstance(task, LinearTeacher):
        checks.reject("task", "a LinearTeacher: predict knows solved linear networks on a linear teacher", task)
    known = [network for network in config.networks if is_solved(network)]
    reasons = [f"{network} {_no_theory(network)}" for network in config.networks if not is_solved(network)]
    if not known:
        why = "; ".join(reasons)
        checks.reject("networks", f"solved linear networks, the only ones with a theory ({why})", config.networks)
    return Predictable(task, known, reasons)


def in_closed_form(config: SweepConfig) -> bool:
    """Whether `predict` without draws samples nothing, so that further sample sizes cost next to nothing."""
    task, networks, _ = check_predictable(config)
    return has_limit(task, networks)


def _no_theory(network: Network) -> str:
    if isinstance(network, LinearNetwork):
        return "is trained: its hidden layer depends on its initialization"
    return "is not a LinearNetwork"


def _spread(config: SweepConfig, networks: list[LinearNetwork], values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Values of the networks with a theory in the places that all networks have, NaN elsewhere."""
    at = [config.networks.index(network) for network in networks]
    out = {}
    for name, value in values.items():
        axes = 1 if name == "test_error" else 2
        out[name] = np.full((len(config.networks),) * axes + value.shape[axes:], np.nan)
        out[name][np.ix_(*[at] * axes)] = value
    return out


def _dataset(
    config: SweepConfig,
    task: LinearTeacher,
    mean: dict[str, np.ndarray],
    stderr: dict[str, np.ndarray],
    reasons: list[str],
) -> xr.Dataset:
    names = [str(network) for network in config.networks]
    n = np.array(config.n_train)
    coordinates = {
        "network": names,
        "network_a": names,
        "network_b": names,
        task.noise_name: np.array(config.noise),
        "n_train": n,
        "alpha": ("n_train", n / task.dim),
    }
    dims: dict[str, tuple[str, ...]] = {name: ("network_a", "network_b", task.noise_name, "n_train") for name in PAIRED}
    dims["test_error"] = ("network", task.noise_name, "n_train")
    variables = {name: (dims[name], mean[name]) for name in ("test_error", *PAIRED)}
    variables |= {f"{name}_stderr": (dims[name], value) for name, value in stderr.items()}
    attributes = {"config": to_json(config), "probes": config.probes, "no_theory": reasons}
    return xr.Dataset(variables, coordinates, attributes)
