import dataclasses
import itertools

import numpy as np
import pytest
import xarray as xr

import jaxalign
from jaxalign import MLP, LinearNetwork, LinearTeacher, SweepConfig, plot_sweep, plots, predict, summarize
from jaxalign.plots import plot_decoupling
from jaxalign.sweep.config import to_json

CONFIG = SweepConfig(
    task=LinearTeacher(dim=10),
    networks=(LinearNetwork(3), LinearNetwork(4)),
    noise=(1.0, 5.0),
    n_train=(40, 5, 15),
    members=3,
    probes=40,
)
CONFIG_OF_TWO = dataclasses.replace(CONFIG, networks=(LinearNetwork(3), MLP(3)))


@pytest.fixture(scope="module")
def dataset():
    return jaxalign.run_sweep(CONFIG, progress=False)


@pytest.mark.parametrize(("x", "unit"), [("n_train", 1), ("n_parameters", 33), ("alpha", 10)])
def test_points_are_the_summary(dataset, x, unit):
    figure = plot_sweep(dataset, x=x)
    summary = summarize(dataset).sortby("n_train")
    for axes, values in zip(figure.axes, (summary["test_error"][0], summary["cce"][0, 0]), strict=True):
        assert len(axes.containers) == 4
        for level in range(2):
            points = axes.containers[level].lines[0]
            np.testing.assert_allclose(points.get_xdata(), np.array([5, 15, 40]) / unit)
            np.testing.assert_allclose(points.get_ydata(), values[level])
        assert axes.get_xlabel() and axes.get_ylabel()
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["SNR 1", "SNR 5", "linear (hidden=3)", "linear (hidden=4)"]
    figure.canvas.draw()


def test_the_threshold_is_marked(dataset):
    marked = [line.get_xdata()[0] for line in plot_sweep(dataset).axes[0].lines if len(set(line.get_xdata())) == 1]
    expected = jaxalign.interpolation_threshold(dataset)["interpolation_threshold"].values.ravel()
    assert set(np.round(marked, 6)) >= set(np.round(expected[np.isfinite(expected)], 6)) and np.isfinite(expected).any()


def vertical_lines_of(axes):
    return [line for line in axes.lines if list(line.get_ydata()) == [0, 1]]


@pytest.mark.parametrize("theory", [None, True])
def test_the_legend_says_what_vertical_lines_are_where_there_are_any(dataset, theory):
    below = dataset.sel(n_train=[5])
    for draw in (plots.plot_error, plots.plot_alignment):
        for ds, marked in ((dataset, True), (below, False)):
            axes = draw(ds, theory)
            assert (len(vertical_lines_of(axes)) > 0) == marked
            title = axes.figure.legends[0].get_title().get_text()
            assert ("Vertical lines" in title) == marked and ("Points: measured." in title) == bool(theory)
            axes.figure.draw_without_rendering()


def classification(noise="label_noise", spread=0.3):
    """A made-up sweep of one network of 100 parameters that leaves zero training error between 40 and 80 samples."""
    rng = np.random.default_rng(0)
    cell = ("replicate", noise, "n_train")
    dims = ("network", *cell, "member")
    train = np.array([0.0, 0.0, 0.1, 0.3])[:, None] * rng.uniform(1 - spread, 1 + spread, (1, 1, 2, 1, 6))
    pairs = rng.uniform(-1, 0, (1, 2, 4, 1, 6, 1, 6))
    return xr.Dataset(
        {
            "train_error": (dims, train),
            "train_accuracy": (dims, 1 - train),
            "test_error": (dims, rng.uniform(0.1, 0.5, train.shape)),
            "cce": ((*cell, "network_a", "member_a", "network_b", "member_b"), pairs),
        },
        {
            **{name: ["net"] for name in ("network", "network_a", "network_b")},
            noise: [0.2, 0.4],
            "n_train": [20, 40, 80, 160],
            "n_parameters": ("network", [100]),
            "clean_train_error": (noise, [0.18, 0.36] if noise == "label_noise" else [0.0, 0.0]),
        },
        {"config": "{}"},
    )


def bands_of(axes):
    return [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]


