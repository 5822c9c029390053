import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.streams import Role, draw_rows, stream
from jaxalign.tasks import LinearTeacher, PowerLaw, Task

TASK = LinearTeacher(40, 3)
corrupt = jax.jit(TASK.corrupt)  # as it is used, and compiled once per size
SIGMAS = 4.5
N = 20_000


@pytest.fixture(scope="module")
def world():
    return TASK.load(stream(0, Role.TEACHER))


@pytest.fixture(scope="module")
def clean(world):
    return TASK.clean_targets(world, TASK.draw_inputs(world, stream(0, Role.INPUTS), N))


@pytest.mark.parametrize("dim, outputs", [(1, 1), (40, 3), (6, 6)])
def test_the_teacher_has_orthonormal_rows(dim, outputs):
    teacher = np.asarray(LinearTeacher(dim, outputs).load(stream(1, Role.TEACHER)))
    assert teacher.shape == (outputs, dim)
    np.testing.assert_allclose(teacher @ teacher.T, np.eye(outputs), atol=1e-5)


def test_the_teacher_is_drawn_from_its_key(world):
    np.testing.assert_array_equal(TASK.load(stream(0, Role.TEACHER)), world)
    assert np.abs(np.asarray(TASK.load(stream(0, Role.TEACHER, 1))) - np.asarray(world)).max() > 0.05


def test_what_the_task_says_of_itself():
    assert isinstance(TASK, Task)
    assert (TASK.noise_name, TASK.output_layer, TASK.classification) == ("snr", "output", False)
    assert (TASK.input_shape, TASK.n_outputs) == ((40,), 3)
    assert (TASK.n_train_available, TASK.n_probes_available) == (None, None)
    assert TASK.alpha(100) == 2.5
    assert LinearTeacher(40) == LinearTeacher(40, 1) != TASK
    assert hash(LinearTeacher(40, 3)) == hash(TASK)


def test_inputs_are_standard_normal_and_are_what_is_drawn(world):
    drawn = TASK.draw_inputs(world, stream(0, Role.INPUTS), N)
    np.testing.assert_array_equal(TASK.inputs(world, drawn), drawn)
    x = np.asarray(drawn, np.float64)
    assert x.shape == (N, 40)
    np.testing.assert_allclose(x.T @ x / len(x), np.eye(40), atol=SIGMAS * np.sqrt(2 / len(x)))
    np.testing.assert_allclose(x.mean(0), 0, atol=SIGMAS / np.sqrt(len(x)))


def test_clean_targets_are_the_teachers_outputs(world):
    drawn = TASK.draw_inputs(world, stream(0, Role.INPUTS), 50)
    expected = np.asarray(drawn, np.float64) @ np.asarray(world, np.float64).T
    np.testing.assert_allclose(TASK.clean_targets(world, drawn), expected, atol=1e-5)


def test_each_output_has_unit_variance(clean):
    np.testing.assert_allclose(np.var(clean, axis=0), 1, atol=SIGMAS * np.sqrt(2 / N))


@pytest.mark.parametrize("snr", [0.5, 5.0])
def test_snr_is_the_ratio_of_the_variances_per_output(clean, snr):
    noise = np.asarray(corrupt(stream(0, Role.TARGET_NOISE), clean, snr) - clean)
    ratio = np.var(clean, axis=0) / np.var(noise, axis=0)
    np.testing.assert_allclose(ratio, snr, rtol=SIGMAS * np.sqrt(4 / N))
    np.testing.assert_allclose(noise.mean(0), 0, atol=SIGMAS / np.sqrt(snr * N))
    correlations = np.corrcoef(np.concatenate([np.asarray(clean), noise], axis=1).T)
    np.testing.assert_allclose(correlations, np.eye(6), atol=SIGMAS / np.sqrt(N))


@pytest.mark.parametrize("snr", [0.5, 5.0])
def test_clean_train_error_is_the_error_of_the_teacher_on_noisy_targets(clean, snr):
    errors = np.asarray(TASK.error(clean, corrupt(stream(0, Role.TARGET_NOISE), clean, snr)))
    assert errors.shape == (N,)
    np.testing.assert_allclose(errors.mean(), TASK.clean_train_error(snr), rtol=SIGMAS * np.sqrt(2 / (3 * N)))


