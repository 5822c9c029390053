import dataclasses
import json
import resource
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
import zarr
from store_cells import BASE, REPRESENTATION, expected, fill, template, values

import jaxalign
from jaxalign import MLP
from jaxalign.sweep import result
from jaxalign.sweep.grid import Grid
from jaxalign.sweep.storage.results import Store, load_sweep, save_sweep

LARGER = {
    "noise": {"noise": (9.0, 5.0, 1.0)},
    "n_train": {"n_train": (6, 10, 20, 40)},
    "members": {"members": 5},
    "replicates": {"replicates": 3},
    "all": {"noise": (float("inf"), 1.0, 5.0), "n_train": (10, 20, 40), "members": 3, "replicates": 3},
}


def made(where, config=BASE, **options):
    return Store.open(where, template(config), **options)


def replace(**changes):
    return dataclasses.replace(BASE, **changes)


def assert_holds(dataset, config, done=None):
    xr.testing.assert_identical(dataset.drop_attrs(), expected(config, done).drop_attrs())
    assert {name: v.dtype for name, v in dataset.variables.items() if name != "members_done"} == {
        name: v.dtype for name, v in template(config).variables.items()
    }
    assert dataset.attrs["config"] == template(config).attrs["config"]


def chunk_files(where, name):
    return sorted((where / name).glob("c.*"))


def test_a_template_takes_no_memory():
    assert all(set(variable.data.strides) == {0} for variable in result.template(BASE).data_vars.values())


@pytest.mark.parametrize("where", [None, "sweep.zarr", "memory://stores/sweep.zarr"])
def test_what_is_written_is_read(tmp_path, where):
    where = tmp_path / where if where == "sweep.zarr" else where
    with made(where, representation=REPRESENTATION) as store:
        assert store.grids == (store.grid,) == (Grid.of(BASE),) and store.representation == REPRESENTATION
        assert_holds(store.read(), BASE, np.zeros((2, 2, 2)))
        fill(store, BASE, [(1, 5.0, 40)], representation=REPRESENTATION)
        done = np.zeros((2, 2, 2), int)
        done[1, 1, 0] = 2
        assert_holds(store.read(), BASE, done)
        np.testing.assert_array_equal(store.members_done(), done)
        fill(store, BASE, representation=REPRESENTATION)
        assert_holds(store.read(), BASE)
        cell, wanted = store.read_cell(1, 5.0, 10), values(BASE, 1, 5.0, 10, 2, REPRESENTATION)
        assert cell.keys() == wanted.keys()
        for name, array in cell.items():
            np.testing.assert_array_equal(array, wanted[name])
        store.update_attributes({"seconds_train": 1.5})
        assert store.read().attrs["seconds_train"] == 1.5
    if where is not None:
        assert_holds(load_sweep(where), BASE)
        assert load_sweep(where).attrs["seconds_train"] == 1.5


