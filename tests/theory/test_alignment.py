import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm

from jaxalign.theory import conditional_copula_entropy, copula_density, information_imbalance, linear_cka

# THEORY section 3, to the last digit printed there.
ENTROPIES = [
    (1, 0.1, -2.16158e-5, 5e-11),
    (1, 0.3, -0.00186130, 5e-9),
    (1, 0.5, -0.0164887, 5e-8),
    (1, 0.7, -0.0822771, 5e-8),
    (1, 0.9, -0.399084, 5e-7),
    (1, 0.95, -0.680125, 5e-7),
    (1, 0.99, -1.430282, 5e-7),
    (1, 0.999, -2.569050, 5e-7),
    (2, 0.3, -0.00450146, 5e-9),
    (2, 0.5, -0.0393064, 5e-8),
    (2, 0.7, -0.190910, 5e-7),
    (2, 0.9, -0.879972, 5e-7),
    (2, 0.99, -2.991722, 5e-7),
    (10, 0.9, -4.92, 5e-3),
]


@pytest.mark.parametrize(("outputs", "rho", "expected", "tolerance"), ENTROPIES)
def test_entropy_reference_values(outputs, rho, expected, tolerance):
    assert conditional_copula_entropy(rho, outputs=outputs) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(("outputs", "a"), [(1, 0.214581), (2, 0.522534), (3, 0.845796)])
def test_entropy_of_weak_alignment(outputs, a):
    rho = 1e-3
    assert -conditional_copula_entropy(rho, outputs=outputs) / rho**4 == pytest.approx(a, abs=2e-6)


@pytest.mark.parametrize(("outputs", "h"), [(1, 0.193078), (2, 0.247853), (3, 0.273991)])
def test_entropy_of_strong_alignment(outputs, h):
    for gap in (1e-6, 1e-9):
        rho = 1.0 - gap
        scale = 0.5 * outputs * np.log(-np.expm1(4.0 * np.log1p(-gap)))
        assert conditional_copula_entropy(rho, outputs=outputs) - scale == pytest.approx(h, abs=2e-6)


def test_entropy_at_the_ends():
    np.testing.assert_array_equal(conditional_copula_entropy([0.0, 1.0]), [0.0, -np.inf])
    # Continuous where the interpolant hands over to the asymptote.
    low, high = conditional_copula_entropy(np.sqrt(1.0 - np.array([2.001e-6, 1.999e-6])), outputs=5)
    assert low - high == pytest.approx(2.5 * np.log(2.001 / 1.999), abs=1e-6)


@pytest.mark.parametrize("outputs", [1, 5])
def test_entropy_and_imbalance_are_integrals_of_the_density(outputs):
    # The interpolant and the closed form against the density, on a grid of its own.
    rho = np.array([[0.2], [0.7], [0.97]])
    t, step = np.linspace(-60.0, 24.0, 280, retstep=True)
    c, p = expit(t), copula_density(expit(t), rho, outputs=outputs)
    jacobian = step * c * expit(-t)
    np.testing.assert_allclose(np.sum(jacobian * p, -1), 1.0, rtol=0, atol=1e-8)
    entropy = -np.sum(jacobian * p * np.log(p), -1)
    np.testing.assert_allclose(conditional_copula_entropy(rho[:, 0], outputs=outputs), entropy, rtol=0, atol=1e-7)
    mean = np.sum(jacobian * p * c, -1)
    np.testing.assert_allclose(information_imbalance(rho[:, 0], outputs=outputs), 2 * mean, rtol=0, atol=1e-8)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    rho=st.floats(1e-4, 1.0 - 1e-9),
    factor=st.floats(0.1, 0.999),
    outputs=st.sampled_from([1, 2, 5]),
)
def test_measures_are_monotone(rho, factor, outputs):
    for measure in (conditional_copula_entropy, information_imbalance):
        low, high = measure(np.array([rho * factor, rho]), outputs=outputs)
        assert high < low <= measure(0.0, outputs=outputs)
    bound = 1.0 + np.log(information_imbalance(rho, outputs=outputs) / 2.0)
    assert conditional_copula_entropy(rho, outputs=outputs) <= bound + 1e-9


