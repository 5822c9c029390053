"""What a network is to jaxalign: a frozen dataclass that builds a flax module."""

import functools
import hashlib
import math
import re
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from flax import nnx


@runtime_checkable
class Network(Protocol):
    """A frozen dataclass with a `build` method; one of a user's own needs nothing else.

    The module that `build` returns is called with inputs (rows, *input_shape) and returns
    `(output, representations)`: the output (rows, n_outputs) and a dict of named representations, each
    (rows, ...). The output is a representation too, under the name that the task gives it ("logits" or "output").
    A network may also have a method `members_at_once(backend) -> int | None`, the number of members that are fastest
    batched by vmap on a backend ("cpu", "gpu", "tpu"), None for all.
    """

    def build(self, rngs: nnx.Rngs, input_shape: tuple[int, ...], n_outputs: int) -> nnx.Module:
        """Returns a freshly initialized module."""
        ...


@functools.lru_cache(maxsize=256)
def n_parameters(network: Network, input_shape: tuple[int, ...], n_outputs: int) -> int:
    """The number of trainable parameters (`nnx.Param`) of `network`; nothing is computed or allocated."""
    _, state = _abstract(network, input_shape, n_outputs)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.filter_state(state, nnx.Param)))


def normalizes_batches(network: Network, input_shape: tuple[int, ...], n_outputs: int) -> bool:
    """Whether a row's output in training depends on the other rows, through statistics of the batch."""
    _, state = _abstract(network, input_shape, n_outputs)
    return bool(jax.tree.leaves(nnx.filter_state(state, nnx.BatchStat)))


def layers(network: Network, input_shape: tuple[int, ...], n_outputs: int) -> tuple[str, ...]:
    """The names of the representations that `network` returns beside its output; for errors see `layer_units`."""
    return tuple(layer_units(network, input_shape, n_outputs))


@functools.lru_cache(maxsize=256)
def layer_units(network: Network, input_shape: tuple[int, ...], n_outputs: int) -> dict[str, int]:
    """The representations that `network` returns beside its output: their names, and how many units they have.

    Raises:
      ValueError: if the module cannot be built or called, or does not return an output (rows, n_outputs) and a dict of
        representations, the same in training and in evaluation.
    """
    graph, state = _abstract(network, input_shape, n_outputs)
    rows = 2

    def call(state: Any, inputs: jax.Array) -> Any:
        module: Any = nnx.merge(graph, state, copy=True)
        return _in_both_modes(module, inputs)

    allowed = f"networks whose call returns (output of shape (rows, {n_outputs}), dict of representations (rows, ...))"
    shape = (rows, *input_shape)
    try:
        returned, evaluated = jax.eval_shape(call, state, jax.ShapeDtypeStruct(shape, "float32"))
    except Exception as error:
        raise ValueError(
            f"networks must be {allowed}, got {network!r}, which for inputs of shape {shape} raises "
            f"{type(error).__name__}: {error}"
        ) from error
    described = (
        f"networks must be {allowed}, got {network!r}, which for inputs of shape {shape} returns {_shapes(returned)}"
    )
    if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], dict)):
        raise ValueError(described)
    output, representations = returned
    leading = [getattr(value, "shape", ())[:1] for value in representations.values()]
    if getattr(output, "shape", None) != (rows, n_outputs) or any(shape != (rows,) for shape in leading):
        raise ValueError(described)
    if returned != evaluated:
        raise ValueError(f"{described} in training, but {_shapes(evaluated)} in evaluation")
    return {name: math.prod(value.shape[1:]) for name, value in representations.items()}


@functools.lru_cache(maxsize=256)
def digest(network: Network, input_shape: tuple[int, ...], n_outputs: int) -> str:
    """Tells networks apart by what they compute: their initial draws, and their calls in training and evaluation.

    It is taken from the traced program, so it does not depend on how the code is written or commented, nor on the
    process. Another version of JAX or flax may trace another program.
    """

    def program(key: jax.Array, inputs: jax.Array) -> Any:
        module: Any = network.build(nnx.Rngs(key), input_shape, n_outputs)
        return jax.tree.leaves(nnx.state(module)), _in_both_modes(module, inputs)

    key = jax.eval_shape(lambda: jax.random.key(0))
    traced = jax.make_jaxpr(program)(key, jax.ShapeDtypeStruct((2, *input_shape), "float32"))
    # Functions that differentiate a part of the program are printed with their address.
    text = re.sub(r" at 0x[0-9a-f]+", "", str(traced.jaxpr))
    constants = [np.asarray(constant).tobytes() for constant in traced.consts]
    return hashlib.blake2b(b"".join([text.encode(), *constants]), digest_size=8).hexdigest()


def _shapes(returned: Any) -> str:
    """What a module returned, with shapes in the place of arrays."""
    return str(jax.tree.map(lambda value: getattr(value, "shape", value), returned))


def _in_both_modes(module: Any, inputs: jax.Array) -> tuple[Any, Any]:
    module.train()
    trained = module(inputs)
    module.eval()
    return trained, module(inputs)


@functools.lru_cache(maxsize=256)
def _abstract(network: Network, input_shape: tuple[int, ...], n_outputs: int) -> tuple[nnx.GraphDef, nnx.State]:
    """A module without numbers."""
    try:
        return nnx.split(nnx.eval_shape(lambda: network.build(nnx.Rngs(0), input_shape, n_outputs)))
    except Exception as error:
        raise ValueError(
            f"networks must be networks that can be built for input_shape {input_shape} and n_outputs {n_outputs}, "
            f"got {network!r}, which raises {type(error).__name__}: {error}"
        ) from error
