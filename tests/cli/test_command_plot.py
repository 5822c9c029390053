import shutil

import matplotlib.image
import numpy as np
import pytest
from tiny_sweep import TINY

import jaxalign
from jaxalign import cli
from jaxalign.cli.plot import KINDS
from jaxalign.cli.representations import cell_of, stored_representations

SIGNATURES = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn_beside_the_store(swept, tmp_path, capsys, kind):
    store = tmp_path / "sweep.zarr"
    shutil.copytree(swept / "sweep.zarr", store)
    assert cli.main(["plot", str(store), "--kind", kind]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out == f"wrote {tmp_path / kind}.png\n"
    image = matplotlib.image.imread(tmp_path / f"{kind}.png")
    assert min(image.shape[:2]) > 300 and image[..., :3].std() > 0.05


def test_a_spectrum_is_an_ensemble_of_thin_lines_for_each_network(swept, monkeypatch):
    figures = []
    monkeypatch.setattr("jaxalign.cli.plot.save_figure", lambda figure, out: figures.append(figure))
    assert cli.main(["plot", str(swept / "sweep.zarr"), "--kind", "spectrum"]) == 0
    axes = figures[0].axes[0]
    colors = [line.get_color() for line in axes.lines]
    assert len(colors) == 4 and colors[0] == colors[1] != colors[2] == colors[3]
    assert {line.get_linewidth() for line in axes.lines} == {0.8}
    entries = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [entry.split(": ")[0] for entry in entries] == ["ReLU MLP (hidden=3)", "ReLU MLP (hidden=4)"]
    assert all(entry.endswith("(2 members)") for entry in entries)


@pytest.mark.parametrize("ending", SIGNATURES)
def test_the_ending_says_what_is_written(swept, folder, ending):
    assert cli.main(["plot", str(swept / "sweep.zarr"), "--out", f"deep/image{ending}", "--x", "n_parameters"]) == 0
    assert (folder / f"deep/image{ending}").read_bytes().startswith(SIGNATURES[ending])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("sweep", ["--metric", "information_imbalance", "--between", "--no-theory"]),
        (
            "heatmap",
            [
                "--metric",
                "information_imbalance",
                "--x",
                "n_parameters",
                "--network",
                "MLP(hidden=4, activation='relu')",
            ],
        ),
        ("matrix", ["--noise", "0.2", "--n-train", "20", "--replicate", "0"]),
        ("decoupling", ["--metric", "information_imbalance"]),
        (
            "ranks",
            ["--noise", "0.2", "--n-train", "20", "--replicate", "0", "--network", "MLP(hidden=3, activation='relu')"],
        ),
        ("spectrum", ["--noise", "0.2", "--n-train", "20"]),
    ],
)
def test_options_change_what_is_drawn(swept, folder, capsys, kind, options):
    store = str(swept / "sweep.zarr")
    assert cli.main(["plot", store, "--kind", kind, "--out", "default.png"]) == 0
    assert cli.main(["plot", store, "--kind", kind, "--out", "changed.png", *options]) == 0, capsys.readouterr().err
    assert (folder / "default.png").read_bytes() != (folder / "changed.png").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kind", "matrix", "--x", "n_train"], "x is not an option of --kind matrix, which takes metric, noise,"),
        (["--kind", "spectrum", "--metric", "cce"], "metric is not an option of --kind spectrum"),
        (["--kind", "heatmap", "--no-theory"], "theory is not an option of --kind heatmap"),
        (["--noise", "0.2"], "noise is not an option of --kind sweep, which takes metric, x, theory, between"),
        (["--metric", "ccce"], "metric must be one of cce, information_imbalance; got 'ccce' (did you mean 'cce'"),
        (["--x", "alpha"], "x must be one of n_parameters, n_train"),
        (["--theory"], "task must be a LinearTeacher"),
        (["--kind", "matrix", "--noise", "0.3"], "noise must be one of 0.2, 0.4, got 0.3"),
        (["--kind", "ranks", "--noise", "0.3"], "noise must be one of 0.2, 0.4, got 0.3"),
        (["--kind", "ranks", "--n-train", "30"], "n_train must be one of 20, 60, got 30"),
        (["--kind", "ranks", "--replicate", "2"], "replicate must be one of 0, 1, got 2"),
        (["--kind", "spectrum", "--network", "MLP"], "network must be one of MLP(hidden=3, activation='relu'), "),
    ],
)
def test_what_cannot_be_drawn_is_refused(swept, folder, capsys, options, message):
    assert cli.main(["plot", str(swept / "sweep.zarr"), *options, "--out", "image.png"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err, err
    assert list(folder.iterdir()) == []


def test_a_store_without_representations_says_how_to_keep_them(folder, capsys):
    assert cli.main(["sweep", "quickstart", *TINY, "--save-representations", "False", "--out", "."]) == 0
    before = sorted(folder.iterdir())
    for kind in ("ranks", "spectrum"):
        assert cli.main(["plot", "sweep.zarr", "--kind", kind]) == 2
        assert "keeps no representations; sweep with --save-representations True" in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_representations_are_those_whose_measures_are_stored(swept):
    path = swept / "sweep.zarr"
    dataset = jaxalign.load_sweep(path)
    found = stored_representations(path, dataset, cell_of(dataset, noise=0.4, n_train=20))
    assert [*found] == [*dataset["network"].values]
    for (network, members), units in zip(found.items(), (3, 4), strict=True):
        cell = {"network_a": network, "network_b": network, "replicate": 0, "label_noise": 0.4, "n_train": 20}
        assert members.shape == (2, 50, units)
        measured = jaxalign.align(members, ("cce",), progress=False)["cce"]
        np.testing.assert_allclose(measured[0, 1], dataset["cce"].sel(cell)[0, 1], rtol=1e-5)


def test_the_cell_is_the_middle_noise_level_where_alignment_is_weakest(swept):
    dataset = jaxalign.load_sweep(swept / "sweep.zarr")
    means = dataset["cce"].sel(replicate=0, label_noise=0.4)[:, 0, :, 0, :].mean(("member_a", "member_b"))
    assert cell_of(dataset) == (0.4, [20, 60][int(means.values.argmax())], 0)
    assert cell_of(dataset.assign(cce=0 * dataset["cce"]).drop_vars("information_imbalance")).n_train == 60
