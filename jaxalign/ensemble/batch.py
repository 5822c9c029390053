"""Many members at once: how they are batched, as a pure function.

Members and noise levels form one axis, the group, in the order (noise level, member).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from jaxalign.ensemble.closed_form import is_solved, solve_member
from jaxalign.ensemble.draws import GroupData
from jaxalign.ensemble.member import MemberData, Outcome, train_member
from jaxalign.ensemble.training import Training
from jaxalign.networks import Network
from jaxalign.tasks import Task


@dataclasses.dataclass(frozen=True)
class GroupSpec:
    """All that the program of a group depends on, besides the shapes of its arguments.

    Attributes:
      network, task, training, layer, probes: as in a sweep's configuration.
      shared_inputs, shared_batches: whether all members have the inputs, and the minibatch rows, of member 0.
      chunk: how many members are batched by vmap; None for all, and chunks follow one another.
      noise_levels: how many noise levels the group has. Only the solver's speed depends on it: members with inputs of
        their own have them decomposed once for all levels.
      keep_state: whether the outcome has the trained variables.
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
    keep_state: bool = False

    @property
    def shared_rows(self) -> bool:
        """Whether all members see the same inputs at every step, before noise is put on them."""
        return self.shared_inputs and (self.shared_batches or self.training.batch_size is None)


def arguments(spec: GroupSpec, data: GroupData, initial: PyTree) -> tuple[dict[str, Any], dict[str, Any]]:
    """What all members of a group share, and what leads with the group axis; the arguments of `run_members`.

    Args:
      spec: of the group.
      data: its draws.
      initial: what `initial_of` returned.
    """
    shared: dict[str, Any] = {"world": data.world, "test": data.test}
    members: dict[str, Any] = {"targets": data.targets, "level": data.levels, "noise_key": data.noise_keys}
    (shared if spec.shared_inputs else members)["drawn"] = data.drawn
    (shared if spec.shared_batches else members)["batch_key"] = data.batch_keys
    (members if data.init_keys.ndim else shared)["initial"] = initial
    rates = spec.training.learning_rate
    if isinstance(rates, tuple):
        members["learning_rate"] = jnp.tile(jnp.asarray(rates, jnp.float32), len(data.levels) // len(rates))
    return shared, members


def run_members(
    spec: GroupSpec,
    shared: dict[str, Any],
    members: dict[str, Any],
    n_train: Array,
    limit: Int[Array, ""] | None = None,
) -> Outcome:
    """Trains or solves every member of a group and evaluates it; arrays of the outcome lead with the group axis.

    A pure function to be jitted with `spec` static; `n_train` (an integer scalar) is traced, so that one compilation
    serves every sample size that the arrays have rows for. No member looks at another: the axis may be cut anywhere.

    Args:
      spec: of the group.
      shared: what all members share, see `arguments`.
      members: what leads with the group axis.
      n_train: the number of training samples.
      limit: training ends after so many steps, as if interrupted; None trains to the end.
    """
    common = {name: value for name, value in shared.items() if name not in ("world", "test")} | {"n_train": n_train}
    if "learning_rate" not in members:
        common["learning_rate"] = spec.training.learning_rate

    def member(varying: dict[str, Any]) -> Outcome:
        data = MemberData(**common, **varying)
        keep = {"keep_state": spec.keep_state}
        at = (spec.layer, spec.probes, shared["world"], data, shared["test"])
        if is_solved(spec.network):
            return solve_member(spec.network, spec.task, *at, **keep)
        return train_member(spec.network, spec.task, spec.training, *at, limit=limit, **keep)

    if is_solved(spec.network) and not spec.shared_inputs:
        return _solve_levels_together(member, members, spec.noise_levels)
    return batch_members(member, members, spec.chunk)


def _solve_levels_together(member: Any, member_axis: dict[str, Any], levels: int) -> Outcome:
    """Batches the noise levels inside the members, whose inputs are the same at every level."""
    by_level = jax.tree.map(lambda x: x.reshape(levels, -1, *x.shape[1:]), member_axis)
    drawn = by_level.pop("drawn")[0]

    def all_levels(drawn: Array, varying: dict[str, Any]) -> Outcome:
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
