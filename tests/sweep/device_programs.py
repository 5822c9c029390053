"""What `test_devices` runs in processes of their own, with other numbers of devices and processes than the tests have.

Each check is run and reported by itself: python device_programs.py FOLDER [PORT INDEX]
"""

import contextlib
import dataclasses
import functools
import json
import os
import re
import signal
import sys
import traceback
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

import jaxalign
from jaxalign import CNN, MLP, ImageTask, LinearNetwork, LinearTeacher, SweepConfig, Training
from jaxalign.ensemble.placement import to_host
from jaxalign.sweep import engine as engine_module
from jaxalign.sweep import processes
from jaxalign.sweep import run as run_module
from jaxalign.sweep.engine import Engine
from jaxalign.sweep.grid import Grid
from jaxalign.sweep.storage.lock import StoreLock
from jaxalign.sweep.storage.store import Store
from jaxalign.sweep.units import units


@dataclasses.dataclass(frozen=True)
class Remembering:
    """A network with random keys of its own, which remembers the last minibatch that it was trained on."""

    batch: int = 8

    def build(self, rngs, input_shape, n_outputs):
        batch = self.batch

        class Module(nnx.Module):
            def __init__(self):
                self.first = nnx.Linear(input_shape[0], 4, rngs=rngs)
                self.dropout = nnx.Dropout(0.2, rngs=rngs)
                self.second = nnx.Linear(4, n_outputs, rngs=rngs)
                self.seen = nnx.Variable(jnp.zeros((batch, *input_shape)))

            def __call__(self, x):
                if len(x) == batch:
                    self.seen[...] = x
                hidden = self.dropout(self.first(x))
                return self.second(hidden), {"hidden": hidden}

        return Module()


_TEACHER = SweepConfig(
    task=LinearTeacher(dim=6),
    networks=(LinearNetwork(3), MLP(4)),
    noise=(1.0, 5.0),
    n_train=(20, 8),
    members=2,
    replicates=3,
    training=Training(learning_rate=(0.02, 0.03), steps=15),
    probes=200,
    shared_init=False,
)
SWEEPS = {
    "minibatches": SweepConfig(
        task=ImageTask("digits"),
        networks=(MLP(4),),
        noise=(0.0, 0.4),
        n_train=(20, 60),
        members=3,
        replicates=3,
        training=Training(steps=15, batch_size=8),
        probes=200,
        # Hidden units may be silent for several probes, whose ties spread the ranks.
        layer="logits",
    ),
    "solved, and full batches with a learning rate per member": _TEACHER,
    "own inputs and batches, and patience": dataclasses.replace(
        _TEACHER,
        members=3,
        replicates=1,
        training=Training(learning_rate=0.05, epochs=20, batch_size=8, patience=1, tolerance=0.5),
        shared_inputs=False,
        shared_batches=False,
    ),
    "one network": dataclasses.replace(
        _TEACHER,
        networks=(MLP(4),),
        noise=(1.0,),
        n_train=(20,),
        members=1,
        replicates=1,
        training=Training(steps=15),
        metrics=(),
    ),
    "random keys": dataclasses.replace(
        _TEACHER, networks=(Remembering(),), n_train=(20,), replicates=1, training=Training(steps=15, batch_size=8)
    ),
}
# Those of which four devices take several replicates at once, or one.
ON_FOUR = (0, 1)
MINIBATCHES, RANDOM = SWEEPS["minibatches"], SWEEPS["random keys"]
# Many units, each of which ends soon.
LONG = dataclasses.replace(MINIBATCHES, n_train=(20, 30, 40, 50, 60), replicates=4, metrics=())
_EXCHANGE = re.compile(
    r"\b(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast|send|recv)"
    r"(-start)?\("
)


def run(config, store=None, **options):
    return jaxalign.run_sweep(config, store=store, progress=False, **options)


def terminated(config, store, cells=1, here=True):
    """Runs a sweep that is sent SIGTERM after some cells."""
    write, written = run_module._Run._write, []

    def write_and_end(self, value, *arguments):
        write(self, value, *arguments)
        written.append(value)
        if here and len(written) == cells:
            os.kill(os.getpid(), signal.SIGTERM)

    with changed(run_module._Run, "_write", write_and_end), pytest.raises(SystemExit) as ended:
        run(config, store)
    assert ended.value.code == 143


@contextlib.contextmanager
def changed(owner, name, value):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, value)
        yield


def executions_of(call):
    """How many executions a call makes, and what it returns."""
    execute, count = Engine.execute, []
    with changed(Engine, "execute", lambda *arguments: (count.append(1), execute(*arguments))[1]):
        found = call()
    return len(count), found


def on_devices(devices):
    return changed(run_module, "Engine", functools.partial(Engine, devices=devices))


