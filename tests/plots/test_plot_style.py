"""What all figures have in common."""

import io
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxalign import plots
from jaxalign.plots.style import network_labels, shorten


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["LinearNetwork(hidden=20, solver=MinNorm())"], ["linear"]),
        (["LinearNetwork(hidden=20, solver=MinNorm())", "MLP(hidden=9, activation='relu')"], ["linear", "ReLU MLP"]),
        (
            ["LinearNetwork(hidden=3, solver=MinNorm())", "LinearNetwork(hidden=3, solver=None)"],
            ["linear (MinNorm)", "linear (trained)"],
        ),
        (
            ["LinearNetwork(hidden=3, solver=Ridge(lam=0.1))", "LinearNetwork(hidden=4, solver=Ridge(lam=0.1))"],
            ["linear (hidden=3)", "linear (hidden=4)"],
        ),
        (["MLP(hidden=(4, 3), activation='tanh')", "MLP(hidden=(4, 3), activation='gelu')"], ["tanh MLP", "GELU MLP"]),
        (["CNN(width=4)", "CNN(width=8)", "mine"], ["CNN (width=4)", "CNN (width=8)", "mine"]),
        (["Mine(3)", "Mine(4)", "<Mine object>"], ["Mine(3)", "Mine(4)", "<Mine object>"]),
        (["A(w=1)", "A"], ["A(w=1)", "A"]),
    ],
)
def test_networks_are_called_by_what_tells_them_apart(names, labels):
    assert network_labels(names) == labels


@pytest.mark.parametrize(
    ("labels", "shortened"),
    [
        (["short", "abcdefghijkl"], ["short", "abcdefg…"]),
        (["abcdefghijkl", "abcdefghijkm"], ["…fghijkl", "…fghijkm"]),
        (["xabcdefghijk1", "xabcdefghijk2", "yabcdefghijk1"], ["xab…jk1", "xab…jk2", "yab…jk1"]),
        (["aaaaaa1bbbbbb", "aaaaaa2bbbbbb"], ["aaaaaa1…", "aaaaaa2…"]),
        (["aaaaaaaa1bbbbbbbb", "aaaaaaaa2bbbbbbbb"], ["aaaaaaaa1bbbbbbbb", "aaaaaaaa2bbbbbbbb"]),
    ],
)
def test_long_labels_are_cut_where_they_do_not_differ(labels, shortened):
    assert shorten(labels, 8) == shortened


def drawings(two, alignment, representations):
    a, b = representations["a"], representations["noisy"]
    return {
        "sweep": lambda: plots.plot_sweep(two, True, between=True),
        "error": lambda: plots.plot_error(two, True).figure,
        "alignment": lambda: plots.plot_alignment(two, True, between=True).figure,
        "decoupling": lambda: plots.plot_decoupling(two),
        "members": lambda: plots.plot_decoupling(two, None),
        "matrix": lambda: plots.plot_matrix(two, noise=1, n_train=5).figure,
        "blocks": lambda: plots.plot_matrix(two, noise=1, n_train=5, cluster=False).figure,
        "pairs": lambda: plots.plot_matrix(alignment).figure,
        "heat map": lambda: plots.plot_heatmap(two).figure,
        "heat map of errors": lambda: plots.plot_heatmap(two, metric="test_error", x="alpha").figure,
        "ranks": lambda: plots.plot_ranks(a, b).figure,
        "spectrum": lambda: plots.plot_spectrum(representations).figure,
    }


KINDS = list(drawings(None, None, {"a": None, "noisy": None}))


@pytest.fixture(params=KINDS)
def figure(request, two, alignment, representations):
    return drawings(two, alignment, representations)[request.param]()


def legends_of(figure):
    return [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend() is not None)]


def test_text_is_inside_of_the_figure_and_legends_are_not_over_data(figure):
    figure.draw_without_rendering()
    texts = [text for ax in figure.axes for text in (ax.xaxis.label, ax.yaxis.label, ax.title)]
    texts += [text for ax in figure.axes for text in (*ax.get_xticklabels(), *ax.get_yticklabels())]
    # Ticks beyond the limits of an axis are not drawn.
    boxes = [legend.get_window_extent() for legend in legends_of(figure)]
    boxes += [ax.get_tightbbox() for ax in figure.axes]
    boxes += [text.get_window_extent() for text in texts[: 3 * len(figure.axes)] if text.get_text()]
    for box in boxes:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.width + 1 and box.y1 <= figure.bbox.height + 1
    for legend in legends_of(figure):
        assert legend.get_texts()
        for ax in figure.axes:
            assert not legend.get_window_extent().overlaps(ax.get_window_extent())


def test_axes_have_labels_with_units(figure):
    for ax in figure.axes:
        label = ax.get_ylabel()
        assert label or ax.get_subplotspec().colspan.start > 0
        if "entropy" in label:
            assert "(nats)" in label and "lower = more aligned" in label


def test_a_figure_is_written_as_a_vector_drawing_and_shown_by_a_notebook(figure):
    for form, start in (("pdf", b"%PDF"), ("svg", b"<?xml")):
        file = io.BytesIO()
        figure.savefig(file, format=form)
        assert file.getvalue().startswith(start)
    assert figure._repr_png_()[:4] == b"\x89PNG"


def test_no_window_is_opened_and_the_state_of_pyplot_is_left(two, alignment, representations):
    import matplotlib.pyplot as plt

    settings = dict(plt.rcParams)
    for draw in drawings(two, alignment, representations).values():
        draw()
    assert plt.get_fignums() == [] and dict(plt.rcParams) == settings


PANELS = {
    "plot_error": lambda two, reps, **ax: plots.plot_error(two, **ax),
    "plot_alignment": lambda two, reps, **ax: plots.plot_alignment(two, **ax),
    "plot_matrix": lambda two, reps, **ax: plots.plot_matrix(two, noise=1, n_train=5, **ax),
    "plot_heatmap": lambda two, reps, **ax: plots.plot_heatmap(two, **ax),
    "plot_ranks": lambda two, reps, **ax: plots.plot_ranks(reps["a"], reps["noisy"], null=False, **ax),
    "plot_spectrum": lambda two, reps, **ax: plots.plot_spectrum(reps, **ax),
}


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_is_drawn_where_it_is_asked_for(name, two, representations):
    given = Figure(layout="constrained").subplots()
    assert PANELS[name](two, representations, ax=given) is given and given.has_data()
    assert given.figure.legends == []
    with pytest.raises(ValueError, match="ax must be None or matplotlib Axes, got 3"):
        PANELS[name](two, representations, ax=3)


def test_importing_loads_no_matplotlib():
    code = (
        "import sys, jaxalign.plots\n"
        "from jaxalign.plots import *\n"
        "loaded = {'matplotlib', 'scipy.cluster'} & {*sys.modules}\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_categories_differ_in_grey():
    from matplotlib.colors import to_rgb

    from jaxalign.plots.style import CATEGORIES, level_colors

    for colors in (CATEGORIES[:2], level_colors(5)):
        grey = sorted(float(np.dot(to_rgb(color), (0.2126, 0.7152, 0.0722))) for color in colors)
        assert np.diff(grey).min() > 0.05
