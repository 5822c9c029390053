"""The theory of a sweep at its own size: what solved networks show on average, sampled without training them."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from scipy.special import hyp2f1

from jaxalign import theory
from jaxalign.alignment.pairs import all_pairs
from jaxalign.alignment.plan import default_budget
from jaxalign.networks import LinearNetwork
from jaxalign.sweep.config import SweepConfig
from jaxalign.tasks import LinearTeacher
from jaxalign.theory.estimated import estimated_entropy
from jaxalign.theory.maps import CorrelatedInputs, Inputs, IsotropicInputs, Kind, Layers, draw_layers
from jaxalign.threads import one_blas_thread

MEASURES = ("cce", "information_imbalance", "linear_cka")
PAIRED = ("overlap", *MEASURES)
# The law of the rank is known up to so many probes; with more of them it hardly changes.
_MOST_PROBES = 100_000
# Members of a network in each draw: the inputs are what varies most.
_STUDENTS = 4

Values = dict[str, np.ndarray]


class Sampled(NamedTuple):
    """Means over draws of teacher, inputs and probes, and their standard errors, by the name of the variable.

    `test_error` has the axes (network, noise, n_train), the others (network, network, noise, n_train).
    """

    mean: Values
    stderr: Values


def sample(config: SweepConfig, task: LinearTeacher, networks: Sequence[LinearNetwork], draws: int) -> Sampled:
    """What is expected of the members of solved networks, and of pairs of them.

    With one output every measure depends on the pair through the cosine of the two end-to-end maps alone, so its mean
    is that of the measure at a sampled cosine. With several outputs the layers of some members are drawn, and the
    measures are those of their activities on `config.probes` standard normal inputs.

    Args:
      config: the sweep.
      task: that of the sweep.
      networks: solved ones of the sweep.
      draws: how many.
    """
    columns = []
    with one_blas_thread():
        for n in config.n_train:
            if task.outputs > 1:
                found = _several_outputs(config, task, networks, n, draws)
            elif is_isotropic(task):
                found = _isotropic_output(config, task, networks, n, draws)
            else:
                found = _correlated_output(config, task, networks, n, draws)
            columns.append(found)
    mean = {name: np.stack([column[name].mean(0) for column in columns], -1) for name in columns[0]}
    spread = {name: np.stack([column[name].std(0, ddof=1) for column in columns], -1) for name in columns[0]}
    stderr = {name: value / np.sqrt(draws) for name, value in spread.items()}
    for i, network in enumerate(networks):
        known = _known_error(config, task, network)
        mean["test_error"][i] = np.where(np.isnan(known), mean["test_error"][i], known)
        stderr["test_error"][i] = np.where(np.isnan(known), stderr["test_error"][i], 0.0)
    return Sampled(mean, stderr)


def _isotropic_output(
    config: SweepConfig, task: LinearTeacher, networks: Sequence[LinearNetwork], n: int, draws: int
) -> Values:
    """Values of each draw at one sample size, the axis `draws` in front."""

    def of_pair(a: LinearNetwork, b: LinearNetwork) -> Values:
        students = theory.sample_students(
            n,
            task.dim,
            config.noise,
            filter=solver_of(a),
            other=solver_of(b),
            shared_inputs=config.shared_inputs,
            draws=draws,
        )
        values = _measures_of_cosines(np.moveaxis(students.overlap, 1, -1), config.probes)
        return {name: value.mean(-1) for name, value in values.items()} | {"test_error": students.error}

    pairs = _over_pairs(networks, of_pair)
    error = np.diagonal(pairs.pop("test_error"), axis1=1, axis2=2)
    return pairs | {"test_error": np.moveaxis(error, -1, 1)}


def _correlated_output(
    config: SweepConfig, task: LinearTeacher, networks: Sequence[LinearNetwork], n: int, draws: int
) -> Values:
    drawn = list(_draw(config, task, networks, n, draws))
    cosines = np.stack([_cosines(layers.output) for layers, _ in drawn])
    values = {name: _mean_of_pairs(value) for name, value in _measures_of_cosines(cosines, config.probes).items()}
    return values | {"test_error": np.stack([layers.error.mean(-1).T for layers, _ in drawn])}


def _several_outputs(
    config: SweepConfig, task: LinearTeacher, networks: Sequence[LinearNetwork], n: int, draws: int
) -> Values:
    budget = default_budget()
    found: dict[str, list[np.ndarray]] = {name: [] for name in (*PAIRED, "test_error")}
    for layers, rng in _draw(config, task, networks, n, draws):
        inputs = rng.standard_normal((config.probes, layers.output.shape[-1]))
        compared = layers.output if config.layer == task.output_layer else layers.hidden
        # (snr, network, student, probe, unit), each by a product of its own: equal maps give equal activities.
        activities = np.asarray(inputs @ compared.swapaxes(-1, -2), dtype=np.float32)
        matrices = [
            all_pairs(level.reshape(-1, *level.shape[2:]), MEASURES, memory_budget=budget, workers=1)
            for level in activities
        ]
        shape = (len(config.noise), *layers.error.shape[1:] * 2)
        for name in MEASURES:
            found[name].append(np.stack([matrix[name] for matrix in matrices]).reshape(shape))
        found["overlap"].append(_cosines(layers.output))
        found["test_error"].append(layers.error.mean(-1).T)
    pairs = {name: _mean_of_pairs(np.stack(found[name])) for name in PAIRED}
    return pairs | {"test_error": np.stack(found["test_error"])}


def _draw(
    config: SweepConfig, task: LinearTeacher, networks: Sequence[LinearNetwork], n: int, draws: int
) -> Iterator[tuple[Layers, np.random.Generator]]:
    """Layers of the members, and the generator for what else is drawn with them."""
    kinds = [Kind(solver_of(network), network.hidden) for network in networks]
    snr = np.array(config.noise, np.float64)
    keys = jax.random.split(jax.random.key(0), draws)
    for draw in range(draws):
        rng = np.random.default_rng([n, task.dim, draw])
        inputs: Inputs = (
            IsotropicInputs(task.dim, task.singular_values)
            if is_isotropic(task)
            else CorrelatedInputs(task.eigenvalues, np.asarray(task.load(keys[draw]), np.float64))
        )
        shared = config.shared_inputs
        yield draw_layers(rng, inputs, n, task.dim, snr, kinds, students=_STUDENTS, shared_inputs=shared), rng


def _cosines(
    maps: Float[np.ndarray, "snr kinds students outputs dim"],
) -> Float[np.ndarray, "snr kinds students kinds students"]:
    """Those of all pairs of end-to-end maps; 0 where one is 0."""
    rows = maps.reshape(len(maps), -1, maps.shape[-2] * maps.shape[-1])
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    rows = np.divide(rows, norms, out=np.zeros_like(rows), where=norms != 0)
    return np.clip(rows @ rows.swapaxes(-1, -2), -1.0, 1.0).reshape(*maps.shape[:3], *maps.shape[1:3])


def _mean_of_pairs(
    values: Float[np.ndarray, "draws snr kinds students kinds students"],
) -> Float[np.ndarray, "draws kinds kinds snr"]:
    """Over pairs of different members; from one kind to another, which the other way round is another mean."""
    others = ~np.eye(values.shape[3], dtype=bool)
    means = np.moveaxis(values, 3, 4)[..., others].mean(-1)
    return np.transpose(means, (0, 2, 3, 1))


def _over_pairs(networks: Sequence[LinearNetwork], of_pair: Callable[[LinearNetwork, LinearNetwork], Values]) -> Values:
    """What `of_pair` returns, of shape (draws, snr), for all pairs: (draws, network, network, snr)."""
    count = len(networks)
    found = {(i, j): of_pair(networks[i], networks[j]) for i in range(count) for j in range(i + 1)}
    rows = [[found[max(i, j), min(i, j)] for j in range(count)] for i in range(count)]
    return {name: np.stack([np.stack([v[name] for v in row], 1) for row in rows], 1) for name in rows[0][0]}


def _measures_of_cosines(cosines: Float[np.ndarray, "*s"], probes: int) -> Values:
    """What the measures of a single output show on average, NaN where a cosine is.

    A probe's mean, which the alignment of kernels takes off, is estimated from the same N probes: linear CKA is the
    squared sample correlation, of mean

        E[r^2] = 1 - (N - 2)/(N - 1) (1 - rho^2) 2F1(1, 1; (N + 1)/2; rho^2).

    Reference:
      Umar & Laio 2026, arXiv:2605.26973; Muirhead 1982, Aspects of Multivariate Statistical Theory, section 5.1.
    """
    overflowed = np.isnan(cosines)
    rho = np.where(overflowed, 0.0, np.abs(cosines))
    known = min(probes, _MOST_PROBES)
    q = rho**2
    with np.errstate(divide="ignore"):
        depth = -np.log((1.0 - rho) * (1.0 + rho))
    shrunk = np.where(q < 1.0, (1.0 - q) * hyp2f1(1.0, 1.0, 0.5 * (probes + 1.0), q), 0.0)
    values = {
        "overlap": cosines,
        "cce": estimated_entropy(depth, known),
        "information_imbalance": theory.information_imbalance(rho, n_probes=known),
        "linear_cka": 1.0 - (probes - 2.0) / (probes - 1.0) * shrunk,
    }
    return {name: np.where(overflowed, np.nan, value) for name, value in values.items()}


def _known_error(
    config: SweepConfig, task: LinearTeacher, network: LinearNetwork
) -> Float[np.ndarray, "noise n_train"]:
    """The exact error of `MinNorm`, infinite where it has no expectation; NaN where it is not known."""
    snr, n = np.array(config.noise)[:, None], np.array(config.n_train)
    if not isinstance(network.solver, theory.MinNorm):
        return np.full((snr.size, n.size), np.nan)
    error = np.asarray(theory.generalization_error(n / task.dim, snr, dim=task.dim))
    # With more samples than dimensions the covariance of the inputs drops out.
    exact = (network.hidden >= task.outputs) & (is_isotropic(task) | (n > task.dim))
    return np.where(exact | np.isinf(error), error, np.nan)


def solver_of(network: LinearNetwork) -> theory.SpectralFilter:
    """The filter of a solved network."""
    assert network.solver is not None
    return network.solver


def is_isotropic(task: LinearTeacher) -> bool:
    """Whether the inputs have the covariance 1."""
    return bool(np.all(task.eigenvalues == 1.0))
