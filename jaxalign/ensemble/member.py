"""One member: a pure function that trains it and says what came out."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxalign.ensemble.training import Training
from jaxalign.networks import Network
from jaxalign.tasks import Task


class MemberData(NamedTuple):
    """What one member learns from: padded to a fixed number of rows, of which the first `n_train` count."""

    drawn: Array  # (rows, ...), what `Task.draw_inputs` returned
    targets: Array  # (rows, n_outputs) or (rows,), with noise
    n_train: Int[Array, ""]


class TestData(NamedTuple):
    """Held-out rows; the representation is taken on the first `n_probes`."""

    inputs: Float[Array, "test ..."]
    targets: Array


class Outcome(NamedTuple):
    """What training left. A member that is not finite is NaN throughout."""

    train_error: Float[Array, "*members"]
    test_error: Float[Array, "*members"]
    finite: Bool[Array, "*members"]
    representation: Float[Array, "*members probes units"]


def train_member(
    network: Network,
    task: Task,
    training: Training,
    layer: str,
    probes: int,
    world: PyTree[Array],
    data: MemberData,
    test: TestData,
    init_key: Key[Array, ""],
    batch_key: Key[Array, ""],
) -> Outcome:
    """Trains one member from its initialization and evaluates it.

    The number of training samples is traced: minibatch rows are drawn below it, and with `batch_size=None` the rows
    beyond it have weight 0. Pure, and to be batched by `jaxalign.ensemble.batch`.
    """
    module = network.build(nnx.Rngs(init_key), task.input_shape, task.n_outputs)
    module.train()
    graph, parameters, rest = nnx.split(module, nnx.Param, ...)
    parameters = jax.tree.map(lambda leaf: training.init_scale * leaf, parameters)
    optimizer = training.transformation()
    all_rows = jnp.arange(len(data.targets))
    all_weights = (all_rows < data.n_train) / data.n_train.astype(jnp.float32)
    if training.batch_size is None:
        all_inputs = task.inputs(world, data.drawn)

    def batch(step: Int[Array, ""]) -> tuple[Array, Array, Array]:
        if training.batch_size is None:
            return all_inputs, data.targets, all_weights
        shape = (training.batch_size,)
        rows = jax.random.randint(jax.random.fold_in(batch_key, step), shape, 0, data.n_train)
        return task.inputs(world, data.drawn[rows]), data.targets[rows], jnp.full(shape, 1.0 / training.batch_size)

    def loss(parameters: PyTree, rest: PyTree, step: Int[Array, ""]) -> tuple[Float[Array, ""], PyTree]:
        inputs, targets, weights = batch(step)
        module: Any = nnx.merge(graph, parameters, rest, copy=True)
        output, _ = module(inputs)
        _, _, rest = nnx.split(module, nnx.Param, ...)
        return jnp.sum(weights * task.loss(output, targets)), rest

    def update(carry: PyTree, step: Int[Array, ""]) -> tuple[PyTree, None]:
        parameters, rest, state = carry
        gradient, rest = jax.grad(loss, has_aux=True)(parameters, rest, step)
        change, state = optimizer.update(gradient, state, parameters)
        return (optax.apply_updates(parameters, change), rest, state), None

    start = (parameters, rest, optimizer.init(parameters))
    (parameters, rest, _), _ = jax.lax.scan(update, start, jnp.arange(training.steps))

    trained: Any = nnx.merge(graph, parameters, rest, copy=True)
    trained.eval()
    train_output, _ = trained(task.inputs(world, data.drawn))
    test_output, representations = trained(test.inputs)
    representations = {**representations, task.output_layer: test_output}
    return outcome(
        task,
        train_output=train_output,
        train_targets=data.targets,
        train_weights=all_weights,
        test_output=test_output,
        test_targets=test.targets,
        representation=representations[layer][:probes].reshape(probes, -1),
    )


def outcome(
    task: Task,
    *,
    train_output: Array,
    train_targets: Array,
    train_weights: Float[Array, " rows"],
    test_output: Array,
    test_targets: Array,
    representation: Float[Array, "probes units"],
) -> Outcome:
    """The errors of one member, NaN where it diverged.

    A classifier that answers NaN would still have a plausible accuracy, so every number of a member that is not
    finite is made NaN.
    """
    counted = jnp.where(train_weights[:, None] > 0, train_output, 0.0)
    finite = jnp.isfinite(counted).all() & jnp.isfinite(test_output).all() & jnp.isfinite(representation).all()
    train_error = jnp.sum(train_weights * task.error(counted, train_targets))
    test_error = jnp.mean(task.error(test_output, test_targets))

    def or_nan(value: Array) -> Array:
        return jnp.where(finite, value, jnp.nan)

    return Outcome(or_nan(train_error), or_nan(test_error), finite, or_nan(representation))
