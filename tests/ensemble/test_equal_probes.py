"""Probes that no network can tell apart have equal representations, wherever they stand: their ties are exact."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxalign import CNN, MLP, FlaxNetwork, ImageTask, LinearNetwork, LinearTeacher, Training
from jaxalign.ensemble import GroupSpec, compile_group, draw_group

PROBES, DISTINCT = 331, 13


class RowsInTheMajorAxis(nnx.Module):
    def __init__(self, input_shape, n_outputs, *, rngs):
        self.embed = nnx.Linear(input_shape[0], 16, rngs=rngs)
        self.readout = nnx.Linear(16, n_outputs, rngs=rngs)

    def __call__(self, x):
        hidden = nnx.gelu(self.embed(x))
        return self.readout(hidden), {"hidden": hidden}


@dataclasses.dataclass(frozen=True)
class Repeated(LinearTeacher):
    """Test inputs are a few rows, repeated in random order."""

    def test_set(self, world, key, probes):
        drawn = self.draw_inputs(world, key, DISTINCT)[which(probes)]
        return drawn, self.clean_targets(world, drawn)


class RepeatedDigits(ImageTask):
    def test_set(self, world, key, probes):
        inputs, targets = super().test_set(world, key, DISTINCT)
        return inputs[which(probes)], targets[which(probes)]


def which(probes):
    return np.random.default_rng(0).integers(0, DISTINCT, probes)


TEACHER, DIGITS = Repeated(dim=17), RepeatedDigits("digits")


@pytest.mark.parametrize(
    ("task", "network", "layer", "members"),
    [
        (TEACHER, LinearNetwork(1), "hidden", 1),
        (TEACHER, LinearNetwork(3), "output", 3),
        (TEACHER, FlaxNetwork(RowsInTheMajorAxis), "output", 1),
        (TEACHER, FlaxNetwork(RowsInTheMajorAxis), "output", 3),
        (TEACHER, MLP((33, 17), "gelu"), "output", 3),
        (DIGITS, MLP(16, "tanh"), "logits", 3),
        pytest.param(DIGITS, CNN(width=2), "logits", 3, marks=pytest.mark.slow),
    ],
    ids=lambda value: str(value).partition("(")[0],
)
def test_equal_probes_have_equal_representations(task, network, layer, members):
    shared = {"shared_inputs": True, "shared_batches": True}
    spec = GroupSpec(network, task, Training(steps=3, batch_size=8), layer, PROBES, **shared)
    noise = task.check_noise((0.5,))
    data = draw_group(
        task, seed=0, replicate=0, noise=noise, members=members, rows=24, probes=PROBES, shared_init=False, **shared
    )
    assert len(data.test.inputs) == PROBES
    for representation in np.asarray(compile_group(spec, data)(data, jnp.int32(20)).representation):
        firsts = representation[[np.flatnonzero(which(PROBES) == i)[0] for i in range(DISTINCT)]]
        np.testing.assert_array_equal(representation, firsts[which(PROBES)])
