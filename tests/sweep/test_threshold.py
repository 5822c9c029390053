import numpy as np
import pytest
import xarray as xr

import jaxalign
from jaxalign import interpolation_threshold
from jaxalign.sweep.threshold import weakest_alignment

SIZES = (10, 20, 40, 80)
CURVE = np.array([0.0, 0.0, 0.036, 0.3])
LIMIT = 0.1 * 0.18
VALUE, STDERR, LOW, HIGH = (f"interpolation_threshold{end}" for end in ("", "_stderr", "_low", "_high"))


def dataset(train_error, noise="label_noise", levels=(0.2,), clean=(0.18,), sizes=SIZES):
    """A sweep of one network and the training errors (replicate, noise, n_train, member)."""
    dims = ("network", "replicate", noise, "n_train", "member")
    error = np.asarray(train_error, np.float32)[None]
    return xr.Dataset(
        {"train_error": (dims, error), "test_error": (dims, error), "train_accuracy": (dims, 1 - error)},
        {"network": ["net"], noise: list(levels), "n_train": list(sizes), "clean_train_error": (noise, list(clean))},
    )


def members_around(curve, members, seed=0):
    """Training errors (n_train, member) of members that leave zero between 20 and 40 samples, each in its own way."""
    return curve[:, None] * np.random.default_rng(seed).uniform(0.7, 1.6, members)


def crossing(curve, limit=LIMIT):
    """Where a curve that is 0 up to the second size crosses the limit: by its line in 1/n beyond, or by the chord."""
    inverse = 1 / np.array(SIZES)
    i = 1 if curve[2] > limit else 2
    (chord,) = inverse[i] - (limit - curve[i]) / np.diff(curve[i : i + 2]) * -np.diff(inverse[i : i + 2])
    if i == 2:
        return 1 / chord
    beyond = inverse[2] + (curve[2] - limit) / (curve[3] - curve[2]) * (inverse[2] - inverse[3])
    return 1 / min(beyond, chord)


def loop_jackknife(errors):
    """The threshold of the mean over members, and the delete-one-member standard error of its logarithm times it."""
    members = range(errors.shape[1])
    left = [np.log(crossing(errors[:, [m for m in members if m != k]].mean(1))) for k in members]
    se = np.sqrt((len(left) - 1) / len(left) * sum((x - np.mean(left)) ** 2 for x in left))
    value = crossing(errors.mean(1))
    return value, value * se


def test_threshold_is_where_the_training_error_leaves_zero():
    ds = dataset(np.repeat(CURVE[None, None, :, None], 2, 1) * np.ones(5), levels=(0.2, 0.4), clean=(0.18, 1.2))
    threshold = interpolation_threshold(ds)
    assert all(threshold[name].dims == ("network", "label_noise") for name in (VALUE, STDERR, LOW, HIGH))
    np.testing.assert_allclose(
        threshold[VALUE][0], [1 / (1 / 40 + 0.018 / 0.264 / 80), crossing(CURVE, 0.12)], rtol=1e-6
    )
    np.testing.assert_allclose(threshold[STDERR], 0, atol=1e-9)
    np.testing.assert_array_equal(threshold[LOW][0], [20, 40])
    np.testing.assert_array_equal(threshold[HIGH][0], [40, 80])
    xr.testing.assert_allclose(interpolation_threshold(ds.isel(n_train=[2, 0, 3, 1])), threshold)
    np.testing.assert_allclose(interpolation_threshold(ds, 0.05)[VALUE][0, 0], crossing(CURVE, LIMIT / 2), rtol=1e-6)


@pytest.mark.parametrize("members", [2, 7])
def test_the_error_bar_is_the_jackknife_over_members(members):
    errors = members_around(CURVE, members)
    measured = interpolation_threshold(dataset(errors[None, None]))
    np.testing.assert_allclose([measured[VALUE].item(), measured[STDERR].item()], loop_jackknife(errors), rtol=1e-5)
    assert measured[STDERR].item() > 0.1


def test_the_error_bar_is_calibrated():
    """Thresholds of independent ensembles scatter by their error bars."""
    found = [interpolation_threshold(dataset(members_around(CURVE, 12, seed)[None, None])) for seed in range(60)]
    scatter = np.std([x[VALUE].item() for x in found])
    assert 0.75 < np.mean([x[STDERR].item() for x in found]) / scatter < 1.33


def test_diverged_members_are_left_out():
    errors = members_around(CURVE, 5)
    reference = loop_jackknife(errors[:, :4])
    errors[:, 4] = np.nan
    measured = interpolation_threshold(dataset(errors[None, None]))
    np.testing.assert_allclose([measured[VALUE].item(), measured[STDERR].item()], reference, rtol=1e-5)


def test_a_member_that_diverged_at_one_size_counts_at_the_others():
    errors = members_around(CURVE, 3)
    errors[2, 0] = np.nan
    measured = interpolation_threshold(dataset(errors[None, None]))
    np.testing.assert_allclose(measured[VALUE].item(), crossing(np.nanmean(errors, 1)), rtol=1e-5)