def handed(config, devices):
    """What the program is given for each network of the sweep, as far as it lies on this process's devices."""
    engine, found = Engine(config, devices=devices), {}

    def add(leaves, *key):
        for path, leaf in jax.tree_util.tree_flatten_with_path(to_host(leaves))[0]:
            name = (*key, jax.tree_util.keystr(path))
            if name in found:
                np.testing.assert_array_equal(found[name], leaf)
            found[name] = leaf

    for unit in (unit for stage in units((Grid.of(config),), engine.devices) for unit in stage):
        for execution in engine.executions(unit):
            _, shared, members = engine._arguments(execution)
            share = engine.devices // engine._slots(unit) if engine.mesh is not None else 1
            for device, at in enumerate(execution.at):
                parts = shared, members
                if engine.mesh is not None:
                    parts = [jax.tree.map(functools.partial(_of_device, device=device), part) for part in parts]
                    if any(leaf is None for part in parts for leaf in jax.tree.leaves(part, is_leaf=_is_none)):
                        continue
                    parts = jax.tree.map(lambda leaf: leaf[0], parts[0]), parts[1]
                replicate = unit.replicates[min(device // share, len(unit.replicates) - 1)]
                cell = execution.network, unit.n_train, replicate
                add(parts[0], *cell)
                for place, g in enumerate(at):
                    level, member = divmod(int(g), unit.members)
                    own = jax.tree.map(lambda leaf, place=place: leaf[place], to_host(parts[1]))
                    add(jax.tree.map(np.asarray, own), *cell, unit.levels[level], member)
    return found


def _is_none(leaf):
    return leaf is None


def _of_device(leaf, device):
    for shard in leaf.addressable_shards:
        if (shard.index[0].start or 0) // shard.data.shape[0] == device:
            return np.asarray(shard.data)
    return None


def assert_equal_draws(found, wanted, *, all_of_them=True):
    assert found and (found.keys() == wanted.keys() if all_of_them else found.keys() <= wanted.keys())
    for name, leaf in found.items():
        np.testing.assert_array_equal(leaf, wanted[name], err_msg=str(name))


def save(dataset, path):
    np.savez(path, **{name: variable.values for name, variable in dataset.data_vars.items()})


def sweeps_on_eight_and_four(folder):
    for i, config in enumerate(SWEEPS.values()):
        save(run(config), folder / f"eight-{i}.npz")
        if i in ON_FOUR:
            with on_devices(jax.devices()[:4]):
                save(run(config), folder / f"four-{i}.npz")


def stores_change_devices(folder):
    count, finished = executions_of(lambda: run(LONG, folder / "begun-on-one.zarr"))
    assert 0 < count < 5 * 4
    save(finished, folder / "finished-on-eight.npz")
    terminated(LONG, folder / "begun-on-eight.zarr")


def draws_on_devices(folder):
    for config in SWEEPS.values():
        alone = handed(config, jax.devices()[:1])
        for devices in (3, 4, 8):
            assert_equal_draws(handed(config, jax.devices()[:devices]), alone)
        np.savez(folder / "alone.npz", **{repr(name): leaf for name, leaf in alone.items()})


def draws_of_larger_sweeps(folder):
    for config in SWEEPS.values():
        rates = config.training.learning_rate
        more = (*rates, 0.01) if isinstance(rates, tuple) else rates
        larger = dataclasses.replace(
            config,
            members=config.members + 1,
            replicates=config.replicates + 1,
            noise=config.noise[::-1],
            n_train=config.n_train[::-1],
            training=dataclasses.replace(config.training, learning_rate=more),
        )
        assert_equal_draws(handed(config, jax.devices()), handed(larger, jax.devices()), all_of_them=False)


def minibatches_on_devices(folder):
    """The rows that were drawn inside of the program, and the states of random keys, are the same to the bit."""
    seen = []
    for devices in (1, 4, 8):
        engine = Engine(RANDOM, keep_state=True, devices=jax.devices()[:devices])
        ((unit,),) = units((Grid.of(RANDOM),), engine.devices)
        found = [(execution, engine.execute(execution)) for execution in engine.executions(unit)]
        (outcome,) = engine.join(unit, 0, found)
        seen.append(np.asarray(outcome.state["seen"][...]))
    assert seen[0].shape == (4, 8, 6) and np.abs(seen[0]).min(-1).max() > 0
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])


def devices_do_not_talk(folder):
    cnn = dataclasses.replace(MINIBATCHES, networks=(CNN(width=1),), layer="penultimate", n_train=(20,), replicates=1)
    mesh = Engine(MINIBATCHES).mesh
    rows = jax.ShapeDtypeStruct((8,), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec("members")))
    assert _EXCHANGE.search(jax.jit(jnp.sum).lower(rows).compile().as_text())
    for config in (*SWEEPS.values(), cnn):
        engine = Engine(config)
        for unit in units((Grid.of(config),), engine.devices)[0][:1]:
            for execution in engine.executions(unit):
                program = engine.compile(execution).compiled
                assert "num_partitions=8" in program.as_text()
                assert not (met := _EXCHANGE.search(program.as_text())), met


