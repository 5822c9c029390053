import numpy as np
import pytest
from scipy.special import digamma

from jaxalign.theory import GradientFlow, MinNorm, Ridge, TunedRidge, generalization_error, overlap, sample_students
from jaxalign.theory.students import squared_singular_values


def solve(rng, n, d, snr, filters, shared_inputs):
    """Two students of one teacher, each solved from inputs and noise of its own or from shared inputs."""
    teacher = rng.normal(size=d)
    teacher /= np.linalg.norm(teacher)
    inputs = [rng.normal(size=(n, d))] * 2 if shared_inputs else rng.normal(size=(2, n, d))
    students = []
    for x, f in zip(inputs, filters, strict=True):
        targets = x @ teacher + rng.normal(size=n) / np.sqrt(snr)
        u, sv, vt = np.linalg.svd(x, full_matrices=False)
        students.append(vt.T @ (f.response(sv**2 / n, alpha=n / d, snr=snr) / sv * (u.T @ targets)))
    norms = np.prod([np.linalg.norm(w) for w in students])
    return students[0] @ students[1] / norms, np.sum((students[0] - teacher) ** 2)


def z_of(a, b):
    return (a.mean() - b.mean()) / (1e-9 + np.hypot(a.std() / np.sqrt(a.size), b.std() / np.sqrt(b.size)))


@pytest.mark.parametrize("shared_inputs", [True, False])
@pytest.mark.parametrize(("n", "d"), [(4, 10), (10, 10), (25, 10), (4, 1)])
@pytest.mark.parametrize("filters", [(MinNorm(), MinNorm()), (TunedRidge(), GradientFlow(3.0))])
def test_the_law_is_that_of_solved_students(n, d, shared_inputs, filters):
    rng = np.random.default_rng(n + d)
    cosines, errors = np.transpose([solve(rng, n, d, 2.0, filters, shared_inputs) for _ in range(1000)])
    sampled = sample_students(
        n, d, [2.0, 5.0], filter=filters[0], other=filters[1], shared_inputs=shared_inputs, draws=600
    )
    assert sampled.overlap.shape[::2] == sampled.error.shape == (600, 2)
    own = sampled.overlap[:, :, 0]
    for power in (1, 2, 4):
        assert abs(z_of(cosines**power, (own**power).mean(1))) < 4
    if (n, d) != (10, 10) or filters[0] != MinNorm():
        assert abs(z_of(errors, sampled.error[:, 0])) < 4


@pytest.mark.parametrize(("n", "d"), [(3, 8), (8, 3), (5, 5), (1, 4)])
def test_singular_values_are_those_of_a_gaussian_matrix(n, d):
    rng = np.random.default_rng(0)
    values = np.array([squared_singular_values(rng, n, d) for _ in range(4000)])
    assert values.shape == (4000, min(n, d)) and np.all(np.diff(values) >= 0) and np.all(values > 0)
    total, log_det = values.sum(1), np.log(values).sum(1)
    expected = np.sum(digamma((max(n, d) - np.arange(min(n, d))) / 2) + np.log(2))
    assert abs(total.mean() - n * d) < 4 * total.std() / np.sqrt(4000)
    assert abs(log_det.mean() - expected) < 4 * log_det.std() / np.sqrt(4000)


@pytest.mark.parametrize("n", [20, 80])
def test_the_error_has_the_exact_expectation(n):
    errors = sample_students(n, 40, [0.5, 4.0], draws=2000).error
    expected = generalization_error(n / 40, [0.5, 4.0], dim=40)
    np.testing.assert_array_less(np.abs(errors.mean(0) - expected), 4 * errors.std(0) / np.sqrt(2000))


@pytest.mark.parametrize("shared_inputs", [True, False])
def test_many_dimensions_are_the_limit(shared_inputs):
    for f in (MinNorm(), Ridge(0.1)):
        sampled = sample_students(600, 1000, [1.0, 5.0], filter=f, shared_inputs=shared_inputs, draws=20)
        limit = overlap(0.6, [1.0, 5.0], filter=f, shared_inputs=shared_inputs)
        np.testing.assert_allclose(sampled.overlap.mean((0, 1)), limit, atol=0.02)


def test_at_the_threshold_one_direction_rules():
    overlaps = sample_students(100, 100, [1.0], draws=300).overlap
    assert abs(overlaps.mean()) < 0.1 and np.median(np.abs(overlaps)) > 0.7


def test_without_noise_students_of_shared_inputs_are_the_same():
    sampled = sample_students(5, 20, [np.inf], draws=3)
    np.testing.assert_allclose(sampled.overlap, 1.0)
    assert np.all((sampled.error > 0.3) & (sampled.error < 1))
    assert np.all(sample_students(5, 20, [1.0], filter=GradientFlow(0.0), draws=2).overlap == 0)


def test_a_seed_fixes_the_draws():
    a, b, c = (sample_students(5, 8, [1.0], draws=3, seed=seed).overlap for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a, c)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_train": 0}, "n_train must be an integer of at least 1"),
        ({"dim": 0}, "dim must be an integer of at least 1"),
        ({"draws": 0}, "draws must be an integer of at least 1"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"snr": [1.0, 0.0]}, "snr must be above 0, got 0.0"),
        ({"snr": 1.0}, r"snr must be of shape \(snr,\)"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        sample_students(**{"n_train": 5, "dim": 5, "snr": [1.0], **changes})
