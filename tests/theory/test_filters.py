import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.theory import GradientDescent, GradientFlow, MinNorm, Ridge, TunedRidge

# From far below the scale of every filter to the pole of gradient descent's logarithm (eta s = 1) and to eta s = 2.
EIGENVALUES = np.concatenate([[0.0, -1e-9], np.geomspace(1e-6, 6.0, 80), [1.0 / 0.3, 2.0 / 0.3]])
ALPHA, SNR = 0.5, 2.0
FILTERS = {
    "min_norm": MinNorm(),
    "ridge": Ridge(0.1),
    "small_ridge": Ridge(1e-6),
    "tuned_ridge": TunedRidge(),
    "flow": GradientFlow(10.0),
    "no_flow": GradientFlow(0.0),
    "one_step": GradientDescent(0.3, 1),
    "odd_steps": GradientDescent(0.3, 7),
    "even_steps": GradientDescent(0.3, 1000),
    "many_steps": GradientDescent(0.3, 10**12),
}
# In units of the float32 rounding error, relative to max(|f|, 1e-6): log1p, the steps and expm1 add up.
ROUNDINGS = 6


def naive(filter, s):
    s = np.maximum(s, 0.0)
    match filter:
        case MinNorm():
            return np.where(s > 0, 1.0, 0.0)
        case Ridge(lam):
            return s / (s + lam)
        case TunedRidge():
            return s / (s + 1.0 / (ALPHA * SNR))
        case GradientFlow(t):
            return 1.0 - np.exp(-t * s)
        case GradientDescent(rate, steps):
            return 1.0 - (1.0 - rate * s) ** steps


@pytest.mark.parametrize("name", FILTERS)
def test_is_its_formula(name):
    f = FILTERS[name].response(EIGENVALUES, alpha=ALPHA, snr=SNR)
    assert f.dtype == np.float64
    # 1 - eta s rounds to 1e-16, which 1e12 steps amplify: in the naive formula, not in ours.
    tolerance = 1e-3 if name == "many_steps" else 1e-12
    np.testing.assert_allclose(f, naive(FILTERS[name], EIGENVALUES), rtol=0, atol=tolerance)
    np.testing.assert_array_equal(f[:2], 0.0)


@pytest.mark.parametrize("name", FILTERS)
def test_float32_under_jit_and_vmap(name):
    filter = FILTERS[name]
    s = EIGENVALUES.astype(np.float32)
    respond = jax.jit(jax.vmap(lambda alpha, snr: filter.response(jnp.asarray(s), alpha=alpha, snr=snr)))
    f = respond(jnp.asarray([1.0, ALPHA]), jnp.asarray([1.0, SNR]))
    assert f.dtype == jnp.float32
    expected = filter.response(s.astype(np.float64), alpha=ALPHA, snr=SNR)
    # Rounding 1 - eta s near eta s = 2 is amplified by the steps, whoever computes it.
    keep = np.abs(s - 2.0 / 0.3) > 1e-3 if name in ("even_steps", "many_steps") else slice(None)
    scale = np.maximum(np.abs(expected), 1e-6)
    assert np.max((np.abs(f[1] - expected) / scale)[keep]) < ROUNDINGS * np.finfo(np.float32).eps


def test_small_responses_keep_their_digits():
    s = np.asarray([1e-12])
    assert GradientFlow(1e-3).response(s, alpha=1.0, snr=1.0)[0] == pytest.approx(1e-15, rel=1e-12)
    assert GradientDescent(1e-3, 3).response(s, alpha=1.0, snr=1.0)[0] == pytest.approx(3e-15, rel=1e-12)


def test_gradient_descent_diverges_without_a_warning():
    s = np.asarray([1.0])
    assert GradientDescent(3.0, 10**6).response(s, alpha=1.0, snr=1.0)[0] == -np.inf
    assert GradientDescent(3.0, 10**6 + 1).response(s, alpha=1.0, snr=1.0)[0] == np.inf


def test_tuned_ridge_without_noise_is_min_norm():
    f = TunedRidge().response(EIGENVALUES, alpha=0.5, snr=np.inf)
    np.testing.assert_array_equal(f, MinNorm().response(EIGENVALUES, alpha=0.5, snr=np.inf))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ridge(0.0), "lam must be a finite number above 0, got 0.0"),
        (lambda: Ridge(-1.0), "lam must be"),
        (lambda: Ridge(float("inf")), "lam must be"),
        (lambda: GradientFlow(-1.0), "t must be a finite number of at least 0, got -1.0"),
        (lambda: GradientFlow(float("nan")), "t must be"),
        (lambda: GradientDescent(0.0, 3), "learning_rate must be a finite number above 0, got 0.0"),
        (lambda: GradientDescent(0.1, 0), "steps must be an integer of at least 1, got 0"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_filters_are_values():
    assert Ridge(1.0) == Ridge(1.0) != Ridge(2.0)
    assert len({GradientDescent(0.1, 3), GradientDescent(0.1, 3), MinNorm()}) == 2
