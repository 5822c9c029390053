import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxalign import CNN, MLP, ImageTask, LinearNetwork, LinearTeacher, Training
from jaxalign.ensemble import GroupSpec, Layout, choose_layout, compile_group, draw_group
from jaxalign.ensemble.layout import compiler_options

TASK = LinearTeacher(dim=20)
MNIST = ImageTask("mnist")
MEMBERS = 16


@dataclasses.dataclass(frozen=True)
class Rows:
    """A user's network, with the rows in the major axis."""

    hidden: int = 5

    def build(self, rngs, input_shape, n_outputs):
        return RowsModule(input_shape[0], self.hidden, n_outputs, rngs)


class RowsModule(nnx.Module):
    def __init__(self, n_in, hidden, n_out, rngs):
        self.first = nnx.Linear(n_in, hidden, rngs=rngs)
        self.second = nnx.Linear(hidden, n_out, rngs=rngs)

    def __call__(self, inputs):
        hidden = jnp.tanh(self.first(inputs))
        return self.second(hidden), {"hidden": hidden}


@dataclasses.dataclass(frozen=True)
class Knowing(MLP):
    def members_at_once(self, backend):
        return {"cpu": 3, "gpu": 8}.get(backend)


@dataclasses.dataclass(frozen=True)
class NoisyInputs(LinearTeacher):
    noise_on_inputs = True


def chosen(network, task=TASK, rows=400, members=MEMBERS, backend="cpu", **more):
    return choose_layout(network, task, rows, members, backend=backend, **more)


def at_once(*arguments, **options):
    return chosen(*arguments, **options).members_at_once


def options(network, task=TASK, shared_rows=True, chunk=None):
    return compiler_options(network, task, shared_rows=shared_rows, chunk=chunk)


@pytest.mark.parametrize("batch_size", [8, None])
@pytest.mark.parametrize("network", [MLP(4), MLP((4, 3), "tanh"), LinearNetwork(3, solver=None), Rows()])
def test_every_layout_trains_the_same_networks(network, batch_size):
    options = {"shared_inputs": True, "shared_batches": True}
    data = draw_group(
        TASK, seed=0, replicate=0, noise=(5.0,), members=7, rows=24, probes=10, shared_init=False, **options
    )
    spec = GroupSpec(
        network=network,
        task=TASK,
        training=Training(learning_rate=0.01, steps=40, batch_size=batch_size),
        layer="output",
        probes=10,
        **options,
    )
    outcomes = [
        compile_group(dataclasses.replace(spec, chunk=chunk), data)(data, jnp.int32(20)) for chunk in (None, 1, 3)
    ]
    assert len(np.unique(np.asarray(outcomes[0].train_error))) == 7
    for other in outcomes[1:]:
        for x, y in zip(outcomes[0], other, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


def test_small_members_are_batched_and_large_ones_follow_one_another():
    assert at_once(MLP(20)) is None and at_once(MLP(1000)) == 1
    for network, batch_size, expected in (
        (MLP(16), 128, None),
        (MLP(64), 128, 8),
        (MLP(128), 128, 4),
        (MLP(128), None, 2),
        (MLP((128, 128)), 128, 2),
        (MLP(512), 128, 1),
        (MLP(10_000), 128, 1),
    ):
        assert at_once(network, MNIST, 1024, batch_size=batch_size) == expected, network


def test_the_rows_of_a_step_count():
    assert at_once(MLP(16), rows=60_000, batch_size=128) is None
    assert at_once(MLP(16), rows=60_000) == 1


def test_the_largest_divisor_avoids_a_remainder():
    """4 fit; a group of 15 makes 5 batches of 3, one of 12 makes 3 of 4, and of 31 no number of members is near."""
    choices = [at_once(MLP(128), MNIST, 1024, members, batch_size=128) for members in (3, 4, 12, 15, 31)]
    assert choices == [None, None, 4, 3, 4]


def test_networks_of_the_users_own_are_batched_by_what_they_return():
    assert str(chosen(Rows())) == "vmap, all 16 members at once"
    assert at_once(Rows(1000)) == 1 and at_once(Rows(128), LinearTeacher(dim=784), batch_size=128) == 4


def test_accelerators_take_all_members():
    for backend in ("gpu", "tpu"):
        assert at_once(MLP(10_000), backend=backend) is None


def test_the_present_backend_is_the_default(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert at_once(Knowing(4), backend=None) == 8 and options(MLP(4)) == {}


def test_a_network_knows_best():
    assert [at_once(Knowing(10_000), backend=backend) for backend in ("cpu", "gpu", "tpu")] == [3, 8, None]
    assert chosen(CNN(2), ImageTask("cifar10")).name == "loop"
    assert str(chosen(CNN(2), ImageTask("cifar10"), backend="gpu")) == "vmap, all 16 members at once"


def test_solved_members_are_solved_at_once():
    assert at_once(LinearNetwork(20_000)) is None and at_once(LinearNetwork(20_000, solver=None)) == 1


def test_noisy_inputs_of_a_batch_fit_into_a_gibibyte():
    noisy = NoisyInputs(dim=256)
    assert at_once(MLP(4), noisy, 2**18, batch_size=8) == 4
    assert at_once(MLP(4), noisy, 2**21, batch_size=8) == 1
    assert at_once(Knowing(4), noisy, 2**18) == 3 and at_once(MLP(4), noisy, 2**18, backend="gpu") == 4
    assert at_once(MLP(10_000), noisy, 2**18, batch_size=8) == 1


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        (Layout("stacked", 15), "stacked, all 15 members at once"),
        (Layout("stacked", 16, 4), "stacked, 4 of 16 members at once"),
        (Layout("loop", 15, 1), "loop, one member after another"),
    ],
)
def test_layouts_are_printed_for_people(layout, text):
    assert str(layout) == text


def test_rows_of_ones_own_are_not_stacked_and_count():
    wide = LinearTeacher(dim=784)
    assert str(chosen(MLP(16), wide, batch_size=128)) == "stacked, all 16 members at once"
    assert str(chosen(MLP(16), wide, batch_size=128, shared_rows=False)) == "vmap, 4 of 16 members at once"
    assert chosen(MLP(16), NoisyInputs(dim=784), batch_size=128).name == "vmap"


def test_only_stacked_perceptrons_ask_for_full_vectors():
    width, library = "xla_cpu_prefer_vector_width", "xla_cpu_experimental_ynn_fusion_type"
    assert options(MLP(4)) == options(LinearNetwork(4, solver=None)) == {library: "", width: 512}
    others = [options(CNN(2)), options(Rows()), options(MLP(4), chunk=1), options(MLP(4), shared_rows=False)]
    assert others == [{library: ""}] * 4 == [options(network) for network in [LinearNetwork(4)] * 4]
    assert options(MLP(4), NoisyInputs(dim=20)) == {library: ""}
