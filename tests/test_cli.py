import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import jaxalign
from jaxalign import cli, presets, tables
from jaxalign.selfcheck import Check

TINY = "--noise 0.2 --n-train 20 60 --members 2 --steps 5 --probes 50 --no-progress".split()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_sweep_writes_table_figure_and_store(folder, capsys):
    assert cli.main(["sweep", "quickstart", *TINY]) == 0
    out, err = capsys.readouterr()
    assert "Spearman correlation of cce with the test error over 2 cells: nan" in out and "(label_noise 0.2)" in out
    assert "cce" in out and "MLP(hidden=12, activation='relu'), 910 parameters" in out and err == ""
    rows = [line for line in out.splitlines() if line.strip().startswith("0.2 ")]
    dataset = jaxalign.load_sweep(folder / "jaxalign-quickstart" / "sweep.zarr")
    summary = jaxalign.summarize(dataset)
    assert len(rows) == 2 and f"{float(summary['test_error'][0, 0, 0]):.4f}" in rows[0]
    assert (folder / "jaxalign-quickstart" / "sweep.png").read_bytes()[:4] == b"\x89PNG"

    assert cli.main(["plot", "jaxalign-quickstart/sweep.zarr", "--out", "again.pdf", "--x", "n_parameters"]) == 0
    assert (folder / "again.pdf").read_bytes()[:4] == b"%PDF"

    assert cli.main(["sweep", "quickstart", "--resume", *TINY]) == 0
    assert cli.main(["sweep", "quickstart", *TINY, "--seed", "3"]) == 2
    assert "another configuration (seed: 0 there, 3 asked for)" in capsys.readouterr().err
    assert np.isfinite(dataset["cce"]).any()


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
    narrow, wide = summary["cce_error_spearman"].values
    lines = tables.table(dataset).splitlines()
    at = [i for i, line in enumerate(lines) if "parameters" in line]
    assert [lines[i] for i in at] == ["narrow, 100 parameters", "wide, 200 parameters"]
    assert 0.95 < stderr < 9.5 and lines[at[0] + 9 : at[1]] == [
        "no interpolation threshold (label_noise 0)",
        f"interpolation threshold n = {20 * 2**0.5:.0f} ± {stderr:.0f} (label_noise 0.2); "
        f"weakest cce at n = 40, {40 / (20 * 2**0.5):.2f} of the threshold",
        f"Spearman correlation of cce with the test error over 4 cells: {narrow:.2f}",
    ]
    assert lines[at[1] + 9 :] == [
        "no interpolation threshold (label_noise 0); weakest cce at n = 80, an end of the sweep",
        "no interpolation threshold (label_noise 0.2)",
        f"Spearman correlation of cce with the test error over 4 cells: {wide:.2f}",
    ]


def test_the_table_of_a_sweep_without_a_measure_tells_thresholds_only():
    dataset = made_up_sweep()
    for other in (dataset.drop_vars("cce"), dataset.rename(cce="tie_fraction")):
        out = tables.table(other)
        assert "interpolation threshold n = 28 ± " in out and "weakest" not in out and "Spearman" not in out


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(412.4, 8.6, "412 ± 9"), (412.4, 123.0, "412 ± 123"), (15.26, 0.34, "15.3 ± 0.3"), (15.26, 0.034, "15.26 ± 0.03")]
    + [(15.26, 0.0, "15 ± 0"), (15.26, np.nan, "15")],
)
def test_sample_sizes_are_rounded_to_their_error(value, error, text):
    assert tables._rounded(value, error) == text


@pytest.mark.parametrize(
    ("arguments", "scale", "x", "out"),
    [
        (["figure4"], "laptop", "n_parameters", "jaxalign-figure4"),
        (["figure4", "--scale", "paper"], "paper", "n_parameters", "jaxalign-figure4-paper"),
        (["figure4", "--x", "n_train", "--out", "there"], "laptop", "n_train", "there"),
        (["quickstart"], "laptop", "n_train", "jaxalign-quickstart"),
    ],
)
def test_a_preset_chooses_its_scale_and_its_axis(folder, monkeypatch, capsys, arguments, scale, x, out):
    ran, drawn = [], []
    monkeypatch.setattr(
        cli, "run_sweep", lambda config, store, **_: ran.append((config, str(store))) or made_up_sweep()
    )
    draw = cli.plot_sweep
    monkeypatch.setattr(
        cli, "plot_sweep", lambda dataset, **options: drawn.append(options["x"]) or draw(dataset, **options)
    )
    assert cli.main(["sweep", *arguments]) == 0, capsys.readouterr().err
    assert ran == [(presets(arguments[0], scale), f"{out}/sweep.zarr")] and drawn == [x]
    assert (folder / out / "sweep.png").read_bytes()[:4] == b"\x89PNG"


