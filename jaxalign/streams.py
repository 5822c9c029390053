"""Random streams: one key per (seed, role, replicate, member), so that every draw stays as it is when a sweep grows.

Nothing else enters a key: not the noise level, the sample size, the chunk, the device or the order of work. Sample
sizes are therefore nested (the first n rows of one stream) and noise levels scale the same draws.
"""

import enum
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree


class Role(enum.IntEnum):
    """What a stream is drawn for; the numbers are part of the reproducibility promise."""

    TEACHER = 0
    INPUTS = 1
    TARGET_NOISE = 2
    INITIALIZATION = 3
    BATCHES = 4
    PROBES = 5


def stream(seed: int, role: Role, replicate: int = 0, member: int = 0) -> Key[Array, ""]:
    """The key of one stream. What is shared by all members of a replicate is drawn from member 0's."""
    return jax.random.fold_in(_replicate_key(seed, role, replicate), member)


def member_streams(seed: int, role: Role, replicate: int, members: int) -> Key[Array, " members"]:
    """The keys of members 0 to `members` - 1."""
    return jax.vmap(functools.partial(jax.random.fold_in, _replicate_key(seed, role, replicate)))(jnp.arange(members))


def _replicate_key(seed: int, role: Role, replicate: int) -> Key[Array, ""]:
    key = jax.random.key(seed)
    for part in (role, replicate):
        key = jax.random.fold_in(key, part)
    return key


def draw_rows(key: Key[Array, ""], n: int, draw: Callable[[Key[Array, ""]], PyTree[Array]]) -> PyTree[Array]:
    """Draws `n` rows, each from a key of its own, so that the first rows do not depend on `n`."""
    return jax.vmap(lambda row: draw(jax.random.fold_in(key, row)))(jnp.arange(n))
