import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import jaxalign
from jaxalign import cli
from jaxalign.selfcheck import Check

TINY = "--noise 0.2 --n-train 20 60 --members 2 --steps 5 --probes 50 --no-progress".split()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_sweep_writes_table_figure_and_store(folder, capsys):
    assert cli.main(["sweep", "quickstart", *TINY]) == 0
    out, err = capsys.readouterr()
    assert "cce" in out and "MLP(hidden=12, activation='relu'), 910 parameters" in out and err == ""
    rows = [line for line in out.splitlines() if line.strip().startswith("0.2 ")]
    dataset = jaxalign.load_sweep(folder / "jaxalign-quickstart" / "sweep.zarr")
    summary = jaxalign.summarize(dataset)
    assert len(rows) == 2 and f"{float(summary['test_error'][0, 0, 0]):.4f}" in rows[0]
    assert (folder / "jaxalign-quickstart" / "sweep.png").read_bytes()[:4] == b"\x89PNG"

    assert cli.main(["plot", "jaxalign-quickstart/sweep.zarr", "--out", "again.pdf", "--x", "n_parameters"]) == 0
    assert (folder / "again.pdf").read_bytes()[:4] == b"%PDF"

    assert cli.main(["sweep", "quickstart", "--resume", *TINY]) == 0
    assert cli.main(["sweep", "quickstart", *TINY, "--members", "3"]) == 2
    assert "another configuration (members: 2 there, 3 asked for)" in capsys.readouterr().err
    assert np.isfinite(dataset["cce"]).any()


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
