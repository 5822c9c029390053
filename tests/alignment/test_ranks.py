import functools

import alignment_oracles as oracle
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.alignment import distances, ranks, resolve
from jaxalign.alignment.ranks import Tile


@functools.partial(jax.jit, static_argnames=("neighbors", "tile"))
def kernel(points, neighbors=1, tile=None):
    """Fields of shape (A, B, neighbors, N)."""
    tile = tile or ranks.choose_tile(points.shape[1])
    counts = ranks.neighbor_ranks(points, neighbors, tile)
    return counts.less.swapaxes(0, 1), counts.equal.swapaxes(0, 1), counts.reciprocal


def integer_points(seed, k, n, d, levels):
    return np.random.default_rng(seed).integers(0, levels, (k, n, d)).astype(np.float32)


@pytest.mark.parametrize("neighbors", [1, 3])
@pytest.mark.parametrize(("n", "d", "levels"), [(10, 1, 3), (101, 3, 3), (101, 3, 100)])
def test_ranks_on_a_grid_equal_the_oracle(n, d, levels, neighbors):
    points = integer_points(n, 3, n, d, levels)
    less, equal, reciprocal = kernel(points, neighbors)
    for a in range(3):
        nearest = oracle.nearest(points[a], neighbors)
        for (k, i), j in np.ndenumerate(nearest):
            back = [m * n + j for m in range(neighbors) if nearest[m, j] == i]
            assert reciprocal[a, k, i] == (back[0] if back else -1)
        for b in range(3):
            expected = oracle.ranks(points[a], points[b], neighbors)
            np.testing.assert_array_equal(less[a, b], expected[0])
            np.testing.assert_array_equal(equal[a, b], expected[1])


def test_a_common_offset_of_a_grid_changes_no_rank():
    points = integer_points(0, 2, 101, 3, 4)
    for x, y in zip(kernel(points), kernel(points + np.float32([1e3, -5e4, 7])), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("d", [1, 3, 8, 9, 64])
@pytest.mark.parametrize("kind", sorted(oracle.KINDS))
def test_ranks_are_those_of_float64(kind, d):
    a, b = oracle.KINDS[kind](np.random.default_rng(d), 300, d)
    less, equal, _ = kernel(np.stack([a, b]))
    for of_a, of_b, x, y in ((0, 1, a, b), (1, 0, b, a)):
        expected_less, expected_equal = oracle.ranks(x, y)
        np.testing.assert_array_equal(less[of_a, of_b], expected_less)
        np.testing.assert_array_equal(equal[of_a, of_b], expected_equal)


@pytest.mark.parametrize("neighbors", [2, 10])
@pytest.mark.parametrize("kind", ["clusters 1e-4", "sparse ReLU", "one outlier"])
def test_ranks_of_several_neighbors_are_those_of_float64(kind, neighbors):
    a, b = oracle.KINDS[kind](np.random.default_rng(0), 150, 10)
    less, equal, _ = kernel(np.stack([a, b]), neighbors)
    expected_less, expected_equal = oracle.ranks(a, b, neighbors)
    np.testing.assert_array_equal(less[0, 1], expected_less)
    np.testing.assert_array_equal(equal[0, 1], expected_equal)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "d"), [(2000, 512), (20000, 16)])
@pytest.mark.parametrize("kind", ["Gaussian", "clusters 1e-4", "softmax 30", "heavy tails"])
def test_ranks_of_many_probes_are_those_of_float64(kind, n, d):
    a, b = oracle.KINDS[kind](np.random.default_rng(n), n, d)
    less, equal, _ = kernel(np.stack([a, b]))
    rows = np.random.default_rng(0).choice(n, 200, replace=False)
    expected_less, expected_equal = oracle.ranks_of_rows(a, b, rows)
    np.testing.assert_array_equal(less[0, 1, 0][rows], expected_less)
    np.testing.assert_array_equal(equal[0, 1, 0][rows], expected_equal)


def test_a_block_of_which_much_is_open_adds_nothing_twice():
    """Duplicates and near ones: single points, several points and whole rows are open side by side."""
    rng = np.random.default_rng(3)
    a = (
        np.repeat(rng.normal(size=(150, 12)), 2, axis=0)
        + 1e-6 * rng.normal(size=(300, 12)) * (np.arange(300) % 3 > 0)[:, None]
    )
    b = a[:, ::-1] + 1e-7 * rng.normal(size=a.shape)
    a, b = a.astype(np.float32), b.astype(np.float32)
    less, equal, _ = kernel(np.stack([a, b]))
    expected_less, expected_equal = oracle.ranks(a, b)
    np.testing.assert_array_equal(less[0, 1], expected_less)
    np.testing.assert_array_equal(equal[0, 1], expected_equal)


