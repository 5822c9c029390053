import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import chndtr

from jaxalign.alignment import all_pairs
from jaxalign.theory import conditional_copula_entropy, information_imbalance
from jaxalign.theory.finite import entropy, finite_law, imbalance
from jaxalign.theory.neighbors import draw_neighbors

RHO = np.array([0.1, 0.3, 0.6, 0.9, 0.97, 0.99, 0.999])
DEPTH = -np.log((1.0 - RHO) * (1.0 + RHO))


@pytest.mark.parametrize(("outputs", "n_probes"), [(1, 3), (1, 1000), (10, 500)])
def test_the_ends_are_exact(outputs, n_probes):
    rho = [0.0, 1.0]
    floor = -np.log(n_probes - 1.0)
    np.testing.assert_array_equal(conditional_copula_entropy(rho, outputs=outputs, n_probes=n_probes), [0.0, floor])
    low = 2.0 / n_probes
    np.testing.assert_allclose(information_imbalance(rho, outputs=outputs, n_probes=n_probes), [1.0, low], rtol=1e-14)


def test_entropy_reference_value():
    # THEORY section 3.
    assert conditional_copula_entropy(0.9, outputs=10, n_probes=1000) == pytest.approx(-2.67, abs=5e-3)


@pytest.mark.parametrize("outputs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_many_probes_are_the_limit(outputs):
    rho = RHO[:-1]
    finite = conditional_copula_entropy(rho, outputs=outputs, n_probes=100_000)
    np.testing.assert_allclose(finite, conditional_copula_entropy(rho, outputs=outputs), rtol=0, atol=7e-3)
    finite = information_imbalance(rho, outputs=outputs, n_probes=100_000)
    np.testing.assert_allclose(finite, information_imbalance(rho, outputs=outputs), rtol=0, atol=4e-4)


def test_one_output_is_near_the_limit_at_a_thousand_probes():
    rho = RHO[:-1]
    difference = conditional_copula_entropy(rho, n_probes=1000) - conditional_copula_entropy(rho)
    assert np.abs(difference).max() < 5e-3


@pytest.mark.parametrize(("outputs", "n_probes", "tolerance"), [(1, 500, 1e-3), (10, 500, 1e-3), (1, 10_000, 3e-3)])
def test_other_draws_give_the_same(outputs, n_probes, tolerance):
    law, other = (finite_law(outputs, n_probes, seed) for seed in (0, 1))
    np.testing.assert_allclose(law.entropy(DEPTH), other.entropy(DEPTH), rtol=0, atol=tolerance)
    np.testing.assert_allclose(law.imbalance(DEPTH), other.imbalance(DEPTH), rtol=0, atol=5e-4)


def sample(outputs, rho, n_probes, draws, seed):
    """Means over draws and directions of what the package measures, and standard errors; shape (2, measures).

    Columns of zeros, which change no distance, make one program of those for different numbers of outputs.
    """
    rng = np.random.default_rng(seed)
    names = ("cce", "information_imbalance")
    values = []
    for _ in range(draws):
        a, noise = rng.standard_normal((2, n_probes, outputs))
        members = np.stack([a, rho * a + np.sqrt(1.0 - rho**2) * noise])
        matrices = all_pairs(np.pad(members, [(0, 0), (0, 0), (0, 10 - outputs)]), names)
        values.append([(matrices[name][0, 1] + matrices[name][1, 0]) / 2 for name in names])
    return np.mean(values, 0), np.std(values, 0, ddof=1) / np.sqrt(draws)


@pytest.mark.parametrize("outputs", [1, 3, 10])
@pytest.mark.parametrize("rho", [0.3, 0.9, 0.98])
def test_is_what_the_package_measures(outputs, rho):
    n_probes = 500
    means, errors = sample(outputs, rho, n_probes, draws=30, seed=5)
    predicted = [
        f(rho, outputs=outputs, n_probes=n_probes) for f in (conditional_copula_entropy, information_imbalance)
    ]
    # The estimator is allowed a bias of 0.005, the table an error of 0.001.
    assert np.all(np.abs(means - predicted) < 3.5 * errors + [0.002, 3e-4])


@pytest.mark.slow
@pytest.mark.parametrize(("outputs", "n_probes"), [(1, 2000), (3, 1000), (10, 1000)])
def test_is_what_the_package_measures_with_more_probes(outputs, n_probes):
    for rho in (0.6, 0.9, 0.995):
        means, errors = sample(outputs, rho, n_probes, draws=40, seed=6)
        measures = (conditional_copula_entropy, information_imbalance)
        predicted = [f(rho, outputs=outputs, n_probes=n_probes) for f in measures]
        assert np.all(np.abs(means - predicted) < 3.5 * errors + [0.002, 3e-4])


def test_imbalance_of_few_probes():
    means, errors = sample(5, 0.9, 10, draws=80, seed=7)
    assert abs(means[1] - information_imbalance(0.9, outputs=5, n_probes=10)) < 3.5 * errors[1]


@settings(deadline=None, derandomize=True, max_examples=25)
@given(rho=st.floats(0.02, 1.0), factor=st.floats(0.1, 0.99), outputs=st.sampled_from([1, 10]))
def test_monotone_and_bounded(rho, factor, outputs):
    for measure, floor in ((conditional_copula_entropy, -np.log(499.0)), (information_imbalance, 0.004)):
        low, high = measure(np.array([rho * factor, rho]), outputs=outputs, n_probes=500)
        assert floor <= high <= low + 1e-7


@pytest.mark.parametrize("outputs", [1, 2, 3, 10])
def test_neighbors_are_those_of_a_sample(outputs):
    n_probes, draws = 50, 1500
    rng = np.random.default_rng(8)
    points = rng.standard_normal((draws, n_probes, outputs))
    steps = points[:, 1:] - points[:, :1]
    squared = (steps**2).sum(-1)
    step = steps[np.arange(draws), squared.argmin(1)]
    reach = np.sqrt(squared.min(1))
    along = (step * points[:, 0]).sum(-1) / reach / np.linalg.norm(points[:, 0], axis=-1)
    drawn = draw_neighbors(outputs, n_probes)
    # The mean of along_probe * along_neighbor is that of the cosine between u1 and w.
    pairs = [(reach, drawn.reach), (reach**2, drawn.reach**2), (along, drawn.along_probe * drawn.along_neighbor)]
    for measured, expected in pairs:
        assert abs(measured.mean() - expected.mean()) < 4.0 * measured.std() / np.sqrt(draws)
    # Ball masses are uniform inside the ball.
    radius = drawn.reach[:, None] * np.sqrt(drawn.inside_squared)
    fraction = chndtr(radius**2, outputs, drawn.norm[:, None] ** 2) / drawn.mass[:, None]
    assert fraction.mean() == pytest.approx(0.5, abs=1e-3) and fraction.max() < 1.0 + 1e-3


def test_types_and_shapes():
    assert isinstance(conditional_copula_entropy(0.5, n_probes=100), float)
    assert isinstance(information_imbalance(0.5, n_probes=100), float)
    grid = np.full((2, 3), 0.5)
    assert conditional_copula_entropy(grid, n_probes=100).shape == information_imbalance(grid, n_probes=100).shape
    depth = np.array([0.0, 40.0, np.inf])
    np.testing.assert_array_equal(entropy(depth, 1, 100), [0.0, -np.log(99.0), -np.log(99.0)])
    np.testing.assert_allclose(imbalance(depth, 1, 100), [1.0, 0.02, 0.02], rtol=1e-14)


@pytest.mark.parametrize("function", [conditional_copula_entropy, information_imbalance])
def test_bad_input(function):
    for bad in (2, 0, 100_001):
        with pytest.raises(ValueError, match="n_probes must be an integer of at least 3 and at most 100000, got"):
            function(0.5, n_probes=bad)
    with pytest.raises(ValueError, match="outputs must be an integer of at least 1 and at most 20, got 21"):
        function(0.5, outputs=21, n_probes=100)
    with pytest.raises(ValueError, match="overlap must be at least 0 and at most 1, got 1.5"):
        function(1.5, n_probes=100)
