import numpy as np
import pytest

from jaxalign.alignment.uncertainty import Null, draw_orders, jackknife, mean_of_pairs, mean_of_samples


def brute_mean(values):
    k = len(values)
    entries = [values[a, b] for a in range(k) for b in range(k) if a != b and np.isfinite(values[a, b])]
    return np.mean(entries) if entries else np.nan


def brute_jackknife(values):
    """Members without any pair are no members; each of the others is deleted in turn."""
    off = np.where(np.eye(len(values), dtype=bool), np.nan, values)
    members = [k for k in range(len(values)) if np.isfinite(off[k]).any() or np.isfinite(off[:, k]).any()]
    values = values[np.ix_(members, members)]
    k = len(members)
    if k < 3:
        return np.nan
    left_out = [brute_mean(np.delete(np.delete(values, i, 0), i, 1)) for i in range(k)]
    return np.sqrt((k - 1) / k * np.sum((left_out - np.mean(left_out)) ** 2))


def spoil(values, kind):
    values = values.copy()
    if kind == "diverged":
        values[2], values[:, 2] = np.nan, np.nan
    elif kind == "two diverged":
        values[[0, 2]], values[:, [0, 2]] = np.nan, np.nan
    elif kind == "entries":
        values[0, 1] = values[3, 2] = values[2, 3] = np.nan
    elif kind == "diagonal":
        np.fill_diagonal(values, np.nan)
    elif kind == "large diagonal":
        np.fill_diagonal(values, 1e10)
    return values


