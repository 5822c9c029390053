import re

import jax
import jax.numpy as jnp
import network_oracles as oracle
import numpy as np
import pytest
from jax import lax

from jaxalign.networks.convolution import LOWERINGS, convolve, default_lowering, for_rows, from_lanes, to_lanes


def reference(images, kernel):
    return lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def draw(images, kernel):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in (images, kernel, (*images[:-1], kernel[-1]))]


@jax.jit
def values_and_gradients(images, kernel, cotangent):
    """Of the reference and of every lowering: the value, and the gradients to images and kernel."""

    def both(function):
        value, pull_back = jax.vjp(function, images, kernel)
        return value, *pull_back(cotangent)

    ours = {name: both(lambda x, k, name=name: convolve(x, k, name)) for name in LOWERINGS}
    return {"reference": both(reference), **ours}


def assert_close(actual, expected, rtol=1e-5):
    """Relative to the largest entry: sums of many terms cancel in some of the others."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize(
    ("images", "size", "outputs"),
    [
        ((32, 7, 5, 3), 3, 4),
        ((16, 1, 5, 2), 5, 3),
        ((32, 3, 4, 3), 1, 2),
        ((16, 1, 1, 3), 3, 2),
        ((17, 4, 3, 2), 3, 3),
    ],
)
def test_every_lowering_is_the_native_convolution(images, size, outputs):
    x, kernel, cotangent = draw(images, (size, size, images[-1], outputs))
    found = values_and_gradients(x, kernel, cotangent)
    expected = found.pop("reference")
    assert set(found) == {"native", "canonical", "patches", "lanes"}
    assert_close(expected[0], oracle.convolve(x, kernel))
    for results in found.values():
        for result, wanted in zip(results, expected, strict=True):
            assert result.shape == wanted.shape
            assert_close(result, wanted)


def test_members_are_convolved_with_their_own_kernels():
    """Under vmap, with images of the member's own and with those of member 0."""
    rng = np.random.default_rng(0)
    shapes = ((32, 7, 5, 3), (3, 3, 3, 4), (32, 7, 5, 4))
    images, kernels, cotangents = (rng.normal(size=(3, *shape)).astype(np.float32) for shape in shapes)

    @jax.jit
    def run(images, kernels, cotangents):
        def member(name, x, kernel, cotangent):
            value, pull_back = jax.vjp(lambda x, k: convolve(x, k, name), x, kernel)
            return value, *pull_back(cotangent)

        def own(name):
            return jax.vmap(lambda *one: member(name, *one))(images, kernels, cotangents)

        def shared(name):
            return jax.vmap(lambda *one: member(name, images[0], *one))(kernels, cotangents)

        return [(own(name), shared(name)) for name in ("patches", "lanes")]

    together = run(images, kernels, cotangents)
    for m in range(3):
        alone = [values_and_gradients(x, kernels[m], cotangents[m])["reference"] for x in (images[m], images[0])]
        for found in together:
            for results, expected in zip(found, alone, strict=True):
                for result, wanted in zip(results, expected, strict=True):
                    assert_close(result[m], wanted)

    order = np.array([2, 0, 1])
    permuted = run(images[order], kernels[order], cotangents[order])
    for (found, _), (expected, _) in zip(permuted, together, strict=True):
        for result, wanted in zip(found, expected, strict=True):
            assert_close(result, np.asarray(wanted)[order], rtol=1e-6)


def test_blocks_of_lanes_hold_sixteen_samples_in_the_minor_axis():
    images = np.arange(32 * 3 * 2 * 2, dtype=np.float32).reshape(32, 3, 2, 2)
    blocks = np.asarray(to_lanes(images))
    assert blocks.shape == (2, 2, 3, 2, 16)
    for block, channel, y, x, lane in np.ndindex(blocks.shape):
        assert blocks[block, channel, y, x, lane] == images[16 * block + lane, y, x, channel]
    np.testing.assert_array_equal(from_lanes(blocks), images)


def test_the_lowering_depends_on_the_backend_and_on_the_rows():
    assert [default_lowering(name) for name in ("cpu", "gpu", "tpu")] == ["lanes", "patches", "patches"]
    assert default_lowering() == default_lowering(jax.default_backend())
    assert [for_rows("lanes", rows) for rows in (1, 16, 17, 32)] == ["patches", "lanes", "patches", "lanes"]
    for name in ("native", "canonical", "patches"):
        assert for_rows(name, 16) == for_rows(name, 17) == name


def test_bad_input_is_named():
    images, kernel = jnp.zeros((16, 4, 4, 2)), jnp.zeros((3, 3, 2, 5))
    allowed = "kernel must be of shape (size, size, 2, outputs) with an odd size, got "
    cases = [
        ((images, kernel, "lane"), "lowering must be one of canonical, lanes, native, patches; got 'lane' (did you"),
        ((images, kernel, 3), "lowering must be one of canonical, lanes, native, patches; got 3"),
        ((images[0], kernel), "images must be of shape (rows, height, width, channels), got (4, 4, 2)"),
        ((jnp.zeros(()), kernel), "images must be of shape (rows, height, width, channels), got ()"),
    ]
    for shape in ((3, 3, 3, 5), (3, 1, 2, 5), (2, 2, 2, 5), (3, 3, 2), ()):
        cases.append(((images, jnp.zeros(shape)), f"{allowed}{shape}"))
    for arguments, message in cases:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            convolve(*arguments)
