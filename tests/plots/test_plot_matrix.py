import itertools

import numpy as np
import pytest

from jaxalign.plots import plot_matrix


def drawn(axes):
    return np.ma.filled(axes.images[0].get_array().astype(float), np.nan)


def ticks(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def test_the_given_order_is_the_alignment_without_its_diagonal(alignment):
    axes = plot_matrix(alignment, cluster=False)
    expected = alignment["cce"].values.astype(float).copy()
    np.fill_diagonal(expected, np.nan)
    np.testing.assert_array_equal(drawn(axes), expected)
    assert ticks(axes) == ["a", "other", "noisy", "noisier"] == [t.get_text() for t in axes.get_xticklabels()]
    low, high = axes.images[0].get_clim()
    np.testing.assert_allclose([low, high], [np.nanmin(expected), np.nanmax(expected)])
    bar = axes.figure.axes[1]
    assert bar.get_ylabel() == "conditional copula entropy (nats)\n(lower = more aligned)"


@pytest.mark.parametrize("metric", ["cce", "linear_cka"])
def test_clustering_puts_alike_ones_side_by_side(alignment, metric):
    axes = plot_matrix(alignment, metric=metric)
    names = ticks(axes)
    order = [["a", "other", "noisy", "noisier"].index(name) for name in names]
    values = alignment[metric].values
    np.testing.assert_allclose(
        drawn(axes)[~np.eye(4, dtype=bool)], values[np.ix_(order, order)][~np.eye(4, dtype=bool)]
    )
    # The closest two are side by side, and the one that is like none of the others is at an end.
    assert "other" in (names[0], names[-1]) and abs(names.index("a") - names.index("noisy")) == 1


def test_a_measure_without_direction_is_not_clustered(alignment):
    assert ticks(plot_matrix(alignment, metric="tie_fraction")) == ["a", "other", "noisy", "noisier"]


def test_what_is_not_finite_comes_last(alignment):
    lost = alignment.copy(deep=True)
    lost["cce"].values[2], lost["cce"].values[:, 2] = np.nan, np.nan
    assert ticks(plot_matrix(lost))[-1] == "noisy"
    nothing = lost.assign(cce=lost["cce"] * np.nan)
    plot_matrix(nothing).figure.draw_without_rendering()


def test_a_cell_of_a_sweep_has_all_members_of_all_networks(two):
    axes = plot_matrix(two, noise=5, n_train=15, cluster=False)
    cell = two["cce"].sel(snr=5, n_train=15, replicate=0)
    values = cell.transpose("network_a", "member_a", "network_b", "member_b").values.reshape(8, 8)
    others = ~np.eye(8, dtype=bool)
    np.testing.assert_array_equal(drawn(axes)[others], values[others])
    assert axes.get_title() == "SNR 5, 15 training samples"
    # One line between the networks in each direction, and their names at the middle of their blocks.
    assert sorted((line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines) == [(0, 3.5), (3.5, 0)]
    assert ticks(axes) == ["linear", "ReLU MLP"] and axes.get_yticks().tolist() == [1.5, 5.5]
    clustered = plot_matrix(two, noise=5, n_train=15)
    assert sorted(ticks(clustered)) == sorted(
        f"{n} {i}" for n, i in itertools.product(("linear", "ReLU MLP"), range(4))
    )
    assert not clustered.lines


def test_many_members_are_told_apart_by_a_strip(two):
    many = two.isel(
        member=np.tile(np.arange(4), 4), member_a=np.tile(np.arange(4), 4), member_b=np.tile(np.arange(4), 4)
    )
    axes = plot_matrix(many, noise=1, n_train=5)
    assert ticks(axes) == [] and len(axes.patches) == 32
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["linear", "ReLU MLP"]
    axes.figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_train": 5}, "noise must be one of 1, 5, got None"),
        ({"noise": 1}, "n_train must be one of 40, 5, 15, got None"),
        ({"noise": 2, "n_train": 5}, "noise must be one of 1, 5, got 2"),
        ({"noise": "1", "n_train": 5}, "noise must be a number, got '1'"),
        ({"noise": 1, "n_train": 6}, "n_train must be one of 40, 5, 15, got 6"),
        ({"noise": 1, "n_train": 5, "replicate": 1}, "replicate must be an integer of at least 0 and at most 0, got 1"),
        ({"noise": 1, "n_train": 5, "metric": "linear_cka"}, "metric must be one of cce, information_imbalance"),
        ({"noise": 1, "n_train": 5, "cluster": 1}, "cluster must be True or False, got 1"),
    ],
)
def test_a_cell_that_is_not_there_is_named(two, options, message):
    with pytest.raises(ValueError, match=message):
        plot_matrix(two, **options)


@pytest.mark.parametrize("options", [{"noise": 1.0}, {"n_train": 5}, {"replicate": 1}])
def test_an_alignment_has_no_cells(alignment, options):
    with pytest.raises(ValueError, match="for a result of align, which has no cells"):
        plot_matrix(alignment, **options)


def test_neither_is_refused():
    with pytest.raises(ValueError, match="dataset must be the result of run_sweep"):
        plot_matrix(3)


def test_a_sweep_of_one_cell_needs_no_choice(two):
    one = two.sel(snr=[5.0], n_train=[15])
    np.testing.assert_array_equal(drawn(plot_matrix(one)), drawn(plot_matrix(two, noise=5, n_train=15)))
