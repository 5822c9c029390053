import itertools

import numpy as np
import pytest
import xarray as xr

from jaxalign import interpolation_threshold, summarize

CELL = ("replicate", "label_noise", "n_train")


def dataset(replicates=1, members=5, networks=1, seed=0, sizes=(10, 100)):
    rng = np.random.default_rng(seed)
    shape = (networks, replicates, 2, len(sizes), members)
    names = [f"net{i}" for i in range(networks)]
    pairs = rng.normal(size=(*shape[1:4], networks, members, networks, members))
    return xr.Dataset(
        {
            "train_error": (("network", *CELL, "member"), rng.uniform(size=shape)),
            "test_error": (("network", *CELL, "member"), rng.uniform(size=shape)),
            "cce": ((*CELL, "network_a", "member_a", "network_b", "member_b"), pairs),
        },
        {
            "network": names,
            "network_a": names,
            "network_b": names,
            "label_noise": [0.2, 0.4],
            "n_train": list(sizes),
            "clean_train_error": ("label_noise", [0.18, 0.36]),
        },
        {"config": "{}"},
    )


def loop_jackknife(matrix):
    """Mean over ordered pairs of different members and its delete-one-member standard error, by loops."""

    def mean(members):
        return np.mean([matrix[a, b] for a in members for b in members if a != b])

    members = range(len(matrix))
    left = np.array([mean([m for m in members if m != k]) for k in members])
    return mean(members), np.sqrt((len(left) - 1) / len(left) * np.sum((left - left.mean()) ** 2))


def test_pairs_are_summarized_by_the_jackknife():
    ds = dataset()
    summary = summarize(ds)
    for level in range(2):
        for size in range(2):
            expected = loop_jackknife(ds["cce"].values[0, level, size, 0, :, 0, :])
            at = {"network_a": 0, "network_b": 0, "label_noise": level, "n_train": size}
            measured = summary["cce"].isel(at).item(), summary["cce_stderr"].isel(at).item()
            np.testing.assert_allclose(measured, expected, rtol=1e-10)


def test_a_diverged_member_is_left_out():
    ds = dataset()
    reference = summarize(ds.copy(deep=True).isel(member=slice(4), member_a=slice(4), member_b=slice(4)))
    ds["cce"].values[..., 4, :, :] = np.nan
    ds["cce"].values[..., 4] = np.nan
    for name in ("train_error", "test_error"):
        ds[name].values[..., 4] = np.nan
    summary = summarize(ds)
    for name in ("cce", "cce_stderr", "test_error", "test_error_stderr"):
        np.testing.assert_allclose(summary[name], reference[name], rtol=1e-10)
    assert (summary["n_diverged"] == 1).all() and (reference["n_diverged"] == 0).all()


def test_replicates_give_the_standard_error():
    ds = dataset(replicates=4)
    off = np.where(np.eye(5, dtype=bool), np.nan, ds["cce"].values[:, :, :, 0, :, 0, :])
    means = np.nanmean(off, (-1, -2))
    summary = summarize(ds)
    np.testing.assert_allclose(summary["cce"][0, 0], means.mean(0))
    np.testing.assert_allclose(summary["cce_stderr"][0, 0], means.std(0, ddof=1) / 2)
    np.testing.assert_allclose(
        summary["test_error_stderr"][0], ds["test_error"][0].mean("member").std("replicate", ddof=1) / 2
    )


def test_pairs_of_two_networks_are_of_different_members():
    ds = dataset(networks=2)
    ds["cce"].values[..., 0, 2, 1, 2] = 1e6
    assert np.abs(summarize(ds)["cce"]).max() < 10
    assert summarize(ds)["cce"].dims == ("network_a", "network_b", "label_noise", "n_train")


def test_jackknife_is_calibrated():
    """Members carry effects, so that pairs are dependent: z has the spread of a standard normal."""
    rng = np.random.default_rng(1)
    z = []
    for _ in range(300):
        effect = rng.normal(size=12)
        ds = dataset(members=12, seed=int(rng.integers(2**31)))
        ds["cce"].values[:] = effect[:, None, None] + effect + 0.2 * ds["cce"].values
        summary = summarize(ds)
        z.append((summary["cce"] / summary["cce_stderr"]).values[0, 0, 0, 0])
    assert 0.9 < np.std(z) < 1.25 and abs(np.mean(z)) < 0.25


def test_everything_diverged_is_nan_without_a_warning():
    ds = dataset()
    for name in ("train_error", "test_error", "cce"):
        ds[name].values[:] = np.nan
    summary = summarize(ds)
    assert np.isnan(summary["cce"]).all() and np.isnan(summary["test_error_stderr"]).all()
    assert (summary["n_diverged"] == 5).all()


def spearman(a, b):
    """Pearson's correlation of the ranks, without ties."""
    return np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1]


@pytest.mark.parametrize("replicates", [1, 3])
def test_alignment_is_correlated_with_the_error_at_each_noise_level(replicates):
    ds = dataset(replicates, networks=2, sizes=(10, 20, 40, 80)).assign_coords(label_noise=[0.0, 0.4])
    ds = ds.assign(linear_cka=ds["cce"] ** 2)
    summary = summarize(ds)
    for i, name in itertools.product(range(2), ("cce", "linear_cka")):
        measured = summary[f"{name}_error_spearman"]
        assert measured.dims == summary[f"{name}_error_spearman_stderr"].dims == ("network", "label_noise")
        values, errors = summary[name].values[i, i, 1], summary["test_error"].values[i, 1]
        np.testing.assert_allclose(measured[i], [np.nan, spearman(values, errors)], rtol=1e-10)