def test_a_size_at_which_all_diverged_is_left_out():
    errors = members_around(np.array([0.0, 0.0, np.nan, 0.3]), 3)
    expected = 1 / np.interp(LIMIT, [0, errors[3].mean()], [1 / 20, 1 / 80])
    np.testing.assert_allclose(interpolation_threshold(dataset(errors[None, None]))[VALUE], expected, rtol=1e-5)


def test_replicates_give_the_error_bar():
    errors = np.stack([members_around(CURVE, 3, seed) for seed in range(4)])
    errors[0, :, 0] = np.nan
    curves = np.nanmean(errors, -1)
    log_without = np.log([crossing(np.delete(curves, i, 0).mean(0)) for i in range(4)])
    measured = interpolation_threshold(dataset(errors[:, None]))
    value = crossing(curves.mean(0))
    np.testing.assert_allclose(measured[VALUE].item(), value, rtol=1e-5)
    np.testing.assert_allclose(measured[STDERR].item(), value * log_without.std() * 3**0.5, rtol=1e-5)

    lost = np.concatenate([errors, np.full_like(errors[:1], np.nan)])
    xr.testing.assert_allclose(interpolation_threshold(dataset(lost[:, None])), measured)


def test_a_single_member_has_no_error_bar():
    measured = interpolation_threshold(dataset(CURVE[None, None, :, None]))
    assert np.isfinite(measured[VALUE]).all() and np.isnan(measured[STDERR]).all()


def test_an_error_bar_that_reaches_beyond_the_grid_is_unknown():
    """Without the last member the others never leave zero: the threshold lies anywhere beyond 80."""
    errors = np.zeros((4, 3))
    errors[3] = [0.01, 0.01, 0.3]
    for several in (errors[None, None], errors.T[:, None, :, None]):
        measured = interpolation_threshold(dataset(several))
        assert 40 < measured[VALUE].item() < 80 and np.isnan(measured[STDERR]).all()


GRIDS = [(10, 40, 100), (5, 8, 12, 16, 24, 32, 48, 64, 96), (16, 24, 36, 54, 80), (10, 19, 60, 100), (24, 30, 60, 200)]


def least_squares(sizes, dim=20, members=8, replicates=6, seed=0):
    """Training errors of least squares: the noise (SNR 8) times chi-squared of n - dim degrees of freedom over n."""
    degrees = np.maximum(np.array(sizes) - dim, 0)[:, None]
    error = np.random.default_rng(seed).gamma(degrees / 2, 2 / 8, (replicates, 1, len(sizes), members))
    return dataset(error / np.array(sizes)[:, None], "snr", (8.0,), (1 / 8,), sizes).drop_vars("train_accuracy")


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("sizes", GRIDS, ids=str)
def test_least_squares_is_exact_on_any_grid(sizes, fraction):
    """Its error is noise (1 - d/n) beyond d, which crosses the limit at n = d/(1 - fraction)."""
    exact, covered, values = 20 / (1 - fraction), [], []
    for seed in range(20):
        measured = interpolation_threshold(least_squares(sizes, seed=seed), fraction)
        value, stderr, low, high = (measured[name].item() for name in (VALUE, STDERR, LOW, HIGH))
        if min(sizes) > exact:
            assert np.isnan([value, stderr, low, high]).all()
            continue
        assert low <= value <= high
        values.append(value)
        covered.append(low <= exact <= high)
    assert not covered or (np.mean(covered) >= 0.9 and abs(np.mean(values) - exact) < 0.06 * exact)


def test_the_threshold_of_a_trained_grid_is_that_of_a_fine_one():
    config = jaxalign.SweepConfig(
        task=jaxalign.LinearTeacher(dim=20),
        networks=(jaxalign.LinearNetwork(hidden=5),),
        noise=(8.0,),
        n_train=(10, 40, 100),
        members=8,
        replicates=6,
        metrics=("tie_fraction",),
        probes=20,
    )
    measured = interpolation_threshold(jaxalign.run_sweep(config, progress=False))
    value, stderr, low, high = (measured[name].item() for name in (VALUE, STDERR, LOW, HIGH))
    assert abs(value - 20 / 0.9) < 3 * stderr and stderr < 1.5 and (low, high) == (10, 40)


def test_the_interval_is_widened_by_the_error_of_the_training_error():
    """An error below the limit by less than two standard errors, and one above, bound nothing."""
    scatter = np.array([-1.0, 0.0, 1.0]) * 3**0.5 / 2  # a standard error of 1/2
    for mean, expected in (
        (0.9, (20, 80)),
        (1.1, (20, 80)),
        (0.9 - 0.15, (20, 80)),
        (-0.05, (40, 80)),
        (2.05, (20, 40)),
    ):
        curve = np.array([-9, -9, mean, 9])[:, None] + scatter
        measured = interpolation_threshold(dataset((curve * LIMIT)[None, None]))
        assert (measured[LOW].item(), measured[HIGH].item()) == expected, mean


