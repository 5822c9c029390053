"""The loop over the steps of one member, which may end when the member has learned all it can."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxalign.ensemble.training import Training


class _Loop(NamedTuple):
    step: Int[Array, ""]  # of all members that are batched together
    taken: Int[Array, ""]  # of this member
    streak: Int[Array, ""]  # how many minibatches in a row had no error
    carry: PyTree


@jax.custom_batching.custom_vmap
def _any_member(going: Bool[Array, ""]) -> Bool[Array, ""]:
    """Whether this member, or under vmap any of those batched with it, still goes on.

    A loop over the answer has one count of steps for all members, so that what they share stays shared: a predicate
    per member would batch the count, and with it the rows of shared minibatches.
    """
    return going


@_any_member.def_vmap
def _(_: int, __: list[bool], going: Bool[Array, " members"]) -> tuple[Bool[Array, ""], bool]:
    return going.any(), False


def descend(
    training: Training,
    n_train: Int[Array, ""],
    update: Callable[[Int[Array, ""], PyTree], tuple[PyTree, Float[Array, ""]]],
    start: PyTree,
    limit: Int[Array, ""] | None = None,
) -> tuple[PyTree, Int[Array, ""]]:
    """Takes the steps of one member, all of them or until its patience is at an end.

    Args:
      training: says how many steps, and when to stop.
      n_train: the number of training samples.
      update: one step, (step, carry) -> (carry, training error before the step).
      start: the first carry.
      limit: no more steps than these are taken.

    Returns:
      The last carry, and how many steps were taken.
    """
    total = training.total_steps(n_train)
    if limit is not None:
        total = jnp.minimum(total, limit)
    if training.patience is None:
        carry = jax.lax.fori_loop(0, total, lambda step, carry: update(step, carry)[0], start)
        return carry, jnp.asarray(total, jnp.int32)
    patience = training.steps_of(training.patience, n_train)
    tolerance = training.tolerance or 0.0

    def unfinished(loop: _Loop) -> Bool[Array, ""]:
        return (loop.step < total) & _any_member(loop.streak < patience)

    def advance(loop: _Loop) -> _Loop:
        going = loop.streak < patience
        updated, error = update(loop.step, loop.carry)
        carry = jax.tree.map(lambda new, old: jnp.where(going, new, old), updated, loop.carry)
        streak = jnp.where(going, jnp.where(error <= tolerance, loop.streak + 1, 0), loop.streak)
        return _Loop(loop.step + 1, loop.taken + going, streak, carry)

    zero = jnp.int32(0)
    end = jax.lax.while_loop(unfinished, advance, _Loop(zero, zero, zero, start))
    return end.carry, end.taken
