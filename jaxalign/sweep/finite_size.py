"""The theory of a sweep at its own number of input dimensions: what solved students show on average, sampled."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import hyp2f1

from jaxalign import theory
from jaxalign.networks import LinearNetwork
from jaxalign.sweep.config import SweepConfig
from jaxalign.tasks import LinearTeacher


class Sampled(NamedTuple):
    """Means over draws of teacher and inputs, and their standard errors, by the name of the variable."""

    mean: dict[str, Float[np.ndarray, "noise n_train"]]
    stderr: dict[str, Float[np.ndarray, "noise n_train"]]


def sample_pair(
    config: SweepConfig, task: LinearTeacher, a: LinearNetwork, b: LinearNetwork, probes: int, draws: int
) -> Sampled:
    """What is expected of two members of networks a and b: `overlap`, the measures, and the `test_error` of a.

    For one output, isotropic inputs and Gaussian probes every measure depends on the pair through the cosine of the two
    students alone, so its mean is that of the measure at a sampled cosine. A probe's mean, which the alignment of
    kernels takes off, is estimated from the same N probes: linear CKA is the squared sample correlation, of mean

        E[r^2] = 1 - (N - 2)/(N - 1) (1 - rho^2) 2F1(1, 1; (N + 1)/2; rho^2).

    Reference:
      Umar & Laio 2026, arXiv:2605.26973; Muirhead 1982, Aspects of Multivariate Statistical Theory, section 5.1.
    """
    assert a.solver is not None and b.solver is not None
    columns = []
    for n in config.n_train:
        students = theory.sample_students(
            n,
            task.dim,
            config.noise,
            filter=a.solver,
            other=b.solver,
            shared_inputs=config.shared_inputs,
            draws=draws,
        )
        overflowed = np.isnan(students.overlap)
        rho = np.where(overflowed, 0.0, np.abs(students.overlap))
        values = {
            "overlap": students.overlap,
            "cce": theory.conditional_copula_entropy(rho, n_probes=probes),
            "information_imbalance": theory.information_imbalance(rho, n_probes=probes),
            "linear_cka": _squared_correlation(rho, config.probes),
        }
        per_draw = {name: np.where(overflowed, np.nan, value).mean(1) for name, value in values.items()}
        columns.append(per_draw | {"test_error": students.error})
    mean = {name: np.stack([column[name].mean(0) for column in columns], -1) for name in columns[0]}
    spread = {name: np.stack([column[name].std(0, ddof=1) for column in columns], -1) for name in columns[0]}
    return Sampled(mean, {name: value / np.sqrt(draws) for name, value in spread.items()})


def _squared_correlation(rho: Float[np.ndarray, "*s"], probes: int) -> Float[np.ndarray, "*s"]:
    q = rho**2
    shrunk = (1.0 - q) * hyp2f1(1.0, 1.0, 0.5 * (probes + 1.0), q)
    return 1.0 - (probes - 2.0) / (probes - 1.0) * np.where(q < 1.0, shrunk, 0.0)
