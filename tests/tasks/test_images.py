import re
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxalign.streams import Role, stream
from jaxalign.tasks import ImageTask, Task

TASK = ImageTask("digits")
corrupt = jax.jit(TASK.corrupt)  # as it is used, and compiled once per size
NOISE = stream(0, Role.TARGET_NOISE)
LABELS = jnp.arange(30_000, dtype=jnp.int32) % 10
SIGMAS = 4.5


@pytest.fixture(scope="module")
def world():
    return TASK.load(stream(0, Role.TEACHER))


def test_shapes_and_types(world):
    assert (world.train_images.shape, world.test_images.shape) == ((1397, 8, 8, 1), (400, 8, 8, 1))
    assert (world.train_labels.shape, world.test_labels.shape) == ((1397,), (400,))
    assert (world.train_images.dtype, world.train_labels.dtype) == (jnp.uint8, jnp.int32)


@pytest.mark.parametrize(
    "task, shape, available",
    [
        (TASK, (8, 8, 1), (1397, 400)),
        (ImageTask("mnist"), (28, 28, 1), (60_000, 10_000)),
        (ImageTask("fashion_mnist"), (28, 28, 1), (60_000, 10_000)),
        (ImageTask("cifar10"), (32, 32, 3), (50_000, 10_000)),
    ],
)
def test_what_the_task_says_of_itself(task, shape, available):
    assert isinstance(task, Task)
    assert (task.noise_name, task.output_layer, task.classification) == ("label_noise", "logits", True)
    assert (task.input_shape, task.n_outputs, task.alpha(100)) == (shape, 10, None)
    assert (task.n_train_available, task.n_probes_available) == available


def test_train_and_test_together_are_the_digits_once_each(world):
    def multiset(images, labels):
        return Counter((np.asarray(x).astype(np.uint8).tobytes(), int(y)) for x, y in zip(images, labels, strict=True))

    train = multiset(np.asarray(world.train_images), np.asarray(world.train_labels))
    test = multiset(np.asarray(world.test_images), np.asarray(world.test_labels))
    digits = load_digits()
    assert train.total() + test.total() == 1797
    assert train + test == multiset(digits.images, digits.target)


@pytest.mark.parametrize("split", ["train_labels", "test_labels"])
def test_labels_are_balanced(world, split):
    labels = np.asarray(getattr(world, split))
    counts = np.bincount(labels, minlength=10)
    assert counts.shape == (10,)
    np.testing.assert_allclose(counts, len(labels) / 10, atol=SIGMAS * np.sqrt(len(labels) * 0.09))


def test_pixels_are_standardized_on_the_training_set(world):
    x = np.asarray(TASK.inputs(world, jnp.arange(1397)), np.float64)
    assert x.shape == (1397, 8, 8, 1)
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-5)


def test_inputs_and_targets_are_those_of_the_drawn_rows(world):
    drawn = TASK.draw_inputs(world, stream(0, Role.INPUTS), 20)
    pixels = np.asarray(world.train_images, np.float64)
    expected = (pixels[np.asarray(drawn)] - pixels.mean()) / pixels.std()
    np.testing.assert_allclose(TASK.inputs(world, drawn), expected, atol=1e-5)
    np.testing.assert_array_equal(TASK.clean_targets(world, drawn), np.asarray(world.train_labels)[np.asarray(drawn)])


def test_the_order_is_nested_and_without_repetition(world):
    key = stream(0, Role.INPUTS)
    order = np.asarray(TASK.draw_inputs(world, key, 1397))
    np.testing.assert_array_equal(np.sort(order), np.arange(1397))
    for m in (1, 50):
        np.testing.assert_array_equal(TASK.draw_inputs(world, key, m), order[:m])
    assert (np.asarray(TASK.draw_inputs(world, stream(0, Role.INPUTS, 1), 1397)) != order).mean() > 0.9


def test_the_test_set_is_every_test_image_once_with_its_label(world):
    key = stream(0, Role.PROBES)
    inputs, labels = map(np.asarray, TASK.test_set(world, key, 100))
    mean, std = float(world.pixel_mean), float(world.pixel_std)
    pixels = np.rint(inputs * std + mean).astype(np.uint8)
    np.testing.assert_allclose(inputs, (pixels - mean) / std, atol=1e-5)
    both = [
        sorted((x.tobytes(), int(y)) for x, y in zip(images, targets, strict=True))
        for images, targets in ((pixels, labels), (np.asarray(world.test_images), np.asarray(world.test_labels)))
    ]
    assert both[0] == both[1]
    np.testing.assert_array_equal(TASK.test_set(world, key, 7)[0][:7], inputs[:7])
    assert (np.asarray(TASK.test_set(world, stream(0, Role.PROBES, 1), 100)[0]) != inputs).any()