def test_levels_are_not_pooled():
    """Within each level the more aligned have the lower error; between levels it is the other way round."""
    ds = dataset(replicates=3, sizes=(10, 20, 40, 80))
    sizes = np.arange(4)
    for level in range(2):
        ds["test_error"].values[:, :, level] = (sizes + 10 * level)[:, None]
        ds["cce"].values[:, level] = (sizes - 20.0 * level)[:, None, None, None, None]
    summary = summarize(ds)
    np.testing.assert_allclose(summary["cce_error_spearman"], 1)
    np.testing.assert_allclose(summary["cce_error_spearman_stderr"], 0, atol=1e-12)


@pytest.mark.parametrize("replicates", [1, 4])
def test_the_error_of_the_correlation_is_the_jackknife(replicates):
    """Over replicates, or over the members of a single one; without each in turn, by loops."""
    ds = dataset(replicates, sizes=(10, 20, 40, 80, 160, 320))
    ds["test_error"].values[:, :, 1] = np.arange(6)[:, None] + 0.5 * ds["test_error"].values[:, :, 1]
    ds["cce"].values[:, 1] += np.arange(6)[:, None, None, None, None]
    without = []
    for k in range(replicates if replicates > 1 else 5):
        if replicates > 1:
            others = ds.isel(replicate=[r for r in range(replicates) if r != k])
        else:
            kept = [m for m in range(5) if m != k]
            others = ds.isel(member=kept, member_a=kept, member_b=kept)
        means = summarize(others)
        without.append([spearman(means["cce"][0, 0, i], means["test_error"][0, i]) for i in range(2)])
    expected = np.sqrt((len(without) - 1) * np.var(without, axis=0))
    assert np.any(expected > 0)
    np.testing.assert_allclose(summarize(ds)["cce_error_spearman_stderr"][0], expected, rtol=1e-10)


def test_a_replicate_that_is_not_computed_yet_does_not_count_in_the_jackknife():
    whole, ds = (dataset(replicates, sizes=(10, 20, 40, 80)) for replicates in (3, 4))
    for name in ("train_error", "test_error", "cce"):
        values = ds[name].transpose("replicate", ...).values
        values[:3], values[3] = whole[name].transpose("replicate", ...).values, np.nan
    for end in ("", "_stderr"):
        expected = summarize(whole)[f"cce_error_spearman{end}"]
        np.testing.assert_allclose(summarize(ds)[f"cce_error_spearman{end}"], expected, rtol=1e-10)


def test_the_sign_of_the_correlation_is_that_of_the_values():
    ds = dataset(sizes=(10, 20, 40, 80))
    order = np.arange(8).reshape(2, 4)
    ds["test_error"].values[:] = order[..., None] / 10
    ds["cce"].values[:] = (order - 9.0)[..., None, None, None, None]
    np.testing.assert_array_equal(summarize(ds)["cce_error_spearman"], [[1, 1]])
    ds["cce"].values[:, 0, 0] = np.nan
    ds["cce"].values[:, 1, 3] = -20
    np.testing.assert_allclose(summarize(ds)["cce_error_spearman"], [[1, spearman([1, 2, 3, 0], np.arange(4))]])


def test_too_few_or_equal_sizes_have_no_correlation():
    names = ["cce_error_spearman", "cce_error_spearman_stderr"]
    ds = dataset(sizes=(10, 20, 40))
    assert all(np.isfinite(summarize(ds)[name]).all() for name in names)
    assert all(np.isnan(summarize(ds.isel(n_train=[0, 1]))[name]).all() for name in names)
    ds["cce"].values[:] = -1.0
    assert all(np.isnan(summarize(ds)[name]).all() for name in names)


def test_the_summary_says_what_its_errors_cover():
    several, single = summarize(dataset(replicates=3)), summarize(dataset())
    assert several.attrs["standard_errors"] == "over 3 replicates"
    assert single.attrs["standard_errors"] == "over members of one replicate, their noise alone"
    own = dataset().assign_attrs(config='{"shared_init": false}')
    assert summarize(own).attrs["standard_errors"].endswith("one replicate, what differs between them alone")


def test_the_threshold_is_in_the_summary():
    ds = dataset(sizes=(10, 20, 40, 80))
    ds["train_error"].values[:] = np.array([0.0, 0.0, 0.036, 0.3])[:, None] * np.linspace(0.8, 1.2, 5)
    summary, threshold = summarize(ds), interpolation_threshold(ds)
    for name in [f"interpolation_threshold{end}" for end in ("", "_stderr", "_low", "_high")]:
        assert np.isfinite(summary[name]).all()
        xr.testing.assert_equal(summary[name], threshold[name])


@pytest.mark.parametrize("bad", [3, xr.Dataset({"x": 1})])
def test_what_is_no_sweep_is_refused(bad):
    with pytest.raises(ValueError, match="dataset must be the result of run_sweep"):
        summarize(bad)
