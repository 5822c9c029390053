import jax
import jax.numpy as jnp
import network_oracles as oracle
import numpy as np
import pytest
from jax import lax

from jaxalign.networks.convolution import convolve, from_lanes, to_lanes
from jaxalign.networks.stages import (
    max_pool,
    normalized_stage_in_lanes,
    normalized_stage_on_images,
    stage_in_lanes,
    stage_on_images,
)


def reduce_window(x, window):
    shape = (1, window, window, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, shape, shape, "VALID")


def draw(kind):
    """Images, kernel, scale (of both signs), offset, cotangent; integers and constants tie in the windows."""
    rng = np.random.default_rng(0)
    images, kernel = rng.normal(size=(32, 7, 5, 2)), 0.2 * rng.normal(size=(3, 3, 2, 4))
    if kind != "random":
        images = rng.integers(-1, 2, size=images.shape) if kind == "integers" else np.ones_like(images)
        kernel = rng.integers(-1, 2, size=kernel.shape)
    scale, offset = np.array([1.3, -0.7, -1.1, 0.8]), np.array([-1.5, 0.5, -0.4, 0.2])
    return [np.asarray(values, np.float32) for values in (images, kernel, scale, offset)]


def assert_close(actual, expected, rtol=1e-5):
    """Relative to the largest entry: sums of many terms cancel in some of the others."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * np.abs(expected).max())


def test_stages_are_what_they_are_made_of():
    """On images and in lanes: the value is NumPy's, the gradients are those JAX derives of the plain parts."""
    window = 2

    def plain(x, kernel, bias):
        z = convolve(x, kernel, "native") + bias[None, None, None]
        return reduce_window(jax.nn.relu(z), window)

    def in_lanes(x, kernel, bias):
        return from_lanes(stage_in_lanes(to_lanes(x), kernel, bias, window))

    @jax.jit
    def run(cotangent, *arguments):
        forms = (plain, lambda *all: stage_on_images(*all, window, "patches"), in_lanes)
        pairs = [jax.vjp(form, *arguments) for form in forms]
        return [(value, *pull_back(cotangent)) for value, pull_back in pairs]

    cotangent = np.random.default_rng(1).normal(size=(32, 3, 2, 4)).astype(np.float32)
    for kind in ("random", "integers", "constant"):
        images, kernel, _, bias = draw(kind)
        expected = oracle.stage(images, kernel, bias, window)
        assert 0 < (expected > 0).mean() < 1
        plain_gradients, *ours = run(cotangent, images, kernel, bias)
        for value, *gradients in ours:
            assert_close(value, expected)
            for gradient, wanted in zip(gradients, plain_gradients[1:], strict=True):
                assert_close(gradient, wanted)


def test_normalized_stages_are_what_they_are_made_of():
    """As above, with batch normalization, and the statistics of the batch."""
    window = 3

    def plain(x, kernel, scale, offset):
        z = convolve(x, kernel, "native")
        mean, variance = z.mean((0, 1, 2), keepdims=True), z.var((0, 1, 2), keepdims=True)
        normal = (z - mean) / jnp.sqrt(variance + 1e-5) * scale[None, None, None] + offset[None, None, None]
        return reduce_window(jax.nn.relu(normal), window), None

    def in_lanes(x, kernel, scale, offset):
        active, statistics = normalized_stage_in_lanes(to_lanes(x), kernel, scale, offset, window)
        return from_lanes(active), statistics

    @jax.jit
    def run(cotangent, *arguments):
        forms = (plain, lambda *all: normalized_stage_on_images(*all, window, "patches"), in_lanes)
        triples = [jax.vjp(form, *arguments, has_aux=True) for form in forms]
        return [(statistics, value, *pull_back(cotangent)) for value, pull_back, statistics in triples]

    cotangent = np.random.default_rng(1).normal(size=(32, 2, 1, 4)).astype(np.float32)
    for kind in ("random", "integers", "constant"):
        images, kernel, scale, offset = draw(kind)
        z = oracle.convolve(images, kernel)
        mean, variance = z.mean((0, 1, 2)), z.var((0, 1, 2))
        expected = oracle.stage(images, kernel, 0.0, window, (mean, variance, scale, offset))
        assert 0 < (expected > 0).mean() < 1
        plain_gradients, *ours = run(cotangent, images, kernel, scale, offset)
        for statistics, value, *gradients in ours:
            assert_close(statistics.mean, mean)
            assert_close(statistics.variance, variance)
            assert_close(value, expected)
            for gradient, wanted in zip(gradients, plain_gradients[2:], strict=True):
                assert_close(gradient, wanted, rtol=1e-4)


@pytest.mark.parametrize(("size", "window"), [((7, 5), 2), ((9, 8), 4), ((3, 2), 1)])
def test_max_pool_is_that_of_numpy_and_its_gradient_goes_to_the_first_maximum(size, window):
    rng = np.random.default_rng(0)
    pooled = (6, size[0] // window, size[1] // window, 3)
    cotangent = rng.normal(size=pooled).astype(np.float32)

    @jax.jit
    def run(x):
        return [
            (value, *pull_back(cotangent))
            for value, pull_back in (jax.vjp(lambda x, f=f: f(x, window), x) for f in (max_pool, reduce_window))
        ]

    shape = (6, *size, 3)
    for images in (rng.normal(size=shape), rng.integers(-1, 2, size=shape), np.zeros(shape)):
        ours, plain = run(images.astype(np.float32))
        np.testing.assert_allclose(ours[0], oracle.max_pool(images, window), rtol=1e-6)
        np.testing.assert_array_equal(ours[1], plain[1])
    # Of equal images all of the gradient is at the first position of each window.
    gradient = np.zeros(shape, np.float32)
    gradient[:, : pooled[1] * window : window, : pooled[2] * window : window] = cotangent
    np.testing.assert_array_equal(ours[1], gradient)
