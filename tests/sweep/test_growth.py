"""Sweeps that grow, and what they do with scarce memory, with parameters and with what they say."""

import dataclasses
import logging
import re

import jax
import numpy as np
import pytest
import xarray as xr
from flax import nnx

import jaxalign
from jaxalign import MLP, LinearNetwork, LinearTeacher, SweepConfig, Training
from jaxalign.ensemble import draw_group
from jaxalign.ensemble.placement import Program
from jaxalign.sweep import progress
from jaxalign.sweep.engine import Engine
from jaxalign.sweep.storage.parameters import load_parameters
from jaxalign.sweep.storage.store import Store

CONFIG = SweepConfig(
    task=LinearTeacher(dim=6),
    networks=(LinearNetwork(hidden=2), MLP(hidden=3)),
    noise=(1.0, 5.0),
    n_train=(30, 8),
    members=2,
    training=Training(steps=20, batch_size=8),
    probes=20,
    metrics=("cce",),
)
STEPS = [
    {"members": 3},
    {"replicates": 2},
    {"noise": (1.0, 3.0, 5.0)},
    {"n_train": (30, 15, 8)},
]
ALL = {name: value for step in STEPS for name, value in step.items()}


def run(config, store=None, **options):
    return jaxalign.run_sweep(config, store, **{"progress": False, **options})


def replace(**changes):
    return dataclasses.replace(CONFIG, **changes)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return run(CONFIG, tmp_path_factory.mktemp("small") / "sweep.zarr")


@pytest.fixture(scope="module")
def large():
    return run(replace(**ALL))


@pytest.fixture
def trained(monkeypatch):
    """How many networks have been trained of each (n_train, levels, first member, members)."""
    units, real = {}, Engine.execute

    def execute(self, execution, *arguments):
        unit = execution.unit
        units[unit] = unit.group * len(unit.replicates) * len(self.config.networks)
        return real(self, execution, *arguments)

    monkeypatch.setattr(Engine, "execute", execute)
    return units


def part(dataset, config):
    """Of a larger sweep, the results of a smaller one."""
    members = np.arange(config.members)
    found = dataset.sel(snr=list(config.noise), n_train=list(config.n_train), replicate=np.arange(config.replicates))
    return found.sel(member=members, member_a=members, member_b=members)


def assert_same(found, wanted):
    """Bit for bit, in all results."""
    xr.testing.assert_identical(xr.Dataset(found.data_vars).drop_attrs(), xr.Dataset(wanted.data_vars).drop_attrs())


