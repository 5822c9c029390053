import dataclasses

import jax
import numpy as np
import pytest
import store_cells
from flax import nnx

from jaxalign.sweep import result
from jaxalign.sweep.storage.parameters import check_parameters_location, load_parameters, save_parameters
from jaxalign.sweep.storage.results import Store

CONFIG = dataclasses.replace(store_cells.BASE, members=3, replicates=1)
NETWORK = CONFIG.networks[1]
NAME = str(NETWORK)


def module(seed):
    return NETWORK.build(nnx.Rngs(seed), CONFIG.task.input_shape, CONFIG.task.n_outputs)


def states(levels, members):
    """The parameters of modules of seed 10 LEVEL + MEMBER, stacked."""
    each = [[nnx.state(module(int(10 * level) + m), nnx.Param) for m in members] for level in levels]
    stacked = [jax.tree.map(lambda *leaves: np.stack(leaves), *line) for line in each]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *stacked)


@pytest.fixture
def store(tmp_path):
    where = tmp_path / "sweep.zarr"
    with Store.open(where, result.template(CONFIG)) as opened:
        store_cells.fill(opened, CONFIG, [(0, 1.0, 10)])
        store_cells.fill(opened, CONFIG, [(0, 5.0, 10)], members=2)
    return where


def test_parameters_are_put_back_into_a_module(store, capfd):
    save_parameters(store, NAME, 0, 10, (1.0, 5.0), 0, states((1.0, 5.0), range(3)))
    assert (store.parent / "sweep.parameters").is_dir()
    loaded = load_parameters(store, network=NAME, level=1.0, n_train=10)
    inputs = np.ones((2, *CONFIG.task.input_shape), np.float32)
    for member in range(3):
        trained, fresh = module(10 + member), module(99)
        nnx.update(fresh, jax.tree.map(lambda leaf, member=member: leaf[member], loaded))
        np.testing.assert_array_equal(fresh(inputs)[0], trained(inputs)[0])
    assert capfd.readouterr() == ("", "")


def test_what_growth_wrote_in_several_folders_is_joined(store):
    save_parameters(store, NAME, 0, 10, (1.0,), 2, states((1.0,), [2, 3, 4]))
    save_parameters(store, NAME, 0, 10, (5.0, 1.0), 0, states((5.0, 1.0), [0, 1]))
    loaded = load_parameters(store, network=NAME, level=1.0, n_train=10)
    expected = nnx.to_pure_dict(states((1.0,), range(3)))
    for got, want in zip(jax.tree.leaves(loaded), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(got, want[0])
    # Two members of the other cell are marked as done.
    assert {len(leaf) for leaf in jax.tree.leaves(load_parameters(store, network=NAME, level=5.0, n_train=10))} == {2}


def test_what_is_written_again_replaces_it(store):
    save_parameters(store, NAME, 0, 10, (1.0,), 0, {"kernel": np.zeros((1, 3, 2))})
    save_parameters(store, NAME, 0, 10, (1.0,), 0, {"kernel": np.ones((1, 3, 2))})
    np.testing.assert_array_equal(
        load_parameters(store, network=NAME, level=1.0, n_train=10)["kernel"], np.ones((3, 2))
    )


def test_what_is_not_there_is_named(store):
    with pytest.raises(FileNotFoundError, match="the sweep was run without keeping them"):
        load_parameters(store, network=NAME, level=1.0, n_train=10)
    save_parameters(store, NAME, 0, 10, (1.0,), 0, states((1.0,), range(2)))
    with pytest.raises(FileNotFoundError, match="parameters of member 2 of MLP"):
        load_parameters(store, network=NAME, level=1.0, n_train=10)
    with pytest.raises(FileNotFoundError, match="has not come to MLP.* noise level 5, n_train 40 yet"):
        load_parameters(store, network=NAME, level=5.0, n_train=40)
    with pytest.raises(FileNotFoundError, match="there is no store"):
        load_parameters(store.parent / "none.zarr", network=NAME, level=5.0, n_train=40)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "MLP"}, r"network must be one of .*MLP\(hidden=3.*; got 'MLP'"),
        ({"replicate": 1}, "replicate must be an integer of at least 0 and at most 0, got 1"),
        ({"level": 2.0}, "level must be one of 1.0, 5.0, got 2.0"),
        ({"n_train": 11}, "n_train must be one of 40, 10, got 11"),
    ],
)
def test_bad_input_is_named(store, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_parameters(store, **({"network": NAME, "replicate": 0, "level": 1.0, "n_train": 10} | arguments))


@pytest.mark.parametrize("location", [None, "s3://bucket/sweep.zarr", "memory://sweep.zarr"])
def test_places_that_keep_no_parameters_are_refused(location):
    with pytest.raises(ValueError, match=r"store .of a sweep that keeps parameters. must be a local path or a gs"):
        check_parameters_location(location)
    check_parameters_location("gs://bucket/sweep.zarr")


def test_the_leading_axes_are_checked(store):
    with pytest.raises(ValueError, match=r"state must be arrays of \(2 levels, members, ...\)"):
        save_parameters(store, NAME, 0, 10, (1.0, 5.0), 0, {"kernel": np.zeros((1, 3, 2))})
