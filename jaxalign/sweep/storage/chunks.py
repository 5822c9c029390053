"""The chunks of a zarr store: their bytes with a checksum, read and written many at a time."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr.abc.store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, MemoryStore

CHECKSUM_BYTES = 4
# Enough to keep the threads of a local disk and the connections of an object store busy, few enough to hold in memory.
_AT_ONCE = 512


def is_url(location: str) -> bool:
    """Whether a location is a URL for fsspec; anything else is a local path."""
    return "://" in location


def open_zarr_store(location: str | None, *, read_only: bool = False) -> Any:
    """The key-value store of zarr at a local path, an fsspec URL, or for None in memory; nothing is created."""
    if location is None:
        return MemoryStore()
    if is_url(location):
        return FsspecStore.from_url(location, read_only=read_only)
    return LocalStore(Path(location), read_only=read_only)


def encode(values: np.ndarray) -> bytes:
    """The bytes of a chunk as zarr's codecs `bytes` (little-endian) and `crc32c` write them."""
    data = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    return data + google_crc32c.value(data).to_bytes(CHECKSUM_BYTES, "little")


def decode(chunk: bytes | None, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray | None:
    """The values of a chunk; None if it is missing, truncated or corrupt."""
    if chunk is None or len(chunk) != n_bytes(dtype, shape):
        return None
    data = chunk[:-CHECKSUM_BYTES]
    if google_crc32c.value(data) != int.from_bytes(chunk[-CHECKSUM_BYTES:], "little"):
        return None
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)


def n_bytes(dtype: np.dtype, shape: tuple[int, ...]) -> int:
    """The size of an encoded chunk."""
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize + CHECKSUM_BYTES


class Chunks:
    """Whole chunks by their keys.

    The arrays of zarr read a chunk that is missing as its fill value and a failure as that of the whole selection;
    to know which cell is at fault its chunks are read here as they are.
    """

    def __init__(self, store: zarr.abc.store.Store) -> None:
        self._store = store

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes at the keys, None where there are none."""
        prototype = default_buffer_prototype()

        async def read(key: str) -> bytes | None:
            found = await self._store.get(key, prototype)
            return None if found is None else found.to_bytes()

        return _together([read(key) for key in keys])

    def sizes(self, keys: Sequence[str]) -> list[int | None]:
        """How many bytes there are at the keys, None where there are none."""

        async def size(key: str) -> int | None:
            try:
                return await self._store.getsize(key)
            except FileNotFoundError:
                return None

        return _together([size(key) for key in keys])

    def write(self, chunks: Mapping[str, bytes]) -> None:
        """Writes every chunk; if one fails the others are ended first."""
        buffer = default_buffer_prototype().buffer
        _together([self._store.set(key, buffer.from_bytes(data)) for key, data in chunks.items()])

    def delete(self, key: str) -> None:
        """Deletes what is at the key."""
        sync(self._store.delete(key))

    def is_empty(self) -> bool:
        """Whether there is no key at all."""
        return sync(self._store.is_empty(""))


def _together(tasks: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    async def gather(some: list[Coroutine[Any, Any, Any]]) -> list[Any]:
        return await asyncio.gather(*some, return_exceptions=True)

    results = [r for start in range(0, len(tasks), _AT_ONCE) for r in sync(gather(tasks[start : start + _AT_ONCE]))]
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
