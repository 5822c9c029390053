import zipfile

import numpy as np
import xarray as xr

from jaxalign import cli


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


def test_files_of_one_name(folder, capsys):
    rng = np.random.default_rng(0)
    for seed in ("seed0", "seed1"):
        (folder / seed).mkdir()
        np.save(f"{seed}/feat.npy", rng.normal(size=(60, 3)))
    options = ["seed0/feat.npy", "seed1/feat.npy", "--metrics", "information_imbalance", "--no-progress"]
    assert cli.main(["align", *options]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["seed0/feat", "seed1/feat"]
    assert cli.main(["align", *options, "--names", "first", "second"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["first", "second"]
    assert cli.main(["align", *options, "--names", "first"]) == 2
    assert "names must be 2 strings, one for each file" in capsys.readouterr().err


def test_a_bad_file_is_one_line_that_names_it(folder, capsys):
    np.save("good.npy", np.random.default_rng(0).normal(size=(60, 3)))
    np.save("other.npy", np.ones((59, 3)))
    np.save("words.npy", np.full((60, 3), "a"))
    (folder / "cut.npy").write_bytes((folder / "good.npy").read_bytes()[:-9])
    with zipfile.ZipFile("model.pt", "w") as archive:
        archive.writestr("model/data.pkl", b"no array")
    (folder / "folder.npy").mkdir()
    for name in ("cut.npy", "model.pt", "folder.npy", "missing.npy", "other", "words"):
        assert cli.main(["align", "good.npy", name if "." in name else f"{name}.npy", "--no-progress"]) == 2
        err = capsys.readouterr().err
        assert err.startswith("jaxalign: ") and err.count("\n") == 1 and name in err
