"""What the processes of a run on several hosts tell one another; on a single one nothing is sent.

All of these are collective: every process must make the same calls in the same order, from one thread.
"""

import pickle
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree


def is_leader() -> bool:
    """Whether this process decides and writes."""
    return jax.process_index() == 0


def anywhere(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def from_leader(value: Any) -> Any:
    """The leader's value, which must be picklable, in all processes."""
    if jax.process_count() == 1:
        return value
    content = np.frombuffer(pickle.dumps(value) if is_leader() else b"", np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    padded = np.zeros(length, np.uint8)
    padded[: len(content)] = content
    return pickle.loads(np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes())


def gather(arrays: PyTree) -> PyTree:
    """Arrays that are sharded over the devices of all processes, whole and on every host."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, arrays)
    return multihost_utils.process_allgather(arrays, tiled=True)


def from_each(value: np.ndarray) -> np.ndarray:
    """The values of all processes, of one shape, stacked in their order."""
    if jax.process_count() == 1:
        return value[None]
    return np.asarray(multihost_utils.process_allgather(value))
