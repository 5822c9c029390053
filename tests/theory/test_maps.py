import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from jaxalign.theory import GradientDescent, GradientFlow, MinNorm, Ridge, TunedRidge, generalization_error
from jaxalign.theory.maps import CorrelatedInputs, IsotropicInputs, Kind, draw_layers


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


def population_cka(a, b):
    """Linear CKA of the hidden layers a z and b z for z ~ N(0, I)."""
    squared = (np.sum((x @ y.T) ** 2) for x, y in ((a, b), (a, a), (b, b)))
    cross, of_a, of_b = squared
    return cross / np.sqrt(of_a * of_b)


def draw(dim, outputs, n, snr, *, filter=None, hidden=None, draws=100, shared=True, strengths=None, students=2):
    rng = np.random.default_rng(7)
    inputs = IsotropicInputs(dim, np.ones(outputs) if strengths is None else strengths)
    kinds = [Kind(filter or MinNorm(), hidden or outputs)]
    options = {"students": students, "shared_inputs": shared}
    return [draw_layers(rng, inputs, n, dim, np.array([snr]), kinds, **options) for _ in range(draws)]


def close(values, expected, error=0.0):
    stderr = np.hypot(np.std(values, ddof=1) / np.sqrt(len(values)), error)
    assert abs(np.mean(values) - expected) < 4 * stderr, (np.mean(values), expected, stderr)


@pytest.mark.parametrize(
    ("dim", "outputs", "n", "snr", "expected"),
    [
        (100, 10, 120, 0.5, 0.341),
        (100, 10, 120, 5.0, 0.401),
        (100, 10, 300, 5.0, 0.838),
        (250, 20, 75, 0.5, 0.332),
        (250, 20, 500, 5.0, 0.716),
        (250, 5, 75, 0.5, 0.145),
    ],
)
def test_reference_values(dim, outputs, n, snr, expected):
    # THEORY section 4, each with an error of its own of up to 0.005.
    drawn = draw(dim, outputs, n, snr, draws=60)
    close([population_cka(*layers.hidden[0, 0]) for layers in drawn], expected, 0.002)
    close([layers.error.mean() for layers in drawn], generalization_error(n / dim, snr, dim=dim))


def solve(filter, x, y, snr, units):
    """The balanced layers of a linear network, from the definitions."""
    n, d = x.shape
    u, singular, vt = np.linalg.svd(x, full_matrices=False)
    kept = filter.response(singular**2 / n, alpha=n / d, snr=snr) / singular
    w = (kept[:, None] * (u.T @ y)).T @ vt
    if units < len(w):
        lam = filter.lam if isinstance(filter, Ridge) else 1 / snr / (n / d) if isinstance(filter, TunedRidge) else 0.0
        top = np.linalg.svd(w @ (x.T @ x / n + lam * np.eye(d)) @ w.T)[0][:, :units]
        w = top @ top.T @ w
    _, sizes, right = np.linalg.svd(w, full_matrices=False)
    return np.sqrt(sizes[:units, None]) * right[:units], w


def simulate(filter, eigenvalues, teachers, n, snr, units, shared, draws):
    """Population CKA of hidden layers, cosine of maps and error, one row for each draw of real inputs and targets."""
    rng = np.random.default_rng(8)
    deviations = np.sqrt(eigenvalues)
    rows = []
    for teacher in teachers(rng, draws):
        x = rng.standard_normal((n, deviations.size)) * deviations
        found = []
        for _ in range(2):
            x = x if shared else rng.standard_normal(x.shape) * deviations
            y = x @ teacher.T + rng.standard_normal((n, len(teacher))) / np.sqrt(snr)
            first, w = solve(filter, x, y, snr, units)
            found.append((first * deviations, w * deviations))
        (a, v), (b, w) = found
        error = np.mean([np.sum((m - teacher * deviations) ** 2) for m in (v, w)]) / len(teacher)
        rows.append([population_cka(a, b), np.sum(v * w) / np.linalg.norm(v) / np.linalg.norm(w), error])
    return np.array(rows)


def summaries(drawn):
    rows = []
    for layers in drawn:
        v, w = layers.output[0, 0]
        cosine = np.sum(v * w) / np.linalg.norm(v) / np.linalg.norm(w)
        rows.append([population_cka(*layers.hidden[0, 0]), cosine, layers.error.mean()])
    return np.array(rows)


