import numpy as np
import pytest

import jaxalign
from jaxalign import LinearNetwork, LinearTeacher, SweepConfig, plot_sweep, summarize


@pytest.fixture(scope="module")
def dataset():
    config = SweepConfig(
        task=LinearTeacher(dim=10),
        networks=(LinearNetwork(3), LinearNetwork(4)),
        noise=(1.0, 5.0),
        n_train=(40, 5, 15),
        members=3,
        probes=40,
    )
    return jaxalign.run_sweep(config, progress=False)


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


def test_theory_is_drawn_as_lines(dataset):
    summary = summarize(dataset)
    theory = summary[["test_error"]].assign(cce=summary["cce"].isel(network_b=0, drop=True).rename(network_a="network"))
    axes = plot_sweep(dataset, theory).axes[1]
    assert [container.lines[0].get_linestyle() for container in axes.containers] == ["None"] * 4
    curves = [line for line in axes.lines if line.get_linestyle() != "None" and len(line.get_xdata()) == 3]
    np.testing.assert_allclose(curves[0].get_ydata(), theory["cce"][0, 0].sortby("n_train"))


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
