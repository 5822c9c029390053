"""What the members of one replicate are drawn from.

Each draw of a member is made by a program for one member, called once per member: the bits of a draw then depend on
neither how many members there are nor on how training batches and places them. A batched program may round the
transcendental functions of a normal draw differently.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from jaxalign.ensemble.member import TestData
from jaxalign.networks import Network
from jaxalign.streams import Role, member_streams, stream
from jaxalign.tasks import Task


class GroupData(NamedTuple):
    """The draws of one replicate, for its largest sample size; G = noise levels x members."""

    world: PyTree[Array]
    drawn: Array  # (rows, ...) for shared inputs, else (G, rows, ...)
    targets: Array  # (G, rows, ...), with noise
    levels: Float[Array, " group"]
    noise_keys: Key[Array, " group"]
    test: TestData
    init_keys: Key[Array, "*group"]  # one for shared initial weights, else (G,)
    batch_keys: Key[Array, "*group"]  # one for shared batches, else (G,)


def draw_group(
    task: Task,
    *,
    seed: int,
    replicate: int,
    noise: tuple[float, ...],
    members: int,
    rows: int,
    probes: int,
    shared_inputs: bool,
    shared_init: bool,
    shared_batches: bool,
    n_train: int | None = None,
    first_member: int = 0,
) -> GroupData:
    """Draws all that the members of one replicate learn from; see `jaxalign.streams` for what stays as it is.

    Args:
      task: what is learned.
      seed: of the sweep.
      replicate: which one.
      noise: the noise levels.
      members: how many members the ensemble has.
      rows: how many training rows are drawn.
      probes: held-out inputs on which representations are taken.
      shared_inputs: whether all members have the inputs of member 0.
      shared_init: whether they have its initial weights.
      shared_batches: whether they have its minibatches.
      n_train: the largest sample size, if some of the `rows` are padding.
      first_member: only the members from this one on are drawn.

    Raises:
      FileNotFoundError: if the data set is not there and cannot be had.
      ValueError: if it has fewer than `n_train` training samples (None: than `rows`) or `probes`.
    """
    world = task.load(stream(seed, Role.TEACHER, replicate))
    task.check_available(world, rows if n_train is None else n_train, probes)
    levels = jnp.asarray(noise, jnp.float32)

    def keys(role: Role) -> Key[Array, " members"]:
        return member_streams(seed, role, replicate, members)[first_member:]

    def of_group(role: Role, shared: bool) -> Key[Array, "*group"]:
        return stream(seed, role, replicate) if shared else jnp.tile(keys(role), len(noise))

    noise_keys = keys(Role.TARGET_NOISE)
    if shared_inputs:
        drawn, clean = _draw_inputs(task, rows, world, stream(seed, Role.INPUTS, replicate))
        inputs = [(drawn, clean)] * len(noise_keys)
    else:
        inputs = [_draw_inputs(task, rows, world, key) for key in _each(keys(Role.INPUTS))]
        drawn = jnp.asarray(np.tile(_stack([own for own, _ in inputs]), (len(noise),) + (1,) * inputs[0][0].ndim))
    noisy = [_corrupt(task, key, clean, levels) for key, (_, clean) in zip(_each(noise_keys), inputs, strict=True)]
    targets = _stack(noisy)
    by_level = np.swapaxes(targets, 0, 1)
    return GroupData(
        world=world,
        drawn=drawn,
        targets=jnp.asarray(by_level.reshape(-1, *by_level.shape[2:])),
        levels=jnp.repeat(levels, len(noise_keys)),
        noise_keys=jnp.tile(noise_keys, len(noise)),
        test=_draw_test(task, probes, world, stream(seed, Role.PROBES, replicate)),
        init_keys=of_group(Role.INITIALIZATION, shared_init),
        batch_keys=of_group(Role.BATCHES, shared_batches),
    )


def draw_initial(network: Network, task: Task, keys: Key[Array, "*group"]) -> PyTree:
    """The initial variables of freshly built members, (parameters, other variables) as `nnx.split` returns them.

    Args:
      network: of the members.
      task: says the shapes of inputs and outputs.
      keys: one, or one per member; members with equal keys are drawn once.

    Returns:
      A pytree whose leaves have the axes of `keys` in front.
    """

    def build(key: Key[Array, ""]) -> PyTree:
        return _build(network, task.input_shape, task.n_outputs, key)

    if not keys.ndim:
        return build(keys)
    _, first, which = np.unique(jax.random.key_data(keys), axis=0, return_index=True, return_inverse=True)
    drawn = [build(keys[i]) for i in first]
    return jax.tree.map(lambda *leaves: _stack(leaves)[which.reshape(-1)], *drawn)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _draw_inputs(task: Task, rows: int, world: PyTree[Array], key: Key[Array, ""]) -> tuple[Array, Array]:
    drawn = task.draw_inputs(world, key, rows)
    return drawn, task.clean_targets(world, drawn)


@functools.partial(jax.jit, static_argnums=0)
def _corrupt(task: Task, key: Key[Array, ""], clean: Array, levels: Float[Array, " levels"]) -> Array:
    return jax.vmap(lambda level: task.corrupt(key, clean, level))(levels)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _draw_test(task: Task, probes: int, world: PyTree[Array], key: Key[Array, ""]) -> TestData:
    return TestData(*task.test_set(world, key, probes))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _build(network: Network, input_shape: tuple[int, ...], n_outputs: int, key: Key[Array, ""]) -> PyTree:
    _, *variables = nnx.split(network.build(nnx.Rngs(key), input_shape, n_outputs), nnx.Param, ...)
    return tuple(variables)


def _each(keys: Key[Array, " members"]) -> list[Key[Array, ""]]:
    """One after the other; iterating over an array compiles a program with an output for each."""
    return [keys[i] for i in range(len(keys))]


def _stack(leaves: Sequence[Any]) -> Any:
    """On the host, which compiles nothing; typed keys stay on the device."""
    if jnp.issubdtype(leaves[0].dtype, jax.dtypes.prng_key):
        return jnp.stack(list(leaves))
    return np.stack([np.asarray(leaf) for leaf in leaves])