@pytest.mark.parametrize("axis", LARGER)
@pytest.mark.parametrize("where", ["sweep.zarr", "memory://grown-{axis}/sweep.zarr"])
def test_a_store_grows(tmp_path, where, axis):
    config = replace(**LARGER[axis])
    where = tmp_path / where if where == "sweep.zarr" else where.format(axis=axis)
    with made(where, representation=REPRESENTATION) as store:
        fill(store, BASE, representation=REPRESENTATION)
    with made(where, config, representation=REPRESENTATION) as store:
        assert store.grids[0] == Grid.of(BASE) and len(store.grids) == 2
        assert store.grids[1].noise[:2] == (1.0, 5.0) and store.grids[1].n_train[:2] == (40, 10)
        done = np.zeros((config.replicates, len(config.noise), len(config.n_train)), int)
        for r, x, n in np.ndindex(2, 2, 2):
            done[r, config.noise.index(BASE.noise[x]), config.n_train.index(BASE.n_train[n])] = 2
        np.testing.assert_array_equal(store.members_done(), done)
        assert_holds(store.read(), config, done)
        kept = store.read_cell(0, 1.0, 40)["representation"]
        assert kept.shape == (2, 2, *REPRESENTATION)
        fill(store, config, representation=REPRESENTATION)
        assert_holds(store.read(), config)
        np.testing.assert_array_equal(store.members_done(), config.members)
    with made(where, config) as store:
        assert len(store.grids) == 2
    with made(where) as store:
        assert len(store.grids) == 2
        assert_holds(store.read(), BASE)
        np.testing.assert_array_equal(store.members_done(), 2)
    loaded = load_sweep(where)
    stored = dataclasses.replace(config, noise=store.grids[1].noise, n_train=store.grids[1].n_train)
    assert_holds(loaded, stored)
    if "://" not in str(where):
        with xr.open_zarr(where, consolidated=False) as opened:
            assert {*opened.coords} == {*loaded.coords}
            xr.testing.assert_identical(
                opened.drop_attrs().drop_vars(["members_done", "representation"]).load(), loaded.drop_attrs()
            )


def test_it_grows_again_and_again(tmp_path):
    for config in (
        BASE,
        replace(members=3),
        replace(members=3, n_train=(5, 10, 40)),
        replace(members=5, n_train=(5, 10, 40)),
    ):
        with made(tmp_path / "s", config) as store:
            fill(store, config)
            assert_holds(store.read(), config)
    assert [(grid.members, grid.n_train) for grid in store.grids] == [
        (2, (40, 10)),
        (3, (40, 10)),
        (3, (40, 10, 5)),
        (5, (40, 10, 5)),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "another configuration .seed: 0 there, 1 asked for.; name another store"),
        ({"members": 3, "n_train": (40,)}, r"members: 2 there, 3 asked for; n_train: \[40, 10\] there, \[40\] asked"),
        ({"noise": (1.0, 9.0)}, r"noise: \[1.0, 5.0\] there, \[1.0, 9.0\] asked for"),
        ({"networks": (MLP(4),)}, "networks: .* asked for"),
    ],
)
def test_another_configuration_is_refused_and_the_store_kept(tmp_path, changes, message):
    with made(tmp_path / "s") as store:
        fill(store, BASE)
    with pytest.raises(ValueError, match=message):
        made(tmp_path / "s", replace(**changes))
    assert_holds(load_sweep(tmp_path / "s"), BASE)


def test_other_representations_are_refused(tmp_path):
    made(tmp_path / "s").close()
    with pytest.raises(ValueError, match=r"must keep representations of .probes, units. \(4, 3\), got one with none"):
        made(tmp_path / "s", representation=REPRESENTATION)


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no store at"):
        load_sweep(tmp_path / "none.zarr")
    with pytest.raises(FileNotFoundError, match="there is no store at memory://nothing"):
        load_sweep("memory://nothing")
    with pytest.raises(ValueError, match="must be a zarr store written by jaxalign, got a folder"):
        made(tmp_path)
    (tmp_path / "file.zarr").write_text("text")
    with pytest.raises(ValueError, match="got a file"):
        load_sweep(tmp_path / "file.zarr")
    xr.Dataset({"x": 1}).to_zarr(tmp_path / "other.zarr", consolidated=False)
    with pytest.raises(ValueError, match="without a configuration"):
        load_sweep(tmp_path / "other.zarr")
    xr.Dataset({"x": 1}, attrs={"config": "{}"}).to_zarr(tmp_path / "old.zarr", consolidated=False)
    with pytest.raises(ValueError, match="another program or version"):
        load_sweep(tmp_path / "old.zarr")
    with pytest.raises(ValueError, match="dataset must be the result of run_sweep"):
        save_sweep(xr.Dataset({"x": 1}), tmp_path / "new.zarr")
    with pytest.raises(ValueError, match="store must be None, a path or a URL, got 3"):
        made(3)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-3])