@pytest.mark.parametrize("kind", ["complete", "diverged", "two diverged", "entries", "diagonal", "large diagonal"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mean_of_pairs_is_the_delete_one_jackknife(kind, dtype):
    values = spoil(np.random.default_rng(0).normal(size=(6, 6)), kind).astype(dtype)
    mean, stderr = mean_of_pairs(values)
    np.testing.assert_allclose(mean, brute_mean(values.astype(np.float64)), rtol=1e-12)
    np.testing.assert_allclose(stderr, brute_jackknife(values.astype(np.float64)), rtol=1e-10)


def test_a_diverged_member_is_as_if_it_were_not_there():
    values = np.random.default_rng(1).normal(size=(5, 5))
    others = [0, 1, 3, 4]
    spoiled = mean_of_pairs(spoil(values, "diverged"))
    np.testing.assert_allclose(spoiled, mean_of_pairs(values[np.ix_(others, others)]), rtol=1e-12)


def test_mean_of_pairs_of_a_batch():
    values = np.random.default_rng(2).normal(size=(2, 3, 5, 5))
    values[0, 1, 4] = values[0, 1, :, 4] = np.nan
    values[1, 2] = np.nan
    mean, stderr = mean_of_pairs(values)
    assert mean.shape == stderr.shape == (2, 3)
    for at in np.ndindex(2, 3):
        np.testing.assert_allclose(mean[at], brute_mean(values[at]), rtol=1e-12)
        np.testing.assert_allclose(stderr[at], brute_jackknife(values[at]), rtol=1e-10)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_few_members(k):
    values = np.random.default_rng(3).normal(size=(k, k))
    mean, stderr = mean_of_pairs(values)
    assert np.isfinite(mean) == (k > 1)
    assert np.isfinite(stderr) == (k > 2)


def test_the_standard_error_of_equal_values_is_zero():
    mean, stderr = mean_of_pairs(np.full((4, 4), 0.25))
    assert mean == 0.25 and stderr == 0


@pytest.mark.parametrize("linear", [True, False])
def test_the_standard_error_is_that_of_repeated_ensembles(linear):
    """A pair's value is f(u_a) + f(u_b) + noise, or depends on the two members together."""
    rng = np.random.default_rng(4)
    k, ensembles = 12, 2000
    members = rng.normal(size=(ensembles, k))
    f = members if linear else np.exp(members / 2)
    noise = 0.5 * rng.normal(size=(ensembles, k, k))
    symmetric = (noise + noise.swapaxes(1, 2)) / np.sqrt(2)
    values = f[:, :, None] + f[:, None, :] + symmetric
    if not linear:
        values = values + 0.5 * np.tanh(members[:, :, None] * members[:, None, :])
    mean, stderr = mean_of_pairs(values)
    truth = mean.var(ddof=1)
    assert 0.85 <= np.mean(stderr**2) / truth <= 1.35
    off_diagonal = values[:, ~np.eye(k, dtype=bool)]
    naive = off_diagonal.std(axis=1, ddof=1) / np.sqrt(k * (k - 1))
    assert np.sqrt(np.mean(naive**2) / truth) < 0.6


def test_mean_of_samples():
    values = np.random.default_rng(5).normal(size=(3, 6))
    values[1, 2] = np.nan
    values[2, 1:] = np.nan
    mean, stderr = mean_of_samples(values)
    for row, m, s in zip(values[:2], mean[:2], stderr[:2], strict=True):
        finite = row[np.isfinite(row)]
        np.testing.assert_allclose(m, finite.mean(), rtol=1e-12)
        np.testing.assert_allclose(s, finite.std(ddof=1) / np.sqrt(len(finite)), rtol=1e-12)
    assert mean[2] == values[2, 0] and np.isnan(stderr[2])
    assert np.isnan(mean_of_samples(np.full(4, np.nan))).all()


def test_the_jackknife_of_means_is_their_standard_error():
    values = np.random.default_rng(7).normal(size=(2, 6))
    without = np.stack([np.delete(values, k, 1).mean(1) for k in range(6)], axis=1)
    np.testing.assert_allclose(jackknife(without), values.std(1, ddof=1) / np.sqrt(6), rtol=1e-12)
    without[1, 2] = np.nan
    np.testing.assert_array_equal(np.isnan(jackknife(without)), [False, True])
    assert np.isnan(jackknife(without[0, :1])) and np.isnan(jackknife(without[0, :0]))


@pytest.mark.parametrize("larger", [True, False])
def test_null_by_hand(larger):
    samples = np.array([1.0, 2.0, 4.0, 5.0])
    null = Null(4.5, larger)
    for value in samples:
        null.add(value)
    assert null.count == 4
    np.testing.assert_allclose(null.mean(), 3.0)
    np.testing.assert_allclose(null.std(), samples.std(ddof=1))
    np.testing.assert_allclose(null.z(), 1.5 / samples.std(ddof=1))
    assert null.p() == (2 if larger else 4) / 5


def test_null_of_arrays_with_an_offset():
    """The variance is accumulated about the mean, and does not lose the digits of a large offset."""
    rng = np.random.default_rng(6)
    observed, values = 1e6 + rng.normal(size=(3, 3)), 1e6 + rng.normal(size=(50, 3, 3))
    null = Null(observed, True)
    for value in values:
        null.add(value)
    np.testing.assert_allclose(null.mean(), values.mean(0), rtol=1e-14)
    np.testing.assert_allclose(null.std(), values.std(0, ddof=1), rtol=1e-8)
    np.testing.assert_allclose(null.z(), (observed - values.mean(0)) / values.std(0, ddof=1), rtol=1e-6)


@pytest.mark.parametrize("larger", [True, False])
def test_what_differs_by_rounding_counts_as_equal(larger):
    observed = np.asarray(0.7, np.float32)
    null = Null(observed, larger)
    for shift in (-3e-6, 0.0, 3e-6):
        null.add(float(observed) + shift)
    assert null.p() == 1.0
    null.add(float(observed) - 0.01 if larger else float(observed) + 0.01)
    assert null.p() == 4 / 5


def test_null_that_is_not_finite():
    null = Null(np.array([np.nan, 1.0, 1.0]), True)
    for value in (0.0, 0.5):
        null.add(np.array([value, value, np.nan]))
    np.testing.assert_array_equal(np.isnan(null.p()), [True, False, True])
    np.testing.assert_array_equal(np.isnan(null.z()), [True, False, True])
    assert null.p()[1] == 1 / 3


def test_null_that_does_not_vary():
    null = Null(2.0, True)
    null.add(1.0)
    assert np.isnan(null.std()) and np.isnan(null.z()) and null.p() == 1 / 2
    null.add(1.0)
    assert null.std() == 0 and np.isnan(null.z()) and null.p() == 1 / 3


def test_draw_orders():
    orders = draw_orders(20, 50, seed=3)
    assert orders.shape == (20, 50) and orders.dtype == np.int32
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(50), (20, 1)))
    assert len(np.unique(orders, axis=0)) == 20
    np.testing.assert_array_equal(draw_orders(7, 50, seed=3), orders[:7])
    assert not np.array_equal(draw_orders(20, 50, seed=4), orders)
    # Neither are the orders of one seed those of another, shifted.
    both = np.concatenate([orders, draw_orders(20, 50, seed=4)])
    assert len(np.unique(both, axis=0)) == 40


def test_draw_no_orders():
    assert draw_orders(0, 50, seed=0).shape == (0, 50)
