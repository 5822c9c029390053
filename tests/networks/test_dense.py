import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from flax import nnx

from jaxalign.networks import MLP, LinearNetwork, Network, layers, n_parameters
from jaxalign.theory import MinNorm, Ridge

ACTIVATIONS = {
    LinearNetwork(7): lambda h: h,
    MLP(7): lambda h: np.maximum(h, 0),
    MLP(7, "tanh"): np.tanh,
    MLP(7, "gelu"): lambda h: h * scipy.stats.norm.cdf(h),
    MLP(7, "erf"): scipy.special.erf,
    MLP(7, "linear"): lambda h: h,
    MLP((5, 3)): lambda h: np.maximum(h, 0),
}
SIGMAS = 4.5


@dataclasses.dataclass(frozen=True)
class Own:
    """A user's network; `returns` says what its module answers with."""

    returns: str = "right"

    def build(self, rngs, input_shape, n_outputs):
        return OwnModule(self.returns, input_shape[0], n_outputs, rngs)


class OwnModule(nnx.Module):
    def __init__(self, returns, n_in, n_outputs, rngs):
        self.returns = returns
        self.linear = nnx.Linear(n_in, n_outputs, rngs=rngs)
        self.statistics = nnx.BatchStat(jnp.zeros(1000))

    def __call__(self, inputs):
        output = self.linear(inputs)
        return {
            "right": (output, {"low": inputs, "high": output}),
            "output alone": output,
            "three": (output, {"low": inputs}, {}),
            "a list": (output, [inputs]),
            "too wide": (jnp.tile(output, (1, 2)), {}),
            "transposed": (output.T, {}),
            "no array": ("output", {}),
        }[self.returns]


@pytest.mark.parametrize("hidden", [1, 20])
@pytest.mark.parametrize("input_shape, d", [((5,), 5), ((4, 3, 2), 24)])
@pytest.mark.parametrize("c", [1, 10])
def test_n_parameters(hidden, input_shape, d, c):
    assert n_parameters(LinearNetwork(hidden), input_shape, c) == hidden * (d + c)
    for activation in ("relu", "linear"):
        assert n_parameters(MLP(hidden, activation), input_shape, c) == hidden * (d + 1) + c * (hidden + 1)
    assert n_parameters(MLP((hidden, 3)), input_shape, c) == hidden * (d + 1) + 3 * (hidden + 1) + c * 4


def test_n_parameters_allocates_nothing_and_counts_only_what_is_trained():
    assert n_parameters(LinearNetwork(10**6), (10**6,), 1) == 10**6 * (10**6 + 1)
    assert n_parameters(Own(), (5,), 3) == 5 * 3 + 3


