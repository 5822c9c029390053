import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from jaxalign.theory import (
    HiddenModes,
    MinNorm,
    Ridge,
    TunedRidge,
    conditional_copula_entropy,
    generalization_error,
    hidden_covariances,
    information_imbalance,
    linear_cka,
    overlap,
    sampled_measures,
)

STRENGTHS = (1.2, 0.9, 0.6, 0.3)


def test_reference_values():
    # THEORY section 4: MinNorm, shared inputs, sigma = 0.5, alpha = 0.5.
    modes = hidden_covariances(0.5, STRENGTHS, 0.25)
    np.testing.assert_allclose(modes.variance, [0.984886, 0.809321, 0.655744, 0.543139], rtol=0, atol=5e-7)
    np.testing.assert_allclose(modes.overlap, [0.742268, 0.618321, 0.418605, 0.152542], rtol=0, atol=5e-7)
    assert linear_cka(modes.overlap, variance=modes.variance) == pytest.approx(0.368964, abs=5e-7)


@pytest.mark.parametrize("filter", [MinNorm(), Ridge(0.3), TunedRidge()])
@pytest.mark.parametrize("shared", [True, False])
def test_equal_strengths_are_one_output(filter, shared):
    alphas = np.array([0.2, 0.7, 3.0])
    modes = hidden_covariances(alphas, [1.5, 1.5], 1.5**2 / 4.0, filter=filter, shared_inputs=shared)
    expected = overlap(alphas, 4.0, filter=filter, shared_inputs=shared)
    np.testing.assert_allclose(modes.overlap, np.stack([expected] * 2, -1), rtol=1e-13)
    np.testing.assert_allclose(linear_cka(modes.overlap, variance=modes.variance), expected**2, rtol=1e-13)
    if filter == MinNorm():
        # Below and above the interpolation threshold: signal + noise is the squared norm of the student.
        student = np.minimum(alphas, 1.0) + generalization_error(alphas, 4.0) - np.maximum(1.0 - alphas, 0.0)
        np.testing.assert_allclose(modes.variance[:, 0] ** 2, 1.5**2 * student, rtol=1e-13)


def test_a_narrow_layer_keeps_the_strongest_modes():
    every = hidden_covariances([0.5, 2.0], STRENGTHS[::-1], 0.25)
    kept = hidden_covariances([0.5, 2.0], STRENGTHS, 0.25, hidden=2)
    np.testing.assert_array_equal(kept.variance, every.variance[:, :2])
    np.testing.assert_array_equal(kept.overlap, every.overlap[:, :2])
    assert hidden_covariances(0.5, STRENGTHS, 0.25, hidden=9).overlap.shape == (4,)


def test_limits():
    threshold = hidden_covariances(1.0, STRENGTHS, 0.25)
    assert np.all(np.isinf(threshold.variance)) and np.all(threshold.overlap == 0.0)
    assert linear_cka(threshold.overlap, variance=threshold.variance) == 0.0
    clean = hidden_covariances([0.5, 1.0, 2.0], STRENGTHS, 0.0)
    np.testing.assert_array_equal(clean.overlap, 1.0)
    np.testing.assert_allclose(clean.variance[1], STRENGTHS)
    plenty = hidden_covariances(np.inf, STRENGTHS, 0.25)
    np.testing.assert_allclose(plenty.overlap, 1.0)
    absent = hidden_covariances(0.5, [1.0, 0.0], 0.0)
    np.testing.assert_array_equal(absent.overlap, [1.0, 0.0])
    assert linear_cka([0.0, 0.0], variance=[0.0, 0.0]) == 0.0


