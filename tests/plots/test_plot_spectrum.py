import numpy as np
import pytest

from jaxalign.plots import plot_spectrum


def spectrum(x):
    values = np.sort(np.linalg.eigvalsh(np.cov(np.asarray(x, np.float64).T)))[::-1]
    return values / values.sum()


def test_lines_are_the_eigenvalues_of_the_covariance(representations):
    axes = plot_spectrum(representations)
    for line, (name, values) in zip(axes.lines, representations.items(), strict=True):
        expected = spectrum(values)
        np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-4)
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, len(expected) + 1))
        ratio = expected.sum() ** 2 / np.sum(expected**2)
        assert line.get_label() == f"{name}: participation ratio {ratio:.3g}"
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_members_of_an_ensemble_share_a_colour_and_an_entry():
    ensemble = np.random.default_rng(0).normal(size=(4, 50, 5)) * [3, 2, 1, 1, 0.5]
    axes = plot_spectrum(ensemble)
    assert len(axes.lines) == 4 and len({line.get_color() for line in axes.lines}) == 1
    ratios = [1 / np.sum(spectrum(x) ** 2) for x in ensemble]
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == [f"participation ratio {np.mean(ratios):.3g} ± {np.std(ratios, ddof=1):.2g} (4 members)"]
    both = plot_spectrum({"x": ensemble, "y": ensemble[0]})
    assert len(both.lines) == 5 and len({line.get_color() for line in both.lines}) == 2
    named = plot_spectrum(ensemble, names=["a", "b", "c", "d"])
    assert len({line.get_color() for line in named.lines}) == 4 and len(named.get_legend().get_texts()) == 4


def test_members_of_a_single_eigenvalue_are_marked_and_those_of_several_are_lines():
    rng = np.random.default_rng(0)
    rank_one = rng.normal(size=(3, 50, 1)) * rng.normal(size=(3, 1, 4))
    axes = plot_spectrum({"one": rank_one, "full": rng.normal(size=(3, 50, 4))})
    for line in axes.lines[:3]:
        assert line.get_marker() != "None" and line.get_markevery() == [0]
        np.testing.assert_allclose(line.get_xydata(), [[1, 1]])
    assert [line.get_marker() for line in axes.lines[3:]] == ["None"] * 3
    assert axes.get_legend().get_texts()[0].get_text() == "one: participation ratio 1 ± 0 (3 members)"


def test_the_axis_of_single_eigenvalues_alone_is_that_of_one():
    rng = np.random.default_rng(0)
    axes = plot_spectrum(rng.normal(size=(5, 50, 1)) * rng.normal(size=(5, 1, 6)))
    assert [line.get_ydata().tolist() for line in axes.lines] == [[1]] * 5
    low, high = axes.get_ylim()
    assert low <= 0.5 and high >= 2


def test_networks_of_a_sweep_have_the_names_of_its_other_figures():
    x = np.random.default_rng(0).normal(size=(3, 30, 4))
    networks = ["LinearNetwork(hidden=20, solver=MinNorm())", "MLP(hidden=(20, 20), activation='relu')"]
    figure = plot_spectrum(dict.fromkeys(networks, x)).figure
    names = [text.get_text().split(":")[0] for text in figure.axes[0].get_legend().get_texts()]
    assert names == ["linear", "ReLU MLP"]
    given = plot_spectrum(dict.fromkeys(networks, x), names=["mine (layer=1)", "mine (layer=2)"])
    assert [line.get_label().split(":")[0] for line in given.lines[::3]] == ["mine (layer=1)", "mine (layer=2)"]


def test_long_names_of_ensembles_stay_inside_of_the_figure():
    x = np.random.default_rng(0).normal(size=(12, 30, 4))
    names = [f"network.with_a_rather_long_name.layer.{i}" for i in range(2)]
    figure = plot_spectrum([x, x], names=names).figure
    figure.draw_without_rendering()
    assert figure.axes[0].get_legend().get_window_extent().x1 <= figure.bbox.width
    assert figure.axes[0].get_window_extent().width > 450


def test_one_and_lists_of_them(representations):
    a, other = representations["a"], representations["other"]
    assert [line.get_label()[:13] for line in plot_spectrum(a).lines] == ["participation"]
    assert [line.get_label()[:3] for line in plot_spectrum([a, other]).lines] == ["0: ", "1: "]
    assert [line.get_label()[:3] for line in plot_spectrum([a, other], names=["p", "q"]).lines] == ["p: ", "q: "]


def test_more_units_than_probes_have_as_many_eigenvalues_as_the_centred_probes():
    x = np.random.default_rng(0).normal(size=(6, 20))
    (line,) = plot_spectrum(x).lines
    assert len(line.get_ydata()) == 5
    np.testing.assert_allclose(line.get_ydata(), spectrum(x)[:5], rtol=1e-4)


def test_many_long_names_stay_inside_of_the_figure_and_leave_room_for_the_lines():
    x = np.random.default_rng(0).normal(size=(30, 4))
    names = [f"network.with_a_rather_long_name.layer.{i}" for i in range(20)]
    figure = plot_spectrum([x] * 20, names=names).figure
    figure.draw_without_rendering()
    legend = figure.axes[0].get_legend()
    assert len({text.get_text() for text in legend.get_texts()}) == 20
    box, panel = legend.get_window_extent(), figure.axes[0].get_window_extent()
    assert box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height and not box.overlaps(panel)
    assert panel.height > 200 and panel.width > 400


def test_scale_does_not_matter():
    x = np.random.default_rng(0).normal(size=(30, 4))
    for factor in (1e-30, 1e30):
        np.testing.assert_allclose(
            plot_spectrum(factor * x).lines[0].get_ydata(), plot_spectrum(x).lines[0].get_ydata(), rtol=1e-4
        )


@pytest.mark.parametrize(
    ("given", "names", "message"),
    [
        ([], None, "representations must be at least one array"),
        ({}, None, "representations must be at least one array"),
        (np.zeros(3), None, r"representations must be a real array of shape \(N, D\) or \(K, N, D\)"),
        ([np.eye(4), np.eye(2)], None, r"representations\[1\] must be a real array"),
        (np.ones((5, 2)), None, "representations must be variable over probes"),
        (np.full((5, 2), np.nan), None, "representations must be finite"),
        ([np.eye(4)], ["a", "b"], "names must be 1 strings, one for each representation"),
        ([np.eye(4), np.eye(4)], ["a", 3], "names must be 2 strings, one for each representation"),
        (np.array(["a"]), None, "representations must be a real array"),
        (3, None, "representations must be a real array"),
    ],
)
def test_bad_input_is_named(given, names, message):
    with pytest.raises(ValueError, match=message):
        plot_spectrum(given, names=names)
