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
