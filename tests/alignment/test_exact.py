import jax
import numpy as np
import pytest

from jaxalign.alignment.exact import exact_distances


@jax.jit
def by_points(points, probes):
    """As float32 numbers whose sum is the float64 distance to 2^-48."""
    distances = exact_distances(points, probes)
    with jax.enable_x64(True):
        high = distances.astype("float32")
        return high, (distances - high.astype("float64")).astype("float32")


@pytest.mark.parametrize("d", [1, 3, 8, 9, 64])
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-4, 1e3), (1e-16, 0.0)])
def test_distances_are_those_of_float64(d, scale, offset):
    rng = np.random.default_rng(d)
    points, probes = ((offset + scale * rng.normal(size=(n, d))).astype(np.float32) for n in (50, 3))
    expected = ((points.astype(np.float64)[:, None] - probes.astype(np.float64)[None]) ** 2).sum(-1)
    high, low = (np.asarray(x, np.float64) for x in by_points(points, probes))
    np.testing.assert_allclose(high + low, expected, rtol=2.0**-45, atol=1e-37)


def test_the_type_of_other_arrays_stays():
    high, low = by_points(np.ones((3, 2), np.float32), np.ones((1, 2), np.float32))
    assert high.dtype == low.dtype == np.float32
    assert (high + 1.0).dtype == np.float32
