"""What the processes of a run on several hosts tell one another; on a single one nothing is sent.

All of these are collective: every process must make the same calls in the same order, from one thread.
"""

import contextlib
import functools
import pickle
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

# What is sent at once: every device of every process holds as much.
_PIECE = 2**26


def is_leader() -> bool:
    """Whether this process decides and writes."""
    return jax.process_index() == 0


def anywhere(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    return bool(from_each(np.array(flag)).any())


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What each process does by itself, without a word to another; an error in one of them is raised in all.

    Otherwise those without it would wait forever for the next thing that all have to say.
    """
    error = None
    try:
        yield
    except Exception as raised:
        error = raised
    raise_anywhere(error)


def raise_anywhere(error: Exception | None) -> None:
    """Raises the error of this process or, if there is none, the first one of another."""
    if not anywhere(error is not None):
        return
    content = np.frombuffer(_pickled(error), np.uint8)
    sizes = from_each(np.array(len(content), np.int32))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(content)] = content
    errors = [pickle.loads(row[:size].tobytes()) for row, size in zip(from_each(padded), sizes, strict=True)]
    raise error or next(other for other in errors if other is not None)


def _pickled(error: Exception | None) -> bytes:
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
        return content
    except Exception:
        return pickle.dumps(RuntimeError(f"process {jax.process_index()}: {type(error).__name__}: {error}"))


def from_leader(value: Any) -> Any:
    """The leader's value, which must be picklable, in all processes."""
    if jax.process_count() == 1:
        return value
    content = np.frombuffer(pickle.dumps(value, protocol=5) if is_leader() else b"", np.uint8)
    # In two numbers, since JAX has integers of 32 bits.
    pieces, rest = from_each(np.array(divmod(len(content), _PIECE), np.int32))[0].tolist()
    received = bytearray()
    for i in range(pieces + bool(rest)):
        piece = np.zeros(_PIECE if i < pieces else rest, np.uint8)
        if is_leader():
            piece[:] = content[i * _PIECE : i * _PIECE + len(piece)]
        received += from_each(piece)[0].tobytes()
    return pickle.loads(received)


def gather(arrays: PyTree) -> PyTree:
    """Arrays that are sharded over the devices of all processes, whole and on every host."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, arrays)
    return jax.tree.map(_whole, arrays)


def from_each(value: np.ndarray) -> np.ndarray:
    """The values of all processes, of one shape, stacked in their order."""
    if jax.process_count() == 1:
        return value[None]
    devices = jax.devices()
    of_each_device = NamedSharding(Mesh(np.array(devices), ("devices",)), PartitionSpec("devices"))
    shape = (len(devices), *value.shape)
    whole = _whole(jax.make_array_from_callback(shape, of_each_device, lambda _: value[None]))
    owners = [device.process_index for device in devices]
    return whole[[owners.index(process) for process in range(jax.process_count())]]


def _whole(array: Array) -> np.ndarray:
    """A sharded array on this host.

    All devices are waited for: what one of them still sends must not meet what another sends next.
    """
    assert isinstance(array.sharding, NamedSharding) and isinstance(array.sharding.mesh, Mesh)
    whole = jax.block_until_ready(_replicate(array.sharding.mesh)(array))
    return np.asarray(whole.addressable_data(0))


@functools.cache
def _replicate(mesh: Mesh) -> Any:
    return jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, PartitionSpec()))