def flip(path):
    data = bytearray(path.read_bytes())
    data[1] ^= 8
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [truncate, flip, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["train_error", "cce", "converged", "members_done"])
def test_a_damaged_cell_is_found_and_only_that_one(tmp_path, caplog, damage, name):
    with made(tmp_path / "s") as store:
        fill(store, BASE)
    # The first file by name is of the first cell: replicate 0, SNR 1, n_train 40.
    damage(chunk_files(tmp_path / "s", name)[0])
    done = np.full((2, 2, 2), 2)
    done[0, 0, 0] = 0
    assert_holds(load_sweep(tmp_path / "s"), BASE, done)
    with made(tmp_path / "s") as store:
        if name != "members_done":
            caplog.clear()
            with pytest.raises(OSError, match=r"the cell \(replicate 0, snr 1, n_train 40\) is not whole"):
                store.read_cell(0, 1.0, 40)
            assert "(replicate 0, snr 1, n_train 40) is damaged; it will be computed again" in caplog.text
        np.testing.assert_array_equal(store.members_done(), done)
        fill(store, BASE, [(0, 1.0, 40)])
        np.testing.assert_array_equal(store.members_done(), 2)
        assert_holds(store.read(), BASE)


@pytest.mark.parametrize("damage", [truncate, lambda path: path.unlink()])
def test_representations_are_verified_by_their_size(tmp_path, caplog, damage):
    with made(tmp_path / "s", representation=REPRESENTATION) as store:
        fill(store, BASE, representation=REPRESENTATION)
        damage(chunk_files(tmp_path / "s", "representation")[-1])
        assert store.members_done(verify=False).min() == 2
        assert store.members_done().sum() == 14
        assert store.members_done(verify=False).sum() == 14
        assert len(caplog.records) == 1


@pytest.mark.parametrize("name", ["cce", "train_error", "members_done", "network", "n_train", "alpha"])
def test_a_lost_description_of_an_array_is_written_again(tmp_path, name):
    with made(tmp_path / "s") as store:
        fill(store, BASE)
    description = tmp_path / "s" / name / "zarr.json"
    for broken in (None, b"", b"{}"):
        description.unlink() if broken is None else description.write_bytes(broken)
        with made(tmp_path / "s") as store:
            assert_holds(store.read(), BASE)
            np.testing.assert_array_equal(store.members_done(), 2)
        with xr.open_zarr(tmp_path / "s", consolidated=False) as opened:
            wanted = np.full((2, 2, 2), 2) if name == "members_done" else expected(BASE)[name]
            np.testing.assert_array_equal(opened[name], wanted)


def kill_at(monkeypatch, turn):
    """Lets the write of that number, of whatever key, be the first that does not happen."""
    count = [0]
    for kind in (zarr.storage.LocalStore, zarr.storage.FsspecStore):

        async def write(self, key, value, *args, real=kind.set, **options):
            count[0] += 1
            if count[0] > turn:
                raise RuntimeError("killed")
            await real(self, key, value, *args, **options)

        monkeypatch.setattr(kind, "set", write)
    return count