@pytest.mark.parametrize("shared", [True, False])
def test_simulation(shared):
    # At the balanced minimum the hidden covariance is M = (W^T W)^(1/2), and linear CKA tr(M_A M_B) / |M_A| |M_B|.
    d, alpha, sigma, draws = 300, 0.5, 0.5, 12
    n = int(alpha * d)
    rng = np.random.default_rng(2)
    teacher = np.zeros((4, d))
    teacher[np.arange(4), np.arange(4)] = STRENGTHS
    spectra, alignments = [], []
    with threadpool_limits(1):
        for _ in range(draws):
            inputs = rng.standard_normal((2, n, d))
            roots = []
            for x in (inputs[0], inputs[0 if shared else 1]):
                targets = x @ teacher.T + sigma * rng.standard_normal((n, 4))
                _, sv, vt = np.linalg.svd(np.linalg.lstsq(x, targets, rcond=None)[0].T, full_matrices=False)
                spectra.append(sv)
                roots.append((sv, vt))
            (s, v), (t, w) = roots
            alignments.append(s @ (v @ w.T) ** 2 @ t / np.linalg.norm(s) / np.linalg.norm(t))
    modes = hidden_covariances(alpha, STRENGTHS, sigma**2, shared_inputs=shared)
    # Singular values are sqrt(tau), and corrections are O(1/d).
    np.testing.assert_allclose(np.mean(spectra, 0), modes.variance, rtol=0.1)
    error = np.std(alignments, ddof=1) / np.sqrt(draws)
    expected = linear_cka(modes.overlap, variance=modes.variance)
    assert abs(np.mean(alignments) - expected) < 3.5 * error + 8.0 / d


def test_sampling_equal_modes_is_the_finite_law():
    modes = HiddenModes(np.full(3, 0.7), np.full(3, 0.9))
    sampled = sampled_measures(modes, 500, draws=24)
    entropy = conditional_copula_entropy(0.9, outputs=3, n_probes=500)
    imbalance = information_imbalance(0.9, outputs=3, n_probes=500)
    assert abs(sampled.conditional_copula_entropy - entropy) < 3.5 * sampled.conditional_copula_entropy_error + 0.002
    assert abs(sampled.information_imbalance - imbalance) < 3.5 * sampled.information_imbalance_error
    assert 0.0 < sampled.conditional_copula_entropy_error < 0.05


def test_sampling_follows_the_variances():
    # A mode of no variance is not seen, and the scale of all does not matter.
    one = sampled_measures(HiddenModes(np.array([1.0, 0.0]), np.array([0.8, 0.0])), 200, draws=4, seed=3)
    far = sampled_measures(HiddenModes(np.array([1e9, 0.0]), np.array([0.8, 0.5])), 200, draws=4, seed=3)
    assert one == far
    identical = sampled_measures(HiddenModes(np.array([1.0, 0.5]), np.ones(2)), 200, draws=2)
    assert identical.conditional_copula_entropy == pytest.approx(-np.log(199.0), rel=1e-6)
    assert identical.conditional_copula_entropy_error == 0.0
    threshold = sampled_measures(hidden_covariances(1.0, STRENGTHS, 0.25), 200, draws=8)
    assert abs(threshold.information_imbalance - 1.0) < 4.0 * threshold.information_imbalance_error


@pytest.mark.parametrize("bad", [(), (0.0, 0.0), (1.0, -1.0), (1.0, np.nan), ((1.0,),), 1.0])
def test_bad_strengths(bad):
    with pytest.raises(
        ValueError, match="strengths must be a sequence of finite numbers of at least 0, not all 0, got"
    ):
        hidden_covariances(0.5, bad, 0.25)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hidden_covariances(0.0, STRENGTHS, 0.25), "alpha must be above 0, got 0.0"),
        (lambda: hidden_covariances(0.5, STRENGTHS, -1.0), "noise_variance must be a finite number of at least 0, got"),
        (lambda: hidden_covariances(0.5, STRENGTHS, 0.25, hidden=0), "hidden must be an integer of at least 1, got 0"),
        (lambda: linear_cka([0.5, 0.5], variance=[1.0]), "variance must be of the shape of overlap"),
        (lambda: linear_cka([0.5, 0.5], variance=[1.0, -1.0]), "variance must be at least 0 .* got -1.0"),
        (lambda: sampled_measures(hidden_covariances([0.5, 0.6], STRENGTHS, 0.25), 100), "those of a single alpha"),
        (lambda: sampled_measures(HiddenModes(np.zeros(2), np.zeros(2)), 100), "modes must be variances that are not"),
        (lambda: sampled_measures(HiddenModes(np.ones(2), np.full(2, 1.5)), 100), "overlaps in"),
        (lambda: sampled_measures(hidden_covariances(0.5, STRENGTHS, 0.25), 2), "n_probes must be an integer of at"),
        (lambda: sampled_measures(hidden_covariances(0.5, STRENGTHS, 0.25), 50, draws=1), "draws must be an integer"),
        (lambda: sampled_measures(hidden_covariances(0.5, STRENGTHS, 0.25), 50, seed=-1), "seed must be an integer"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