@pytest.mark.parametrize("kind", sorted(oracle.KINDS))
@pytest.mark.parametrize("d", [1, 9, 64, 300])
def test_what_is_beyond_the_resolution_is_in_the_right_order(d, kind):
    n = 64
    x, _ = oracle.KINDS[kind](np.random.default_rng(d), n, d)
    points = distances.arrange(jnp.asarray(x)[None], n)
    block = jax.jit(distances.distance_block, static_argnums=2)(points, jnp.int32(0), n)
    width = np.asarray(distances.resolution(points, jnp.int32(0), block), np.float64)[0]
    block, exact = np.asarray(block, np.float64)[0], oracle.squared_distances(x)
    for i in range(n):
        others = np.delete(np.arange(n), i)
        measured, true = block[others, i], exact[others, i]
        sure = np.abs(measured[:, None] - measured[None]) > width[others, i][None]
        wrong = np.sign(measured[:, None] - measured[None]) != np.sign(true[:, None] - true[None])
        assert not np.any(sure & wrong)


@pytest.mark.parametrize("n", [10, 101, 1000])
@pytest.mark.parametrize("tile", [Tile(16, 8), Tile(128, 32)])
def test_the_tile_does_not_matter(n, tile):
    points = integer_points(n, 2, n, 2, max(3, n // 20))
    for x, y in zip(kernel(points), kernel(points, tile=tile), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("n", [3, 10, 37, 101, 1000, 2000])
def test_tiles_hold_whole_chunks(n):
    tile = ranks.choose_tile(n)
    assert tile.rows % tile.chunk == 0


def test_the_two_ways_of_composing_the_passes_agree():
    points = integer_points(5, 3, 101, 2, 5)
    tile = ranks.choose_tile(101)
    nearest = jax.jit(ranks.nearest_neighbors, static_argnums=(1, 2))(points, 2, tile)
    composed = jax.jit(ranks.ranks_of, static_argnums=2)(points, nearest, tile)
    at_once = jax.jit(ranks.neighbor_ranks, static_argnums=(1, 2))(points, 2, tile)
    for x, y in zip(composed, at_once, strict=True):
        np.testing.assert_array_equal(x, y)


def test_neighbors_among_equally_near_points_are_spread_over_all_points():
    """A multinomial sample: the chi-squared statistic of the hub counts is that of uniform choices."""
    n = 1000
    points = jnp.zeros((1, n, 2))
    nearest = np.asarray(ranks.nearest_neighbors(points, 1, ranks.choose_tile(n)))[0, 0]
    assert np.all(nearest != np.arange(n))
    counts = np.bincount(nearest, minlength=n)
    statistic = np.sum((counts - 1.0) ** 2)
    assert abs(statistic - n) < 4 * np.sqrt(2 * n)
    assert abs(np.corrcoef(nearest, np.arange(n))[0, 1]) < 4 / np.sqrt(n)


def test_tie_order_is_that_of_the_oracle_and_is_inverted():
    i, j = np.random.default_rng(0).integers(0, 2**20, (2, 50)).astype(np.uint32)
    order = resolve.tie_order(jnp.asarray(i), jnp.asarray(j))
    np.testing.assert_array_equal(order, [oracle.tie_order(int(x), int(y)) for x, y in zip(i, j, strict=True)])
    np.testing.assert_array_equal(resolve.point_of(order, jnp.asarray(i)), j)


@pytest.mark.parametrize("d", [7, 64])
def test_duplicates_of_float_points_are_exact_ties(d):
    """Equal rows must give equal bits wherever the tiles of the matrix product put them."""
    rng = np.random.default_rng(d)
    points = np.tile(rng.normal(size=(37, d)) + 3, (5, 1)).astype(np.float32)[None]
    less, equal, _ = kernel(points, 4)
    np.testing.assert_array_equal(less, 0)
    np.testing.assert_array_equal(equal, 4)


@pytest.mark.parametrize("x", [np.full((20, 3), 0.1), np.full((20, 3), 1e30), np.arange(60).reshape(20, 3) * 1e35])
def test_standardized_coordinates_are_finite_and_of_order_one(x):
    h = np.asarray(distances.standardize(jnp.asarray(x, jnp.float32)))
    assert np.all(np.isfinite(h)) and np.abs(h).max() <= 4
    assert np.ptp(x) > 0 or not h.any()
