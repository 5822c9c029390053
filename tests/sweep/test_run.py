import dataclasses
import json
import threading

import numpy as np
import pytest
import xarray as xr
from flax import nnx
from threadpoolctl import threadpool_info

import jaxalign
from jaxalign import MLP, ImageTask, LinearNetwork, LinearTeacher, Ridge, SweepConfig, Training
from jaxalign.alignment import conditional_copula_entropy
from jaxalign.sweep.engine import Engine
from jaxalign.sweep.units import padded_rows
from jaxalign.tasks import PowerLaw

DIGITS = SweepConfig(
    task=ImageTask("digits"),
    networks=(MLP(hidden=4),),
    noise=(0.0, 0.4),
    n_train=(20, 100),
    members=3,
    training=Training(steps=20, batch_size=16),
    probes=60,
)
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


def run(config, **options):
    return jaxalign.run_sweep(config, progress=False, **options)


@pytest.fixture(scope="module")
def digits():
    return run(DIGITS)


@pytest.fixture(scope="module")
def linear():
    return run(LINEAR)


def test_dimensions_and_coordinates(digits, linear):
    assert digits["train_error"].dims == ("network", "replicate", "label_noise", "n_train", "member")
    assert linear["test_error"].dims == ("network", "replicate", "snr", "n_train", "member")
    assert linear["cce"].dims == (
        *("replicate", "snr", "n_train"),
        *("network_a", "member_a", "network_b", "member_b"),
    )
    assert dict(linear.sizes) | {"snr": 2} == dict(linear.sizes)
    assert linear["cce"].shape == (2, 2, 2, 2, 3, 2, 3)
    np.testing.assert_array_equal(linear["n_parameters"], [3 * 11, 5 * 11 + 6])
    np.testing.assert_array_equal(linear["alpha"], [4.0, 0.6])
    np.testing.assert_allclose(linear["clean_train_error"], [1.0, 0.2])
    np.testing.assert_allclose(digits["clean_train_error"], [0.0, 0.36])
    assert "train_accuracy" in digits and "train_accuracy" not in linear
    assert digits["converged"].dtype == bool and digits["converged"].all()
    attributes = digits.attrs
    assert json.loads(attributes["config"])["members"] == 3 and "jax " in attributes["versions"]
    assert all(attributes[f"seconds_{phase}"] >= 0 for phase in ("compile", "train", "align", "total"))


def test_identical_members_are_exactly_at_the_floor(digits):
    clean = digits["cce"].sel(label_noise=0.0).values.reshape(2, 3, 3)
    off_diagonal = ~np.eye(3, dtype=bool)
    assert np.all(clean[:, off_diagonal] == np.float32(-np.log(59)))
    assert np.isnan(clean[:, ~off_diagonal]).all()
    assert np.all(
        digits["information_imbalance"].sel(label_noise=0.0).values.reshape(2, 3, 3)[:, off_diagonal]
        == np.float32(2 / 60)
    )
    noisy = digits["cce"].sel(label_noise=0.4).values.reshape(2, 3, 3)[:, off_diagonal]
    assert np.all(noisy > np.float32(-np.log(59)) + 0.1)


def test_solved_networks_have_the_errors_of_least_squares(linear):
    solved = linear.isel(network=0)
    assert float(solved["train_error"].sel(n_train=6).max()) < 1e-6
    over = solved["train_error"].sel(n_train=40).mean(("replicate", "member"))
    assert np.all((over > 0.4 * (1 - 10 / 40) / np.array([1, 5])) & (over < 1.8 / np.array([1, 5])))


def test_one_trace_for_all_sample_sizes():
    built = []

    @dataclasses.dataclass(frozen=True)
    class Counting:
        def build(self, rngs, input_shape, n_outputs):
            built.append(1)
            return MLP(hidden=3).build(rngs, input_shape, n_outputs)

    few = dataclasses.replace(DIGITS, networks=(Counting(),), n_train=(30, 90))
    built.clear()
    run(few)
    traces = len(built)
    many = dataclasses.replace(few, n_train=(30, 40, 50, 60, 70, 80, 91))
    built.clear()
    run(many)
    assert len(built) <= traces <= 4