@pytest.mark.parametrize("network", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("input_shape", [(24,), (4, 3, 2)])
def test_forward_is_that_of_numpy(network, input_shape):
    graph, parameters = nnx.split(nnx.eval_shape(lambda: network.build(nnx.Rngs(0), input_shape, 3)))
    rng = np.random.default_rng(0)
    # Random in all parameters, so that the biases (zero at first) are seen to be used.
    parameters = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), parameters)
    x = rng.normal(size=(11, *input_shape)).astype(np.float32)
    with jax.default_matmul_precision("highest"):
        returned = jax.jit(lambda parameters, x: nnx.merge(graph, parameters)(x))(parameters, x)

    features, expected = x.reshape(11, -1).astype(np.float64), []
    *hidden_layers, readout = (layer for _, layer in sorted(nnx.to_pure_dict(parameters)["layers"].items()))
    for layer in hidden_layers:
        mapped = features @ layer["kernel"].T + layer.get("bias", np.zeros((1, 1)))[:, 0]
        features = ACTIVATIONS[network](mapped)
        expected.append(features)
    output = features @ readout["kernel"].T + readout.get("bias", np.zeros((1, 1)))[:, 0]

    assert isinstance(returned, tuple)
    names = ["hidden"] if len(expected) == 1 else ["hidden_1", "hidden_2"]
    assert set(returned[1]) == {*names, "penultimate"}
    for name, representation in zip((*names, "penultimate"), (*expected, expected[-1]), strict=True):
        np.testing.assert_allclose(returned[1][name], representation, rtol=1e-5, atol=1e-5)
        assert returned[1][name].shape == representation.shape
    assert returned[0].shape == (11, 3)
    np.testing.assert_allclose(returned[0], output, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("network", [LinearNetwork(400), MLP(400)], ids=str)
def test_weights_start_as_lecun_draws_and_biases_at_zero(network):
    module = network.build(nnx.Rngs(0), (10, 9), 50)
    for layer, fan_in in ((module.layers[0], 90), (module.layers[1], 400)):
        kernel = np.asarray(layer.kernel[...], np.float64)
        assert kernel.shape[1] == fan_in
        sigma = 1 / np.sqrt(fan_in)
        np.testing.assert_allclose(kernel.std(), sigma, rtol=SIGMAS / np.sqrt(2 * kernel.size))
        np.testing.assert_allclose(kernel.mean(), 0, atol=SIGMAS * sigma / np.sqrt(kernel.size))
        if isinstance(network, MLP):
            np.testing.assert_array_equal(layer.bias[...], 0)
        else:
            assert layer.bias is None


def test_initialization_belongs_to_its_key_and_layers_differ():
    def kernels(seed):
        module = MLP(6).build(nnx.Rngs(seed), (6,), 6)
        return [np.asarray(layer.kernel[...]) for layer in (module.layers[0], module.layers[1])]

    np.testing.assert_array_equal(kernels(0), kernels(0))
    assert len(np.unique(np.array([kernels(0), kernels(1)]).ravel())) == 4 * 36


@pytest.mark.parametrize(
    "network, names",
    [
        (LinearNetwork(4), ("hidden", "penultimate")),
        (MLP(4), ("hidden", "penultimate")),
        (MLP((5, 4, 3)), ("hidden_1", "hidden_2", "hidden_3", "penultimate")),
        (Own(), ("low", "high")),
    ],
    ids=str,
)
def test_layers_are_the_names_of_the_representations(network, names):
    found = layers(network, (5,), 3)
    assert isinstance(found, tuple) and sorted(found) == sorted(names)


@pytest.mark.parametrize(
    "returns",
    [
        "output alone",
        "three",
        "a list",
        "too wide",
        "transposed",
        "no array",
    ],
)
def test_layers_refuses_a_network_that_returns_something_else(returns):
    allowed = "networks whose call returns (output of shape (rows, 3), dict of representations (rows, ...))"
    message = f"networks must be {allowed}, got {Own(returns)!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        layers(Own(returns), (5,), 3)


def test_anything_that_builds_is_a_network():
    for network in (Own(), MLP(3), LinearNetwork(3)):
        assert isinstance(network, Network)
    assert not isinstance(object(), Network)


def test_networks_are_values():
    assert MLP(3) == MLP(3, "relu") != MLP(3, "tanh")
    assert hash(MLP(3)) == hash(MLP(3, "relu"))
    assert MLP((3,)) == MLP([3]) == MLP(3) and repr(MLP((3,))) == repr(MLP(3))
    assert MLP([3, 2]) == MLP((3, 2)) != MLP((2, 3)) and hash(MLP([3, 2])) == hash(MLP((3, 2)))
    assert LinearNetwork(3) == LinearNetwork(3, MinNorm()) != LinearNetwork(3, Ridge(0.1))
    assert LinearNetwork(3, None).solver is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        MLP(3).hidden = 4


@pytest.mark.parametrize("kind", [LinearNetwork, MLP])
@pytest.mark.parametrize("hidden", [0, -1, 2.5, 2.0, True, "3", None])
def test_hidden_must_be_a_positive_integer(kind, hidden):
    message = f"hidden must be an integer of at least 1, got {hidden!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        kind(hidden)


@pytest.mark.parametrize(
    "hidden, message",
    [
        ((), "hidden must be a positive integer or a tuple of them, got ()"),
        ((4, 0), "hidden[1] must be an integer of at least 1, got 0"),
        ((2.0,), "hidden[0] must be an integer of at least 1, got 2.0"),
        ("x", "hidden must be an integer of at least 1, got 'x'"),
    ],
)
def test_hidden_layers_must_be_positive_integers(hidden, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        MLP(hidden)


@pytest.mark.parametrize(
    "activation, hint",
    [("rleu", " (did you mean 'relu' or 'gelu'?)"), ("tahn", " (did you mean 'tanh'?)"), (None, ""), (3, "")],
)
def test_an_unknown_activation_is_refused(activation, hint):
    message = f"activation must be one of erf, gelu, linear, relu, tanh; got {activation!r}{hint}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        MLP(4, activation)


@pytest.mark.parametrize("solver", ["MinNorm", MinNorm, True, 0.1])
def test_a_solver_must_be_a_spectral_filter(solver):
    message = f"solver must be None or a spectral filter such as MinNorm(), got {solver!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        LinearNetwork(4, solver)
