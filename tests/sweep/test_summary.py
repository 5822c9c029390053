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


def test_alignment_is_correlated_with_the_error_over_all_cells_with_noise():
    ds = dataset(networks=2, sizes=(10, 20, 40, 80)).assign_coords(label_noise=[0.0, 0.4])
    ds = ds.assign(linear_cka=ds["cce"] ** 2)
    summary = summarize(ds)
    noisy = summary["label_noise"].values > 0
    for i in range(2):
        errors = summary["test_error"].values[i][noisy].ravel()
        for name in ("cce", "linear_cka"):
            measured = summary[f"{name}_error_spearman"]
            assert measured.dims == ("network",)
            values = summary[name].values[i, i][noisy].ravel()
            np.testing.assert_allclose(measured[i], spearman(values, errors), rtol=1e-10)


def test_the_sign_of_the_correlation_is_that_of_the_values():
    ds = dataset(sizes=(10, 20, 40))
    order = np.arange(6).reshape(2, 3)
    ds["test_error"].values[:] = order[..., None] / 10
    ds["cce"].values[:] = (order - 9.0)[..., None, None, None, None]
    assert summarize(ds)["cce_error_spearman"].item() == 1
    ds["cce"].values[:, 0, 0] = np.nan
    ds["cce"].values[:, 1, 2] = -20
    np.testing.assert_allclose(summarize(ds)["cce_error_spearman"], spearman([1, 2, 3, 4, 0], np.arange(5)))


def test_too_few_or_equal_cells_have_no_correlation():
    ds = dataset()
    assert np.isfinite(summarize(ds)["cce_error_spearman"]).all()
    assert np.isnan(summarize(ds.isel(label_noise=[0]))["cce_error_spearman"]).all()
    ds["cce"].values[:] = -1.0
    assert np.isnan(summarize(ds)["cce_error_spearman"]).all()


def test_the_threshold_is_in_the_summary():
    ds = dataset(sizes=(10, 20, 40, 80))
    ds["train_error"].values[:] = np.array([0.0, 0.0, 0.036, 0.3])[:, None] * np.linspace(0.8, 1.2, 5)
    summary, threshold = summarize(ds), interpolation_threshold(ds)
    for name in ("interpolation_threshold", "interpolation_threshold_stderr"):
        assert np.isfinite(summary[name]).all()
        xr.testing.assert_equal(summary[name], threshold[name])


@pytest.mark.parametrize("bad", [3, xr.Dataset({"x": 1})])
def test_what_is_no_sweep_is_refused(bad):
    with pytest.raises(ValueError, match="dataset must be the result of run_sweep"):
        summarize(bad)