def agree(a, b):
    difference = a.mean(0) - b.mean(0)
    error = np.hypot(a.std(0, ddof=1) / np.sqrt(len(a)), b.std(0, ddof=1) / np.sqrt(len(b)))
    assert np.all(np.abs(difference) < 4 * error), (a.mean(0), b.mean(0), error)


STRENGTHS = np.array([1.5, 1.0, 0.7, 0.4]) / np.sqrt(np.mean(np.square([1.5, 1.0, 0.7, 0.4])))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("n", [25, 60])
@pytest.mark.parametrize(
    ("filter", "units"),
    [
        (MinNorm(), 4),
        (MinNorm(), 2),
        (Ridge(0.3), 3),
        (TunedRidge(), 2),
        (GradientFlow(2.0), 4),
        (GradientDescent(0.1, 30), 1),
    ],
)
def test_it_is_the_law_of_solved_networks(filter, units, n, shared):
    d, snr = 40, 1.5

    def teachers(rng, draws):
        return (STRENGTHS[:, None] * np.linalg.qr(rng.standard_normal((d, 4)))[0].T for _ in range(draws))

    expected = simulate(filter, np.ones(d), teachers, n, snr, units, shared, draws=150)
    agree(summaries(draw(d, 4, n, snr, filter=filter, hidden=units, shared=shared, strengths=STRENGTHS)), expected)


@pytest.mark.parametrize("shared", [True, False])
def test_inputs_with_a_covariance(shared):
    d, n, snr, filter = 30, 20, 3.0, Ridge(0.2)
    eigenvalues = np.arange(1, d + 1) ** -1.0
    eigenvalues *= d / eigenvalues.sum()
    teacher = STRENGTHS[:, None] * np.eye(4, d) / np.sqrt(eigenvalues)
    expected = simulate(filter, eigenvalues, lambda _, draws: [teacher] * draws, n, snr, 2, shared, draws=150)
    rng = np.random.default_rng(9)
    inputs, kinds = CorrelatedInputs(eigenvalues, teacher), [Kind(filter, 2)]
    options = {"students": 2, "shared_inputs": shared}
    drawn = [draw_layers(rng, inputs, n, d, np.array([snr]), kinds, **options) for _ in range(150)]
    agree(summaries(drawn), expected)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("dim", "outputs"), [(12, 3), (4, 3), (3, 3), (5, 1)])
def test_the_layers_are_balanced(dim, outputs, shared):
    kinds = [Kind(MinNorm(), 2), Kind(Ridge(0.1), 7)]
    inputs = IsotropicInputs(dim, np.ones(outputs))
    rng = np.random.default_rng(0)
    layers = draw_layers(rng, inputs, 6, dim, np.array([0.5, 5.0]), kinds, students=3, shared_inputs=shared)
    assert layers.hidden.shape == (2, 2, 3, outputs if outputs > 1 else 1, dim)
    assert layers.output.shape == (2, 2, 3, outputs, dim) and layers.error.shape == (2, 2, 3)
    gram = layers.hidden.swapaxes(-1, -2) @ layers.hidden
    np.testing.assert_allclose(gram @ gram, layers.output.swapaxes(-1, -2) @ layers.output, atol=1e-8)
    assert np.linalg.matrix_rank(layers.output[0, 0, 0]) == min(2, outputs)


def test_without_noise_students_of_shared_inputs_are_the_same():
    (layers,) = draw(30, 4, 20, np.inf, draws=1, students=3)
    np.testing.assert_array_equal(layers.hidden[:, :, 1:], layers.hidden[:, :, :2])
    (layers,) = draw(30, 4, 50, np.inf, draws=1, shared=False)
    assert np.all(layers.error < 1e-20)


def test_students_that_overflow_are_nan():
    kinds = [Kind(GradientDescent(1.9, 10_000), 2), Kind(MinNorm(), 2)]
    rng = np.random.default_rng(0)
    inputs = IsotropicInputs(50, np.ones(2))
    layers = draw_layers(rng, inputs, 10, 50, np.array([1.0]), kinds, students=2, shared_inputs=False)
    for values in layers:
        assert np.isnan(values[:, 0]).all() and np.isfinite(values[:, 1]).all()
