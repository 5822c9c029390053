"""Fully connected networks."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxalign import checks
from jaxalign.theory.filters import MinNorm, SpectralFilter

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"relu": jax.nn.relu, "tanh": jnp.tanh}

Hidden = Float[Array, "rows hidden"]
Output = Float[Array, "rows outputs"]


class Dense(nnx.Module):
    """An affine map of features in the leading axis, (in, rows) -> (out, rows).

    Rows stay the minor axis because members are batched: with kernels (out, in), the first layers of all members
    on shared inputs are one matrix product (members * out, in) x (in, rows), and the element-wise work after it runs
    over long contiguous rows.
    """

    def __init__(self, n_in: int, n_out: int, *, use_bias: bool, rngs: nnx.Rngs):
        initialize = jax.nn.initializers.lecun_normal(in_axis=1, out_axis=0)
        self.kernel = nnx.Param(initialize(rngs.params(), (n_out, n_in), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((n_out, 1), jnp.float32)) if use_bias else None

    def __call__(self, features: Float[Array, "n_in rows"]) -> Float[Array, "n_out rows"]:
        mapped = self.kernel[...] @ features
        return mapped if self.bias is None else mapped + self.bias[...]


class TwoLayers(nnx.Module):
    """Dense, activation, Dense; returns the output and the representation "hidden", after the activation."""

    def __init__(
        self,
        n_in: int,
        hidden: int,
        n_out: int,
        activation: Callable[[Array], Array] | None,
        *,
        use_bias: bool,
        rngs: nnx.Rngs,
    ):
        self.first = Dense(n_in, hidden, use_bias=use_bias, rngs=rngs)
        self.second = Dense(hidden, n_out, use_bias=use_bias, rngs=rngs)
        self.activation = activation

    def __call__(self, inputs: Float[Array, "rows ..."]) -> tuple[Output, dict[str, Hidden]]:
        hidden = self.first(inputs.reshape(len(inputs), -1).T)
        if self.activation is not None:
            hidden = self.activation(hidden)
        return self.second(hidden).T, {"hidden": hidden.T}


@dataclasses.dataclass(frozen=True)
class LinearNetwork:
    """y = W2 W1 x: two layers without biases and without an activation; layer "hidden" is W1 x.

    On a regression task it is by default not trained but *solved*: it is put at the balanced minimum of its loss,
    W1^T W1 = (W^T W)^(1/2), where W = W2 W1 is the least-squares solution that `solver` filters. That is the
    network that the theory of `jaxalign.theory` speaks of.

    Attributes:
      hidden: the number of hidden units. Below the number of outputs, W is the best map of that rank.
      solver: a spectral filter; `MinNorm()` is the global minimum of the training loss. None trains the network
        as any other is trained.

    Raises:
      ValueError: if `hidden` is not a positive integer or `solver` is neither None nor a spectral filter.
    """

    hidden: int
    solver: SpectralFilter | None = MinNorm()

    def __post_init__(self) -> None:
        checks.integer("hidden", self.hidden)
        if self.solver is not None and not isinstance(self.solver, SpectralFilter):
            checks.reject("solver", "None or a spectral filter such as MinNorm()", self.solver)

    def build(self, rngs: nnx.Rngs, input_shape: tuple[int, ...], n_outputs: int) -> TwoLayers:
        """Returns a freshly initialized module for inputs of `input_shape` and `n_outputs` outputs."""
        return TwoLayers(math.prod(input_shape), self.hidden, n_outputs, None, use_bias=False, rngs=rngs)


@dataclasses.dataclass(frozen=True)
class MLP:
    """A perceptron with one hidden layer and biases; layer "hidden" is taken after the activation.

    Weights start as LeCun normal draws (variance 1 / fan-in), biases at zero.

    Attributes:
      hidden: the number of hidden units.
      activation: "relu" or "tanh".

    Raises:
      ValueError: if `hidden` is not a positive integer or `activation` is unknown.
    """

    hidden: int
    activation: str = "relu"

    def __post_init__(self) -> None:
        checks.integer("hidden", self.hidden)
        checks.choice("activation", self.activation, ACTIVATIONS)

    def build(self, rngs: nnx.Rngs, input_shape: tuple[int, ...], n_outputs: int) -> TwoLayers:
        """Returns a freshly initialized module for inputs of `input_shape` and `n_outputs` outputs."""
        n_in, activation = math.prod(input_shape), ACTIVATIONS[self.activation]
        return TwoLayers(n_in, self.hidden, n_outputs, activation, use_bias=True, rngs=rngs)
