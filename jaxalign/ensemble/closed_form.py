"""Linear networks that are solved, not trained: one decomposition serves all members and all noise levels."""

import math
from typing import TypeGuard

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from jaxalign.ensemble.blocks import whole_tiles
from jaxalign.ensemble.member import MemberData, Outcome, TestData, outcome, training_inputs
from jaxalign.networks import LinearNetwork, Network
from jaxalign.tasks import Task
from jaxalign.theory.filters import Ridge, SpectralFilter, TunedRidge


def is_solved(network: Network) -> TypeGuard[LinearNetwork]:
    """Whether the members of this network are solved in closed form instead of trained."""
    return isinstance(network, LinearNetwork) and network.solver is not None


def solve_member(
    network: LinearNetwork,
    task: Task,
    layer: str,
    probes: int,
    world: PyTree[Array],
    data: MemberData,
    test: TestData,
    *,
    keep_state: bool = False,
) -> Outcome:
    """Puts one linear network at its balanced minimum and evaluates it; the twin of `train_member`.

    Members that share their inputs share the decomposition: under `vmap` only what depends on the targets is batched.
    """
    assert network.solver is not None
    inputs = training_inputs(task, world, data, materialize=True)(slice(None))
    counts = (jnp.arange(len(inputs)) < data.n_train)[:, None]
    inputs = jnp.where(counts, inputs, 0.0)
    weights = filtered_least_squares(
        network.solver, inputs, jnp.where(counts, data.targets, 0.0), data.n_train, data.level
    )
    # Only the units that can be active: the silent ones of a wide layer would be most of the work.
    units = min(network.hidden, task.n_outputs)
    lam = penalty(network.solver, data.n_train / inputs.shape[1], data.level)
    first, second = balanced_layers(weights, inputs, data.n_train, units, lam)

    def forward(rows: Array) -> tuple[Array, Array]:
        hidden = jnp.matmul(rows, first.T, precision="highest")
        return hidden, jnp.matmul(hidden, second.T, precision="highest")

    _, train_output = forward(inputs)
    test_hidden, test_output = forward(whole_tiles(test.inputs))
    hidden = jnp.pad(test_hidden[:probes], ((0, 0), (0, network.hidden - units)))
    representations = {"hidden": hidden, task.output_layer: test_output[:probes]}
    return outcome(
        task,
        train_output=train_output,
        train_targets=data.targets,
        train_weights=counts[:, 0] / data.n_train.astype(jnp.float32),
        test_output=test_output[: len(test.inputs)],
        test_targets=test.targets,
        representation=representations[layer],
        steps=0,
        state=_variables(network, task, first, second) if keep_state else (),
    )


def _variables(network: LinearNetwork, task: Task, first: Array, second: Array) -> PyTree:
    """The two maps as the variables of the network's module, whose silent units they get."""
    silent = network.hidden - len(first)
    module = nnx.eval_shape(lambda: network.build(nnx.Rngs(0), task.input_shape, task.n_outputs))
    maps = [jnp.pad(first, ((0, silent), (0, 0))), jnp.pad(second, ((0, 0), (0, silent)))]
    return jax.tree.unflatten(jax.tree.structure(nnx.state(module)), maps)


def filtered_least_squares(
    solver: SpectralFilter,
    inputs: Float[Array, "rows dim"],
    targets: Float[Array, "rows outputs"],
    n_train: Array,
    snr: Array,
) -> Float[Array, "outputs dim"]:
    """W = sum_i v_i f(s_i) / sv_i (u_i . y), with X = U diag(sv) V^T and s_i = sv_i^2 / n.

    Rows of `inputs` and `targets` beyond `n_train` are 0. The filter's loss is |X W^T - Y|^2 / (2n), while a trained
    network descends the mean over rows and over the C outputs, |X W^T - Y|^2 / (n C): a one-layer network that sgd
    trains from zero weights for T steps at learning rate r is `GradientDescent(2 r / C, T)`.

    The singular values come from X, not from its Gram matrix: in float32 the latter squares the condition number, and
    the smallest eigenvalues near n_train = dim, where alignment is weakest, drown in rounding.
    """
    u, singular, vt = jnp.linalg.svd(inputs, full_matrices=False)
    # Padding rows and repeated rows leave singular values that are zero up to the rounding of the decomposition.
    cutoff = singular[0] * math.sqrt(max(inputs.shape)) * jnp.finfo(inputs.dtype).eps
    positive = (jnp.arange(len(singular)) < n_train) & (singular > cutoff)
    eigenvalues = jnp.where(positive, singular**2 / n_train, 0.0)
    response = solver.response(eigenvalues, alpha=n_train / inputs.shape[1], snr=snr)
    scale = jnp.where(positive, response / jnp.where(positive, singular, 1.0), 0.0)
    projected = jnp.matmul(u.T, targets, precision="highest")
    return jnp.matmul((scale[:, None] * projected).T, vt, precision="highest")


def penalty(solver: SpectralFilter, alpha: Array, snr: Array) -> float | Array:
    """The lam of a solution that minimizes |X w - y|^2 / (2n) + lam |w|^2 / 2; 0 for what is no ridge."""
    if isinstance(solver, Ridge):
        return solver.lam
    return 1.0 / snr / alpha if isinstance(solver, TunedRidge) else 0.0


def balanced_layers(
    weights: Float[Array, "outputs dim"],
    inputs: Float[Array, "rows dim"],
    n_train: Array,
    hidden: int,
    lam: float | Array = 0.0,
) -> tuple[Float[Array, "hidden dim"], Float[Array, "outputs hidden"]]:
    """Factors W = W2 W1 with W1^T W1 = (W^T W)^(1/2).

    A hidden layer narrower than the outputs keeps the best map of that rank on the training inputs (reduced-rank
    regression, with the penalty `lam` of a ridge): the projection of W on the top eigenvectors of
    W (X^T X / n + lam) W^T.

    Reference:
      Izenman 1975, Journal of Multivariate Analysis 5; Mukherjee & Zhu 2011, Statistical Analysis and Data Mining 4.
    """
    if hidden < len(weights):
        predictions = jnp.matmul(inputs, weights.T, precision="highest")
        covariance = jnp.matmul(predictions.T, predictions, precision="highest") / n_train
        covariance += lam * jnp.matmul(weights, weights.T, precision="highest")
        top = jnp.linalg.eigh(covariance)[1][:, -hidden:]
        weights = jnp.matmul(top, jnp.matmul(top.T, weights, precision="highest"), precision="highest")
    gram = jnp.matmul(weights, weights.T, precision="highest")
    squared, modes = jnp.linalg.eigh(gram)
    units = min(hidden, len(weights))
    squared, modes = squared[-units:], modes[:, -units:]
    root = jnp.maximum(squared, 0.0) ** 0.25
    inverse_root = jnp.where(root > 0, 1.0 / jnp.where(root > 0, root, 1.0), 0.0)
    first = inverse_root[:, None] * jnp.matmul(modes.T, weights, precision="highest")
    second = modes * root[None, :]
    # Units beyond the rank of W are silent at the balanced minimum.
    return jnp.pad(first, ((0, hidden - units), (0, 0))), jnp.pad(second, ((0, 0), (0, hidden - units)))