def test_help_lists_the_presets_with_one_line_each(capsys):
    with pytest.raises(SystemExit):
        cli.main(["sweep", "--help"])
    lines = [line.strip(" │STR") for line in capsys.readouterr().out.splitlines()]
    for name, entry in presets.entries.items():
        assert f"{name}: {entry.about} ({', '.join(entry.scales)})" in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "quikstart"], "did you mean 'quickstart'?"),
        (["sweep", "quickstart", "--members", "0"], "members must be an integer of at least 1, got 0"),
        (["sweep", "quickstart", "--members", "few"], "--members"),
        (["sweep", "quickstart", "--no-such-option", "3"], "--no-such-option"),
        (["sweep"], "required"),
        ([], "sweep, plot"),
        (["sweep", "quickstart", "--theory"], "task must be a LinearTeacher"),
        (["sweep", "quickstart", "--scale", "paper"], "scale (of quickstart) must be one of laptop; got 'paper'"),
        (["sweep", "figure4", "--scale", "papr"], "scale (of figure4) must be one of laptop, paper; got 'papr'"),
        (["sweep", "quickstart", "--x", "alpha"], "x must be one of n_parameters, n_train; got 'alpha'"),
        (["align"], "files must be at least one npy or npz file"),
        (["align", "nowhere.npy"], "nowhere.npy"),
        (["sweep", "quickstart", "--n-train", "0"], "n_train must be positive integers"),
        (["sweep", "quickstart", "--noise", "2"], "noise[0] must be a finite number"),
        (["sweep", "quickstart", "--metrics", "ccca"], "metrics must be one of"),
        (["plot", "nowhere.zarr"], "there is no store at nowhere.zarr"),
    ],
)
def test_bad_input_is_one_line_and_status_2(folder, capsys, arguments, message):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("jaxalign: ") and err.count("\n") == 1 and message in err
    assert list(folder.iterdir()) == []


def test_align_prints_matrices_and_writes_a_store(folder, capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    np.savez("layers.npz", first=x, second=x**2)
    np.save("stack.npy", np.stack([x + 0.1, rng.normal(size=x.shape)]))
    np.save("dead.npy", np.ones((60, 2)))
    files = ["layers.npz", "stack.npy", "dead.npy"]
    options = ["--metrics", "cce", "linear_cka", "--null", "9", "--out", "deep/r.zarr", "--no-progress"]
    assert cli.main(["align", *files, *options]) == 0
    out, err = capsys.readouterr()
    assert (
        err
        == "jaxalign: warning: dead: all probes have the same representation: only rank-based measures are defined\n"
    )
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith("layers:first  ")}
    assert rows["layers:first"][2] == "0.1000" and "linear CKA, from row to column" in out
    with xr.open_zarr(folder / "deep" / "r.zarr", consolidated=False) as dataset:
        assert list(dataset["network_a"].values) == ["layers:first", "layers:second", "stack[0]", "stack[1]", "dead"]
        np.testing.assert_allclose(dataset["linear_cka"][0, 2], 1, atol=1e-5)
        assert np.isnan(dataset["linear_cka"][4]).all() and "mean over pairs" in out

    before = list((folder / "deep").iterdir())
    assert cli.main(["align", *files, *options]) == 2
    assert "out must be a path where nothing is yet" in capsys.readouterr().err
    assert list((folder / "deep").iterdir()) == before
    assert cli.main(["align", "layers.npz", "--layer", "third"]) == 2
    assert "layer (of layers.npz) must be one of first, second; got 'third'" in capsys.readouterr().err


def test_selfcheck_tells_what_failed(monkeypatch, capsys):
    good, bad = (Check(name, 1.0, expected, 0.1, "") for name, expected in (("this", 1.05), ("that", 2.0)))
    monkeypatch.setattr(cli, "selfcheck", lambda: [good, bad])
    assert cli.main(["selfcheck"]) == 1
    assert capsys.readouterr().err == "jaxalign: 1 checks failed: that\n"
    monkeypatch.setattr(cli, "selfcheck", lambda: [good])
    assert cli.main(["selfcheck"]) == 0


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    out = capsys.readouterr().out
    assert not stop.value.code and "sweep" in out and "plot" in out


def test_an_interrupt_ends_with_130(folder, monkeypatch, capsys):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.Sweep, "run", interrupt)
    assert cli.main(["sweep", "quickstart"]) == 130 and "interrupted" in capsys.readouterr().err


def test_module_is_the_command(folder):
    done = subprocess.run([sys.executable, "-m", "jaxalign", "sweep", "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