@pytest.mark.parametrize("p", [0.1, 0.4, 1.0])
def test_the_corrupted_fraction_is_p_times_1_minus_1_over_classes(p):
    noisy = np.asarray(corrupt(NOISE, LABELS, p))
    fraction = (noisy != np.asarray(LABELS)).mean()
    expected = p * 0.9
    assert TASK.clean_train_error(p) == pytest.approx(expected)
    np.testing.assert_allclose(fraction, expected, atol=SIGMAS * np.sqrt(expected * (1 - expected) / len(LABELS)))
    assert noisy.dtype == LABELS.dtype


@pytest.mark.parametrize("true_class", [0, 9])
def test_the_new_class_is_uniform_over_all_classes(true_class):
    noisy = corrupt(NOISE, jnp.full_like(LABELS, true_class), 1.0)
    counts = np.bincount(noisy, minlength=10)
    assert counts.shape == (10,)
    np.testing.assert_allclose(counts, 3000, atol=SIGMAS * np.sqrt(len(LABELS) * 0.09))


@pytest.mark.parametrize("low, high", [(0.2, 0.4), (0.05, 1.0)])
def test_flips_are_a_subset_of_those_at_more_noise_with_the_same_new_class(low, high):
    clean = np.asarray(LABELS)
    few, many = (np.asarray(corrupt(NOISE, LABELS, p)) for p in (low, high))
    flipped = few != clean
    assert 0 < flipped.sum() < (many != clean).sum()
    np.testing.assert_array_equal(many[flipped], few[flipped])


def test_label_noise_is_nested_in_n_and_differs_between_members():
    noisy = np.asarray(corrupt(NOISE, LABELS, 0.5))
    np.testing.assert_array_equal(corrupt(NOISE, LABELS[:321], 0.5), noisy[:321])
    other = np.asarray(corrupt(stream(0, Role.TARGET_NOISE, 0, 1), LABELS, 0.5))
    agree = 0.55**2 + 9 * 0.05**2  # per class: the true one has probability 0.55, each other one 0.05
    np.testing.assert_allclose((noisy == other).mean(), agree, atol=SIGMAS * np.sqrt(0.25 / len(LABELS)))


def test_no_noise_leaves_all_labels():
    np.testing.assert_array_equal(corrupt(NOISE, LABELS, 0.0), LABELS)
    assert TASK.clean_train_error(0.0) == 0


def test_loss_is_the_cross_entropy_and_error_counts_wrong_answers():
    logits = np.random.default_rng(0).normal(size=(6, 10)).astype(np.float32)
    labels = np.argmax(logits, axis=1).astype(np.int32)
    labels[:2] = (labels[:2] + 1) % 10
    expected = np.log(np.exp(logits).sum(1)) - logits[np.arange(6), labels]
    np.testing.assert_allclose(TASK.loss(jnp.asarray(logits), jnp.asarray(labels)), expected, rtol=1e-5)
    np.testing.assert_array_equal(TASK.error(jnp.asarray(logits), jnp.asarray(labels)), [1, 1, 0, 0, 0, 0])


@pytest.mark.parametrize("classes", [(3, 5), (9, 0, 4)])
def test_only_the_kept_classes_are_there_relabelled_in_their_order(world, classes):
    task = ImageTask("digits", classes=classes)
    kept = task.load(stream(0, Role.TEACHER))
    assert task.n_outputs == len(classes) and (task.n_train_available, task.n_probes_available) == (1397, 400)
    for split in ("train", "test"):
        images, labels = (np.asarray(getattr(kept, f"{split}_{part}")) for part in ("images", "labels"))
        all_images, all_labels = (np.asarray(getattr(world, f"{split}_{part}")) for part in ("images", "labels"))
        assert len(labels) == np.isin(all_labels, classes).sum() and labels.dtype == np.int32
        for label, original in enumerate(classes):
            np.testing.assert_array_equal(images[labels == label], all_images[all_labels == original])
    pixels = np.asarray(kept.train_images, np.float64)
    np.testing.assert_allclose([kept.pixel_mean, kept.pixel_std], [pixels.mean(), pixels.std()], rtol=1e-6)
    noisy = np.asarray(task.corrupt(NOISE, jnp.zeros(3000, jnp.int32), 1.0))
    assert set(noisy) == set(range(len(classes)))


