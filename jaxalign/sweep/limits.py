"""The theory of a sweep with one output in the limit of many input dimensions."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxalign import theory
from jaxalign.networks import LinearNetwork
from jaxalign.sweep.config import SweepConfig
from jaxalign.sweep.finite_size import PAIRED, Values, is_isotropic, solver_of
from jaxalign.tasks import LinearTeacher

# The law of the rank is known up to so many probes; with more of them it hardly changes.
_MOST_PROBES = 100_000
_DRAWS_OF_TEACHERS = 256


class _Maps(NamedTuple):
    """A solved network; the axis `draws` is over teachers where what is learned depends on their direction.

    Attributes:
      norm: the squared norm of its end-to-end map.
      cross: the product of the maps of two members.
      error: the test error.
    """

    norm: Float[np.ndarray, "draws noise n_train"]
    cross: Float[np.ndarray, "draws noise n_train"]
    error: Float[np.ndarray, "noise n_train"]


def has_limit(task: LinearTeacher, networks: Sequence[LinearNetwork]) -> bool:
    """Whether the limit is known for all of these solved networks."""
    known = (theory.MinNorm, theory.Ridge, theory.TunedRidge)
    return task.outputs == 1 and (is_isotropic(task) or all(isinstance(solver_of(x), known) for x in networks))


def limit(config: SweepConfig, task: LinearTeacher, networks: Sequence[LinearNetwork]) -> Values:
    """What is expected in the limit; between different networks only for isotropic inputs, otherwise NaN.

    Args:
      config: the sweep.
      task: that of the sweep, with a limit.
      networks: solved ones of the sweep.

    Returns:
      `test_error` with the axes (network, noise, n_train), the others with (network, network, noise, n_train).
    """
    snr, n = np.array(config.noise), np.array(config.n_train)
    count, shared = len(networks), config.shared_inputs
    maps = [_maps(task, solver_of(network), snr, n, shared) for network in networks]
    found = {name: np.full((count, count, snr.size, n.size), np.nan) for name in PAIRED}
    for i in range(count):
        for j in range(i + 1) if is_isotropic(task) else (i,):
            a, b = (solver_of(networks[k]) for k in (i, j))
            cross = maps[i].cross if i == j else _cross_of_two(task, a, b, snr, n, shared)
            overlap = _ratio(cross, np.sqrt(maps[i].norm) * np.sqrt(maps[j].norm))
            for name, value in _measures(overlap, min(config.probes, _MOST_PROBES)).items():
                found[name][i, j] = found[name][j, i] = value.mean(0)
    return found | {"test_error": np.stack([network.error for network in maps])}


def _measures(overlap: Float[np.ndarray, "*s"], probes: int) -> Values:
    known = np.isfinite(overlap)
    rho = np.where(known, overlap, 0.0)
    values = {
        "overlap": rho,
        "cce": theory.conditional_copula_entropy(rho, n_probes=probes),
        "information_imbalance": theory.information_imbalance(rho, n_probes=probes),
        "linear_cka": theory.linear_cka(rho),
    }
    return {name: np.where(known, value, np.nan) for name, value in values.items()}


def _maps(
    task: LinearTeacher, solver: theory.SpectralFilter, snr: np.ndarray, n: np.ndarray, shared_inputs: bool
) -> _Maps:
    if not is_isotropic(task):
        return _maps_with_covariance(task, solver, snr, n, shared_inputs)
    dim = task.dim if isinstance(solver, theory.MinNorm) else None
    m = theory.moments(n / task.dim, snr[:, None], filter=solver, dim=dim)
    # An infinite moment times no noise is no noise.
    noise = np.where(np.isinf(snr)[:, None], 0.0, m.noise / np.where(np.isinf(snr), 1.0, snr)[:, None])
    cross = np.asarray(m.signal if shared_inputs else np.square(m.response))
    return _Maps((m.signal + noise)[None], cross[None], m.bias + noise)


def _cross_of_two(
    task: LinearTeacher,
    a: theory.SpectralFilter,
    b: theory.SpectralFilter,
    snr: np.ndarray,
    n: np.ndarray,
    shared_inputs: bool,
) -> Float[np.ndarray, "1 noise n_train"]:
    """The product of the maps of two members with different filters."""
    alpha = np.broadcast_to(n / task.dim, (snr.size, n.size))
    s, weights = theory.marchenko_pastur(alpha)
    with np.errstate(over="ignore", invalid="ignore"):
        f, g = (filter.response(s, alpha=alpha[..., None], snr=snr[:, None, None]) for filter in (a, b))
        both = np.sum(weights * f * g, -1)
        return np.asarray(both if shared_inputs else np.sum(weights * f, -1) * np.sum(weights * g, -1))[None]


def _maps_with_covariance(
    task: LinearTeacher, solver: theory.SpectralFilter, snr: np.ndarray, n: np.ndarray, shared_inputs: bool
) -> _Maps:
    drawn = task.coefficients == "isotropic"
    keys = jax.random.split(jax.random.key(0), _DRAWS_OF_TEACHERS if drawn else 1)
    teachers = np.asarray(jax.vmap(task.load)(keys))[:, 0]
    norm, cross, error = np.empty((3, len(teachers), snr.size, n.size))
    for level, columns, filter in _filters(task, solver, snr, n):
        # With more samples than dimensions the covariance drops out of the noise, which is known exactly.
        exact = isinstance(filter, theory.MinNorm) & (n[columns] > task.dim)
        for draw, teacher in enumerate(teachers):
            m = theory.covariance_moments(task.eigenvalues, teacher, n[columns], 1.0 / snr[level], filter=filter)
            norm[draw, level, columns] = np.where(exact, 0.0, m.noise) + m.signal
            error[draw, level, columns] = np.where(exact, 0.0, m.error)
            cross[draw, level, columns] = m.cross_shared if shared_inputs else m.cross_independent
        if exact.any() and np.isfinite(snr[level]):
            noise = np.asarray(theory.generalization_error(n[columns][exact] / task.dim, snr[level], dim=task.dim))
            block = np.arange(n.size)[columns][exact]
            norm[:, level, block] += noise
            error[:, level, block] += noise
    return _Maps(norm, cross, error.mean(0))


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


def _ratio(cross: np.ndarray, total: np.ndarray) -> np.ndarray:
    """A correlation: 0 where a network answers 0, and not above 1 by rounding, which the measures refuse."""
    with np.errstate(invalid="ignore"):
        return np.minimum(np.divide(cross, total, out=np.zeros_like(total), where=total != 0), 1.0)