@pytest.mark.parametrize("axis", [None, "noise", "all"])
def test_opening_may_be_interrupted_anywhere(tmp_path, monkeypatch, axis):
    """Creation, and growth, are cut off after every possible number of writes and then done again."""
    config = BASE if axis is None else replace(**LARGER[axis])
    turn = 0
    while True:
        where = tmp_path / f"{turn}.zarr"
        if axis is not None:
            with made(where) as store:
                fill(store, BASE, [(0, 1.0, 40)])
        with monkeypatch.context() as patched:
            count = kill_at(patched, turn)
            try:
                made(where, config).close()
            except RuntimeError:
                pass
        if axis is not None:
            xr.testing.assert_equal(
                load_sweep(where)["cce"].sel(snr=1.0, n_train=40, replicate=0).isel(member_a=[0, 1], member_b=[0, 1]),
                expected(BASE)["cce"].sel(snr=1.0, n_train=40, replicate=0),
            )
        # Also the old grid, and another one, are to be had from a store whose growth was cut off.
        if axis is not None and count[0] > turn and turn % 4:
            with made(where, BASE if turn % 2 else replace(replicates=4)) as store:
                assert store.members_done().sum() == 2
        if turn % 4 in (0, 1, 3) or axis is None or count[0] <= turn:
            with made(where, config) as store:
                fill(store, config)
                assert_holds(store.read(), config)
            xr.open_zarr(where, consolidated=False).close()
        if count[0] <= turn:
            break
        # Growth has fewer writes of more kinds than creation, which all happen beside the place of the store.
        turn += 9 if axis is None else 5
    assert {path.suffix for path in tmp_path.iterdir()} == {".zarr"}


def test_making_a_store_at_a_url_may_be_interrupted(monkeypatch):
    for turn in (0, 1, 2, 9, 20, 25):
        where = f"memory://interrupted/{turn}.zarr"
        with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
            kill_at(patched, turn)
            made(where)
        with pytest.raises(FileNotFoundError, match="there is no store"):
            load_sweep(where)
        # Another configuration may follow, whose arrays have other names, shapes and chunks.
        config = BASE if turn == 20 else replace(members=3, metrics=("linear_cka",), networks=BASE.networks[:1])
        with made(where, config) as store:
            fill(store, config)
        assert_holds(load_sweep(where), config)
        with xr.open_zarr(where, consolidated=False) as opened:
            assert {*opened.data_vars} == {*template(config).data_vars, "members_done"}


def test_a_cell_that_grows_keeps_its_members_when_interrupted(tmp_path, monkeypatch):
    with made(tmp_path / "s") as store:
        fill(store, BASE)
    config = replace(members=3)
    done = np.full((2, 2, 2), 2)
    with made(tmp_path / "s", config) as store:
        for turn in range(4):
            with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
                kill_at(patched, turn)
                fill(store, config, [(0, 1.0, 40)])
            np.testing.assert_array_equal(store.members_done(), done)
            assert_holds(store.read(), config, done)


def test_a_full_disk_is_named_and_finished_cells_stay(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with made(tmp_path / "s", representation=(40, 30)) as store:
        fill(store, BASE, [(0, 1.0, 40)], representation=(40, 30))
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
            with pytest.raises(
                OSError, match=r"store .*/s cannot be written: .*finished cells .*are kept.*same command"
            ):
                fill(store, BASE, [(0, 1.0, 10)], representation=(40, 30))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert store.members_done().sum() == 2
        assert store.read_cell(0, 1.0, 40)["representation"].shape == (2, 2, 40, 30)
        fill(store, BASE, [(0, 1.0, 10)], representation=(40, 30))
        assert store.members_done().sum() == 4
    assert not [*(tmp_path / "s").rglob("*.partial")]


def test_another_process_reads_while_this_one_writes(tmp_path):
    code = (
        "import sys, warnings; warnings.simplefilter('error'); import xarray as xr\n"
        "warnings.filterwarnings('ignore', message='.*(Zarr V3|Zarr format 3).*')\n"
        "for _ in sys.stdin:\n"
        "    ds = xr.open_zarr(sys.argv[1], consolidated=False).load()\n"
        "    done = ds['members_done'].values\n"
        "    errors = ds['test_error'].transpose('replicate', 'snr', 'n_train', ...).values\n"
        "    assert (errors[done == 2] == errors[done == 2]).all()\n"
        "    print(int(done.sum()), flush=True)\n"
    )
    with made(tmp_path / "s") as store:
        reader = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "s")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with reader:
            assert reader.stdin is not None and reader.stdout is not None
            for i, cell in enumerate([(0, 1.0, 40), (0, 5.0, 40), (1, 5.0, 10)]):
                reader.stdin.write("\n")
                reader.stdin.flush()
                assert int(reader.stdout.readline()) == 2 * i
                fill(store, BASE, [cell])
            reader.stdin.close()


