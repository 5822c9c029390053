"""Rows of squared distances against differences in float64, up to the scale that they have in common."""

import alignment_oracles as oracle
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.alignment import clouds

N, ROWS = 300, 64
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 10, N)
NORMAL = RNG.normal(size=(N, 20))
CASES = {
    "normal": NORMAL,
    "few columns": NORMAL[:, :3],
    "one column": NORMAL[:, :1],
    "clusters": NORMAL[LABELS] + 1e-3 * NORMAL,
    "tight clusters": NORMAL[LABELS] + 1e-6 * NORMAL,
    "saturated softmax": oracle.softmax(30 * np.eye(20)[LABELS] + NORMAL),
    "codes with duplicates": np.maximum(NORMAL - 2, 0),
    "binary": 0.1 * (NORMAL > 0),
    "heavy tails": RNG.standard_t(0.5, (N, 20)),
    "one outlier": NORMAL * np.where(np.arange(N) == 7, 1e5, 1)[:, None],
    "offset": NORMAL + 1e3,
    "rank one": NORMAL[:, :1] * NORMAL[0],
    "tiny": 1e-30 * NORMAL,
    "huge": 1e37 * NORMAL,
}


@jax.jit
def rows(points):
    cloud, indices = clouds.make_cloud(points), jnp.arange(ROWS, dtype=jnp.int32)
    return clouds.squared_distances(cloud, indices)


@pytest.mark.parametrize("case", CASES)
def test_distances_are_those_of_float64(case):
    x = CASES[case].astype(np.float32)
    expected = oracle.distance_rows(oracle.spread_of(x), slice(0, ROWS))
    found = np.asarray(rows(x), np.float64)
    apart = expected > 0
    assert np.array_equal(found > 0, apart)
    ratios = found[apart] / expected[apart]
    # The scale is a power of two times that of `spread_of`.
    np.testing.assert_allclose(ratios, np.median(ratios), rtol=2.0**-14)


def test_a_batch_is_computed_one_by_one():
    x = np.stack([NORMAL, NORMAL[LABELS] + 1e-6 * NORMAL]).astype(np.float32)
    np.testing.assert_allclose(jax.jit(jax.vmap(rows))(x), np.stack([rows(points) for points in x]), rtol=2.0**-14)


def test_permuting_a_cloud_is_permuting_the_points():
    x, order = jnp.asarray(CASES["codes with duplicates"], jnp.float32), jnp.asarray(RNG.permutation(N), jnp.int32)
    indices = jnp.arange(ROWS, dtype=jnp.int32)
    permuted = clouds.squared_distances(clouds.permute_cloud(clouds.make_cloud(x), order), indices)
    np.testing.assert_allclose(permuted, clouds.squared_distances(clouds.make_cloud(x[order]), indices), rtol=1e-5)


def test_a_column_that_only_rounding_moves_is_constant():
    noise = RNG.integers(-1, 2, (N, 2)) * np.spacing(np.float32(1000))
    x = np.hstack([1000 + noise, 1e-3 * NORMAL[:, :2]]).astype(np.float32)
    np.testing.assert_array_equal(clouds.without_rounding(jnp.asarray(x)), x * np.float32([0, 0, 1, 1]))
