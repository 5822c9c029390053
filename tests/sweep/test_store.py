import dataclasses

import pytest
import xarray as xr

import jaxalign
from jaxalign import LinearNetwork, LinearTeacher, SweepConfig

CONFIG = SweepConfig(
    task=LinearTeacher(dim=5), networks=(LinearNetwork(2),), noise=(1.0,), n_train=(10,), members=3, probes=20
)


def run(config, **options):
    return jaxalign.run_sweep(config, progress=False, **options)


def test_round_trip(tmp_path):
    dataset = run(CONFIG)
    jaxalign.save_sweep(dataset, tmp_path / "deep" / "sweep.zarr")
    loaded = jaxalign.load_sweep(tmp_path / "deep" / "sweep.zarr")
    xr.testing.assert_identical(dataset, loaded)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["sweep.zarr"]


def test_a_store_of_the_same_sweep_is_loaded(tmp_path):
    store = tmp_path / "sweep.zarr"
    first = run(CONFIG, store=store)
    again = run(CONFIG, store=str(store))
    assert again.attrs["seconds_total"] == first.attrs["seconds_total"]
    recomputed = run(CONFIG, store=store, resume=False)
    xr.testing.assert_equal(recomputed, first)
    assert jaxalign.load_sweep(store).attrs["seconds_total"] == recomputed.attrs["seconds_total"]


@pytest.mark.parametrize("resume", [True, False])
def test_a_store_of_another_sweep_is_refused_and_kept(tmp_path, resume):
    store = tmp_path / "sweep.zarr"
    run(CONFIG, store=store)
    with pytest.raises(ValueError, match="another configuration .members: 3 there, 4 asked for."):
        run(dataclasses.replace(CONFIG, members=4), store=store, resume=resume)
    assert jaxalign.load_sweep(store).sizes["member"] == 3


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no store at"):
        jaxalign.load_sweep(tmp_path / "none.zarr")
    with pytest.raises(ValueError, match="must be a zarr store written by jaxalign, got a folder"):
        run(CONFIG, store=tmp_path)
    (tmp_path / "file.zarr").write_text("text")
    with pytest.raises(ValueError, match="got a file"):
        jaxalign.load_sweep(tmp_path / "file.zarr")
    xr.Dataset({"x": 1}).to_zarr(tmp_path / "other.zarr", consolidated=False)
    with pytest.raises(ValueError, match="without a configuration"):
        jaxalign.load_sweep(tmp_path / "other.zarr")
    with pytest.raises(ValueError, match="dataset must be the result of run_sweep"):
        jaxalign.save_sweep(xr.Dataset({"x": 1}), tmp_path / "new.zarr")


def test_an_interrupted_write_leaves_nothing_half_done(tmp_path, monkeypatch):
    store = tmp_path / "sweep.zarr"
    before = run(CONFIG, store=store)

    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(xr.Dataset, "to_zarr", fail)
    with pytest.raises(OSError, match="no space left"):
        jaxalign.save_sweep(before, store)
    xr.testing.assert_identical(jaxalign.load_sweep(store), before)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.zarr"]
