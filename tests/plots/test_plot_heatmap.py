import numpy as np
import pytest

from jaxalign import interpolation_threshold, summarize
from jaxalign.plots import plot_heatmap
from jaxalign.sweep.threshold import weakest_alignment


def values_of(axes):
    return np.ma.filled(axes.collections[0].get_array().astype(float), np.nan).reshape(2, 3)


def line_of(axes, label):
    return next(line for line in axes.lines if line.get_label() == label)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("metric", ["cce", "test_error", "train_error"])
def test_colours_are_the_summary(two, number, metric):
    network = str(two["network"].values[number])
    axes = plot_heatmap(two, metric=metric, network=network)
    summary = summarize(two).sortby("n_train")
    expected = summary[metric].values[number, number] if metric == "cce" else summary[metric].values[number]
    np.testing.assert_allclose(values_of(axes), expected)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "5"]
    assert axes.get_xscale() == "log" and axes.get_ylabel() == "SNR"
    legend = axes.get_legend()
    title = axes.get_title(loc="left") if legend is None else legend.get_title().get_text()
    assert title == ("linear", "ReLU MLP")[number]


@pytest.mark.parametrize(("x", "unit"), [("n_train", 1), ("alpha", 10), ("n_parameters", 33)])
def test_cells_reach_half_way_to_the_next(two, x, unit):
    axes = plot_heatmap(two, x=x)
    edges = np.array([5 / 3**0.5, (5 * 15) ** 0.5, (15 * 40) ** 0.5, 40 * (40 / 15) ** 0.5]) / unit
    np.testing.assert_allclose(axes.collections[0].get_coordinates()[0, :, 0], edges)
    threshold = interpolation_threshold(two)["interpolation_threshold"].values[0]
    assert np.isfinite(threshold).any()
    np.testing.assert_allclose(line_of(axes, "interpolation threshold").get_xdata(), threshold / unit)
    star = line_of(axes, "weakest alignment")
    np.testing.assert_allclose(star.get_xdata(), weakest_alignment(summarize(two)).values[0] / unit)
    assert star.get_ydata().tolist() == [0, 1]


def test_an_error_has_no_weakest_alignment_and_logarithmic_colours(two):
    axes = plot_heatmap(two, metric="test_error")
    assert "weakest alignment" not in [line.get_label() for line in axes.lines]
    assert type(axes.collections[0].norm).__name__ == "LogNorm"
    assert axes.figure.axes[1].get_ylabel() == "generalization error / teacher variance"


def test_levels_are_in_ascending_order_whatever_that_of_the_sweep(two):
    np.testing.assert_array_equal(values_of(plot_heatmap(two.isel(snr=[1, 0]))), values_of(plot_heatmap(two)))


def test_identical_members_are_grey_and_named(two):
    clean = two.assign_coords(snr=[1.0, np.inf]).copy(deep=True)
    clean["cce"].loc[{"snr": np.inf}] = -np.log(two.attrs["probes"] - 1)
    axes = plot_heatmap(clean)
    assert np.isnan(values_of(axes)[1]).all() and np.isfinite(values_of(axes)[0]).all()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "inf\nidentical"]


@pytest.mark.parametrize("metric", ["cce", "test_error"])
def test_what_is_nowhere_finite_leaves_the_panel_empty(two, metric):
    plot_heatmap(two.assign({metric: two[metric] * np.nan}), metric=metric).figure.draw_without_rendering()


def test_a_single_cell_has_a_width(two):
    plot_heatmap(two.isel(n_train=[0], snr=[0])).figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "converged"}, "metric must be one of cce, information_imbalance, test_error, train_error"),
        ({"network": "CNN"}, "network must be one of LinearNetwork"),
        ({"x": "samples"}, "x must be one of alpha, n_parameters, n_train"),
    ],
)
def test_bad_input_is_named(two, options, message):
    with pytest.raises(ValueError, match=message):
        plot_heatmap(two, **options)
