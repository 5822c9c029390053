"""The permutation null rejects independent representations as often as its p-value says."""

import numpy as np
import pytest

from jaxalign.alignment import METRICS, align

pytestmark = pytest.mark.slow

DIRECTED = tuple(name for name, metric in METRICS.items() if metric.larger_is_more_similar is not None)
K, N = 21, 100


@pytest.fixture(scope="module")
def p_values():
    """Of the 420 ordered pairs of 21 independent representations of 2 to 5 units, twice."""
    found = {name: [] for name in DIRECTED}
    different = ~np.eye(K, dtype=bool)
    for seed in range(2):
        rng = np.random.default_rng([20, seed])
        members = [rng.normal(size=(N, 2 + i % 4)) * rng.uniform(0.5, 2, 2 + i % 4) for i in range(K)]
        dataset = align(members, DIRECTED, null=99, seed=seed)
        for name in DIRECTED:
            found[name].append(dataset[f"{name}_p"].values[different])
    return {name: np.concatenate(values) for name, values in found.items()}


@pytest.mark.parametrize("name", DIRECTED)
def test_rejects_as_often_as_it_says(name, p_values):
    """With 99 permutations p <= 0.05 has probability 0.05 exactly (and p < 0.05 probability 0.04).

    Symmetric measures have 420 different pairs, whose fraction has a standard error of 0.011.
    """
    p = p_values[name]
    assert p.size == 2 * K * (K - 1)
    assert np.all((p >= 0.01) & (p <= 1))
    assert 0.02 <= np.mean(p <= 0.05) <= 0.09


@pytest.mark.parametrize("name", DIRECTED)
def test_p_values_are_uniform(name, p_values):
    """In quarters, whose fractions have a standard error of 0.021; of the coarse tied values of mutual_knn at most."""
    p = p_values[name]
    for level in (0.25, 0.5, 0.75):
        assert np.mean(p <= level) <= level + 0.09, level
        assert np.mean(p <= level) >= level - (0.2 if name == "mutual_knn" else 0.09), level