def test_a_network_that_answers_0_has_error_1(clean):
    errors = np.asarray(TASK.error(jnp.zeros_like(clean), clean))
    np.testing.assert_allclose(errors.mean(), 1, atol=SIGMAS * np.sqrt(2 / (3 * N)))


def test_loss_and_error_are_mean_squares_over_the_outputs():
    output, targets = jnp.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]), jnp.array([[1.0, 0.0, 2.0], [3.0, 0.0, 0.0]])
    for measure in (TASK.loss, TASK.error):
        np.testing.assert_allclose(measure(output, targets), [5 / 3, 3.0], rtol=1e-6)


@pytest.mark.parametrize("first, second", [(0.5, 5.0), (0.01, 1e3)])
def test_levels_scale_the_same_draws(clean, first, second):
    few, key = clean[:50], stream(0, Role.TARGET_NOISE)
    a, b = (np.asarray(corrupt(key, few, s) - few) * math.sqrt(s) for s in (first, second))
    np.testing.assert_allclose(a, b, atol=1e-6 * math.sqrt(max(first, second)) * 10)
    assert np.std(a) > 0.5


def test_an_infinite_snr_adds_nothing(clean):
    np.testing.assert_array_equal(corrupt(stream(0, Role.TARGET_NOISE), clean, math.inf), clean)
    assert TASK.clean_train_error(math.inf) == 0


def test_members_have_noise_of_their_own(clean):
    a, b = (np.asarray(corrupt(stream(0, Role.TARGET_NOISE, 0, m), clean, 1.0) - clean) for m in (0, 1))
    np.testing.assert_allclose((a * b).mean(0), 0, atol=SIGMAS / np.sqrt(N))


@pytest.mark.parametrize("m, n", [(1, 50), (30, 50)])
def test_the_first_rows_are_nested(world, m, n):
    key, noise = stream(0, Role.INPUTS), stream(0, Role.TARGET_NOISE)
    drawn = TASK.draw_inputs(world, key, n)
    np.testing.assert_array_equal(TASK.draw_inputs(world, key, m), drawn[:m])
    many, few = TASK.clean_targets(world, drawn), TASK.clean_targets(world, drawn[:m])
    np.testing.assert_allclose(corrupt(noise, few, 0.5), corrupt(noise, many, 0.5)[:m], atol=1e-5)


@pytest.mark.parametrize("probes, rows", [(10, 1000), (1500, 1500)])
def test_the_test_set_has_at_least_1000_clean_rows_of_its_own(world, probes, rows):
    inputs, targets = TASK.test_set(world, stream(0, Role.PROBES), probes)
    assert (inputs.shape, targets.shape) == ((rows, 40), (rows, 3))
    np.testing.assert_array_equal(targets, TASK.clean_targets(world, inputs))
    np.testing.assert_array_equal(inputs[:1000], TASK.test_set(world, stream(0, Role.PROBES), 1)[0])
    train = np.asarray(TASK.draw_inputs(world, stream(0, Role.INPUTS), rows))
    assert not set(map(bytes, np.asarray(inputs))) & set(map(bytes, train))
    # Independent, too: cosines of all pairs of a test and a training row are those of random directions.
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (np.asarray(inputs), train))
    assert np.abs(a @ b.T).max() < 0.9


ANISOTROPIC = [
    LinearTeacher(40, 3, strengths=(3, 2, 1), spectrum=PowerLaw(1.2)),
    LinearTeacher(40, 3, strengths=(0.1, 0.1, 0.4), spectrum=PowerLaw(1.2), coefficients="leading"),
    LinearTeacher(40, spectrum=tuple(np.linspace(0.1, 5.0, 40)), coefficients=tuple(np.arange(-4.0, 36.0))),
    LinearTeacher(40, 2, spectrum=tuple(np.linspace(0.1, 5.0, 40)), coefficients="leading"),
]


@pytest.mark.parametrize("task", ANISOTROPIC, ids=range(4))
def test_outputs_are_uncorrelated_with_the_given_strengths(task):
    teacher = np.asarray(task.load(stream(0, Role.TEACHER)), np.float64)
    b = np.array(task.strengths or (1,) * task.outputs)
    b = b / np.sqrt(np.mean(b**2))
    np.testing.assert_allclose(teacher @ np.diag(task.eigenvalues) @ teacher.T, np.diag(b**2), atol=2e-6)
    np.testing.assert_allclose(task.singular_values, b)


