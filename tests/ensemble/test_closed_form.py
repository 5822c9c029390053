import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxalign import GradientDescent, GradientFlow, LinearNetwork, LinearTeacher, MinNorm, Ridge, Training, TunedRidge
from jaxalign.ensemble import GroupSpec, arguments, compile_group, draw_group, run_members
from jaxalign.ensemble.closed_form import balanced_layers, filtered_least_squares, penalty
from jaxalign.tasks import PowerLaw


def problem(n, padded, dim=12, outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(padded, dim)), rng.normal(size=(padded, outputs))
    x[n:], y[n:] = 0, 0
    return jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)


@pytest.mark.parametrize("n", [5, 11, 12, 13, 40])
@pytest.mark.parametrize("padded", [40, 64])
def test_minimum_norm_solution_equals_lstsq(n, padded):
    x, y = problem(n, padded)
    solved = filtered_least_squares(MinNorm(), x, y, jnp.int32(n), jnp.float32(1))
    expected = np.linalg.lstsq(np.asarray(x[:n], float), np.asarray(y[:n], float), rcond=None)[0].T
    np.testing.assert_allclose(solved, expected, rtol=0, atol=3e-4 * np.abs(expected).max())


@pytest.mark.parametrize("n", [5, 40])
def test_ridge_solution_equals_the_normal_equations(n):
    x, y = problem(n, 64)
    solved = filtered_least_squares(Ridge(0.3), x, y, jnp.int32(n), jnp.float32(1))
    expected = np.linalg.solve(x.T @ x / n + 0.3 * np.eye(12), x.T @ y / n).T
    np.testing.assert_allclose(solved, expected, atol=1e-5)


def test_repeated_rows_do_not_blow_up():
    x, y = problem(6, 64)
    x, y = x.at[6:12].set(x[:6]), y.at[6:12].set(y[:6])
    solved = filtered_least_squares(MinNorm(), x, y, jnp.int32(12), jnp.float32(1))
    np.testing.assert_allclose(solved, np.linalg.lstsq(x[:6], y[:6], rcond=None)[0].T, atol=1e-4)


@pytest.mark.parametrize("hidden", [2, 5])
def test_layers_are_balanced(hidden):
    x, y = problem(40, 40)
    w = np.linalg.lstsq(x, y, rcond=None)[0].T
    first, second = balanced_layers(jnp.asarray(w), jnp.asarray(x), jnp.int32(40), hidden)
    assert first.shape == (hidden, 12) and second.shape == (2, hidden)
    np.testing.assert_allclose(second @ first, w, atol=1e-5)
    np.testing.assert_allclose(first @ first.T, second.T @ second, atol=1e-5)
    squared, modes = np.linalg.eigh(w.T @ w)
    root = modes @ np.diag(np.sqrt(np.maximum(squared, 0))) @ modes.T
    np.testing.assert_allclose(first.T @ first, root, atol=1e-4)


def test_a_narrow_hidden_layer_is_reduced_rank_regression():
    """The best rank-1 map on the training inputs, found here by a whitened singular value decomposition."""
    x, y = problem(40, 40, outputs=3)
    w = np.linalg.lstsq(x, y, rcond=None)[0].T
    first, second = balanced_layers(jnp.asarray(w), jnp.asarray(x), jnp.int32(40), 1)
    u, s, vt = np.linalg.svd(w @ x.T, full_matrices=False)
    np.testing.assert_allclose(second @ first @ x.T, s[0] * np.outer(u[:, 0], vt[0]), atol=1e-3)


def test_members_share_one_decomposition():
    task = LinearTeacher(dim=20)
    options = {"shared_inputs": True, "shared_init": True, "shared_batches": True}
    data = draw_group(task, seed=0, replicate=0, noise=(1.0,), members=8, rows=32, probes=10, **options)

    def solve(targets):
        return filtered_least_squares(MinNorm(), data.drawn, targets, jnp.int32(32), jnp.float32(1))

    program = str(jax.make_jaxpr(jax.vmap(solve))(data.targets))
    assert program.count("svd[") == 1 and "f32[8,32,20]" not in program