@pytest.mark.parametrize(("x", "unit"), [("n_train", 1), ("n_parameters", 100)])
def test_the_threshold_has_a_band_of_the_sizes_that_hold_it(x, unit):
    ds = classification()
    summary = summarize(ds).isel(network=0)
    value, low, high = (summary[f"interpolation_threshold{end}"].values for end in ("", "_low", "_high"))
    assert np.all((low < value) & (value < high)) and np.all(np.isfinite(high) & (low > 0))
    figure = plot_sweep(ds, x=x)
    for axes in figure.axes:
        np.testing.assert_allclose(bands_of(axes), np.transpose([low, high]) / unit)
        colors = [container.lines[0].get_color() for container in axes.containers]
        assert [patch.get_facecolor()[:3] for patch in axes.patches] == [tuple(color)[:3] for color in colors]
        assert all(0 < patch.get_alpha() < 0.5 for patch in axes.patches)
    assert "bands hold it" in figure.legends[0].get_title().get_text()


def test_a_band_ends_with_the_sample_sizes():
    ds = classification().isel(member=[0, 1], member_a=[0, 1], member_b=[0, 1])
    ds["train_error"].values[:] = np.transpose([[0, 0.3, 0.3, 0.3], [0, 0, 0, 0.06]])
    summary = summarize(ds)
    assert np.isinf(summary["interpolation_threshold_high"]).all()
    sizes = ds["n_train"].values
    lows = summary["interpolation_threshold_low"].values[0]
    np.testing.assert_allclose(bands_of(plot_sweep(ds).axes[0]), [(low, sizes.max()) for low in lows])


def test_the_legend_says_what_bars_cover():
    one = classification()
    two = xr.concat([one, one + 0.01], "replicate", data_vars="minimal")
    for draw in (plots.plot_error, plots.plot_alignment):
        title = draw(one).figure.legends[0].get_title().get_text().replace("\n", " ")
        assert "Bars: over members of one replicate, their noise alone." in title
        title = draw(two.assign_attrs(one.attrs)).figure.legends[0].get_title().get_text().replace("\n", " ")
        assert "Bars: over 2 replicates." in title
    alone = one.isel(member=[0, 1], member_a=[0, 1], member_b=[0, 1])
    assert (
        "Bars"
        not in plots.plot_alignment(
            alone.drop_vars("test_error").assign(test_error=alone["test_error"].where(alone["member"] == 0))
        )
        .figure.legends[0]
        .get_title()
        .get_text()
    )


@pytest.mark.parametrize("noise", ["label_noise", "snr"])
def test_a_classification_is_labelled_by_its_accuracy_whatever_its_noise(noise):
    ds = classification(noise)
    sweep, path = plot_sweep(ds).axes[0], plot_decoupling(ds, None).axes[0]
    assert sweep.get_ylabel() == path.get_xlabel() == "1 - test accuracy"
    assert sweep.get_yscale() == path.get_xscale() == "linear"


def test_a_regression_is_labelled_by_its_error(dataset):
    sweep, path = plot_sweep(dataset).axes[0], plot_decoupling(dataset).axes[0]
    assert sweep.get_ylabel() == path.get_xlabel() == "generalization error / teacher variance"
    assert sweep.get_yscale() == path.get_xscale() == "log"


@pytest.mark.parametrize("lost", [("test_error",), ("cce",), ("train_error", "test_error", "cce")])
def test_what_is_nowhere_finite_leaves_its_panel_empty(dataset, lost):
    nothing = dataset.assign({name: dataset[name] * np.nan for name in lost})
    for figure in (
        plot_sweep(nothing),
        plot_sweep(nothing, True),
        plot_decoupling(nothing),
        plot_decoupling(nothing, None),
    ):
        figure.draw_without_rendering()
    images = classification()
    images = images.assign({name: images[name] * np.nan for name in lost})
    for figure in (plot_sweep(images), plot_decoupling(images, None)):
        figure.draw_without_rendering()
        assert figure.axes[0].get_ylabel()


def curves_of(axes):
    return [line for line in axes.lines if line.get_linestyle() != "None" and len(set(line.get_xdata())) > 2]


