"""The permutation null rejects independent representations as often as its p-value says."""

import numpy as np
import pytest

from jaxalign import summarize
from jaxalign.alignment import METRICS, DegenerateRepresentationWarning, align

pytestmark = pytest.mark.slow

DIRECTED = tuple(name for name, metric in METRICS.items() if metric.larger_is_more_similar is not None)
K, N = 21, 100


@pytest.fixture(scope="module")
def p_values():
    """Of the 420 ordered pairs of 21 independent representations of 2 to 5 units, three times."""
    found = {name: [] for name in DIRECTED}
    different = ~np.eye(K, dtype=bool)
    for seed in range(3):
        rng = np.random.default_rng([20, seed])
        members = [rng.normal(size=(N, 2 + i % 4)) * rng.uniform(0.5, 2, 2 + i % 4) for i in range(K)]
        dataset = align(members, DIRECTED, null=199, seed=seed)
        for name in DIRECTED:
            found[name].append(dataset[f"{name}_p"].values[different])
    return {name: np.concatenate(values) for name, values in found.items()}


@pytest.mark.parametrize("name", DIRECTED)
def test_rejects_as_often_as_it_says(name, p_values):
    """With 199 permutations p < 0.05 has probability 0.045 exactly, less where values are tied.

    Symmetric measures have 630 different pairs, whose fraction has a standard error of 0.008.
    """
    p = p_values[name]
    assert p.size == 3 * K * (K - 1)
    assert np.all((p >= 0.005) & (p <= 1))
    assert 0.02 <= np.mean(p < 0.05) <= 0.09


@pytest.mark.parametrize("name", DIRECTED)
def test_p_values_are_uniform(name, p_values):
    """In quarters, whose fractions have a standard error of at most 0.02."""
    for level in (0.25, 0.5, 0.75):
        assert abs(np.mean(p_values[name] <= level) - level) <= 0.08, level


TIED = {
    "one-hot codes": lambda rng, k: np.eye(4 + k % 3)[rng.integers(0, 4 + k % 3, N)],
    "binary codes": lambda rng, k: rng.integers(0, 2, (N, 6 + k % 3)),
    "sparse ReLU": lambda rng, k: np.maximum(rng.normal(size=(N, 3 + k % 2)) - 1.0, 0),
}


@pytest.mark.parametrize("kind", TIED)
def test_ties_do_not_reject(kind):
    """Every measure of 210 pairs of independent codes, in both directions, of which most neighbours are tied."""
    rng = np.random.default_rng(22)
    members = [TIED[kind](rng, k) for k in range(K)]
    with pytest.warns(DegenerateRepresentationWarning):
        dataset = align(members, DIRECTED, null=199)
    different = ~np.eye(K, dtype=bool)
    rejected = {name: np.mean(dataset[f"{name}_p"].values[different] <= 0.05) for name in DIRECTED}
    assert all(0.02 <= fraction <= 0.09 for fraction in rejected.values()), rejected


OF_THE_MEAN = ("cce", "information_imbalance", "linear_cka", "pwcca", "linear_regression")


@pytest.fixture(scope="module")
def summaries():
    """Of 150 ensembles of three independent representations."""
    ensembles = [np.random.default_rng([21, seed]).normal(size=(3, 50, 4)) for seed in range(150)]
    return [summarize(align(x, OF_THE_MEAN, null=39, seed=seed)) for seed, x in enumerate(ensembles)]


@pytest.mark.parametrize("name", OF_THE_MEAN)
def test_the_null_of_the_mean_over_pairs(name, summaries):
    """A->B and B->A fluctuate together in many measures, and their mean is no more certain than one of them.

    z has a standard deviation of about 1.05, with a standard error of 0.06; without their correlation it would be
    1.45. The fraction of p <= 0.05 has a standard error of 0.018.
    """
    z, p = (np.array([float(summary[f"{name}_{key}"]) for summary in summaries]) for key in ("z", "p"))
    assert abs(np.mean(z)) <= 0.3
    assert 0.87 <= np.std(z) <= 1.25
    assert np.mean(p <= 0.05) <= 0.1


def test_the_null_of_the_mean_of_two_directions_in_many_dimensions():
    """Where A->B and B->A are most correlated; z had a standard deviation of 1.15 were they independent in the null.

    Its standard error is 0.035, and that of the fraction of p <= 0.05 is 0.011.
    """
    ensembles = [np.random.default_rng([22, seed]).normal(size=(2, 50, 100)) for seed in range(400)]
    found = [summarize(align(x, ("information_imbalance",), null=99, seed=seed)) for seed, x in enumerate(ensembles)]
    z, p = (np.array([float(summary[f"information_imbalance_{key}"]) for summary in found]) for key in ("z", "p"))
    assert 0.93 <= np.std(z) <= 1.1
    assert np.mean(p <= 0.05) <= 0.075