ORACLES = {
    MinNorm(): lambda s: np.ones_like(s),
    Ridge(0.05): lambda s: s / (s + 0.05),
    TunedRidge(): None,
    GradientFlow(3.0): lambda s: 1 - np.exp(-3.0 * s),
    GradientDescent(0.05, 40): lambda s: 1 - (1 - 0.05 * s) ** 40,
    GradientDescent(0.05, 7): lambda s: 1 - (1 - 0.05 * s) ** 7,
}


@pytest.mark.parametrize("spectrum", ["isotropic", PowerLaw(1.0)], ids=str)
@pytest.mark.parametrize("n", [10, 30, 39, 60, 200])
@pytest.mark.parametrize("solver", ORACLES, ids=str)
def test_float32_agrees_with_float64(solver, n, spectrum):
    """Relative to the solution's norm: 5e-6 times the condition number of the eigenmodes that the filter inverts."""
    dim, snr = 40, 2.0
    task = LinearTeacher(dim, 2, spectrum=spectrum)
    options = {"shared_inputs": True, "shared_init": True, "shared_batches": True}
    data = draw_group(task, seed=1, replicate=0, noise=(snr,), members=1, rows=256, probes=10, **options)
    inputs, targets = data.drawn.at[n:].set(0.0), data.targets[0].at[n:].set(0.0)
    solved = filtered_least_squares(solver, inputs, targets, jnp.int32(n), jnp.float32(snr))

    x, y = np.asarray(inputs[:n], np.float64), np.asarray(targets[:n], np.float64)
    lam = dim / (n * snr)
    response = ORACLES[solver] or (lambda s: s / (s + lam))
    # With the normal equations of whichever side has full rank, not with the decomposition that is tested.
    if n < dim:
        s, modes = np.linalg.eigh(x @ x.T / n)
        expected = y.T @ modes @ np.diag(response(s) / s) @ modes.T @ x / n
    else:
        s, modes = np.linalg.eigh(x.T @ x / n)
        expected = y.T @ x / n @ modes @ np.diag(response(s) / s) @ modes.T
    gain = response(s) / np.sqrt(s)
    condition = np.sqrt(s.max()) * gain.max()
    assert np.abs(solved - expected).max() < 5e-6 * max(condition, 1.0) * np.linalg.norm(expected)


@pytest.mark.parametrize("solver", [Ridge(0.2), TunedRidge()], ids=str)
def test_a_narrow_ridge_is_reduced_rank_ridge_regression(solver):
    """A ridge is least squares with the rows sqrt(n lam) I appended, and so is the best map of lower rank."""
    n, snr = 8, 5.0
    x, y = problem(n, n, outputs=3)
    lam = 0.2 if isinstance(solver, Ridge) else 12 / (n * snr)
    weights = filtered_least_squares(solver, x, y, jnp.int32(n), jnp.float32(snr))
    lam_used = penalty(solver, jnp.float32(n / 12), jnp.float32(snr))
    first, second = balanced_layers(weights, x, jnp.int32(n), 2, lam_used)
    augmented = np.vstack([x, np.sqrt(n * lam) * np.eye(12)])
    full = np.linalg.lstsq(augmented, np.vstack([y, np.zeros((12, 3))]), rcond=None)[0]
    u, s, vt = np.linalg.svd(augmented @ full, full_matrices=False)
    expected = np.linalg.pinv(augmented) @ u[:, :2] @ np.diag(s[:2]) @ vt[:2]
    np.testing.assert_allclose(second @ first, expected.T, atol=1e-5)


@dataclasses.dataclass(frozen=True)
class OneLayer:
    """y = W x from W = 0; its gradient descent is linear in W, as that of two layers is not."""

    def build(self, rngs, input_shape, n_outputs):
        class Module(nnx.Module):
            def __init__(self):
                self.kernel = nnx.Param(jnp.zeros((n_outputs, input_shape[0])))

            def __call__(self, x):
                output = x @ self.kernel[...].T
                return output, {"hidden": output}

        return Module()


