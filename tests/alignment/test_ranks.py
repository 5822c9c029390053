import functools

import alignment_oracles as oracle
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.alignment import distances, ranks
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


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_ranks_of_float_data_equal_the_oracle_but_for_near_ties(offset):
    rng = np.random.default_rng(1)
    points = (rng.normal(size=(2, 400, 16)) + offset * rng.normal(size=(2, 1, 16))).astype(np.float32)
    less, equal, _ = kernel(points)
    for a in range(2):
        expected, _ = oracle.ranks(points[a], points[1 - a])
        assert np.abs(np.asarray(less[a, 1 - a]) - expected).max() <= 1
        assert np.mean(np.asarray(less[a, 1 - a]) != expected) < 0.01
    assert np.mean(np.asarray(equal) > 1) < 0.01


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
    order = ranks.tie_order(jnp.asarray(i), jnp.asarray(j))
    np.testing.assert_array_equal(order, [oracle.tie_order(int(x), int(y)) for x, y in zip(i, j, strict=True)])
    np.testing.assert_array_equal(ranks._point_of(order, jnp.asarray(i)), j)


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