def sweeps_on_two_processes(folder):
    for i, config in enumerate(SWEEPS.values()):
        save(run(config, folder / f"{own()}-{i}.zarr"), folder / f"two-{i}-process-{own()}.npz")
    assert not (folder / "follower-0.zarr").exists() and (folder / "leader-0.zarr").exists()


def draws_on_two_processes(folder):
    for config in SWEEPS.values():
        found, alone = handed(config, jax.devices()), handed(config, jax.local_devices()[:1])
        assert_equal_draws(found, alone, all_of_them=False)


def a_second_run_resumes(folder):
    store = folder / f"{own()}-0.zarr"
    count, again = executions_of(lambda: run(MINIBATCHES, store))
    assert count == 0
    before = np.load(folder / "two-0-process-leader.npz")
    for name, values in before.items():
        np.testing.assert_array_equal(again[name], values)


def a_store_grows(folder):
    larger = dataclasses.replace(MINIBATCHES, noise=(0.0, 0.4, 0.6), members=4)
    count, grown = executions_of(lambda: run(larger, folder / f"{own()}-0.zarr"))
    assert count > 0
    old = grown.isel(label_noise=[0, 1], member=slice(3), member_a=slice(3), member_b=slice(3))
    for name, values in np.load(folder / "two-0-process-leader.npz").items():
        np.testing.assert_array_equal(old[name], values)
    assert grown["converged"].all() and grown["cce"].notnull().sum() == 3 * 3 * 2 * 4 * 3
    save(grown, folder / f"grown-process-{own()}.npz")


def parameters_are_saved(folder):
    run(RANDOM, folder / f"{own()}-kept.zarr", save_parameters=True)
    if processes.is_leader():
        name = str(RANDOM.networks[0])
        kept = jaxalign.load_parameters(folder / "leader-kept.zarr", network=name, level=1.0, n_train=20)
        assert np.shape(kept["seen"]) == (2, 8, 6) and np.shape(kept["first"]["kernel"]) == (2, 6, 4)
    assert not list(folder.glob("follower-*"))


def large_values_arrive(folder):
    with changed(processes, "_PIECE", 1000):
        for size in (0, 100, 125, 1000):
            value = processes.from_leader(np.arange(size) if processes.is_leader() else None)
            np.testing.assert_array_equal(value, np.arange(size))


def errors_of_the_leader_are_raised_by_all(folder):
    store = folder / f"{own()}-0.zarr"
    with pytest.raises(ValueError, match="another configuration"):
        run(dataclasses.replace(MINIBATCHES, seed=1), store)
    with StoreLock(store) if processes.is_leader() else contextlib.nullcontext():
        with pytest.raises(OSError, match="is being written by process"):
            run(MINIBATCHES, store)
        multihost_utils.sync_global_devices("the lock is given back")

    def fail(*_):
        raise OSError("no space left")

    # After the only unit, when no other one asks whether to stop, and before many others.
    for config in (RANDOM, LONG):
        with changed(Store, "write_cell", fail), pytest.raises(OSError, match="no space left"):
            run(config)


def errors_of_another_process_are_raised_by_all(folder):
    def fail(*_, **__):
        raise FileNotFoundError("no data on this host")

    def at_follower(owner, name):
        return contextlib.nullcontext() if processes.is_leader() else changed(owner, name, fail)

    for owner, name in ((engine_module, "draw_group"), (Engine, "compare"), (Engine, "prepare_compare")):
        with at_follower(owner, name), pytest.raises(FileNotFoundError, match="no data on this host"):
            run(RANDOM)


def sigterm_to_one_ends_both(folder):
    terminated(LONG, folder / f"{own()}-ended.zarr", here=not processes.is_leader())
    if processes.is_leader():
        done = jaxalign.load_sweep(folder / "leader-ended.zarr")["members_done"]
        assert 0 < (done == 3).sum() < done.size
    save(run(LONG, folder / f"{own()}-ended.zarr"), folder / f"ended-process-{own()}.npz")


def own():
    return "leader" if processes.is_leader() else "follower"


ON_EIGHT = [
    sweeps_on_eight_and_four,
    stores_change_devices,
    draws_on_devices,
    draws_of_larger_sweeps,
    minibatches_on_devices,
    devices_do_not_talk,
]
ON_TWO = [
    sweeps_on_two_processes,
    draws_on_two_processes,
    a_second_run_resumes,
    a_store_grows,
    parameters_are_saved,
    large_values_arrive,
    errors_of_the_leader_are_raised_by_all,
    errors_of_another_process_are_raised_by_all,
    sigterm_to_one_ends_both,
]


def main(folder, port=None, index=None):
    if port is not None:
        jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(index))
    warnings.simplefilter("error")
    report, name = {}, "eight" if port is None else index
    for check in ON_EIGHT if port is None else ON_TWO:
        try:
            check(Path(folder))
            report[check.__name__] = ""
        except BaseException:
            report[check.__name__] = traceback.format_exc()
        Path(folder, f"report-{name}.json").write_text(json.dumps(report))
        if port is not None:
            multihost_utils.sync_global_devices(check.__name__)


if __name__ == "__main__":
    main(*sys.argv[1:])