def test_an_end_that_no_size_bounds_is_open():
    scatter = np.array([-1.0, 0.0, 1.0]) * LIMIT
    for curve, expected in (([0.9, 9, 9, 9], (0, 20)), ([-9, -9, -9, 1.1], (40, np.inf))):
        errors = np.array(curve)[:, None] * LIMIT + scatter
        measured = interpolation_threshold(dataset(errors[None, None]))
        assert (measured[LOW].item(), measured[HIGH].item()) == expected


def test_the_estimate_does_not_jump_where_a_size_lies_at_the_limit():
    found = []
    for error in LIMIT * np.array([1 - 1e-4, 1 + 1e-4]):
        curve = np.array([0.0, error, 0.2, 0.3])
        found.append(interpolation_threshold(dataset(curve[None, None, :, None]))[VALUE].item())
    np.testing.assert_allclose(found, 20, rtol=1e-3)


@pytest.mark.parametrize("level", [0.0, 1.0, np.nan])
def test_no_crossing_is_nan(level):
    measured = interpolation_threshold(dataset(np.full((1, 1, 4, 3), level)))
    assert all(np.isnan(measured[name]).all() for name in (VALUE, STDERR, LOW, HIGH))


def test_the_last_crossing_counts():
    curve = np.array([0.0, 0.1, 0.0, 0.036])
    expected = 1 / np.interp(LIMIT, [0, 0.036], [1 / 40, 1 / 80])
    np.testing.assert_allclose(interpolation_threshold(dataset(curve[None, None, :, None]))[VALUE], expected, rtol=1e-5)
    assert np.isnan(interpolation_threshold(dataset(curve[None, None, ::-1, None]))[VALUE]).all()


def test_without_noise_there_is_nothing_to_fit():
    rising = np.repeat(CURVE[None, None, :, None], 2, 1)
    labels = interpolation_threshold(dataset(rising, levels=(0.0, 0.2), clean=(0.0, 0.18)))
    np.testing.assert_array_equal(np.isnan(labels[VALUE][0]), [True, False])
    inputs = interpolation_threshold(dataset(rising, "snr", (np.inf, 2.0), (0.0, 0.0)))
    np.testing.assert_array_equal(np.isnan(inputs[VALUE][0]), [True, False])
    regression = dataset(rising, "snr", (np.inf, 2.0), (0.0, 0.5)).drop_vars("train_accuracy")
    np.testing.assert_array_equal(np.isnan(interpolation_threshold(regression)[VALUE][0]), [True, False])


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_noise_on_inputs_is_no_longer_fitted_at_an_error_of_one_percent(fraction):
    ds = dataset(CURVE[None, None, :, None] * np.ones(2), "snr", (2.0,), (0.0,))
    measured = interpolation_threshold(ds, fraction)
    np.testing.assert_allclose(measured[VALUE], crossing(CURVE, 0.01), rtol=1e-5)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1])
def test_bad_fraction(fraction):
    with pytest.raises(ValueError, match="fraction must be"):
        interpolation_threshold(dataset(CURVE[None, None, :, None]), fraction)


def test_what_is_no_sweep_is_refused():
    with pytest.raises(ValueError, match="dataset must be the result of run_sweep"):
        interpolation_threshold(xr.Dataset({"x": 1}))


def summary(cce):
    """Means (network, noise, n_train) of two networks; between different networks they are least aligned at 10."""
    pairs = np.stack(
        [
            np.stack([own if a == b else np.array([[9.0, 0, 0, 0]] * 2) for b in "xy"])
            for a, own in zip("xy", cce, strict=True)
        ]
    )
    dims = ("network_a", "network_b", "label_noise", "n_train")
    return xr.Dataset(
        {
            "test_error": (("network", *dims[2:]), np.zeros((2, 2, 4))),
            "cce": (dims, pairs),
            "linear_cka": (dims, pairs),
        },
        {"network": ["x", "y"], "label_noise": [0.2, 0.4], "n_train": list(SIZES)},
    )


def test_the_weakest_alignment_is_that_of_each_network():
    cce = np.array([[[-3, -2, -1, -2], [-3, -1, np.nan, -2]], [[np.nan] * 4, [-6.9] * 4]], float)
    found = weakest_alignment(summary(cce))
    assert found.dims == ("network", "label_noise")
    np.testing.assert_array_equal(found, [[40, 20], [np.nan, np.nan]])
    np.testing.assert_array_equal(weakest_alignment(summary(cce), "linear_cka")[0], [10, 10])


def test_the_measure_must_say_what_is_weaker():
    ds = summary(np.zeros((2, 2, 4)))
    for name in ("tie_fraction", "rsa"):
        with pytest.raises(ValueError, match="metric must be one of cce, linear_cka; got"):
            weakest_alignment(ds.assign(tie_fraction=ds["cce"]), name)
