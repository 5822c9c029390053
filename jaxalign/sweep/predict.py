"""The theory of a sweep: what its solved linear networks are expected to show, without solving any.

A network is reduced to its output modes: mode j of network a has squared norm tau^a_j, and between two members that
differ by their noise the covariance X_j. The hidden layer at the balanced minimum has the variances sqrt(tau_j), the
outputs have tau_j, both with the correlations rho_j = X_j / sqrt(tau^a_j tau^b_j), from which every measure follows.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float

from jaxalign import checks, theory
from jaxalign.ensemble import is_solved
from jaxalign.networks import LinearNetwork, Network
from jaxalign.sweep.config import SweepConfig, to_json
from jaxalign.sweep.finite_size import sample_pair
from jaxalign.sweep.presets import presets
from jaxalign.tasks import LinearTeacher
from jaxalign.theory.alignment import relative

MEASURES = ("cce", "information_imbalance", "linear_cka")
# The closed laws of equal modes end here; beyond, the rank measures are sampled.
_MOST_EQUAL_MODES = 20
_MOST_PROBES = 100_000
_DRAWS_OF_PROBES = 64
_DRAWS_OF_TEACHERS = 256


class Predictable(NamedTuple):
    """What of a sweep has a theory, and of each other network why it has none."""

    task: LinearTeacher
    networks: list[LinearNetwork]
    reasons: list[str]


class _Modes(NamedTuple):
    """A solved network; the axis `draws` is over teachers where what is learned depends on their direction.

    Attributes:
      norm: tau_j, the squared norm of each mode that the hidden layer keeps.
      cross: X_j, its covariance in two members.
      error: the test error.
    """

    norm: Float[np.ndarray, "draws noise n_train modes"]
    cross: Float[np.ndarray, "draws noise n_train modes"]
    error: Float[np.ndarray, "noise n_train"]


def predict(config: SweepConfig | str, *, draws: int | None = None) -> xr.Dataset:
    """The expected result of a sweep over solved linear networks, by the theory of `jaxalign.theory`.

        tau_j = signal b_j^2 + noise / SNR,    rho_j = cross b_j^2 / sqrt(tau^a_j tau^b_j),
        cross = ∫ f_a f_b dmu for shared inputs, ∫ f_a dmu ∫ f_b dmu for independent ones

    for outputs of strengths b_j and two networks solved by the filters f_a and f_b, which differ by their noise. The
    error is (1/C) sum_j (bias b_j^2 + noise / SNR), with b_j^2 for an output that a narrow hidden layer drops.

    What is expected at the size of the sweep is taken where it is known: `MinNorm` with the exact noise of `dim` input
    dimensions (with a covariance for n_train > dim), and the rank-based measures at `config.probes` (above 100,000
    probes, at that number). The rest are limits, up to O(1 / dim), and of linear CKA O(outputs / probes) too: `overlap`
    is a ratio of expectations, where a mean of cosines is measured. Corrections are largest near n_train = dim. With
    `draws` there are none: all are expectations at `dim` input dimensions, sampled without training or probes.

    - Outputs of unequal strength, or more than 20: `cce` and `information_imbalance` are means over 64 sampled sets of
      probes, with a standard error of about 0.002 at 1000 probes, and NaN between two different networks.
    - A `spectrum` other than "isotropic": known for `MinNorm`, `Ridge` and `TunedRidge`, as a mean over 256 drawn
      teachers where `coefficients` are "isotropic"; NaN between different networks, and for several outputs there are
      only `overlap` and `test_error`.
    - A hidden layer narrower than the outputs: known where its last mode is stronger than the first one it drops,
      and inputs are isotropic.

    Args:
      config: a `SweepConfig` with a `LinearTeacher`, or the name of one of `jaxalign.presets`. Its layer is "hidden",
        at the balanced minimum, or "output"; for one output the two are alike.
      draws: how many teachers and sets of training inputs to sample, at least 2, for a single output and inputs that
        are isotropic: about a millisecond each at dim 200. None takes the limits.

    Returns:
      A Dataset with the coordinates of `run_sweep`, less replicates and members, over which these are expectations:
      `test_error` of dims (network, snr, n_train), and `overlap`, the correlation of the end-to-end maps
      sum_j cross_j / sqrt(sum_j tau^a_j sum_j tau^b_j), `cce`, `information_imbalance` and `linear_cka` of dims
      (network_a, network_b, snr, n_train), those of `summarize`. Networks without a theory are NaN, and
      `attrs["no_theory"]` lists them with the reason. The error of `MinNorm` is infinite at n_train = dim. With `draws`
      also NAME_stderr of each, the standard error of the sampling; the error of `MinNorm` is exact.

    Raises:
      ValueError: if `config` is no configuration, its task is no `LinearTeacher`, or none of its networks has a theory;
        the message says why; or if `draws` is below 2 or given for several outputs or inputs with a covariance.

    Reference:
      Umar & Laio 2026, arXiv:2605.26973.
    """
    if isinstance(config, str):
        config = presets[config]
    if not isinstance(config, SweepConfig):
        checks.reject("config", "a SweepConfig or the name of a preset", config)
    predictable = check_predictable(config)
    if draws is not None:
        checks.integer("draws", draws, 2)
        if not has_finite_size(config):
            only = "None: only for one output and isotropic inputs are there samples, not for"
            checks.reject("draws", f"{only} {config.task}", draws)
    return _assemble(config, predictable, draws)


def check_predictable(config: SweepConfig) -> Predictable:
    """Returns the part of a sweep that `predict` knows the theory of, without computing it.

    Raises:
      ValueError: if there is none; the message says why.
    """
    task = config.task
    if not isinstance(task, LinearTeacher):
        checks.reject("task", "a LinearTeacher: predict knows solved linear networks on a linear teacher", task)
    reasons = {network: reason for network in config.networks if (reason := _no_theory(task, network))}
    known = [network for network in config.networks if is_solved(network) and network not in reasons]
    if not known:
        why = "; ".join(f"{network} {reason}" for network, reason in reasons.items())
        checks.reject("networks", f"solved linear networks, the only ones with a theory ({why})", config.networks)
    return Predictable(task, known, [f"{network} {reason}" for network, reason in reasons.items()])


def has_finite_size(config: SweepConfig) -> bool:
    """Whether `predict` can sample the theory at the number of input dimensions of a sweep."""
    return isinstance(config.task, LinearTeacher) and _isotropic(config.task) and config.task.outputs == 1


def in_closed_form(config: SweepConfig) -> bool:
    """Whether `predict` samples nothing, so that further sample sizes cost next to nothing."""
    task = config.task
    return (
        isinstance(task, LinearTeacher)
        and _isotropic(task)
        and np.ptp(task.singular_values) == 0
        and task.outputs <= _MOST_EQUAL_MODES
    )


def _no_theory(task: LinearTeacher, network: Network) -> str | None:
    if not isinstance(network, LinearNetwork):
        return "is not a LinearNetwork"
    if network.solver is None:
        return "is trained: its hidden layer depends on its initialization"
    known = (theory.MinNorm, theory.Ridge, theory.TunedRidge)
    if not _isotropic(task) and not isinstance(network.solver, known):
        return "has a filter other than MinNorm, Ridge and TunedRidge, on inputs with a covariance"
    if network.hidden >= task.outputs:
        return None
    if not _isotropic(task):
        return "has fewer hidden units than outputs, on inputs with a covariance"
    strengths = np.sort(task.singular_values)[::-1]
    if strengths[network.hidden - 1] == strengths[network.hidden]:
        return "has fewer hidden units than outputs, and which of two equally strong ones it keeps is left to chance"
    return None


def _isotropic(task: LinearTeacher) -> bool:
    return bool(np.all(task.eigenvalues == 1.0))


def _kept(task: LinearTeacher, hidden: int) -> int:
    return min(hidden, task.outputs)


def _assemble(config: SweepConfig, predictable: Predictable, draws: int | None) -> xr.Dataset:
    task, known, reasons = predictable
    snr, n = np.array(config.noise), np.array(config.n_train)
    count, cell = len(config.networks), (snr.size, n.size)
    error = np.full((count, *cell), np.nan)
    pairs = {name: np.full((count, count, *cell), np.nan) for name in ("overlap", *MEASURES)}
    stderr = {name: np.full_like(values, np.nan) for name, values in pairs.items()}
    error_stderr = np.full_like(error, np.nan)
    modes = {network: _modes(task, network, snr, n, config.shared_inputs) for network in known}
    for a in known:
        i = config.networks.index(a)
        error[i], error_stderr[i] = modes[a].error, 0.0
        for b in known if _isotropic(task) else [a]:
            j = config.networks.index(b)
            if j > i:
                continue
            errors: dict[str, np.ndarray] = {}
            if draws is None:
                cross = modes[a].cross if a is b else _cross_of_two(task, a, b, snr, n, config.shared_inputs)
                found = _compare(config, task, modes[a].norm, modes[b].norm, cross)
            else:
                found, errors = sample_pair(config, task, a, b, min(config.probes, _MOST_PROBES), draws)
                if a is b and not isinstance(a.solver, theory.MinNorm):
                    error[i], error_stderr[i] = found["test_error"], errors["test_error"]
            for source, target in ((found, pairs), (errors, stderr)):
                for name in pairs.keys() & source.keys():
                    target[name][i, j] = target[name][j, i] = source[name]
    names = [str(network) for network in config.networks]
    dims = (task.noise_name, "n_train")
    coordinates = {
        "network": names,
        "network_a": names,
        "network_b": names,
        task.noise_name: snr,
        "n_train": n,
        "alpha": ("n_train", n / task.dim),
    }
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {"test_error": (("network", *dims), error)}
    variables |= {name: (("network_a", "network_b", *dims), values) for name, values in pairs.items()}
    if draws is not None:
        variables |= {f"{name}_stderr": (variables[name][0], values) for name, values in stderr.items()}
        variables["test_error_stderr"] = (variables["test_error"][0], error_stderr)
    attributes = {"config": to_json(config), "probes": config.probes, "no_theory": reasons}
    return xr.Dataset(variables, coordinates, attributes)


def _modes(task: LinearTeacher, network: LinearNetwork, snr: np.ndarray, n: np.ndarray, shared_inputs: bool) -> _Modes:
    assert network.solver is not None
    if not _isotropic(task):
        return _modes_with_covariance(task, network.solver, snr, n, shared_inputs)
    dim = task.dim if isinstance(network.solver, theory.MinNorm) else None
    m = theory.moments(n / task.dim, snr[:, None], filter=network.solver, dim=dim)
    powers = np.sort(task.singular_values**2)[::-1]
    kept = powers[: _kept(task, network.hidden)]
    # An infinite moment times no noise is no noise.
    noise = np.where(np.isinf(snr)[:, None], 0.0, m.noise / np.where(np.isinf(snr), 1.0, snr)[:, None])
    error = (m.bias * kept.sum() + noise * kept.size + powers[kept.size :].sum()) / powers.size
    norm = np.asarray(m.signal)[None, ..., None] * kept + noise[None, ..., None]
    cross = np.asarray(m.signal if shared_inputs else np.square(m.response))
    return _Modes(norm, cross[None, ..., None] * kept, error)


def _cross_of_two(
    task: LinearTeacher, a: LinearNetwork, b: LinearNetwork, snr: np.ndarray, n: np.ndarray, shared_inputs: bool
) -> Float[np.ndarray, "draws noise n_train modes"]:
    """The covariances of the modes that two networks with different filters keep."""
    alpha = np.broadcast_to(n / task.dim, (snr.size, n.size))
    s, weights = theory.marchenko_pastur(alpha)
    with np.errstate(over="ignore", invalid="ignore"):
        f, g = (
            solver.response(s, alpha=alpha[..., None], snr=snr[:, None, None])
            for solver in (a.solver, b.solver)
            if solver is not None
        )
        cross = np.sum(weights * f * g, -1) if shared_inputs else np.sum(weights * f, -1) * np.sum(weights * g, -1)
    kept = np.sort(task.singular_values**2)[::-1][: min(_kept(task, a.hidden), _kept(task, b.hidden))]
    return cross[None, ..., None] * kept


def _modes_with_covariance(
    task: LinearTeacher, solver: theory.SpectralFilter, snr: np.ndarray, n: np.ndarray, shared_inputs: bool
) -> _Modes:
    drawn = task.coefficients == "isotropic"
    teachers = np.asarray(jax.vmap(task.load)(jax.random.split(jax.random.key(0), _DRAWS_OF_TEACHERS if drawn else 1)))
    norm, cross, error = np.empty((3, len(teachers), snr.size, n.size, task.outputs))
    for level, columns, filter in _filters(task, solver, snr, n):
        # With more samples than dimensions the covariance drops out of the noise, which is known exactly.
        exact = isinstance(filter, theory.MinNorm) & (n[columns] > task.dim)
        for at in np.ndindex(len(teachers), task.outputs):
            m = theory.covariance_moments(task.eigenvalues, teachers[at], n[columns], 1.0 / snr[level], filter=filter)
            cell = (at[0], level, columns, at[1])
            norm[cell] = np.where(exact, 0.0, m.noise) + m.signal
            error[cell] = np.where(exact, 0.0, m.error)
            cross[cell] = m.cross_shared if shared_inputs else m.cross_independent
        if exact.any() and np.isfinite(snr[level]):
            noise = np.asarray(theory.generalization_error(n[columns][exact] / task.dim, snr[level], dim=task.dim))
            block = np.arange(n.size)[columns][exact]
            norm[:, level, block] += noise[:, None]
            error[:, level, block] += noise[:, None]
    return _Modes(norm, cross, error.mean((0, -1)))


def _filters(
    task: LinearTeacher, solver: theory.SpectralFilter, snr: np.ndarray, n: np.ndarray
) -> Iterator[tuple[int, slice, theory.SpectralFilter]]:
    """The filter of every noise level, by columns of sample sizes that have it in common."""
    for level, value in enumerate(snr):
        if not isinstance(solver, theory.TunedRidge):
            yield level, slice(None), solver
            continue
        for k, lam in enumerate(1.0 / value / (n / task.dim)):
            yield level, slice(k, k + 1), theory.Ridge(float(lam)) if lam > 0 else theory.MinNorm()


def _compare(
    config: SweepConfig,
    task: LinearTeacher,
    norm_a: np.ndarray,
    norm_b: np.ndarray,
    cross: Float[np.ndarray, "draws noise n_train modes"],
) -> dict[str, Float[np.ndarray, "noise n_train"]]:
    """The measures between members of two networks; `modes` of `cross` are those that both keep."""
    overlap = _ratio(cross.sum(-1), _root_product(norm_a.sum(-1), norm_b.sum(-1))).mean(0)
    if task.outputs > 1 and not _isotropic(task):
        return {"overlap": overlap}
    both = cross.shape[-1]
    rho = _ratio(cross, _root_product(norm_a[..., :both], norm_b[..., :both]))
    variances = [norm if config.layer == task.output_layer else np.sqrt(norm) for norm in (norm_a, norm_b)]
    cka = _cka(rho, *variances)
    entropy, imbalance = _rank_measures(config, rho, *variances)
    return {"overlap": overlap, "cce": entropy, "information_imbalance": imbalance, "linear_cka": cka}


def _cka(rho: np.ndarray, variance_a: np.ndarray, variance_b: np.ndarray) -> Float[np.ndarray, "noise n_train"]:
    both = rho.shape[-1]
    overflowed = np.isnan(rho).any(-1)
    a, b = (relative(np.where(np.isnan(v), 0.0, v)) for v in (variance_a, variance_b))
    norms = np.sqrt(np.sum(a**2, -1) * np.sum(b**2, -1))
    cka = _ratio(np.sum(rho**2 * a[..., :both] * b[..., :both], -1), norms)
    return np.where(overflowed, np.nan, cka).mean(0)


def _rank_measures(
    config: SweepConfig, rho: np.ndarray, variance_a: np.ndarray, variance_b: np.ndarray
) -> tuple[Float[np.ndarray, "noise n_train"], Float[np.ndarray, "noise n_train"]]:
    """The conditional copula entropy and the information imbalance, both NaN where `rho` is."""
    known = np.isfinite(rho).all(-1)
    entropy, imbalance = np.full((2, *known.shape), np.nan)
    probes = min(config.probes, _MOST_PROBES)
    modes = rho.shape[-1]
    equal = all(v.shape[-1] == modes and np.all((v == v[..., :1]) | np.isnan(v)) for v in (variance_a, variance_b))
    if equal and modes <= _MOST_EQUAL_MODES:
        inside = rho[known][:, 0]
        entropy[known] = theory.conditional_copula_entropy(inside, outputs=modes, n_probes=probes)
        imbalance[known] = theory.information_imbalance(inside, outputs=modes, n_probes=probes)
    elif variance_a is variance_b or np.array_equal(variance_a, variance_b, equal_nan=True):
        for at in zip(*np.nonzero(known), strict=True):
            if np.any(variance_a[at] > 0):
                hidden = theory.HiddenModes(variance_a[at], rho[at])
                sampled = theory.sampled_measures(hidden, probes, draws=_DRAWS_OF_PROBES)
                entropy[at], imbalance[at] = sampled.conditional_copula_entropy, sampled.information_imbalance
            else:
                entropy[at], imbalance[at] = 0.0, 1.0
    return entropy.mean(0), imbalance.mean(0)


def _root_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(a) * np.sqrt(b)


def _ratio(cross: np.ndarray, total: np.ndarray) -> np.ndarray:
    """A correlation: 0 where a network answers 0, and not above 1 by rounding, which the measures refuse."""
    with np.errstate(invalid="ignore"):
        return np.minimum(np.divide(cross, total, out=np.zeros_like(total), where=total != 0), 1.0)
