"""Linear networks that are solved, not trained: one decomposition serves all members and all noise levels."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxalign.ensemble.member import MemberData, Outcome, TestData, outcome
from jaxalign.networks import LinearNetwork
from jaxalign.tasks import Task
from jaxalign.theory.filters import SpectralFilter


def solve_member(
    network: LinearNetwork,
    task: Task,
    layer: str,
    probes: int,
    world: PyTree[Array],
    data: MemberData,
    test: TestData,
    snr: Float[Array, ""],
) -> Outcome:
    """Puts one linear network at its balanced minimum and evaluates it; the twin of `train_member`.

    Members that share their inputs share the decomposition: under `vmap` only what depends on the targets is batched.
    """
    assert network.solver is not None
    inputs = task.inputs(world, data.drawn)
    counts = (jnp.arange(len(inputs)) < data.n_train)[:, None]
    inputs = jnp.where(counts, inputs, 0.0)
    weights = filtered_least_squares(network.solver, inputs, jnp.where(counts, data.targets, 0.0), data.n_train, snr)
    first, second = balanced_layers(weights, inputs, data.n_train, network.hidden)

    def forward(rows: Array) -> tuple[Array, Array]:
        hidden = jnp.matmul(rows, first.T, precision="highest")
        return hidden, jnp.matmul(hidden, second.T, precision="highest")

    _, train_output = forward(inputs)
    test_hidden, test_output = forward(test.inputs)
    representations = {"hidden": test_hidden, task.output_layer: test_output}
    return outcome(
        task,
        train_output=train_output,
        train_targets=data.targets,
        train_weights=counts[:, 0] / data.n_train.astype(jnp.float32),
        test_output=test_output,
        test_targets=test.targets,
        representation=representations[layer][:probes],
    )


def filtered_least_squares(
    solver: SpectralFilter,
    inputs: Float[Array, "rows dim"],
    targets: Float[Array, "rows outputs"],
    n_train: Array,
    snr: Array,
) -> Float[Array, "outputs dim"]:
    """W = sum_i v_i f(s_i) / sv_i (u_i . y), with X = U diag(sv) V^T and s_i = sv_i^2 / n.

    Rows of `inputs` and `targets` beyond `n_train` are 0.
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


def balanced_layers(
    weights: Float[Array, "outputs dim"], inputs: Float[Array, "rows dim"], n_train: Array, hidden: int
) -> tuple[Float[Array, "hidden dim"], Float[Array, "outputs hidden"]]:
    """Factors W = W2 W1 with W1^T W1 = (W^T W)^(1/2).

    A hidden layer narrower than the outputs keeps the best map of that rank on the training inputs (reduced-rank
    regression): the projection of W on the top eigenvectors of W (X^T X / n) W^T.
    """
    if hidden < len(weights):
        predictions = jnp.matmul(inputs, weights.T, precision="highest")
        covariance = jnp.matmul(predictions.T, predictions, precision="highest") / n_train
        top = jnp.linalg.eigh(covariance)[1][:, -hidden:]
        weights = top @ (top.T @ weights)
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