@pytest.mark.parametrize("task", ANISOTROPIC, ids=range(4))
def test_inputs_have_the_covariance_and_the_draws_of_isotropic_ones(task):
    key = stream(0, Role.INPUTS)
    world = task.load(stream(0, Role.TEACHER))
    standard = TASK.draw_inputs(world, key, N)
    drawn = task.draw_inputs(world, key, N)
    np.testing.assert_allclose(drawn, np.asarray(standard) * np.sqrt(task.eigenvalues), rtol=1e-6)
    outputs = np.asarray(task.clean_targets(world, drawn), np.float64)
    variances = task.singular_values**2
    np.testing.assert_allclose(outputs.var(axis=0), variances, rtol=SIGMAS * np.sqrt(2 / N))
    noisy = np.asarray(jax.jit(task.corrupt)(stream(0, Role.TARGET_NOISE), jnp.asarray(outputs, jnp.float32), 2.0))
    np.testing.assert_allclose((noisy - outputs).var(axis=0), 0.5, rtol=SIGMAS * np.sqrt(2 / N))
    np.testing.assert_allclose(
        task.test_set(world, stream(0, Role.PROBES), 10)[0].var(axis=0), task.eigenvalues, rtol=0.3
    )


def test_equal_strengths_and_eigenvalues_are_the_default_to_the_last_bit(world):
    same = LinearTeacher(40, 3, strengths=(2, 2, 2), spectrum=(1,) * 40)
    np.testing.assert_array_equal(same.load(stream(0, Role.TEACHER)), world)
    key = stream(0, Role.INPUTS)
    plain = draw_rows(key, 50, lambda row: jax.random.normal(row, (40,)))
    np.testing.assert_array_equal(TASK.draw_inputs(world, key, 50), plain)
    np.testing.assert_array_equal(same.draw_inputs(world, key, 50), plain)


def test_coefficients_in_the_eigenvectors():
    spectrum = (0.5, 2.0, 1.0, 2.0)
    key = stream(0, Role.TEACHER)
    leading = LinearTeacher(4, 3, spectrum=spectrum, coefficients="leading").load(key)
    expected = np.zeros((3, 4))
    expected[[0, 1, 2], [1, 3, 2]] = [np.sqrt(0.5), np.sqrt(0.5), 1.0]
    np.testing.assert_allclose(leading, expected, rtol=1e-6)
    explicit = LinearTeacher(4, spectrum=spectrum, coefficients=(1, 0, -2, 0))
    np.testing.assert_allclose(explicit.load(key), [np.array([1, 0, -2, 0]) / np.sqrt(4.5)], rtol=1e-6)
    np.testing.assert_allclose(explicit.squared_coefficients, [np.array([1, 0, 4, 0]) / 4.5], rtol=1e-6)


def test_isotropic_coefficients_have_a_random_direction():
    """The first row points as for isotropic inputs, and the squares average to what is said of them."""
    task = LinearTeacher(300, 2, strengths=(2, 1), spectrum=PowerLaw(0.5))
    rows = np.stack([np.asarray(task.load(stream(0, Role.TEACHER, r)), np.float64) for r in range(200)])
    plain = np.asarray(LinearTeacher(300, 2).load(stream(0, Role.TEACHER, 3)), np.float64)
    cosine = rows[3, 0] @ plain[0] / np.linalg.norm(rows[3, 0])
    np.testing.assert_allclose(cosine, 1, atol=1e-5)
    thirds = (rows**2).reshape(200, 2, 3, 100).mean(axis=(0, 3))
    expected = task.squared_coefficients.reshape(2, 3, 100).mean(axis=-1)
    np.testing.assert_allclose(thirds, expected, rtol=SIGMAS * np.sqrt(2 / 20_000) + 0.01)


def test_numbers_of_any_kind_become_tuples_of_floats():
    task = LinearTeacher(3, strengths=[2], spectrum=np.array([1, 2, 3]), coefficients=[1, 0, 0])
    assert task == LinearTeacher(3, strengths=(2.0,), spectrum=(1.0, 2.0, 3.0), coefficients=(1.0, 0.0, 0.0))
    assert hash(task) and all(type(x) is float for x in (*task.strengths, *task.spectrum, *task.coefficients))


