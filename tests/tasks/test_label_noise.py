"""Noise processes; symmetric label noise is tested in test_images.py."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.streams import Role, stream
from jaxalign.tasks import ImageTask, LinearTeacher, label_noise

NOISE = stream(0, Role.TARGET_NOISE)
LABELS = jnp.arange(30_000, dtype=jnp.int32) % 4
CLEAN = np.asarray(LABELS)
SIGMAS = 4.5
KEPT = (1, 3, 5, 7)
T = ((0.5, 0.5, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.1, 0.2, 0.3, 0.4), (1.0, 0.0, 0.0, 0.0))

TASKS = {
    "symmetric": ImageTask("digits", classes=KEPT),
    "pairwise": ImageTask("digits", classes=KEPT, noise_process="pairwise"),
    "asymmetric": ImageTask("digits", classes=KEPT, noise_process="asymmetric", transitions=T),
}
CORRUPT = {process: jax.jit(task.corrupt) for process, task in TASKS.items()}
GAUSSIAN = ImageTask("digits", noise_process="gaussian_inputs")


def corrupt(process, p, labels=LABELS, key=NOISE):
    return np.asarray(CORRUPT[process](key, labels, p))


def close_to_probability(count, n, p):
    np.testing.assert_allclose(count / n, p, atol=SIGMAS * np.sqrt(p * (1 - p) / n))


@pytest.mark.parametrize(
    "process, expected",
    [("symmetric", 0.75), ("pairwise", 1.0), ("asymmetric", (0.5 + 0.0 + 0.7 + 1.0) / 4)],
)
@pytest.mark.parametrize("p", [0.2, 1.0])
def test_the_corrupted_fraction_is_the_stated_one(process, expected, p):
    assert TASKS[process].clean_train_error(p) == pytest.approx(p * expected)
    assert TASKS[process].clean_train_error(0.0) == 0
    close_to_probability((corrupt(process, p) != CLEAN).sum(), len(CLEAN), p * expected)
    np.testing.assert_array_equal(corrupt(process, 0.0), CLEAN)


def test_pairwise_noise_makes_the_next_class_of_the_last_the_first():
    noisy = corrupt("pairwise", 0.4)
    flipped = noisy != CLEAN
    np.testing.assert_array_equal(noisy[flipped], (CLEAN[flipped] + 1) % 4)
    assert set(noisy[flipped & (CLEAN == 3)]) == {0}


@pytest.mark.parametrize("label", range(4))
@pytest.mark.parametrize("p", [0.3, 1.0])
def test_asymmetric_noise_draws_from_the_row_of_the_label(label, p):
    noisy = corrupt("asymmetric", p, jnp.full_like(LABELS, label))
    counts = np.bincount(noisy, minlength=4)
    assert counts.shape == (4,) and noisy.dtype == np.int32
    expected = p * np.array(T[label]) + (1 - p) * np.eye(4)[label]
    for count, probability in zip(counts, expected, strict=True):
        close_to_probability(count, len(noisy), probability)


def test_all_label_processes_replace_the_same_rows():
    pairwise = corrupt("pairwise", 0.3) != CLEAN
    for process in ("symmetric", "asymmetric"):
        changed = corrupt(process, 0.3) != CLEAN
        assert changed.any() and not (changed & ~pairwise).any()


@pytest.mark.parametrize("process", TASKS)
def test_label_noise_is_nested_in_the_level_and_in_n(process):
    few, many = corrupt(process, 0.2), corrupt(process, 0.6)
    flipped = few != CLEAN
    assert 0 < flipped.sum() < (many != CLEAN).sum()
    np.testing.assert_array_equal(many[flipped], few[flipped])
    np.testing.assert_array_equal(corrupt(process, 0.6, LABELS[:321]), many[:321])
    other = corrupt(process, 0.6, key=stream(0, Role.TARGET_NOISE, 0, 1))
    assert (other != many).mean() > 0.2


def test_uniform_transitions_are_distributed_as_symmetric_noise():
    task = ImageTask("digits", classes=KEPT, noise_process="asymmetric", transitions=np.full((4, 4), 0.25))
    assert task.clean_train_error(0.4) == pytest.approx(TASKS["symmetric"].clean_train_error(0.4))
    counts = np.bincount(np.asarray(task.corrupt(NOISE, jnp.full_like(LABELS, 2), 1.0)), minlength=4)
    for count in counts:
        close_to_probability(count, len(CLEAN), 0.25)


def test_a_class_of_probability_0_at_the_end_is_never_drawn():
    """The sum of a row may be short of 1 by rounding, and a uniform number may lie between."""
    row = (0.4999996, 0.4999996, 0.0)
    assert label_noise.check_transitions((row,) * 3, 3) == (row,) * 3
    np.testing.assert_array_equal(label_noise._thresholds((row,) * 3), [[0.5, 1.0]] * 3)


@pytest.mark.parametrize("transitions", [np.array(T), [list(row) for row in T]])
def test_a_matrix_of_any_kind_becomes_tuples_of_floats(transitions):
    task = ImageTask("digits", classes=KEPT, noise_process="asymmetric", transitions=transitions)
    assert task == TASKS["asymmetric"] and hash(task) == hash(TASKS["asymmetric"])
    assert all(type(x) is float for row in task.transitions for x in row)


MATRIX = "transitions must be a 2 x 2 matrix of probabilities, every row of sum 1"


@pytest.mark.parametrize(
    "process, transitions, message",
    [
        ("asymmetric", None, f"{MATRIX}, got None"),
        ("asymmetric", ((1.0, 0.0),), f"{MATRIX}, got ((1.0, 0.0),)"),
        ("asymmetric", ((1.0, 0.0), (1.0,)), f"{MATRIX}, got ((1.0, 0.0), (1.0,))"),
        ("asymmetric", (("a", 0.0), (0.0, 1.0)), f"{MATRIX}, got (('a', 0.0), (0.0, 1.0))"),
        (
            "asymmetric",
            ((1.5, -0.5), (0.0, 1.0)),
            f"{MATRIX}, entries from 0 to 1, got ((1.5, -0.5), (0.0, 1.0))",
        ),
        (
            "asymmetric",
            ((math.nan, 1.0), (0.0, 1.0)),
            f"{MATRIX}, entries from 0 to 1, got ((nan, 1.0), (0.0, 1.0))",
        ),
        (
            "asymmetric",
            ((0.5, 0.5), (0.3, 0.6)),
            f"{MATRIX} (row 1 has the sum 0.9), got ((0.5, 0.5), (0.3, 0.6))",
        ),
        (
            "symmetric",
            ((1.0, 0.0), (0.0, 1.0)),
            "transitions must be None for symmetric noise, got ((1.0, 0.0), (0.0, 1.0))",
        ),
    ],
)
def test_bad_transitions(process, transitions, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ImageTask("digits", classes=(3, 5), noise_process=process, transitions=transitions)


@pytest.fixture(scope="module")
def world():
    return GAUSSIAN.load(stream(0, Role.TEACHER))


@pytest.fixture(scope="module")
def drawn(world):
    return GAUSSIAN.draw_inputs(world, stream(0, Role.INPUTS), 1000)


def noise_of(world, drawn, level, key=NOISE, rows=None):
    clean = GAUSSIAN.inputs(world, drawn)
    return np.asarray(GAUSSIAN.noisy_inputs(world, drawn, key, level, rows) - clean)


@pytest.mark.parametrize("snr", [0.5, 4.0])
def test_gaussian_noise_on_the_inputs_has_variance_1_over_snr(world, drawn, snr):
    noise = noise_of(world, drawn, snr)
    n = noise.size
    assert noise.shape == (1000, 8, 8, 1)
    np.testing.assert_allclose(noise.var(), 1 / snr, rtol=SIGMAS * np.sqrt(2 / n))
    np.testing.assert_allclose(noise.mean(), 0, atol=SIGMAS / np.sqrt(snr * n))
    clean = np.asarray(GAUSSIAN.inputs(world, drawn))
    np.testing.assert_allclose((noise * clean).mean(), 0, atol=SIGMAS * np.sqrt((clean**2).mean() / snr / n))
    pixels = np.asarray(GAUSSIAN.inputs(world, jnp.arange(1397)), np.float64)
    np.testing.assert_allclose(pixels.var() / noise.var(), snr, rtol=SIGMAS * np.sqrt(2 / n) + 1e-4)


def test_every_pixel_and_row_has_noise_of_its_own(world, drawn):
    noise = noise_of(world, drawn, 1.0)[..., 0].reshape(1000, 64).astype(np.float64)
    correlations = np.corrcoef(noise.T) - np.eye(64)
    assert np.abs(correlations).max() < 5.5 / np.sqrt(1000)  # the largest of 2016
    rows = np.corrcoef(noise[:100]) - np.eye(100)
    assert np.abs(rows).max() < 5.5 / np.sqrt(64)


def test_noise_on_the_inputs_is_nested_in_n_scaled_by_the_level_and_the_members_own(world, drawn):
    noise = noise_of(world, drawn, 1.0)
    np.testing.assert_allclose(noise_of(world, drawn[:77], 1.0), noise[:77], atol=1e-6)
    np.testing.assert_allclose(noise_of(world, drawn, 4.0), noise / 2, atol=1e-5)
    np.testing.assert_array_equal(noise_of(world, drawn, math.inf), 0 * noise)
    other = noise_of(world, drawn, 1.0, stream(0, Role.TARGET_NOISE, 0, 1))
    np.testing.assert_allclose((noise * other).mean(), 0, atol=SIGMAS / np.sqrt(noise.size))


def test_a_minibatch_gets_the_noise_of_its_rows(world, drawn):
    rows = jnp.array([5, 900, 5, 0])
    np.testing.assert_allclose(
        noise_of(world, drawn[rows], 0.5, rows=rows), noise_of(world, drawn, 0.5)[np.asarray(rows)], atol=1e-5
    )


def test_noise_on_the_inputs_leaves_labels_and_test_images_clean(world):
    np.testing.assert_array_equal(GAUSSIAN.corrupt(NOISE, LABELS, 0.1), LABELS)
    assert GAUSSIAN.clean_train_error(0.1) == 0
    for got, clean in zip(
        GAUSSIAN.test_set(world, stream(0, Role.PROBES), 50),
        ImageTask("digits").test_set(world, stream(0, Role.PROBES), 50),
        strict=True,
    ):
        np.testing.assert_array_equal(got, clean)


def test_what_the_noise_is_called_and_put_on(world, drawn):
    assert (GAUSSIAN.noise_name, GAUSSIAN.noise_on_inputs) == ("snr", True)
    assert GAUSSIAN.check_noise([1, 0.5, math.inf]) == (1.0, 0.5, math.inf)
    for task in (*TASKS.values(), LinearTeacher(3)):
        assert not task.noise_on_inputs
    assert {task.noise_name for task in TASKS.values()} == {"label_noise"}
    plain = ImageTask("digits")
    np.testing.assert_array_equal(plain.noisy_inputs(world, drawn, NOISE, 0.5), plain.inputs(world, drawn))
    teacher = LinearTeacher(3)
    x = jnp.ones((4, 3))
    np.testing.assert_array_equal(teacher.noisy_inputs(jnp.ones((1, 3)), x, NOISE, 0.5), x)


@pytest.mark.parametrize(
    "levels, message",
    [
        ([0.0], "noise[0] must be a number above 0, got 0.0"),
        ([-1.0], "noise[0] must be a number above 0, got -1.0"),
        (0.5, "noise must be a non-empty sequence of signal-to-noise ratios, got 0.5"),
    ],
)
def test_check_noise_refuses(levels, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        GAUSSIAN.check_noise(levels)