def test_density_of_one_output_by_its_own_formula():
    # THEORY section 3 for r = 1: p(c|v) by the normal density, the quantile by root finding, adaptive quadrature in v.
    rho, c = 0.8, 0.3
    q, tau = rho**2, np.sqrt(1.0 - rho**4)

    def given_v(v):
        t = brentq(lambda t: norm.cdf(v + t) - norm.cdf(v - t) - c, 0.0, v + 10.0, xtol=1e-13)
        top = norm.pdf((v * (1 - q) + t) / tau) + norm.pdf((v * (1 - q) - t) / tau)
        return 2.0 * norm.pdf(v) * top / (tau * (norm.pdf(v + t) + norm.pdf(v - t)))

    expected = quad(given_v, 0.0, 9.0, epsabs=1e-11)[0]
    assert copula_density(c, rho) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("outputs", [1, 3])
def test_density_at_the_ends(outputs):
    p = copula_density([0.0, 0.5, 1.0], [[0.0], [0.6], [1.0]], outputs=outputs)
    np.testing.assert_allclose(p[0], 1.0, rtol=1e-12)
    assert p[1, 0] == pytest.approx(0.64**-outputs)
    assert p[1, 2] == 0.0
    np.testing.assert_array_equal(p[2], [np.inf, 0.0, 0.0])
    assert copula_density(1e-15, 0.3, outputs=outputs) == pytest.approx(0.91**-outputs, rel=1e-3)


def test_imbalance_formulas():
    rho = np.array([0.0, 0.3, 0.7, 0.99, 1.0])
    expected = 1.0 - 2.0 / np.pi * np.arcsin(rho**2 / np.sqrt(3.0 - 2.0 * rho**2))
    np.testing.assert_allclose(information_imbalance(rho), expected, rtol=1e-12, atol=1e-15)
    # Where 1 - T^2 rounds to 1.
    assert 1.0 - information_imbalance(1e-4) == pytest.approx(2.0 / np.pi * 1e-8 / np.sqrt(3.0), rel=1e-6)


def test_linear_cka():
    np.testing.assert_allclose(linear_cka([0.5, 0.0, 1.0]), [0.25, 0.0, 1.0])
    # Modes of variances 2 and 1: (4 * 0.25 + 1 * 0.01) / 5.
    assert linear_cka([0.5, 0.1], variance=[2.0, 1.0]) == pytest.approx(0.202)
    assert linear_cka(np.full((3, 2), 0.5), variance=np.ones((3, 2))).shape == (3,)


@pytest.mark.parametrize("outputs", [1, 3])
def test_imbalance_of_a_sample(outputs):
    # N = 1500 probes of two Gaussian hidden spaces; ranks by sorting.
    rho, n = 0.8, 1500
    rng = np.random.default_rng(3)
    a = rng.standard_normal((n, outputs))
    b = rho * a + np.sqrt(1.0 - rho**2) * rng.standard_normal((n, outputs))
    distances = [((x[:, None] - x[None]) ** 2).sum(-1) + np.diag(np.full(n, np.inf)) for x in (a, b)]
    nearest = distances[0].argmin(1)
    ranks = 1 + (distances[1] < distances[1][np.arange(n), nearest][:, None]).sum(1)
    error = 2.0 * ranks.std() / n / np.sqrt(n)
    assert 2.0 * ranks.mean() / n == pytest.approx(information_imbalance(rho, outputs=outputs), abs=4 * error)


def test_types_and_shapes():
    assert isinstance(conditional_copula_entropy(0.5), float)
    assert isinstance(information_imbalance(0.5), float) and isinstance(linear_cka(1), float)
    assert isinstance(copula_density(0.5, 0.5), float)
    grid = np.full((2, 3), 0.5, np.float32)
    assert conditional_copula_entropy(grid).shape == information_imbalance(grid).shape == (2, 3)
    assert copula_density([0.1, 0.2], np.array([[0.5], [0.6], [0.7]])).shape == (3, 2)


@pytest.mark.parametrize("bad", [1.5, -0.1, np.nan, [0.1, np.nan]])
@pytest.mark.parametrize("function", [conditional_copula_entropy, information_imbalance, linear_cka])
def test_bad_overlap(function, bad):
    with pytest.raises(ValueError, match="overlap must be at least 0 and at most 1, got"):
        function(bad)


def test_bad_input():
    for function in (conditional_copula_entropy, information_imbalance):
        with pytest.raises(ValueError, match="outputs must be an integer of at least 1"):
            function(0.5, outputs=0)
    with pytest.raises(ValueError, match="and at most 20, got 21"):
        conditional_copula_entropy(0.5, outputs=21)
    with pytest.raises(ValueError, match="c must be at least 0 and at most 1, got 1.5"):
        copula_density(1.5, 0.5)