SPECTRUM = "spectrum must be 'isotropic', a PowerLaw or eigenvalues"
COEFFICIENTS = "coefficients must be 'isotropic', 'leading' or the coefficients of a single output"
STRENGTHS = "strengths must be None or singular values as a sequence of 1 numbers"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"dim": 0}, "dim must be an integer of at least 1, got 0"),
        ({"dim": 2.0}, "dim must be an integer of at least 1, got 2.0"),
        ({"dim": True}, "dim must be an integer of at least 1, got True"),
        ({"dim": "5"}, "dim must be an integer of at least 1, got '5'"),
        ({"dim": 5, "outputs": 0}, "outputs must be an integer of at least 1 and at most 5, got 0"),
        ({"dim": 5, "outputs": 6}, "outputs must be an integer of at least 1 and at most 5, got 6"),
        ({"dim": 5, "outputs": None}, "outputs must be an integer of at least 1 and at most 5, got None"),
        (
            {"dim": 5, "strengths": (1.0, 2.0)},
            STRENGTHS + ", got (1.0, 2.0)",
        ),
        ({"dim": 5, "strengths": 2.0}, STRENGTHS + ", got 2.0"),
        ({"dim": 5, "outputs": 2, "strengths": (1.0, 0.0)}, "strengths[1] must be a finite number above 0, got 0.0"),
        (
            {"dim": 5, "outputs": 2, "strengths": (1.0, math.nan)},
            "strengths[1] must be a finite number above 0, got nan",
        ),
        ({"dim": 2, "spectrum": (1.0, 0.0)}, "spectrum[1] must be a finite number above 0, got 0.0"),
        ({"dim": 2, "spectrum": (1.0, -1e-3)}, "spectrum[1] must be a finite number above 0, got -0.001"),
        ({"dim": 2, "spectrum": ("1", 1)}, "spectrum[0] must be a finite number above 0, got '1'"),
        (
            {"dim": 2, "spectrum": (1.0,)},
            SPECTRUM + " as a sequence of 2 numbers, got (1.0,)",
        ),
        (
            {"dim": 2, "spectrum": None},
            SPECTRUM + " as a sequence of 2 numbers, got None",
        ),
        (
            {"dim": 2, "spectrum": "isotropc"},
            "spectrum must be one of isotropic; got 'isotropc' (did you mean 'isotropic'?)",
        ),
        (
            {"dim": 2, "spectrum": (1.0, 1e-40)},
            "spectrum must be eigenvalues between 1.2e-38 and 8.5e+37, got (1.0, 1e-40)",
        ),
        (
            {"dim": 99, "spectrum": PowerLaw(60)},
            "spectrum must be eigenvalues between 1.2e-38 and 8.5e+37, got PowerLaw(exponent=60.0)",
        ),
        ({"dim": 2, "coefficients": "aligned"}, "coefficients must be one of isotropic, leading; got 'aligned'"),
        (
            {"dim": 2, "coefficients": (1.0,)},
            COEFFICIENTS + " as a sequence of 2 numbers, got (1.0,)",
        ),
        (
            {"dim": 2, "coefficients": (0, 0)},
            COEFFICIENTS + ", not all 0 (outputs is 1), got (0, 0)",
        ),
        (
            {"dim": 2, "outputs": 2, "coefficients": (1, 0)},
            COEFFICIENTS + ", not all 0 (outputs is 2), got (1, 0)",
        ),
        ({"dim": 2, "coefficients": (math.inf, 0)}, "coefficients[0] must be a finite number, got inf"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        LinearTeacher(**arguments)


def test_check_noise_accepts():
    assert TASK.check_noise([1, 0.5, math.inf]) == (1.0, 0.5, math.inf)


@pytest.mark.parametrize(
    "levels, message",
    [
        (1.0, "noise must be a non-empty sequence of signal-to-noise ratios, got 1.0"),
        ([], "noise must be a non-empty sequence of signal-to-noise ratios, got []"),
        ([1.0, 0], "noise[1] must be a number above 0, got 0"),
        ([-1.0], "noise[0] must be a number above 0, got -1.0"),
        ([math.nan], "noise[0] must be a number above 0, got nan"),
    ],
)
def test_check_noise_refuses(levels, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        TASK.check_noise(levels)
