import dataclasses
import re

import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import MLP, SweepConfig
from jaxalign.streams import Role, stream
from jaxalign.sweep.config import from_json, to_json
from jaxalign.tasks import ImageTask

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (30, 5, 4, 3), dtype=np.uint8)
GRAY = RNG.normal(3.0, 2.0, (30, 5, 4))
ROWS = RNG.normal(-1.0, 0.5, (30, 7)).astype(np.float32)
Y = np.arange(30) % 3
TEST = slice(0, 20)


def task_of(x=COLOUR, y=Y, **options):
    return ImageTask.from_arrays(x, y, x[TEST], y[TEST], **options)


def load(task):
    return task.load(stream(0, Role.TEACHER))


@pytest.mark.parametrize(
    "x, shape, kept", [(COLOUR, (5, 4, 3), np.uint8), (GRAY, (5, 4, 1), np.float32), (ROWS, (7,), np.float32)]
)
def test_what_is_loaded_is_what_was_given(x, shape, kept):
    task = task_of(x)
    assert (task.name, task.input_shape, task.n_outputs) == ("arrays", shape, 3)
    assert (task.n_train_available, task.n_probes_available) == (30, 20)
    world = load(task)
    assert (world.train_images.dtype, world.train_labels.dtype) == (kept, np.int32)
    np.testing.assert_array_equal(world.train_images, x.reshape(30, *shape).astype(kept))
    np.testing.assert_array_equal(world.test_images, x[TEST].reshape(20, *shape).astype(kept))
    np.testing.assert_array_equal(world.train_labels, Y)
    np.testing.assert_array_equal(world.test_labels, Y[TEST])


@pytest.mark.parametrize("x, axes", [(COLOUR, (0, 1, 2)), (GRAY, None), (ROWS, None)])
def test_each_channel_is_standardized_by_the_training_images(x, axes):
    """Rows of features have no channels: one mean and one standard deviation for all."""
    task = task_of(x)
    world = load(task)
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(axes)) / wide.std(axes)
    got = task.inputs(world, jnp.arange(30))
    np.testing.assert_allclose(got, expected.reshape(got.shape), atol=1e-5)
    test, _ = task.test_set(world, stream(0, Role.PROBES), 20)
    np.testing.assert_allclose(np.sort(np.ravel(test)), np.sort(np.ravel(expected[TEST])), atol=1e-5)


def test_a_constant_channel_becomes_0():
    x = GRAY[..., None] * np.array([1.0, 0.0, 1.0]) + np.array([0.0, 0.1, 5.0])
    world = load(task_of(x))
    assert world.pixel_std[1] == 1
    inputs = np.asarray(task_of(x).inputs(world, jnp.arange(30)))
    np.testing.assert_allclose(inputs[..., 1], 0, atol=1e-6)
    np.testing.assert_allclose(inputs[..., [0, 2]].std((0, 1, 2)), 1, atol=1e-5)


