"""Fully connected networks."""

import dataclasses
import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxalign import checks
from jaxalign.theory.filters import MinNorm, SpectralFilter

Activation = Callable[[Array], Array]

ACTIVATIONS: dict[str, Activation | None] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "erf": jax.scipy.special.erf,
    "linear": None,
}

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
        return mapped if self.bias is None else _add_bias(mapped, self.bias[...])


@jax.custom_vjp
def _add_bias(mapped: Float[Array, "n_out rows"], bias: Float[Array, "n_out 1"]) -> Float[Array, "n_out rows"]:
    """The sum; the bias gets its gradient by a product with ones, on CPUs much faster than XLA's own sum over rows."""
    return mapped + bias


def _add_bias_forward(mapped: Array, bias: Array) -> tuple[Array, None]:
    return mapped + bias, None


def _add_bias_backward(_: None, gradient: Array) -> tuple[Array, Array]:
    ones = jnp.ones((gradient.shape[-1], 1), gradient.dtype)
    return gradient, jnp.matmul(gradient, ones, precision="highest")


_add_bias.defvjp(_add_bias_forward, _add_bias_backward)


class Perceptron(nnx.Module):
    """Dense layers with an activation between them; returns the output and the hidden representations.

    They are taken after the activation: "hidden" of a single hidden layer, "hidden_1", "hidden_2", ... of several, and
    in any case "penultimate", what the output is an affine map of.
    """

    def __init__(
        self,
        n_in: int,
        hidden: tuple[int, ...],
        n_out: int,
        activation: Activation | None,
        *,
        use_bias: bool,
        rngs: nnx.Rngs,
    ):
        widths = (n_in, *hidden, n_out)
        self.layers = nnx.List(
            Dense(before, after, use_bias=use_bias, rngs=rngs) for before, after in itertools.pairwise(widths)
        )
        self.activation = activation

    def __call__(self, inputs: Float[Array, "rows ..."]) -> tuple[Output, dict[str, Hidden]]:
        features = inputs.reshape(len(inputs), -1).T
        *hidden_layers, readout = self.layers
        representations = {}
        for i, layer in enumerate(hidden_layers, 1):
            features = layer(features)
            if self.activation is not None:
                features = self.activation(features)
            representations["hidden" if len(hidden_layers) == 1 else f"hidden_{i}"] = features.T
        return readout(features).T, {**representations, "penultimate": features.T}


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

    Example:
      >>> import jaxalign
      >>> from jaxalign.networks import layers, n_parameters
      >>> network = jaxalign.LinearNetwork(hidden=20, solver=jaxalign.Ridge(0.1))  # solved; solver=None trains it
      >>> n_parameters(network, (100,), 1), layers(network, (100,), 1)
      (2020, ('hidden', 'penultimate'))
    """

    hidden: int
    solver: SpectralFilter | None = MinNorm()

    def __post_init__(self) -> None:
        checks.integer("hidden", self.hidden)
        if self.solver is not None and not isinstance(self.solver, SpectralFilter):
            checks.reject("solver", "None or a spectral filter such as MinNorm()", self.solver)

    def build(self, rngs: nnx.Rngs, input_shape: tuple[int, ...], n_outputs: int) -> Perceptron:
        """Returns a freshly initialized module for inputs of `input_shape` and `n_outputs` outputs."""
        return Perceptron(math.prod(input_shape), (self.hidden,), n_outputs, None, use_bias=False, rngs=rngs)


@dataclasses.dataclass(frozen=True)
class MLP:
    """A perceptron with biases and one hidden layer or several, taken after the activation.

    The layer is "hidden" if there is one, else "hidden_1", "hidden_2", ...; the last one is also called "penultimate".
    Weights start as LeCun normal draws (variance 1 / fan-in), biases at zero.

    Attributes:
      hidden: the number of hidden units, or a tuple of them, from the input to the output.
      activation: "relu", "tanh", "gelu" (x times the normal distribution function), "erf" or "linear" (none).

    Raises:
      ValueError: if `hidden` is not a positive integer or a tuple of them, or `activation` is unknown.

    Example:
      >>> from jaxalign.networks import MLP, layers, n_parameters
      >>> network = MLP(hidden=(512, 64), activation="gelu")
      >>> n_parameters(network, (28, 28, 1), 10)
      435402
      >>> layers(network, (28, 28, 1), 10)
      ('hidden_1', 'hidden_2', 'penultimate')
      >>> MLP(hidden=16)
      MLP(hidden=16, activation='relu')
    """

    hidden: int | tuple[int, ...]
    activation: str = "relu"

    def __post_init__(self) -> None:
        if isinstance(self.hidden, (tuple, list)):
            widths = [checks.integer(f"hidden[{i}]", units) for i, units in enumerate(self.hidden)]
            if not widths:
                checks.reject("hidden", "a positive integer or a tuple of them", self.hidden)
            # One network has one name, whether its only hidden layer came in a tuple or not.
            object.__setattr__(self, "hidden", tuple(widths) if len(widths) > 1 else widths[0])
        else:
            checks.integer("hidden", self.hidden)
        checks.choice("activation", self.activation, ACTIVATIONS)

    def build(self, rngs: nnx.Rngs, input_shape: tuple[int, ...], n_outputs: int) -> Perceptron:
        """Returns a freshly initialized module for inputs of `input_shape` and `n_outputs` outputs."""
        hidden = (self.hidden,) if isinstance(self.hidden, int) else self.hidden
        activation = ACTIVATIONS[self.activation]
        return Perceptron(math.prod(input_shape), hidden, n_outputs, activation, use_bias=True, rngs=rngs)
