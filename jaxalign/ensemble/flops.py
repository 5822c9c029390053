"""Floating-point operations of training, counted in what is traced."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import Array, PyTree

from jaxalign.ensemble.batch import is_solved
from jaxalign.ensemble.member import module_graph
from jaxalign.ensemble.training import Training
from jaxalign.networks import LinearNetwork, Network
from jaxalign.tasks import Task

# Of a thin singular value decomposition by bidiagonalization, Golub & Van Loan, Matrix Computations, figure 8.6.1.
_SVD_TALL, _SVD_SQUARE = 6, 20


def training_flops(network: Network, task: Task, training: Training, n_train: int) -> float:
    """FLOPs of training one network, or of solving one that shares no decomposition.

    A multiply-add of a matrix product or a convolution counts as 2, element-wise work, the optimizer and evaluation as
    0. A `while` loop of a user's network counts as one pass.

    Args:
      network: which one.
      task: what it learns.
      training: how; it takes all its steps.
      n_train: the number of training samples.
    """
    if is_solved(network):
        assert isinstance(network, LinearNetwork)
        short, long = sorted((n_train, task.input_shape[0]))
        return float(_SVD_TALL * long * short**2 + _SVD_SQUARE * short**3)
    rows = n_train if training.batch_size is None else training.batch_size
    return float(training.total_steps(n_train) * _step_flops(network, task, rows))


@functools.lru_cache(maxsize=256)
def _step_flops(network: Network, task: Task, rows: int) -> float:
    """Those of one gradient; nothing is compiled."""
    graph = module_graph(network, task)
    module = nnx.eval_shape(lambda: network.build(nnx.Rngs(0), task.input_shape, task.n_outputs))
    _, parameters, rest = nnx.split(module, nnx.Param, ...)

    def loss(parameters: PyTree, rest: PyTree, inputs: Array, targets: Array) -> Array:
        output, _ = nnx.merge(graph, parameters, rest, copy=True)(inputs)
        return jnp.mean(task.loss(output, targets))

    inputs = jax.ShapeDtypeStruct((rows, *task.input_shape), jnp.float32)
    classes = jax.ShapeDtypeStruct((rows,), jnp.int32)
    targets = classes if task.classification else jax.ShapeDtypeStruct((rows, task.n_outputs), jnp.float32)
    jaxpr = jax.make_jaxpr(jax.grad(loss))(parameters, rest, inputs, targets).jaxpr
    # The compiler drops what nobody needs, such as the gradient with respect to the inputs.
    needed, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return float(_count(needed))


def _count(jaxpr: Any) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        ((contracted, _), _) = parameters["dimension_numbers"]
        return 2 * equation.outvars[0].aval.size * math.prod(equation.invars[0].aval.shape[i] for i in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval
        # Each number of the output is a product with all of the kernel that leads to its channel.
        outputs = kernel.shape[parameters["dimension_numbers"].rhs_spec[0]]
        return 2 * equation.outvars[0].aval.size * kernel.size // outputs
    inner = [_count(jaxpr) for jaxpr in jaxprs_in_params(parameters)]
    if name == "cond":
        return max(inner, default=0)
    return parameters.get("length", 1) * sum(inner) if name == "scan" else sum(inner)
