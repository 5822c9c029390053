import dataclasses

import numpy as np
import pytest

import jaxalign
from jaxalign import LinearNetwork, LinearTeacher, SweepConfig, plot_sweep, predict, summarize
from jaxalign.plots import plot_decoupling

CONFIG = SweepConfig(
    task=LinearTeacher(dim=10),
    networks=(LinearNetwork(3), LinearNetwork(4)),
    noise=(1.0, 5.0),
    n_train=(40, 5, 15),
    members=3,
    probes=40,
)


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
    assert labels == [f"LinearNetwork(hidden={h}, solver=MinNorm()), SNR {s}" for h in (3, 4) for s in (1, 5)]
    figure.canvas.draw()


def test_the_threshold_is_marked(dataset):
    marked = [line.get_xdata()[0] for line in plot_sweep(dataset).axes[0].lines if len(set(line.get_xdata())) == 1]
    expected = jaxalign.interpolation_threshold(dataset).values.ravel()
    assert set(np.round(marked, 6)) >= set(np.round(expected[np.isfinite(expected)], 6)) and np.isfinite(expected).any()


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


def test_true_is_the_prediction_on_a_dense_grid(dataset):
    figure = plot_sweep(dataset, True)
    curve = curves_of(figure.axes[1])[0]
    sizes, values = curve.get_xdata(), curve.get_ydata()
    assert len(sizes) > 20 and {5, 15, 40} < set(sizes) and np.all(np.diff(sizes) > 0)
    predicted = predict(CONFIG)["cce"][0, 0, 0]
    for n in (5, 15, 40):
        np.testing.assert_allclose(values[sizes == n], predicted.sel(n_train=n))
    error = curves_of(figure.axes[0])[0]
    assert np.isnan(error.get_ydata()[sizes == 10]) and figure.axes[0].get_ylim()[1] < 100
    assert len(curves_of(plot_sweep(dataset, False).axes[1])) == len(curves_of(plot_sweep(dataset).axes[1])) == 4


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
            assert len(stars) == 2 and axes.get_xlabel() and len(axes.texts) == 4
            if theory is None:
                weakest = int(np.argmax(summary["cce"][i, i, 0].values))
                np.testing.assert_allclose(stars[0].get_xdata(), summary["test_error"][i, 0, weakest])
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["SNR 1", "SNR 5"]
        figure.canvas.draw()


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
