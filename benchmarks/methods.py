"""The ways to train an ensemble that `throughput.py` compares, of jaxalign and of PyTorch."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks import common, torch_peers
from jaxalign.ensemble import GroupData, GroupSpec, Layout, compile_group
from jaxalign.networks import CNN, MLP

ENSEMBLE, LOOP, BATCHED, VMAP, JITTED = "ensemble", "PyTorch loop", "batched PyTorch", "vmap", "jitted members"


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to train all members; `losses` are those of the latest `run`, or None where there are none."""

    kind: str
    name: str
    run: Callable[[], Any]
    losses: Callable[[], np.ndarray | None]
    compile_seconds: float = 0.0


class Program:
    """Groups of members in the library's own compiled program, one after another or each on a thread."""

    def __init__(self, spec: GroupSpec, data: GroupData, groups: list[np.ndarray], threads: bool):
        self.threads = threads
        self.n_train = jnp.int32(data.targets.shape[1])
        start = time.perf_counter()
        self.groups = [_of_members(data, group) for group in groups]
        self.programs = [compile_group(spec, group) for group in self.groups]
        self.compile_seconds = time.perf_counter() - start

    def __call__(self) -> None:
        pairs = list(zip(self.programs, self.groups, strict=True))
        if self.threads:
            self.outcomes = common.on_threads([lambda p=p, g=g: p(g, self.n_train) for p, g in pairs])
        else:
            self.outcomes = [jax.block_until_ready(program(group, self.n_train)) for program, group in pairs]

    def losses(self) -> np.ndarray:
        return np.concatenate([outcome.train_error for outcome in self.outcomes])


def _of_members(data: GroupData, members: np.ndarray) -> GroupData:
    own = ("targets", "levels", "noise_keys")
    return data._replace(**{name: getattr(data, name)[members] for name in own})


@dataclasses.dataclass(frozen=True)
class PlainMLP:
    """The network of `MLP(hidden)` as one would write it: `nnx.Linear`, rows in the major axis; the same weights."""

    hidden: int

    def build(self, rngs: nnx.Rngs, input_shape: tuple[int, ...], n_outputs: int) -> nnx.Module:
        return _PlainModule(MLP(self.hidden).build(rngs, input_shape, n_outputs))


class _PlainModule(nnx.Module):
    def __init__(self, module: Any):
        self.layers = nnx.List([_linear(layer.kernel[...], layer.bias[...]) for layer in module.layers])

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        first, second = self.layers
        hidden = nnx.relu(first(inputs.reshape(len(inputs), -1)))
        return second(hidden), {"penultimate": hidden}


def _linear(kernel: jax.Array, bias: jax.Array) -> nnx.Linear:
    linear = nnx.Linear(kernel.shape[1], kernel.shape[0], rngs=nnx.Rngs(0))
    linear.kernel[...], linear.bias[...] = kernel.T, bias[:, 0]
    return linear


def of_jax(spec: GroupSpec, layout: Layout, data: GroupData, groups: list[np.ndarray]) -> list[Method]:
    """The ensemble in its layout, a loop of jitted members and, for perceptrons, plain vmap in one program."""
    everyone = np.arange(len(data.targets))
    ensemble = Program(dataclasses.replace(spec, chunk=layout.members_at_once), data, groups, threads=True)
    single = Program(dataclasses.replace(spec, chunk=1), data, np.split(everyone, len(everyone)), threads=False)
    in_groups = f"{len(groups)} groups, each {layout}"
    methods = [
        Method(ENSEMBLE, f"{ENSEMBLE}, {in_groups}", ensemble, ensemble.losses, ensemble.compile_seconds),
        Method(JITTED, JITTED, single, single.losses, single.compile_seconds),
    ]
    if isinstance(spec.network, MLP):
        assert isinstance(spec.network.hidden, int)
        plain = dataclasses.replace(spec, network=PlainMLP(spec.network.hidden), chunk=None)
        vmapped = Program(plain, data, [everyone], threads=False)
        methods.append(Method(VMAP, "vmap of nnx.Linear", vmapped, vmapped.losses, vmapped.compile_seconds))
    return methods


def of_torch(spec: GroupSpec, data: GroupData) -> list[Method]:
    """The loop over members, and what trains them all at once."""
    problem = _problem(spec, data)
    if isinstance(problem.network, CNN):
        peers = [
            (LOOP, f"{LOOP}, default format", torch_peers.Loop(problem, False)),
            (LOOP, f"{LOOP}, channels_last", torch_peers.Loop(problem, True)),
            (BATCHED, "torch.func", torch_peers.Together(problem)),
        ]
    else:
        peers = [
            (LOOP, LOOP, torch_peers.Loop(problem)),
            (BATCHED, "torch.func", torch_peers.Together(problem)),
            (BATCHED, "torch.func, fused adam", torch_peers.Together(problem, fused=True)),
            (BATCHED, "hand-written products, fused adam", torch_peers.Products(problem)),
        ]
    return [Method(kind, name, peer, peer.losses) for kind, name, peer in peers]


def _problem(spec: GroupSpec, data: GroupData) -> torch_peers.Problem:
    network, task, training = spec.network, spec.task, spec.training
    assert isinstance(network, (MLP, CNN)) and training.steps is not None

    def rows(step: jax.Array) -> jax.Array:
        # As `jaxalign.ensemble.member` draws them.
        return jax.random.randint(jax.random.fold_in(data.batch_keys, step), (training.batch_size,), 0, len(data.drawn))

    batches = None if training.batch_size is None else np.asarray(jax.vmap(rows)(jnp.arange(training.steps)))
    return torch_peers.Problem(
        network=network,
        module=network.build(nnx.Rngs(data.init_keys), task.input_shape, task.n_outputs),
        training=training,
        inputs=np.asarray(task.inputs(data.world, data.drawn)),
        targets=np.asarray(data.targets),
        batches=batches,
    )
