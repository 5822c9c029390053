import dataclasses
import json

import jax
import numpy as np
import pytest

import jaxalign
from jaxalign import MLP, ImageTask, LinearNetwork, LinearTeacher, SweepConfig, Training, cli
from jaxalign.sweep.engine import Engine

LINEAR = SweepConfig(
    task=LinearTeacher(dim=10),
    networks=(LinearNetwork(hidden=3), MLP(hidden=5)),
    noise=(1.0, 5.0),
    n_train=(40, 6),
    members=3,
    replicates=2,
    training=Training(steps=5),
    probes=50,
)


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)


def test_what_will_be_run(two_cores):
    plan = jaxalign.plan(LINEAR, probe=False)
    assert (plan.cells, plan.finished, plan.networks, plan.side_by_side) == (8, 0, 48, 2)
    assert [(bucket.network, bucket.rows, bucket.n_train, bucket.networks) for bucket in plan.buckets] == [
        (LINEAR.networks[0], 64, (40,), 12),
        (LINEAR.networks[1], 64, (40,), 12),
        (LINEAR.networks[0], 32, (6,), 12),
        (LINEAR.networks[1], 32, (6,), 12),
    ]
    # Solved members that share their inputs are not divided among threads, nor is their decomposition.
    assert [bucket.at_once for bucket in plan.buckets] == [6, 3, 6, 3]
    # Forward, backward and no gradient of the inputs, 2 per multiply-add, for 12 networks of 5 steps.
    products = 40 * np.array([10 * 5, 5 * 1])
    biases = 40 * (5 + 1)
    assert plan.buckets[1].flops == 12 * 5 * 2 * (3 * products.sum() - products[0] + biases)
    assert plan.bytes is None and plan.seconds == {} and plan.flops > plan.buckets[1].flops


def test_a_probe_predicts_memory_and_time(capsys):
    plan = jaxalign.plan(LINEAR)
    assert all(bucket.bytes > 0 and bucket.compile_seconds > 0 and bucket.seconds > 0 for bucket in plan.buckets)
    assert set(plan.seconds) == {"compile", "train", "align", "total"} and plan.bytes > 1e8
    text = str(plan)
    assert "48 networks to train in 8 of 8 cells" in text and "stacked, all" in text and "time: about" in text
    assert capsys.readouterr() == ("", "")


def test_what_a_store_holds_is_not_planned_again(tmp_path):
    store = tmp_path / "sweep.zarr"
    jaxalign.run_sweep(LINEAR, store, progress=False)
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    done = jaxalign.plan(LINEAR, store)
    assert (done.finished, done.networks, done.buckets) == (8, 0, ()) and "0 networks to train" in str(done)
    larger = dataclasses.replace(LINEAR, noise=(0.5, 1.0, 5.0), members=4)
    # A new member in 8 cells, all four in the 4 cells of the new level; 2 networks each.
    grown = jaxalign.plan(larger, store, probe=False)
    assert (grown.cells, grown.finished, grown.networks) == (12, 0, 2 * (8 + 4 * 4))
    with pytest.raises(ValueError, match="holds another configuration .seed: 0 there, 1 asked for"):
        jaxalign.plan(dataclasses.replace(LINEAR, seed=1), store)
    assert before == sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")), "nothing is written"


def test_a_budget_bounds_how_many_are_trained_at_once(two_cores):
    config = dataclasses.replace(LINEAR, networks=(MLP(5),), members=32, n_train=(40,), probes=1000, metrics=())
    free = jaxalign.plan(config).buckets[0]
    budget = free.bytes  # for two side by side
    bounded = jaxalign.plan(config, memory_budget=budget).buckets[0]
    assert free.at_once == 32 and bounded.at_once in (8, 16) and 2 * bounded.bytes <= budget
    dataset = jaxalign.run_sweep(config, progress=False, memory_budget=budget)
    np.testing.assert_allclose(
        dataset["test_error"], jaxalign.run_sweep(config, progress=False)["test_error"], rtol=1e-4
    )
    with pytest.raises(ValueError, match="memory_budget must be at least [0-9]+ bytes for one MLP"):
        jaxalign.plan(config, memory_budget=1000)


def test_bad_input_is_named():
    for arguments, message in (
        ({"config": 3}, "config must be a SweepConfig"),
        ({"config": LINEAR, "probe": 1}, "probe must be True or False"),
        ({"config": LINEAR, "memory_budget": 0}, "memory_budget must be an integer of at least 1, got 0"),
        ({"config": LINEAR, "store": 3}, "store must be None, a path or a URL"),
    ):
        with pytest.raises(ValueError, match=message):
            jaxalign.plan(**arguments)


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny = ["--noise", "0.2", "--n-train", "20", "30", "--members", "2", "--steps", "5", "--probes", "30"]
    assert cli.main(["sweep", "quickstart", *tiny, "--dry-run"]) == 0
    assert "8 networks to train in 4 of 4 cells" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_limit_ends_the_training_of_a_probe():
    """The programs of a sweep are those that are tried out: what they return after few steps has taken few."""
    config = dataclasses.replace(LINEAR, networks=(MLP(5),), n_train=(40,), replicates=1)
    engine = Engine(config)
    from jaxalign.sweep.grid import Grid
    from jaxalign.sweep.units import units

    ((unit,),) = units([Grid.of(config)])
    execution = engine.executions(unit)[0]
    (few,), (all_steps,) = engine.execute(execution, limit=2), engine.execute(execution)
    assert (few.steps == 2).all() and (all_steps.steps == 5).all()
    assert not np.array_equal(few.test_error, all_steps.test_error)


def test_peak_memory_is_an_attribute_of_the_result():
    config = dataclasses.replace(LINEAR, networks=(MLP(5),), n_train=(40,), replicates=1, metrics=())
    dataset = jaxalign.run_sweep(config, progress=False)
    assert dataset.attrs["peak_bytes"] > 1e8 and json.loads(dataset.attrs["config"])["members"] == 3
    assert jax.default_backend() == "cpu"


def test_images_are_planned_without_their_data():
    config = SweepConfig(
        task=ImageTask("cifar10"), networks=(MLP(4),), noise=(0.2,), n_train=(100,), layer="penultimate", members=2
    )
    plan = jaxalign.plan(config, probe=False)
    assert plan.networks == 2 and plan.flops > 0
