"""One member: a pure function that trains it and says what came out."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxalign.ensemble.blocks import block_rows, in_blocks, whole_tiles
from jaxalign.ensemble.descent import descend
from jaxalign.ensemble.training import Training
from jaxalign.networks import Network
from jaxalign.tasks import Task


class MemberData(NamedTuple):
    """What one member learns from: padded to a fixed number of rows, of which the first `n_train` count."""

    drawn: Array  # (rows, ...), what `Task.draw_inputs` returned
    targets: Array  # (rows, n_outputs) or (rows,), with noise
    n_train: Int[Array, ""]
    level: Float[Array, ""]
    noise_key: Key[Array, ""]  # of the noise at every level
    initial: PyTree  # (parameters, other variables) of a built module; () for what is solved
    batch_key: Key[Array, ""]
    learning_rate: float | Float[Array, ""]


class TestData(NamedTuple):
    """Held-out rows; the representation is taken on the first `n_probes`."""

    inputs: Float[Array, "test ..."]
    targets: Array


class Outcome(NamedTuple):
    """What training left. A member that is not finite is NaN throughout."""

    train_error: Float[Array, "*members"]
    test_error: Float[Array, "*members"]
    finite: Bool[Array, "*members"]
    steps: Int[Array, "*members"]  # how many the optimizer took; 0 for what is solved
    representation: Float[Array, "*members probes units"]
    state: PyTree = ()  # the trained variables as `nnx.State`, if they are kept


def train_member(
    network: Network,
    task: Task,
    training: Training,
    layer: str,
    probes: int,
    world: PyTree[Array],
    data: MemberData,
    test: TestData,
    *,
    limit: Int[Array, ""] | None = None,
    keep_state: bool = False,
) -> Outcome:
    """Trains one member from its initialization and evaluates it.

    The number of training samples is traced: minibatch rows are drawn below it, and with `batch_size=None` the rows
    beyond it have weight 0. Pure, and to be batched by `jaxalign.ensemble.batch`. With a `limit` training ends after
    so many steps, as if interrupted.
    """
    graph = module_graph(network, task)
    parameters, rest = data.initial
    parameters = jax.tree.map(lambda leaf: training.init_scale * leaf, parameters)
    optimizer = training.transformation(data.n_train, data.learning_rate)
    n_rows = len(data.targets)
    all_weights = (jnp.arange(n_rows) < data.n_train) / data.n_train.astype(jnp.float32)
    inputs_of = training_inputs(task, world, data, materialize=training.batch_size is None)

    def batch(step: Int[Array, ""]) -> tuple[Array, Array, Array]:
        if training.batch_size is None:
            return inputs_of(slice(None)), data.targets, all_weights
        shape = (training.batch_size,)
        rows = jax.random.randint(jax.random.fold_in(data.batch_key, step), shape, 0, data.n_train)
        return inputs_of(rows), data.targets[rows], jnp.full(shape, 1.0 / training.batch_size)

    def loss(
        parameters: PyTree, rest: PyTree, step: Int[Array, ""]
    ) -> tuple[Float[Array, ""], tuple[PyTree, Float[Array, ""]]]:
        inputs, targets, weights = batch(step)
        module: Any = nnx.merge(graph, parameters, rest, copy=True)
        output, _ = module(inputs)
        _, _, rest = nnx.split(module, nnx.Param, ...)
        return jnp.sum(weights * task.loss(output, targets)), (rest, jnp.sum(weights * task.error(output, targets)))

    def update(step: Int[Array, ""], carry: PyTree) -> tuple[PyTree, Float[Array, ""]]:
        parameters, rest, state = carry
        gradient, (rest, error) = jax.grad(loss, has_aux=True)(parameters, rest, step)
        change, state = optimizer.update(gradient, state, parameters)
        return (optax.apply_updates(parameters, change), rest, state), error

    start = (parameters, rest, optimizer.init(parameters))
    (parameters, rest, _), steps = descend(training, data.n_train, update, start, limit)

    def evaluate(inputs: Array) -> tuple[Array, Array]:
        trained: Any = nnx.merge(graph, parameters, rest, copy=True)
        trained.eval()
        output, representations = trained(inputs)
        return output, {**representations, task.output_layer: output}[layer].reshape(len(inputs), -1)

    block = block_rows(task.input_shape)
    train_output = in_blocks(
        lambda start, size: evaluate(inputs_of(start + jnp.arange(size)))[0],
        n_rows,
        # A full batch has been through the network in one piece already.
        n_rows if training.batch_size is None else block,
        data.n_train,
    )
    test_output, representation = evaluate_test(evaluate, test.inputs, probes, block)
    return outcome(
        task,
        train_output=train_output,
        train_targets=data.targets,
        train_weights=all_weights,
        test_output=test_output,
        test_targets=test.targets,
        representation=representation,
        steps=steps,
        # Without random keys, which no array of a store can hold.
        state=nnx.merge_state(parameters, nnx.filter_state(rest, nnx.Not(nnx.RngState))) if keep_state else (),
    )


@functools.lru_cache(maxsize=256)
def module_graph(network: Network, task: Task) -> nnx.GraphDef:
    """What a module in training is besides its variables; nothing is computed."""

    def build() -> nnx.Module:
        module = network.build(nnx.Rngs(0), task.input_shape, task.n_outputs)
        module.train()
        return module

    return nnx.split(nnx.eval_shape(build), nnx.Param, ...)[0]


def training_inputs(
    task: Task, world: PyTree[Array], data: MemberData, *, materialize: bool
) -> Callable[[Any], Float[Array, "rows ..."]]:
    """The inputs of one member as a function of the rows that are wanted.

    Args:
      task: what is learned.
      world: what `task.load` returned.
      data: of the member.
      materialize: whether all are made once, instead of those wanted each time. Noise on inputs always is: it is a
        draw per number, dearer than a step of training.
    """
    if task.noise_on_inputs:
        inputs = task.noisy_inputs(world, data.drawn, data.noise_key, data.level)
    elif materialize:
        inputs = task.inputs(world, data.drawn)
    else:
        return lambda rows: task.inputs(world, data.drawn[rows])
    return lambda rows: inputs[rows]


def evaluate_test(
    evaluate: Callable[[Array], tuple[Array, Array]], inputs: Float[Array, "test ..."], probes: int, block: int
) -> tuple[Float[Array, "test outputs"], Float[Array, "probes units"]]:
    """The outputs on all held-out rows, and the representation on the first `probes`, in blocks of rows.

    Rows are computed in whole tiles, so that equal probes have equal representations wherever they stand.
    """
    if len(inputs) <= block:
        output, representation = evaluate(whole_tiles(inputs, block))
        return output[: len(inputs)], representation[:probes]

    def rows(start: int | Array, size: int) -> Array:
        return jax.lax.dynamic_slice_in_dim(inputs, start, size)

    # Only the blocks with probes in them keep the representation, which may be large.
    head = min(-(-probes // block) * block, len(inputs))
    output, representation = in_blocks(lambda start, size: evaluate(rows(start, size)), head, block)
    if head < len(inputs):
        rest = in_blocks(lambda start, size: evaluate(rows(head + start, size))[0], len(inputs) - head, block)
        output = jnp.concatenate([output, rest])
    return output, representation[:probes]


def outcome(
    task: Task,
    *,
    train_output: Array,
    train_targets: Array,
    train_weights: Float[Array, " rows"],
    test_output: Array,
    test_targets: Array,
    representation: Float[Array, "probes units"],
    steps: int | Int[Array, ""],
    state: PyTree = (),
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

    return Outcome(
        or_nan(train_error), or_nan(test_error), finite, jnp.asarray(steps, jnp.int32), or_nan(representation), state
    )
