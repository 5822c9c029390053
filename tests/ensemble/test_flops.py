import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxalign import CNN, MLP, ImageTask, LinearNetwork, LinearTeacher, Training
from jaxalign.ensemble.flops import training_flops
from jaxalign.networks.convolution import LOWERINGS


def test_a_perceptron_has_the_products_of_its_layers():
    once = Training(steps=1, batch_size=32)
    layers = [784 * 16, 16 * 8, 8 * 10]
    biases = 16 + 8 + 10  # their gradients are products with ones
    expected = 2 * 32 * (3 * sum(layers) - layers[0] + biases)
    assert training_flops(MLP((16, 8)), ImageTask("mnist"), once, 500) == expected
    full = Training(steps=7)
    assert training_flops(MLP(5), LinearTeacher(20), full, 100) == 7 * 2 * 100 * (3 * (20 * 5 + 5) - 20 * 5 + 5 + 1)


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_a_convolution_counts_the_same_in_every_lowering(lowering):
    """Of the 5-layer network on 32 x 32 x 3; the gradient with respect to the images is nobody's."""
    products = [32 * 32 * 9 * 3 * 4, 16 * 16 * 9 * 4 * 8, 8 * 8 * 9 * 8 * 16, 4 * 4 * 9 * 16 * 32, 32 * 10]
    task, once = ImageTask("cifar10"), Training(steps=1, batch_size=16)
    expected = 2 * 16 * (3 * sum(products) - products[0] + 10)  # with the biases of the classifier
    assert training_flops(CNN(4, lowering=lowering), task, once, 100) == expected


def test_epochs_and_loops_are_counted():
    @dataclasses.dataclass(frozen=True)
    class Repeated:
        times: int

        def build(self, rngs, input_shape, n_outputs):
            times = self.times

            class Module(nnx.Module):
                def __init__(self):
                    self.square = nnx.Param(jnp.eye(input_shape[0]))
                    self.readout = nnx.Linear(input_shape[0], n_outputs, rngs=rngs)

                def __call__(self, x):
                    x, _ = jax.lax.scan(lambda h, _: (h @ self.square[...], None), x, length=times)
                    return self.readout(x), {"hidden": x}

            return Module()

    def count(times, epochs):
        return training_flops(Repeated(times), LinearTeacher(6), Training(epochs=epochs, batch_size=8), 20)

    assert count(4, 2) - count(3, 2) == count(3, 2) - count(2, 2) > 0
    assert count(3, 4) == 2 * count(3, 2)


def test_a_solved_network_costs_one_decomposition():
    small, large = (training_flops(LinearNetwork(3), LinearTeacher(50), Training(), n) for n in (20, 2000))
    assert 0 < small < large < 1e9