def assert_near(found, wanted):
    """As programs of other shapes compute the same."""
    for name in ("train_error", "test_error"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(found["cce"], wanted["cce"], atol=0.15)
    np.testing.assert_array_equal(found["converged"], wanted["converged"])


@pytest.mark.parametrize("kept", [True, False])
def test_a_sweep_grows_along_one_axis_after_the_other(tmp_path, trained, small, large, kept):
    store, changes, before = tmp_path / "sweep.zarr", {}, CONFIG
    found = run(CONFIG, store, save_representations=kept)
    assert_same(found, small)
    for step in STEPS:
        changes |= step
        config = replace(**changes)
        trained.clear()
        grown = run(config, store)
        new = networks(config) - networks(before)
        # Without their representations the two members of a cell are trained again to be compared with the third.
        assert sum(trained.values()) == (networks(config) if step == STEPS[0] and not kept else new)
        assert_same(part(grown, before), found)
        assert_near(grown, part(large, config))
        found, before = grown, config
    trained.clear()
    for config in (before, CONFIG, replace(noise=(5.0,), replicates=2, n_train=(15,))):
        assert_same(run(config, store), part(found, config))
    assert not trained
    assert_same(part(run(before, store, resume=False), CONFIG), small)
    assert sum(trained.values()) >= networks(before)


def networks(config):
    cells = config.replicates * len(config.noise) * len(config.n_train)
    return cells * config.members * len(config.networks)


def test_a_sweep_grows_along_all_axes_at_once(tmp_path, trained, small, large):
    run(CONFIG, tmp_path / "sweep.zarr")
    trained.clear()
    grown = run(replace(**ALL), tmp_path / "sweep.zarr")
    assert sum(trained.values()) == networks(replace(**ALL)) - networks(CONFIG)
    assert_same(part(grown, CONFIG), small)
    assert_near(grown, large)


def test_damage_in_a_store_that_grew_is_repaired_by_the_stages_in_which_it_grew(tmp_path, trained):
    store = tmp_path / "sweep.zarr"
    run(CONFIG, store)
    whole = run(replace(members=4), store)
    mark = store / "members_done" / "c.0.1.0"
    mark.unlink()
    trained.clear()
    assert_same(run(replace(members=4), store), whole)
    assert {(unit.first, unit.members) for unit in trained} == {(0, 2), (2, 4)}
    # Of representations the sizes alone are looked at in advance.
    chunk = min((store / "representation").glob("c.0.0.*"))
    data = bytearray(chunk.read_bytes())
    data[5] ^= 4
    chunk.write_bytes(data)
    with pytest.raises(OSError, match="is not whole.*Running its sweep again computes anew what is missing"):
        run(replace(members=5), store)
    assert_same(part(run(replace(members=5), store), replace(members=4)), whole)


def test_a_url_in_memory_is_a_store(trained):
    dataset = run(CONFIG, "memory://growth/sweep.zarr")
    trained.clear()
    assert_same(run(CONFIG, "memory://growth/sweep.zarr"), dataset)
    assert not trained
    assert_same(part(run(replace(members=3), "memory://growth/sweep.zarr"), CONFIG), dataset)


def test_cells_that_diverge_are_finished_and_counted(tmp_path, trained):
    networks = (LinearNetwork(2, solver=None), LinearNetwork(3))
    config = replace(networks=networks, training=Training("sgd", 1e6, steps=50))
    dataset = run(config, tmp_path / "sweep.zarr")
    summary = jaxalign.summarize(dataset)
    np.testing.assert_array_equal(summary["n_diverged"].isel(network=0), 2)
    np.testing.assert_array_equal(summary["n_diverged"].isel(network=1), 0)
    assert dataset["cce"].isel(network_a=1, network_b=1).notnull().sum() == 2 * 2 * 2
    trained.clear()
    assert_same(run(config, tmp_path / "sweep.zarr"), dataset)
    assert not trained


def out_of_memory_above(monkeypatch, limit):
    """Lets executions of more members fail as XLA does, and returns the sizes of the others."""
    real, sizes = Program.__call__, []

    def call(self, shared, members, *arguments):
        size = len(jax.tree.leaves(members)[0])
        if size > limit:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.")
        sizes.append(size)
        return real(self, shared, members, *arguments)

    monkeypatch.setattr(Program, "__call__", call)
    return sizes


def test_out_of_memory_halves_what_is_trained_at_once(monkeypatch, caplog):
    config = replace(members=5, networks=(MLP(hidden=3),))
    whole = run(config)
    sizes = out_of_memory_above(monkeypatch, 2)
    assert_near(run(config), whole)
    assert max(sizes) <= 2 and re.search("out of memory with [35] of MLP.* at once: going on with half", caplog.text)
    out_of_memory_above(monkeypatch, 0)
    with pytest.raises(MemoryError, match=r"no memory for one MLP\(hidden=3.* at a time: RESOURCE_EXHAUSTED"):
        run(config)


@pytest.mark.slow
def test_a_budget_halves_what_is_trained_at_once_before_anything_is_run(monkeypatch, caplog):
    config = replace(members=8, networks=(MLP(hidden=3),))
    whole = run(config)
    with pytest.raises(ValueError, match=r"memory_budget must be at least [0-9]+ bytes for one MLP") as refused:
        run(replace(members=8, networks=(MLP(hidden=3),), metrics=()), memory_budget=1)
    with pytest.raises(ValueError, match="memory_budget must be at least .* to compute cce"):
        run(config, memory_budget=1)
    least = int(re.findall("at least ([0-9]+)", str(refused.value))[0])
    sizes = out_of_memory_above(monkeypatch, 100)
    with caplog.at_level(logging.INFO, "jaxalign"):
        assert_near(run(config, memory_budget=2 * least), whole)
    assert max(sizes) < 8 and "half as many are trained at once" in caplog.text


def test_a_failure_of_one_thread_ends_the_others(monkeypatch, trained):
    real = Engine.execute

    def fail(self, execution, *arguments):
        if len(trained) == 1:
            raise RuntimeError("broken")
        return real(self, execution, *arguments)

    monkeypatch.setattr(Engine, "execute", fail)
    with pytest.raises(RuntimeError, match="broken"):
        run(replace(n_train=tuple(range(8, 28)), metrics=()))
    assert len(trained) < 10


def logger_alone(monkeypatch):
    """The logger as in a program that has set up none; not by a fixture, of which pytest would learn in time."""
    logger = logging.getLogger("jaxalign")
    monkeypatch.setattr(logger, "propagate", False)
    return logger


def test_outside_a_terminal_progress_is_lines(monkeypatch, capsys):
    quiet_logger = logger_alone(monkeypatch)
    monkeypatch.setattr(progress, "_SECONDS_PER_LINE", 0.0)
    run(CONFIG, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "compiling" not in err
    line = r"^[0-9:]{8} jaxalign: 4 of 4 cells, [0-9.e+]+ networks/s, 0:00:00 left, n_train (30|8), snr [15], replicate"
    assert re.search(line, err, re.MULTILINE)
    run(CONFIG, verbose=True)
    out, err = capsys.readouterr()
    assert out == "" and "jaxalign: compiling" in err and "jaxalign: training" in err and "cells" not in err
    run(CONFIG)
    assert capsys.readouterr() == ("", "") and not quiet_logger.handlers and quiet_logger.level == logging.NOTSET


def test_handlers_of_the_user_are_respected(monkeypatch, capsys):
    quiet_logger = logger_alone(monkeypatch)
    monkeypatch.setattr(progress, "_SECONDS_PER_LINE", 0.0)
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    quiet_logger.addHandler(handler)
    quiet_logger.setLevel(logging.INFO)
    try:
        run(CONFIG, progress=True, verbose=True)
    finally:
        quiet_logger.removeHandler(handler)
        quiet_logger.setLevel(logging.NOTSET)
    assert capsys.readouterr() == ("", "")
    assert "4 of 4 cells" in records[-1].getMessage() and not [r for r in records if r.levelno < logging.INFO]


@pytest.mark.slow
def test_saved_parameters_are_those_of_the_results(tmp_path):
    store = tmp_path / "sweep.zarr"
    run(CONFIG, store, save_parameters=True)
    dataset = run(replace(members=3), store, save_parameters=True)
    with Store.open_to_read(store) as opened:
        representation = opened.read_cell(0, 5.0, 30)["representation"]
    data = draw_group(
        CONFIG.task, seed=0, replicate=0, noise=(5.0,), members=3, rows=32, probes=20,
        shared_inputs=True, shared_init=True, shared_batches=True,
    )  # fmt: skip
    for i, network in enumerate(CONFIG.networks):
        loaded = load_parameters(store, network=str(network), level=5.0, n_train=30)
        for member in range(3):
            module = network.build(nnx.Rngs(99), CONFIG.task.input_shape, CONFIG.task.n_outputs)
            nnx.update(module, jax.tree.map(lambda leaf, member=member: leaf[member], loaded))
            hidden = module(data.test.inputs[:20])[1]["hidden"]
            np.testing.assert_allclose(representation[i, member][:, : hidden.shape[1]], hidden, rtol=1e-4, atol=1e-5)
    assert dataset["test_error"].notnull().all()
