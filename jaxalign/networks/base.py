"""What a network is to jaxalign: a frozen dataclass that builds a flax module."""

import functools
import math
from typing import Any, Protocol, runtime_checkable

import jax
from flax import nnx

from jaxalign import checks


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
    parameters = nnx.state(_abstract(network, input_shape, n_outputs), nnx.Param)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(parameters))


@functools.lru_cache(maxsize=256)
def normalizes_batches(network: Network, input_shape: tuple[int, ...], n_outputs: int) -> bool:
    """Whether a row's output in training depends on the other rows, through statistics of the batch."""
    return bool(jax.tree.leaves(nnx.state(_abstract(network, input_shape, n_outputs), nnx.BatchStat)))


def layers(network: Network, input_shape: tuple[int, ...], n_outputs: int) -> tuple[str, ...]:
    """The names of the representations that `network` returns beside its output; for errors see `layer_units`."""
    return tuple(layer_units(network, input_shape, n_outputs))


@functools.lru_cache(maxsize=256)
def layer_units(network: Network, input_shape: tuple[int, ...], n_outputs: int) -> dict[str, int]:
    """The representations that `network` returns beside its output: their names, and how many units they have.

    Raises:
      ValueError: if the module does not return an output (rows, n_outputs) and a dict of representations.
    """
    graph, state = nnx.split(_abstract(network, input_shape, n_outputs))
    rows = 2

    def call(state: Any, inputs: jax.Array) -> Any:
        module: Any = nnx.merge(graph, state, copy=True)
        return module(inputs)

    allowed = f"networks whose call returns (output of shape (rows, {n_outputs}), dict of representations (rows, ...))"
    try:
        returned = jax.eval_shape(call, state, jax.ShapeDtypeStruct((rows, *input_shape), "float32"))
    except TypeError as error:
        raise ValueError(f"networks must be {allowed}, got {network!r}: {error}") from error
    if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], dict)):
        checks.reject("networks", allowed, network)
    output, representations = returned
    leading = [getattr(value, "shape", ())[:1] for value in representations.values()]
    if getattr(output, "shape", None) != (rows, n_outputs) or any(shape != (rows,) for shape in leading):
        checks.reject("networks", allowed, network)
    return {name: math.prod(value.shape[1:]) for name, value in representations.items()}


def _abstract(network: Network, input_shape: tuple[int, ...], n_outputs: int) -> nnx.Module:
    return nnx.eval_shape(lambda: network.build(nnx.Rngs(0), input_shape, n_outputs))
