import numpy as np
import pytest

from jaxalign.alignment import all_pairs
from jaxalign.theory.estimated import _estimate, estimated_entropy, line_ranks
from jaxalign.theory.finite import entropy


def test_ranks_on_a_line_are_those_of_the_measures():
    pairs = np.random.default_rng(0).standard_normal((4, 2, 33)).astype(np.float32)
    pairs[:, 1] += 2 * pairs[:, 0]
    ranks = (x.astype(np.int32) for x in line_ranks(pairs[:, 0].astype(float), pairs[:, 1].astype(float)))
    expected = [all_pairs(pair[..., None], ("cce",))["cce"][0, 1] for pair in pairs]
    np.testing.assert_allclose(_estimate(*ranks), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("n_probes", "rho", "draws"), [(10, 0.8, 600), (50, 0.0, 600), (50, 0.95, 600), (300, 0.99, 300)]
)
def test_it_is_the_mean_of_the_estimator(n_probes, rho, draws):
    rng = np.random.default_rng(1)
    values = []
    for _ in range(draws):
        a, noise = rng.standard_normal((2, n_probes, 1))
        pair = np.float32([a, rho * a + np.sqrt(1 - rho**2) * noise])
        matrix = all_pairs(pair, ("cce",), memory_budget=10**8, workers=1)["cce"]
        values.append((matrix[0, 1] + matrix[1, 0]) / 2)
    error = np.std(values, ddof=1) / np.sqrt(draws)
    expected = estimated_entropy(np.asarray(-np.log(1 - rho**2)), n_probes)
    assert abs(np.mean(values) - expected) < 3.5 * error + 0.003


def test_identity_is_exact_and_many_probes_are_the_law():
    assert estimated_entropy(np.asarray(np.inf), 50) == -np.log(49)
    depth = np.array([0.0, 0.5, 3.0])
    np.testing.assert_array_equal(estimated_entropy(depth, 5000), entropy(depth, 1, 5000))