def test_theory_is_drawn_as_lines(dataset):
    config = dataclasses.replace(CONFIG, n_train=(7, 20, 100))
    theory = predict(config)
    figure = plot_sweep(dataset, theory, x="alpha")
    for axes in figure.axes:
        assert [container.lines[0].get_linestyle() for container in axes.containers] == ["None"] * 4
        assert len(curves_of(axes)) == 4
    for i, curve in enumerate(curves_of(figure.axes[1])):
        np.testing.assert_allclose(curve.get_xdata(), np.array([0.7, 2, 10]))
        np.testing.assert_allclose(curve.get_ydata(), theory["cce"][i // 2, i // 2, i % 2])
    np.testing.assert_allclose(curves_of(figure.axes[0])[1].get_ydata(), theory["test_error"][0, 1])
    assert "theory" in figure.legends[0].get_title().get_text()
    figure.canvas.draw()


def test_true_is_the_prediction_at_the_dimensions_of_the_sweep_on_a_dense_grid(dataset):
    figure = plot_sweep(dataset, True)
    curve = curves_of(figure.axes[1])[0]
    sizes, values = curve.get_xdata(), curve.get_ydata()
    assert len(sizes) > 20 and {5, 15, 40} < set(sizes) and np.all(np.diff(sizes) > 0)
    for n, draws in ((5, 200), (15, 48), (40, 48)):
        predicted = predict(dataclasses.replace(CONFIG, n_train=(n,)), draws=draws)["cce"][0, 0, 0]
        np.testing.assert_allclose(values[sizes == n], predicted)
    error = curves_of(figure.axes[0])[0]
    assert np.isnan(error.get_ydata()[sizes == 10]) and figure.axes[0].get_ylim()[1] < 100
    assert len(curves_of(plot_sweep(dataset, False).axes[1])) == len(curves_of(plot_sweep(dataset).axes[1])) == 4


def test_true_is_the_limit_where_dimensions_are_many(dataset):
    config = dataclasses.replace(CONFIG, task=LinearTeacher(dim=301))
    wide = dataset.assign_attrs(config=to_json(config))
    curve = curves_of(plot_sweep(wide, True).axes[1])[0]
    limit = predict(config)["cce"][0, 0, 0]
    np.testing.assert_allclose(curve.get_ydata()[curve.get_xdata() == 15], limit.sel(n_train=15))
    assert len(curve.get_xdata()) > len(curves_of(plot_sweep(dataset, True).axes[1])[0].get_xdata())


def test_decoupling_is_error_against_alignment(dataset):
    summary = summarize(dataset).sortby("n_train")
    for theory in (True, None):
        figure = plot_decoupling(dataset, theory)
        assert len(figure.axes) == 2
        for i, axes in enumerate(figure.axes):
            for level in range(2):
                points = axes.containers[level].lines[0]
                np.testing.assert_allclose(points.get_xdata(), summary["test_error"][i, level])
                np.testing.assert_allclose(points.get_ydata(), summary["cce"][i, i, level])
            stars = [line for line in axes.lines if line.get_marker() == "*"]
            assert len(stars) == 2 and axes.get_xlabel()
            names = [text.get_text() for text in axes.texts]
            assert {"n = 5", "n = 40"} <= {*names} and max(names.count(name) for name in names) <= 2
            if theory is None:
                assert {*names} <= {"n = 5", "n = 15", "n = 40"}
                weakest = int(np.argmax(summary["cce"][i, i, 0].values))
                np.testing.assert_allclose(stars[0].get_xdata(), summary["test_error"][i, 0, weakest])
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["SNR 1", "SNR 5"]
        figure.canvas.draw()


def crowded():
    """A made-up sweep of eight noise levels whose paths nearly coincide."""
    levels = [0.05 * level for level in range(1, 9)]
    ds = classification().isel(label_noise=[0] * 8).assign_coords(label_noise=levels).copy(deep=True)
    ds["test_error"].values[:] = np.linspace(0.1, 0.5, 4)[:, None] + 0.002 * np.arange(8)[:, None, None]
    return ds


@pytest.mark.parametrize("case", ["solved", "beside a perceptron", "crowded"])
@pytest.mark.parametrize("dpi", [100, 200])
def test_names_of_sample_sizes_are_inside_of_their_panel_and_off_each_other_and_the_stars(dataset, two, case, dpi):
    ds, theory = {"solved": (dataset, True), "beside a perceptron": (two, True), "crowded": (crowded(), None)}[case]
    figure = plot_decoupling(ds, theory)
    figure.set_dpi(dpi)
    figure.draw_without_rendering()
    for axes in figure.axes:
        names = [text.get_window_extent() for text in axes.texts]
        stars = [line.get_window_extent() for line in axes.lines if line.get_marker() == "*"]
        assert len(names) >= 4
        assert not any(a.overlaps(b) for a, b in itertools.combinations(names, 2))
        assert not any(name.overlaps(star) for name, star in itertools.product(names, stars))
        panel = axes.get_window_extent()
        assert all(panel.contains(*corner) for name in names for corner in (name.min, name.max))


def test_the_legend_of_a_single_panel_breaks_between_sentences_and_is_as_wide_as_the_figure_at_most(dataset, two):
    threshold = "Vertical lines: interpolation threshold; bands hold it."
    bars = "Bars: over members of one replicate, their noise alone."
    for ds, known in ((dataset, "Points: measured. Curves: theory."), (two, "Points: measured.")):
        for axes in (plots.plot_error(ds, True), plots.plot_alignment(ds, True, between=True)):
            title = axes.figure.legends[0].get_title()
            lines = title.get_text().split("\n")
            assert lines == [known, threshold, bars]
            axes.figure.draw_without_rendering()
            box = title.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= axes.figure.bbox.width


def test_long_names_are_cut_to_fit_the_legend_into_a_single_panel(two):
    names = [f"mine.NetworkOfARatherLongName{kind}Connections(depth=3)" for kind in ("With", "Without")]
    coords = dict.fromkeys(("network", "network_a", "network_b"), names)
    dataset, theory = (ds.assign_coords(coords) for ds in (two, predict(CONFIG_OF_TWO)))
    figure = plots.plot_alignment(dataset, theory, between=True).figure
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width
    entries = [text.get_text() for text in figure.legends[0].get_texts() if text.get_text().strip()]
    assert len({*entries}) == 5 and entries[-1].endswith("(points joined)")


def test_the_legend_fits_into_the_figure(dataset):
    for figure in (plot_sweep(dataset, True), plot_decoupling(dataset)):
        figure.draw_without_rendering()
        box = figure.legends[0].get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0
        assert box.y1 <= min(axes.get_window_extent().y0 for axes in figure.axes)


@pytest.mark.parametrize(
    ("theory", "options", "message"),
    [
        (3, {}, "theory must be True, False, None or a Dataset that predict returned, got 3"),
        (
            True,
            {"metric": "mutual_knn"},
            r"metric \(with theory\) must be one of cce, information_imbalance, linear_cka",
        ),
        (predict(CONFIG)[["test_error"]], {}, r"metric \(with theory\) must be one of test_error"),
        (predict(dataclasses.replace(CONFIG, noise=(1.0,))), {}, r"theory must be of the same snr as .* without \[5"),
        (
            predict(dataclasses.replace(CONFIG, networks=(LinearNetwork(3),))),
            {},
            r"theory must be of the same network as dataset, got .* without \['LinearNetwork\(hidden=4",
        ),
    ],
)
def test_bad_theory_is_named(dataset, theory, options, message):
    with pytest.raises(ValueError, match=message):
        plot_sweep(dataset.assign(mutual_knn=dataset["cce"]), theory, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "cka"}, "metric must be one of cce, information_imbalance"),
        ({"x": "samples"}, "x must be one of alpha, n_parameters, n_train"),
    ],
)
def test_bad_input_is_named(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        plot_sweep(dataset, **options)


def test_a_notebook_shows_the_figure_and_no_window_is_opened(dataset):
    import matplotlib.pyplot as plt

    assert plot_sweep(dataset)._repr_png_()[:4] == b"\x89PNG"
    assert plt.get_fignums() == []


def test_panels_alone_are_those_of_the_sweep(two):
    pair = plot_sweep(two, True, between=True).axes
    alone = [plots.plot_error(two, True), plots.plot_alignment(two, True, between=True)]
    for ours, theirs in zip(alone, pair, strict=True):
        assert len(ours.lines) == len(theirs.lines) and len(ours.containers) == len(theirs.containers)
        for a, b in zip(ours.lines, theirs.lines, strict=True):
            np.testing.assert_array_equal(a.get_xydata(), b.get_xydata())
        assert ours.get_ylabel() == theirs.get_ylabel() and ours.figure.legends


def test_between_is_the_mean_over_both_directions(two):
    figure = plot_sweep(two, between=True)
    assert len(figure.axes[0].containers) == 4 and len(figure.axes[1].containers) == 6
    values = two["cce"].isel(replicate=0).sortby("n_train").transpose("snr", "n_train", ...).values.astype(float)
    different = ~np.eye(4, dtype=bool)
    for level in range(2):
        there, back = (values[level][:, i, :, 1 - i][:, different].mean(1) for i in (0, 1))
        container = figure.axes[1].containers[4 + level]
        np.testing.assert_allclose(container.lines[0].get_ydata(), (there + back) / 2, rtol=1e-5)
        assert container.get_label() == f"linear – ReLU MLP, SNR {(1, 5)[level]}"
        assert container.lines[0].get_markerfacecolor() == "white"
    markers = {container.lines[0].get_marker() for container in figure.axes[1].containers}
    lines = {container.lines[0].get_linestyle() for container in figure.axes[1].containers}
    assert len(markers) == len(lines) == 3


def test_within_networks_is_the_same_with_and_without_between(two):
    plain, between = (plot_sweep(two, between=flag).axes[1].containers for flag in (False, True))
    for a, b in zip(plain, between[:4], strict=True):
        np.testing.assert_allclose(a.lines[0].get_ydata(), b.lines[0].get_ydata(), rtol=1e-5, atol=1e-6)


def test_points_of_networks_without_a_theory_are_joined(two):
    figure = plot_sweep(two, True, between=True)
    for axes, expected in zip(
        figure.axes, (["None"] * 2 + ["--"] * 2, ["None"] * 2 + ["--"] * 2 + [":"] * 2), strict=True
    ):
        assert [container.lines[0].get_linestyle() for container in axes.containers] == expected
    entries = [text.get_text() for text in figure.legends[0].get_texts() if text.get_text().strip()]
    names = ["linear (curves: theory)", "ReLU MLP (points joined)", "linear – ReLU MLP (points joined)"]
    assert entries == ["SNR 1", "SNR 5", *names]
    titles = [axes.get_title() for axes in plot_decoupling(two).axes]
    assert titles == ["linear (curves: theory)", "ReLU MLP (points joined)"]
    theory = predict(CONFIG_OF_TWO)
    curve = next(line for line in curves_of(plot_sweep(two, theory).axes[1]) if not line.get_marker().strip("None"))
    np.testing.assert_allclose(curve.get_ydata(), theory["cce"].sortby("n_train")[0, 0, 0])


def test_two_solved_networks_have_a_theory_between_them(dataset):
    figure = plot_sweep(dataset, True, between=True)
    assert {container.lines[0].get_linestyle() for container in figure.axes[1].containers} == {"None"}
    assert "Curves: theory" in figure.legends[0].get_title().get_text().replace("\n", " ")


def test_identical_members_are_named_and_not_drawn(two):
    clean = two.assign_coords(snr=[1.0, np.inf]).copy(deep=True)
    same = {"network_a": clean["network_a"][0], "network_b": clean["network_b"][0], "snr": np.inf}
    clean["cce"].loc[same] = -np.log(two.attrs["probes"] - 1)
    figure = plot_sweep(clean)
    assert [len(axes.containers) for axes in figure.axes] == [4, 3]
    entries = [text.get_text() for text in figure.legends[0].get_texts() if text.get_text().strip()]
    assert entries == ["SNR 1", "SNR inf: identical members of linear", "linear", "ReLU MLP"]


def test_between_needs_networks_to_compare(two):
    with pytest.raises(ValueError, match="between must be False for a sweep of one network, got True"):
        plot_sweep(classification(), between=True)
    with pytest.raises(ValueError, match="x must be n_train or alpha between networks of different numbers"):
        plots.plot_alignment(two, x="n_parameters", between=True)
    with pytest.raises(ValueError, match="between must be True or False, got 'yes'"):
        plot_sweep(two, between="yes")