@pytest.mark.parametrize("spectrum", ["isotropic", PowerLaw(1.0)], ids=str)
@pytest.mark.parametrize(("outputs", "steps", "learning_rate"), [(1, 1, 0.2), (1, 60, 0.08), (3, 60, 0.3)])
@pytest.mark.parametrize("n", [9, 30])
def test_solved_descent_equals_the_trainers(n, outputs, steps, learning_rate, spectrum):
    """Factor 2 / outputs: the trainer's loss is the mean square, not half of the sum. Float32 after up to 60 steps."""
    task = LinearTeacher(12, outputs, spectrum=spectrum)
    options = {"shared_inputs": True, "shared_init": True, "shared_batches": True}
    data = draw_group(task, seed=0, replicate=0, noise=(1.0, 5.0), members=2, rows=32, probes=10, **options)
    solver = GradientDescent(2 * learning_rate / outputs, steps)
    training = Training("sgd", learning_rate, steps=steps)
    trained, solved = (
        compile_group(spec, data)(data, jnp.int32(n))
        for network in (OneLayer(), LinearNetwork(5, solver=solver))
        for spec in [GroupSpec(network, task, training, "output", 10, True, True)]
    )
    for field in ("representation", "train_error", "test_error"):
        np.testing.assert_allclose(getattr(solved, field), getattr(trained, field), rtol=2e-5, atol=2e-5)
    assert solved.finite.all() and np.abs(trained.representation).max() > 0.1


def test_a_descent_that_overflows_is_nan_and_flagged():
    task = LinearTeacher(12, 3)
    options = {"shared_inputs": True, "shared_init": True, "shared_batches": True}
    data = draw_group(task, seed=0, replicate=0, noise=(1.0,), members=2, rows=32, probes=10, **options)
    for hidden in (2, 5):
        network = LinearNetwork(hidden, solver=GradientDescent(2.0, 2000))
        spec = GroupSpec(network, task, Training(), "hidden", 10, True, True)
        outcome = compile_group(spec, data)(data, jnp.int32(20))
        assert not outcome.finite.any() and np.isnan(outcome.test_error).all()
        assert np.isnan(outcome.representation).all() and np.isnan(outcome.train_error).all()


def test_a_solved_group_decomposes_once_and_ignores_silent_units():
    task = LinearTeacher(dim=20)
    options = {"shared_inputs": True, "shared_init": True, "shared_batches": True}
    data = draw_group(task, seed=0, replicate=0, noise=(1.0, 2.0), members=4, rows=32, probes=10, **options)
    spec = GroupSpec(LinearNetwork(50), task, Training(), "hidden", 10, True, True)
    program = str(jax.make_jaxpr(lambda d: run_members(spec, *arguments(spec, d, ()), jnp.int32(32)))(data))
    assert program.count("svd[") == 1
    assert "f32[8,32,20]" not in program, "the inputs are not repeated for the members"
    assert "1000,50]" not in program and "50,1000]" not in program, "nor is the test set mapped to silent units"
    outcome = compile_group(spec, data)(data, jnp.int32(32))
    assert outcome.representation.shape == (8, 10, 50)
    assert not np.asarray(outcome.representation[..., 1:]).any() and np.asarray(outcome.representation[..., 0]).all()


