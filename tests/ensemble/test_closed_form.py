import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import LinearTeacher, MinNorm, Ridge
from jaxalign.ensemble import draw_group
from jaxalign.ensemble.closed_form import balanced_layers, filtered_least_squares


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