def test_a_user_network_goes_the_same_way():
    @dataclasses.dataclass(frozen=True)
    class Own:
        def build(self, rngs, input_shape, n_outputs):
            class Module(nnx.Module):
                def __init__(self):
                    self.conv = nnx.Conv(1, 2, (3, 3), rngs=rngs)
                    self.dense = nnx.Linear(128, n_outputs, rngs=rngs)

                def __call__(self, x):
                    maps = nnx.relu(self.conv(x))
                    return self.dense(maps.reshape(len(x), -1)), {"maps": maps}

            return Module()

    config = dataclasses.replace(DIGITS, networks=(Own(), MLP(4)), layer="logits", n_train=(20,))
    dataset = run(config)
    assert dataset.sizes["network"] == 2 and np.isfinite(dataset["test_error"]).all()
    maps = dataclasses.replace(config, networks=(Own(),), layer="maps")
    assert np.isfinite(run(maps)["cce"].sel(label_noise=0.4).values).sum() == 6


def test_growing_a_sweep_leaves_its_numbers(linear):
    larger = run(dataclasses.replace(LINEAR, noise=(1.0, 5.0, 9.0), n_train=(6, 20, 40), members=4, replicates=3))
    same = larger.sel(snr=[1.0, 5.0], n_train=[40, 6], replicate=[0, 1], member=[0, 1, 2])
    for name in ("train_error", "test_error"):
        np.testing.assert_allclose(same[name], linear[name], rtol=2e-4, atol=1e-6)
    pairs = same["cce"].sel(member_a=[0, 1, 2], member_b=[0, 1, 2]).isel(network_a=0, network_b=0)
    np.testing.assert_allclose(pairs, linear["cce"].isel(network_a=0, network_b=0), atol=0.03)


def test_a_run_repeats_itself(digits):
    xr.testing.assert_equal(digits, run(DIGITS))


def test_metric_entries_go_from_a_to_b():
    """Entry [a, b] is the measure A -> B, in both blocks of two networks of different widths."""
    from jaxalign.ensemble import GroupSpec, compile_group, draw_group

    config = dataclasses.replace(LINEAR, n_train=(40,), noise=(1.0,), replicates=1)
    dataset = run(config)
    options = {"shared_inputs": True, "shared_init": True, "shared_batches": True}
    data = draw_group(config.task, seed=0, replicate=0, noise=(1.0,), members=3, rows=64, probes=50, **options)
    layers = []
    for network in config.networks:
        spec = GroupSpec(network, config.task, config.training, "hidden", 50, True, True)
        layers.append(compile_group(spec, data)(data, np.int32(40)).representation)
    for a, b in (((0, 1), (1, 2)), ((1, 2), (0, 1)), ((1, 0), (1, 1))):
        expected = conditional_copula_entropy(layers[a[0]][a[1]], layers[b[0]][b[1]])
        measured = dataset["cce"].isel(network_a=a[0], member_a=a[1], network_b=b[0], member_b=b[1]).item()
        assert abs(measured - float(expected)) < 0.05


def test_a_diverging_network_is_flagged_and_kept_as_nan():
    networks = (LinearNetwork(3, solver=None),)
    dataset = run(dataclasses.replace(LINEAR, networks=networks, training=Training("sgd", 1e6, steps=50)))
    assert not dataset["converged"].any() and np.isnan(dataset["cce"]).all() and np.isnan(dataset["test_error"]).all()
    assert int(jaxalign.summarize(dataset)["n_diverged"].sum()) == 24


def test_tolerance_decides_convergence():
    config = dataclasses.replace(LINEAR, training=Training(steps=5, tolerance=1e-3))
    converged = run(config)["converged"]
    assert converged.isel(network=0).sel(n_train=6).all() and not converged.isel(network=0).sel(n_train=40).any()