@pytest.mark.parametrize("shared_batches", [True, False])
def test_members_with_inputs_of_their_own_decompose_them_once_for_all_levels(shared_batches):
    task = LinearTeacher(dim=20)
    options = {"shared_inputs": False, "shared_init": False, "shared_batches": shared_batches}
    data = draw_group(task, seed=0, replicate=0, noise=(1.0, 2.0, 9.0), members=4, rows=32, probes=10, **options)
    each = GroupSpec(LinearNetwork(3, solver=TunedRidge()), task, Training(), "hidden", 10, False, shared_batches)
    together = dataclasses.replace(each, noise_levels=3)
    program = str(jax.make_jaxpr(lambda d: run_members(together, *arguments(together, d, ()), jnp.int32(30)))(data))
    assert program.count("svd[") == 1 and "f32[12,32,20]" not in program.split("svd[")[1]
    a, b = (compile_group(spec, data)(data, jnp.int32(30)) for spec in (each, together))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), a, b)


def test_a_narrow_layer_keeps_the_strongest_outputs():
    """Many samples: the map of rank 2 is that of the two strongest outputs alone."""
    task = LinearTeacher(10, 4, strengths=(1, 4, 2, 3))
    options = {"shared_inputs": True, "shared_init": True, "shared_batches": True}
    data = draw_group(task, seed=0, replicate=0, noise=(1e4,), members=1, rows=4096, probes=100, **options)
    spec = GroupSpec(LinearNetwork(2), task, Training(), "output", 100, True, True)
    output = np.asarray(compile_group(spec, data)(data, jnp.int32(4096)).representation[0])
    expected = np.asarray(data.test.targets[:100]) * np.array([0, 1, 0, 1])
    np.testing.assert_allclose(output, expected, atol=0.12)


def pairwise_overlap(weights, covariance):
    """Mean correlation over pairs of members, (members, dim) -> a number."""
    gram = weights * covariance @ weights.T
    normed = gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram)))
    return normed[~np.eye(len(gram), dtype=bool)].mean()


def solve_all(task, solver, snr, n, replicates, members=8):
    options = {"shared_inputs": True, "shared_init": True, "shared_batches": True}
    for replicate in range(replicates):
        data = draw_group(
            task, seed=3, replicate=replicate, noise=(snr,), members=members, rows=n, probes=10, **options
        )
        solve = jax.vmap(lambda y, x=data.drawn: filtered_least_squares(solver, x, y, jnp.int32(n), jnp.float32(snr)))
        yield np.asarray(data.world, np.float64), np.asarray(solve(data.targets), np.float64)


def test_ridge_with_a_covariance_follows_the_theory():
    """d = 300, l_i ~ i^-1.2, constant coefficients, SNR 5, lam = .1, n = 450: error .110078, overlap .929075."""
    task = LinearTeacher(300, spectrum=PowerLaw(1.2), coefficients=(1.0,) * 300)
    errors, overlaps = [], []
    for teacher, weights in solve_all(task, Ridge(0.1), 5.0, 450, replicates=8):
        errors.append(np.mean(((weights - teacher)[:, 0] ** 2) @ task.eigenvalues))
        overlaps.append(pairwise_overlap(weights[:, 0], task.eigenvalues))
    for measured, expected in ((errors, 0.110078), (overlaps, 0.929075)):
        assert abs(np.mean(measured) - expected) < 4 * np.std(measured, ddof=1) / np.sqrt(8)
        assert abs(np.mean(measured) - expected) < 0.01


def test_outputs_of_unequal_strength_follow_the_theory():
    """b = (1.2, .9, .6, .3), sigma = .5, alpha = .5: SNR = mean b^2 / sigma^2; corrections are of order 1 / d."""
    b = np.array([1.2, 0.9, 0.6, 0.3])
    task = LinearTeacher(400, 4, strengths=tuple(b))
    members = [weights for _, weights in solve_all(task, MinNorm(), np.mean(b**2) / 0.25, 200, replicates=6)]
    overlaps = [[pairwise_overlap(weights[:, j], np.ones(400)) for j in range(4)] for weights in members]
    expected = [0.742268, 0.618321, 0.418605, 0.152542]
    stderr = np.std(overlaps, axis=0, ddof=1) / np.sqrt(6)
    assert np.all(np.abs(np.mean(overlaps, axis=0) - expected) < 4 * stderr + 5 / 400)