def test_moments_of_many_images_far_from_0():
    """More than one chunk of images, whose mean is far larger than their standard deviation."""
    x = RNG.normal(1000.0, 0.1, (1203, 3, 2, 2))
    world = load(ImageTask.from_arrays(x, np.arange(1203) % 2, x[:5], np.zeros(5, int)))
    kept = x.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(world.pixel_mean, kept.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(world.pixel_std, kept.std((0, 1, 2)), rtol=1e-6)


def test_tasks_are_told_apart_by_their_content():
    task, same = task_of(), task_of(COLOUR.copy(), Y.astype(np.uint8))
    assert task == same and hash(task) == hash(same)
    other = COLOUR.copy()
    other[-1, -1, -1, -1] ^= 1
    others = [
        task_of(other),
        task_of(y=np.roll(Y, 1)),
        task_of(name="other"),
        task_of(classes=(0, 2)),
        task_of(COLOUR.astype(np.float32)),
        ImageTask.from_arrays(COLOUR, Y, COLOUR[:19], Y[:19]),
    ]
    assert len({task, *others}) == 7
    assert " data=" not in repr(task)


def test_the_arrays_are_copied():
    x = COLOUR.copy()
    task = task_of(x)
    x[:] = 0
    np.testing.assert_array_equal(load(task).train_images, COLOUR)
    with pytest.raises(ValueError, match="read-only"):
        task.data[0][0][:] = 0


def test_classes_and_noise_of_arrays():
    task = task_of(classes=(2, 0), noise_process="gaussian_inputs")
    world = load(task)
    assert (task.n_outputs, task.noise_name) == (2, "snr")
    np.testing.assert_array_equal(world.train_images, COLOUR[Y != 1])
    np.testing.assert_array_equal(world.train_labels, np.where(Y[Y != 1] == 2, 0, 1))
    changed = dataclasses.replace(task, noise_process="pairwise", classes=None)
    assert changed == task_of(noise_process="pairwise") and len(load(changed).train_labels) == 30
    with pytest.raises(ValueError, match=r"n_train must be at most 20, .* 'arrays' in the classes \(2, 0\), got 21"):
        task.check_available(world, 21, 10)


def config_of(task, noise=(0.2,)):
    return SweepConfig(task=task, networks=(MLP(4),), noise=noise, n_train=(20,), probes=10)


@pytest.mark.parametrize(
    "task",
    [
        ImageTask("cifar10", classes=(3, 5)),
        ImageTask("mnist", noise_process="pairwise"),
        ImageTask("mnist", noise_process="gaussian_inputs", data_dir="/data", download=True),
        ImageTask("mnist", classes=(1, 2), noise_process="asymmetric", transitions=((0.9, 0.1), (0.25, 0.75))),
    ],
)
def test_a_configuration_comes_back_from_json(task):
    back = from_json(to_json(config_of(task)))
    assert back == config_of(task) and hash(back) == hash(config_of(task))
    assert (back.task.data_dir, back.task.download) == (None, False)


def test_arrays_come_back_from_json_without_their_content():
    text = to_json(config_of(task_of(GRAY, classes=(0, 2), name="mine")))
    assert len(text) < 2000
    back = from_json(text).task
    assert back == task_of(GRAY, classes=(0, 2), name="mine") and back.data is None
    assert (back.input_shape, back.n_outputs, back.n_train_available) == ((5, 4, 1), 2, 30)
    message = rf"'mine' \(digest {back.arrays.digest}\).*pass the same arrays to ImageTask.from_arrays"
    with pytest.raises(FileNotFoundError, match=message):
        load(back)


IMAGES = "images of shape (n, height, width, channels), (n, height, width) or (n, features), none of them 0"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"x_train": Y.reshape(30, 1)}, "x_train must be images of type uint8 or floating point, got 'int64'"),
        ({"x_test": np.zeros((20, 7), bool)}, "x_test must be images of type uint8 or floating point, got 'bool'"),
        ({"x_train": ROWS[:, 0]}, f"x_train must be {IMAGES}, got (30,)"),
        ({"x_train": ROWS[:0]}, f"x_train must be {IMAGES}, got (0, 7)"),
        ({"x_train": ROWS[:, None, None, None]}, f"x_train must be {IMAGES}, got (30, 1, 1, 1, 7)"),
        (
            {"x_train": np.where(np.eye(30, 7) * (Y == 2)[:, None] > 0, np.nan, ROWS)},
            "x_train must be finite in float32 (it is not at (2, 2)), got nan",
        ),
        (
            {"x_test": np.full((20, 7), 1e39)},
            "x_test must be finite in float32 (it is not at (0, 0)), got 1e+39",
        ),
        ({"y_train": Y[:, None]}, "y_train must be labels of shape (n,), got (30, 1)"),
        ({"y_train": Y.astype(float)}, "y_train must be integer labels, got 'float64'"),
        ({"y_train": Y > 0}, "y_train must be integer labels, got 'bool'"),
        ({"y_train": Y - 1}, "y_train must be labels from 0 to C - 1, got -1"),
        ({"y_test": Y[TEST] + 2**40}, f"y_test must be labels from 0 to C - 1, got {2**40 + 2}"),
        ({"y_train": Y[:29]}, "y_train must be 30 labels, one for each row of x_train, got 29"),
        ({"y_test": Y}, "y_test must be 20 labels, one for each row of x_test, got 30"),
        ({"y_train": 0 * Y}, "y_train must be labels of at least 2 classes, got (0,)"),
        (
            {"y_train": Y + 1},
            "y_train must be labels from 0 to C - 1 with every class present (class 0 is not), got (1, 2, 3)",
        ),
        (
            {"y_train": Y * 2},
            "y_train must be labels from 0 to C - 1 with every class present (class 1 is not), got (0, 2, 4)",
        ),
        ({"y_test": Y[TEST] + 1}, "y_test must be classes of y_train, below 3, got 3"),
        ({"x_test": ROWS[TEST, :6]}, "x_test must be images of the shape of x_train, (7,), got (6,)"),
        ({"x_test": np.zeros((20, 7), np.uint8)}, "x_test must be float32 as x_train, got 'uint8'"),
        ({"name": ""}, "name must be a non-empty string, got ''"),
        ({"name": 3}, "name must be a non-empty string, got 3"),
    ],
)
def test_bad_input(change, message):
    good = {"x_train": ROWS, "y_train": Y, "x_test": ROWS[TEST], "y_test": Y[TEST]}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ImageTask.from_arrays(**(good | change))