def test_without_metrics_one_member_is_enough():
    dataset = run(dataclasses.replace(DIGITS, members=1, metrics=()))
    assert "cce" not in dataset and "network_a" not in dataset.coords


def test_measures_change_no_error(linear):
    without = run(dataclasses.replace(LINEAR, metrics=()))
    for name in ("train_error", "test_error", "converged"):
        np.testing.assert_allclose(without[name], linear[name], rtol=1e-5, atol=1e-6)


def test_a_covariance_goes_through_the_sweep_and_back(tmp_path):
    task = LinearTeacher(10, 2, strengths=(2, 1), spectrum=PowerLaw(1.0), coefficients="leading")
    config = dataclasses.replace(LINEAR, task=task, networks=(LinearNetwork(1, solver=Ridge(0.1)),), metrics=())
    dataset = run(config, store=tmp_path / "sweep")
    assert dataset["converged"].all() and np.isfinite(dataset["test_error"]).all()
    assert jaxalign.load_sweep(tmp_path / "sweep").equals(dataset)
    assert run(config, store=tmp_path / "sweep").attrs["seconds_total"] == dataset.attrs["seconds_total"]


def test_workers_and_blas_do_not_multiply_their_threads(monkeypatch):
    def blas_threads():
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    seen, before = [], blas_threads()
    execute = Engine.execute
    monkeypatch.setattr(Engine, "execute", lambda *arguments: (seen.append(blas_threads()), execute(*arguments))[1])
    run(dataclasses.replace(LINEAR, metrics=()))
    assert len(seen) >= 8 and all(count == {1} for count in seen)
    assert blas_threads() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"config": "quikstart"}, r"preset must be one of .*quickstart; got 'quikstart'"),
        ({"config": 3}, "config must be a SweepConfig or the name of a preset, got 3"),
        ({"config": DIGITS, "store": 3}, "store must be None, a path or a URL, got 3"),
        ({"config": DIGITS, "resume": 1}, "resume must be True or False"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        jaxalign.run_sweep(**arguments)


@pytest.mark.parametrize("start", [jaxalign.plan, lambda config: jaxalign.run_sweep(config, progress=False)])
def test_data_are_read_before_other_threads_start(monkeypatch, start):
    """The import of TensorFlow Datasets replaces that of all threads for a while."""
    found, load, before = [], ImageTask.load, {*threading.enumerate()}

    def recorded(self, key):
        new = {*threading.enumerate()} - before
        found.append((threading.current_thread(), [thread for thread in new if "ThreadPoolExecutor" in thread.name]))
        return load(self, key)

    monkeypatch.setattr(ImageTask, "load", recorded)
    networks = (MLP(hidden=2), MLP(hidden=3))
    start(SweepConfig(ImageTask("digits"), networks, (0.2,), (20,), members=2, probes=20, training=Training(steps=2)))
    assert found[0] == (threading.main_thread(), [])


def test_missing_data_is_an_error_that_helps(monkeypatch, tmp_path):
    monkeypatch.setattr("jaxalign.tasks.datasets._reachable", lambda url: False)
    config = dataclasses.replace(DIGITS, task=ImageTask("mnist", data_dir=str(tmp_path)))
    with pytest.raises(FileNotFoundError, match="JAXALIGN_TFDS_DIR"):
        run(config)


def test_padding_shapes():
    rows = [padded_rows(LINEAR, LINEAR.networks[0], n) for n in (1, 32, 33, 64, 65, 500)]
    assert rows == [32, 32, 64, 64, 128, 512]
    assert padded_rows(DIGITS, DIGITS.networks[0], 20) == 100
    full = dataclasses.replace(DIGITS, training=Training(steps=5), n_train=(20, 1397))
    assert padded_rows(full, full.networks[0], 1100) == 1397