def test_symmetric_draws_are_those_they_always_were():
    """What a seed gave stays; the definition is written here a second time, with numbers beside it."""

    def draw(row):
        flip_key, class_key = jax.random.split(jax.random.fold_in(NOISE, row))
        return jax.random.uniform(flip_key), jax.random.randint(class_key, (), 0, 10, jnp.int32)

    uniform, other = jax.vmap(draw)(jnp.arange(3000))
    expected = jnp.where(uniform < 0.3, other, LABELS[:3000])
    np.testing.assert_array_equal(corrupt(NOISE, LABELS[:3000], 0.3), expected)
    np.testing.assert_array_equal(expected[:12], [0, 1, 2, 3, 4, 7, 6, 5, 8, 9, 0, 1])


def test_equality_ignores_where_the_data_lies():
    assert ImageTask("mnist", data_dir="/a") == ImageTask("mnist") != ImageTask("digits")
    assert hash(ImageTask("mnist", data_dir="/a")) == hash(ImageTask("mnist", data_dir="/b"))
    assert ImageTask("mnist", download=True) == ImageTask("mnist")
    assert ImageTask("mnist", classes=[3, 5]) == ImageTask("mnist", classes=(3, 5)) != ImageTask("mnist")
    assert ImageTask("mnist", classes=(3, 5)) != ImageTask("mnist", classes=(5, 3))
    assert ImageTask("mnist", noise_process="pairwise") != ImageTask("mnist")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"name": "minst"},
            "name must be one of cifar10, digits, fashion_mnist, mnist; got 'minst' (did you mean 'mnist'?)",
        ),
        (
            {"name": "Digits"},
            "name must be one of cifar10, digits, fashion_mnist, mnist; got 'Digits' (did you mean 'digits'?)",
        ),
        ({"name": "zzz"}, "name must be one of cifar10, digits, fashion_mnist, mnist; got 'zzz'"),
        ({"name": 3}, "name must be one of cifar10, digits, fashion_mnist, mnist; got 3"),
        ({"name": "mnist", "download": 1}, "download must be True or False, got 1"),
        (
            {"name": "mnist", "classes": 3},
            "classes must be a non-empty sequence of classes from 0 to 9, got 3",
        ),
        (
            {"name": "mnist", "classes": (3, 3)},
            "classes must be a non-empty sequence of classes from 0 to 9 without repetitions, got (3, 3)",
        ),
        ({"name": "mnist", "classes": (3,)}, "classes must be at least 2 classes, got (3,)"),
        (
            {"name": "mnist", "classes": (3, 10)},
            "classes[1] must be an integer of at least 0 and at most 9, got 10",
        ),
        (
            {"name": "mnist", "classes": (3, 1.5)},
            "classes[1] must be an integer of at least 0 and at most 9, got 1.5",
        ),
        (
            {"name": "mnist", "noise_process": "pairwse"},
            "noise_process must be one of asymmetric, gaussian_inputs, pairwise, symmetric; got 'pairwse' "
            "(did you mean 'pairwise'?)",
        ),
        ({"name": "mnist", "data_dir": 3}, "data_dir must be None or the path of a folder as a string, got 3"),
        (
            {"name": "mnist", "data_dir": Path("/a")},
            f"data_dir must be None or the path of a folder as a string, got {Path('/a')!r}",
        ),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ImageTask(**arguments)


def test_check_noise_accepts_both_ends():
    assert TASK.check_noise([0, 0.3, 1]) == (0.0, 0.3, 1.0)


@pytest.mark.parametrize(
    "levels, message",
    [
        (0.2, "noise must be a non-empty sequence of label-noise fractions, got 0.2"),
        ([0.2, 0.2], "noise must be a non-empty sequence of label-noise fractions without repetitions, got (0.2, 0.2)"),
        ([0.0, 1.1], "noise[1] must be a finite number of at least 0 and at most 1, got 1.1"),
        ([-0.1], "noise[0] must be a finite number of at least 0 and at most 1, got -0.1"),
        ([float("nan")], "noise[0] must be a finite number of at least 0 and at most 1, got nan"),
        ([True], "noise[0] must be a finite number of at least 0 and at most 1, got True"),
    ],
)
def test_check_noise_refuses(levels, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        TASK.check_noise(levels)
