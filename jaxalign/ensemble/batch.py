"""Many members at once: what they are drawn from, how they are batched, and the program that runs them.

Members and noise levels form one axis, the group, in the order (noise level, member).
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from jaxalign.ensemble.closed_form import solve_member
from jaxalign.ensemble.member import MemberData, Outcome, TestData, train_member
from jaxalign.ensemble.training import Training
from jaxalign.networks import LinearNetwork, Network, n_parameters
from jaxalign.streams import Role, member_streams, stream
from jaxalign.tasks import Task

# From about this size on, the matrix products of one member fill a CPU, and a member alone stays in its cache.
_CPU_LARGE_MEMBER = 65_536
_NOISY_INPUT_BYTES = 2**30


@runtime_checkable
class _KnowsItsChunk(Protocol):
    """A network with the optional method that `choose_chunk` asks."""

    def members_at_once(self, backend: str) -> int | None: ...


@dataclasses.dataclass(frozen=True)
class GroupSpec:
    """All that the program of a group depends on, besides the shapes of its arguments.

    Attributes:
      network, task, training, layer, probes: as in a sweep's configuration.
      shared_inputs, shared_batches: whether all members have the inputs, and the minibatch rows, of member 0.
      chunk: how many members are batched by vmap; None for all, and chunks follow one another.
      noise_levels: how many noise levels the group has. Only the solver's speed depends on it: members with inputs of
        their own have them decomposed once for all levels.
    """

    network: Network
    task: Task
    training: Training
    layer: str
    probes: int
    shared_inputs: bool
    shared_batches: bool
    chunk: int | None = None
    noise_levels: int = 1


class GroupData(NamedTuple):
    """The draws of one replicate, for its largest sample size; G = noise levels x members."""

    world: PyTree[Array]
    drawn: Array  # (rows, ...) for shared inputs, else (G, rows, ...)
    targets: Array  # (G, rows, ...), with noise
    levels: Float[Array, " group"]
    noise_keys: Key[Array, " group"]
    test: TestData
    init_keys: Key[Array, " group"]
    batch_keys: Key[Array, "*group"]  # one for shared batches, else (G,)


def is_solved(network: Network) -> TypeGuard[LinearNetwork]:
    """Whether the members of this network are solved in closed form instead of trained."""
    return isinstance(network, LinearNetwork) and network.solver is not None


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
) -> GroupData:
    """Draws all that the members of one replicate learn from; see `jaxalign.streams` for what stays as it is.

    Raises:
      FileNotFoundError: if the data set is not there and cannot be had.
      ValueError: if it has fewer than `n_train` training samples (None: than `rows`, which may be padding) or `probes`.
    """
    world = task.load(stream(seed, Role.TEACHER, replicate))
    task.check_available(world, rows if n_train is None else n_train, probes)

    def keys(role: Role, shared: bool) -> Key[Array, " members"]:
        if shared:
            return jnp.broadcast_to(stream(seed, role, replicate), (members,))
        return member_streams(seed, role, replicate, members)

    noise_keys = keys(Role.TARGET_NOISE, False)
    drawn, targets, test = _draw(
        task,
        rows,
        probes,
        shared_inputs,
        world,
        keys(Role.INPUTS, shared_inputs),
        noise_keys,
        stream(seed, Role.PROBES, replicate),
        jnp.asarray(noise, jnp.float32),
    )
    return GroupData(
        world=world,
        drawn=drawn,
        targets=targets,
        levels=jnp.repeat(jnp.asarray(noise, jnp.float32), members),
        noise_keys=jnp.tile(noise_keys, len(noise)),
        test=test,
        init_keys=jnp.tile(keys(Role.INITIALIZATION, shared_init), len(noise)),
        batch_keys=stream(seed, Role.BATCHES, replicate)
        if shared_batches
        else jnp.tile(keys(Role.BATCHES, False), len(noise)),
    )


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _draw(
    task: Task,
    rows: int,
    probes: int,
    shared_inputs: bool,
    world: PyTree[Array],
    input_keys: Key[Array, " members"],
    noise_keys: Key[Array, " members"],
    probe_key: Key[Array, ""],
    noise: Float[Array, " levels"],
) -> tuple[Array, Array, TestData]:
    def draw(key: Key[Array, ""]) -> tuple[Array, Array]:
        drawn = task.draw_inputs(world, key, rows)
        return drawn, task.clean_targets(world, drawn)

    if shared_inputs:
        drawn, clean = draw(input_keys[0])
    else:
        drawn, clean = jax.vmap(draw)(input_keys)
        drawn = jnp.tile(drawn, (len(noise),) + (1,) * (drawn.ndim - 1))
    per_member = jax.vmap(task.corrupt, in_axes=(0, None if shared_inputs else 0, None))
    targets = jax.vmap(per_member, in_axes=(None, None, 0))(noise_keys, clean, noise)
    test = TestData(*task.test_set(world, probe_key, probes))
    return drawn, targets.reshape(-1, *targets.shape[2:]), test


def run_group(spec: GroupSpec, data: GroupData, n_train: Array) -> Outcome:
    """Trains or solves every member of a group and evaluates it; arrays of the outcome lead with the group axis.

    A pure function to be jitted with `spec` static; `n_train` (an integer scalar) is traced, so that one compilation
    serves every sample size that `data` has rows for.
    """
    member_axis = {
        "targets": data.targets,
        "level": data.levels,
        "noise_key": data.noise_keys,
        "init_key": data.init_keys,
    }
    shared: dict[str, Any] = {"n_train": n_train}
    (shared if spec.shared_inputs else member_axis)["drawn"] = data.drawn
    (shared if spec.shared_batches else member_axis)["batch_key"] = data.batch_keys
    rates = spec.training.learning_rate
    if isinstance(rates, tuple):
        member_axis["learning_rate"] = jnp.tile(jnp.asarray(rates, jnp.float32), len(data.levels) // len(rates))
    else:
        shared["learning_rate"] = rates

    def member(varying: dict[str, Array]) -> Outcome:
        member_data = MemberData(**shared, **varying)
        if is_solved(spec.network):
            return solve_member(spec.network, spec.task, spec.layer, spec.probes, data.world, member_data, data.test)
        return train_member(
            spec.network, spec.task, spec.training, spec.layer, spec.probes, data.world, member_data, data.test
        )

    if is_solved(spec.network) and not spec.shared_inputs:
        return _solve_levels_together(member, member_axis, spec.noise_levels)
    return batch_members(member, member_axis, spec.chunk)


def _solve_levels_together(member: Any, member_axis: dict[str, Array], levels: int) -> Outcome:
    """Batches the noise levels inside the members, whose inputs are the same at every level."""
    by_level = {name: x.reshape(levels, -1, *x.shape[1:]) for name, x in member_axis.items()}
    drawn = by_level.pop("drawn")[0]

    def all_levels(drawn: Array, varying: dict[str, Array]) -> Outcome:
        return jax.vmap(lambda one: member({**one, "drawn": drawn}))(varying)

    outcome = jax.vmap(all_levels, in_axes=(0, 1), out_axes=1)(drawn, by_level)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outcome)


def batch_members(member: Any, member_axis: PyTree[Array], chunk: int | None) -> PyTree[Array]:
    """The layout: how a function of one member is applied to the whole group axis.

    `vmap` turns what all members share into one large matrix product; a chunk of 1 runs members one after another,
    which is faster for wide networks, whose product is large enough alone; between them memory is bounded.
    """
    group = jax.tree.leaves(member_axis)[0].shape[0]
    if chunk is None or chunk >= group:
        return jax.vmap(member)(member_axis)
    return jax.lax.map(member, member_axis, batch_size=chunk)


def choose_chunk(network: Network, task: Task, rows: int) -> int | None:
    """How many members to batch by vmap on the present backend; None for all.

    - A network with a method `members_at_once(backend) -> int | None` knows best; `backend` is "cpu", "gpu" or "tpu".
    - Otherwise a network of at least 65,536 parameters is trained alone on a CPU, and all members at once elsewhere.
    - Noise on inputs gives each member training inputs of its own, of which a chunk holds at most 1 GiB, or those of
      one member; programs that run at the same time hold that much each.

    Args:
      network: of the members.
      task: what they learn.
      rows: how many rows their training sets are padded to.
    """
    if is_solved(network):
        return None
    backend = jax.default_backend()
    if isinstance(network, _KnowsItsChunk):
        chunk = network.members_at_once(backend)
    else:
        large = n_parameters(network, task.input_shape, task.n_outputs) >= _CPU_LARGE_MEMBER
        chunk = 1 if large and backend == "cpu" else None
    if not task.noise_on_inputs:
        return chunk
    fit = max(1, _NOISY_INPUT_BYTES // (4 * rows * math.prod(task.input_shape)))
    return fit if chunk is None else min(chunk, fit)


def compile_group(spec: GroupSpec, data: GroupData) -> Any:
    """Compiles `run_group` for the shapes of `data`; repeated requests are answered from a cache.

    Returns:
      A function of (data, n_train) that returns an `Outcome`.
    """
    leaves, structure = jax.tree.flatten(data)
    return _compile(spec, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))


@functools.lru_cache(maxsize=128)
def _compile(spec: GroupSpec, structure: Any, shapes: tuple) -> Any:
    data = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes])
    n_train = jax.ShapeDtypeStruct((), jnp.int32)
    return jax.jit(run_group, static_argnums=0).lower(spec, data, n_train).compile()