def test_bad_cells_and_values_are_named():
    store = made(None)
    given = values(BASE, 0, 1.0, 40, 2)
    for cell in ((2, 1.0, 40), (-1, 1.0, 40), (0, 2.0, 40), (0, 1.0, 41)):
        with pytest.raises(ValueError, match=r"the cell must be one of 2 replicates, noise \(1.0, 5.0\) and n_train"):
            store.write_cell(*cell, given, 2)
    with pytest.raises(ValueError, match=r"values\['cce'\] must be of shape \(2, 3, 2, 3\), got \(2, 2, 2, 2\)"):
        store.write_cell(0, 1.0, 40, values(BASE, 0, 1.0, 40, 3) | {"cce": given["cce"]}, 3)
    with pytest.raises(ValueError, match=r"values\['test_error'\] must be of shape \(2, 2\), got \(0,\)"):
        store.write_cell(0, 1.0, 40, {name: v for name, v in given.items() if name != "test_error"}, 2)
    with pytest.raises(ValueError, match="names must be among train_error"):
        store.read_cell(0, 1.0, 40, ["error"])
    assert store.members_done().sum() == 0


def test_forgotten_cells_are_not_computed(tmp_path):
    with made(tmp_path / "s") as store:
        fill(store, BASE)
        store.forget([(0, 1, 0)])
        assert store.members_done()[0, 1, 0] == 0 and store.members_done().sum() == 14
    with made(tmp_path / "s", replace(n_train=(10,))) as store:
        store.forget()
    assert load_sweep(tmp_path / "s")["members_done"].sum("n_train").values.tolist() == [[2, 0], [2, 2]]


def test_saving_and_loading(tmp_path):
    dataset = expected(BASE)
    where = tmp_path / "deep" / "sweep.zarr"
    for _ in range(2):
        save_sweep(dataset.assign_attrs(seconds_total=2.5), where)
        xr.testing.assert_identical(load_sweep(where), dataset.assign_attrs(seconds_total=2.5))
        assert [path.name for path in where.parent.iterdir()] == ["sweep.zarr"]
    larger = replace(**LARGER["all"])
    save_sweep(expected(larger), where)
    xr.testing.assert_equal(load_sweep(where).sel(snr=[*larger.noise], n_train=[*larger.n_train]), expected(larger))
    with pytest.raises(ValueError, match="holds more than dataset"):
        save_sweep(dataset, where)
    unfinished = expected(BASE, [[[2, 0], [1, 2]], [[0, 0], [2, 2]]])
    save_sweep(unfinished, str(tmp_path / "unfinished"))
    xr.testing.assert_identical(load_sweep(tmp_path / "unfinished"), unfinished)


def test_an_unfinished_sweep_is_summarized_and_drawn():
    done = np.array([[[2, 0], [1, 2]], [[0, 0], [2, 2]]])
    dataset = expected(BASE, done)
    dataset["test_error"].values[:, 1, 1, 1, 0] = np.nan
    summary = jaxalign.summarize(dataset)
    np.testing.assert_array_equal(summary["n_diverged"], [[[0, 0], [0, 1]]] * 2)
    np.testing.assert_array_equal(summary["n_unfinished"], [[2, 4], [1, 0]])
    assert "n_unfinished" not in jaxalign.summarize(expected(BASE))
    jaxalign.plot_sweep(dataset).canvas.draw()
    jaxalign.plot_sweep(expected(BASE, np.zeros((2, 2, 2), int))).canvas.draw()


def test_the_attributes_are_those_other_programs_can_read(tmp_path):
    with made(tmp_path / "s", replace(noise=(1.0, float("inf")))):
        pass
    for path in (tmp_path / "s").rglob("zarr.json"):
        json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
