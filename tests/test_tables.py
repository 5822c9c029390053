import numpy as np
import pytest
import xarray as xr

import jaxalign
from jaxalign import tables


def made_up_sweep(noise="label_noise"):
    """Two networks, of which only the first stops fitting its noise, at the second noise level."""
    cell = ("replicate", noise, "n_train")
    dims = ("network", *cell, "member")
    train = np.zeros((2, 1, 2, 4, 3))
    train[0, 0, 1] = np.array([0.0, 0.0, 0.036, 0.3])[:, None] * [0.8, 1.0, 1.2]
    error = np.array([0.4, 0.3, 0.25, 0.1])[:, None] + np.array([0.0, 0.01])[:, None, None] + np.zeros((2, 1, 2, 4, 3))
    cce = np.full((1, 2, 4, 2, 3, 2, 3), -2.0)
    cce[0, 1, :, 0, :, 0] = np.array([-2, -1.5, -1, -1.2])[:, None, None]
    cce[0, 0, :, 1, :, 1] = np.array([-2, -1.5, -1.2, -1])[:, None, None]
    names = ["narrow", "wide"]
    return xr.Dataset(
        {
            "train_error": (dims, train),
            "train_accuracy": (dims, 1 - train),
            "test_error": (dims, error),
            "cce": ((*cell, "network_a", "member_a", "network_b", "member_b"), cce),
        },
        {
            **{name: names for name in ("network", "network_a", "network_b")},
            noise: [0.0, 0.2],
            "n_train": [10, 20, 40, 80],
            "n_parameters": ("network", [100, 200]),
            "clean_train_error": (noise, [0.0, 0.18]),
        },
    )


def test_the_table_says_what_a_sweep_shows():
    dataset = made_up_sweep()
    summary = jaxalign.summarize(dataset)
    stderr = summary["interpolation_threshold_stderr"][0, 1].item()
    narrow, wide = summary["cce_error_spearman"].values[:, 1]
    assert np.isnan(wide)
    threshold = summary["interpolation_threshold"][0, 1].item()
    lines = tables.table(dataset).splitlines()
    at = [i for i, line in enumerate(lines) if "parameters" in line]
    assert [lines[i] for i in at] == ["narrow, 100 parameters", "wide, 200 parameters"]
    assert stderr > 0.1 and lines[at[0] + 9 : at[1]] == [
        "no interpolation threshold (label_noise 0)",
        f"interpolation threshold n = {tables.rounded(threshold, stderr)} (20 to 40) (label_noise 0.2); "
        f"weakest cce at n = 40, {40 / threshold:.2f} of the threshold",
        f"Spearman correlation of cce with the test error: {narrow:.2f} ± 0.00 (label_noise 0.2, 4 sizes)",
    ]
    assert lines[at[1] + 9 :] == [
        "no interpolation threshold (label_noise 0); weakest cce at n = 80, an end of the sweep",
        "no interpolation threshold (label_noise 0.2)",
        "± is a standard error over members of one replicate, their noise alone",
    ]


def test_the_table_of_a_sweep_without_a_measure_tells_thresholds_only():
    dataset = made_up_sweep()
    for other in (dataset.drop_vars("cce"), dataset.rename(cce="tie_fraction")):
        out = tables.table(other)
        assert "interpolation threshold n = 38.7 ± " in out and "weakest" not in out and "Spearman" not in out


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(412.4, 8.6, "412 ± 9"), (412.4, 123.0, "412 ± 123"), (15.26, 0.34, "15.3 ± 0.3"), (15.26, 0.034, "15.26 ± 0.03")]
    + [(15.26, 0.0, "15 ± 0"), (15.26, np.nan, "15")],
)
def test_sample_sizes_are_rounded_to_their_error(value, error, text):
    assert tables.rounded(value, error) == text


@pytest.mark.parametrize(
    ("ends", "text"), [((10, 40), "22 (10 to 40)"), ((0, 40), "22 (below 40)"), ((10, np.inf), "22 (above 10)")]
)
def test_a_threshold_is_told_with_the_sizes_that_hold_it(ends, text):
    found = tables.LevelFinding(0.2, 22.2, np.nan, *ends, 40, False, np.nan, np.nan, 0)
    assert found.threshold_text() == text
