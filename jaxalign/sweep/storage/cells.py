"""Cells of a store: all results of one (replicate, noise level, n_train), written, marked and read as one."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxalign.sweep.result import fill_value
from jaxalign.sweep.storage.arrays import DONE, REPRESENTATION, Layout
from jaxalign.sweep.storage.chunks import Chunks, decode, encode, n_bytes

Position = tuple[int, int, int]
Values = dict[str, np.ndarray]


class Cells:
    """The cells of a store, each at its position (replicate, noise level, n_train) along the stored axes."""

    def __init__(self, chunks: Chunks, layout: Layout) -> None:
        self._chunks = chunks
        self._layout = layout

    def marks(self, at: Sequence[Position]) -> list[int]:
        """How many members each cell holds by its mark, 0 where that is missing or damaged."""
        found = self._chunks.read([self._mark_key(position) for position in at])
        marks = [decode(raw, np.dtype(np.int32), ()) for raw in found]
        return [0 if mark is None else int(mark) for mark in marks]

    def mark(self, at: Sequence[Position], members: int) -> None:
        """Marks cells as holding that many members."""
        self._chunks.write({self._mark_key(position): encode(np.array(members, np.int32)) for position in at})

    def write(self, at: Position, values: Mapping[str, np.ndarray], members: int) -> None:
        """Writes all results of a cell, and when they are there its mark.

        Raises:
          ValueError: if a result is missing or has another shape; then nothing is written.
        """
        chunks: dict[str, bytes] = {}
        for name in self._layout.results:
            variable, shape = self._layout.variables[name], self._layout.cell_shape(name, members)
            given = np.asarray(values.get(name, ()))
            if given.shape != shape:
                raise ValueError(f"values[{name!r}] must be of shape {shape}, got {given.shape}")
            for key, part in self._layout.parts(name, at, members):
                # zarr's chunks are whole, also where they reach beyond the end of an axis.
                whole = np.full(variable.chunk, fill_value(variable.dtype), variable.dtype)
                inside = given[part]
                whole[_upto(inside.shape)] = inside
                chunks[key] = encode(whole)
        self._chunks.write(chunks)
        self.mark([at], members)

    def read(self, at: Sequence[Position], marks: Sequence[int], names: Sequence[str]) -> list[Values | None]:
        """The results of cells, of as many members as their marks say; None of a cell that is not whole."""
        found: list[Values | None] = [
            {n: np.empty(self._layout.cell_shape(n, mark), self._layout.variables[n].dtype) for n in names}
            for mark in marks
        ]
        parts = [
            (i, name, key, part)
            for i, (position, mark) in enumerate(zip(at, marks, strict=True))
            for name in names
            for key, part in self._layout.parts(name, position, mark)
        ]
        for (i, name, _, part), raw in zip(parts, self._chunks.read([key for _, _, key, _ in parts]), strict=True):
            variable, values = self._layout.variables[name], found[i]
            chunk = decode(raw, variable.dtype, variable.chunk)
            if chunk is None:
                found[i] = None
            elif values is not None:
                inside = values[name][part]
                inside[...] = chunk[_upto(inside.shape)]
        return found

    def has_representations(self, at: Sequence[Position], marks: Sequence[int]) -> list[bool]:
        """Whether the representations of cells are there and of the right size; they are too large to read for that."""
        whole = [True] * len(at)
        variable = self._layout.variables.get(REPRESENTATION)
        if variable is None:
            return whole
        keys = [
            (i, key)
            for i, (position, mark) in enumerate(zip(at, marks, strict=True))
            for key, _ in self._layout.parts(REPRESENTATION, position, mark)
        ]
        for (i, _), size in zip(keys, self._chunks.sizes([key for _, key in keys]), strict=True):
            whole[i] &= size == n_bytes(variable.dtype, variable.chunk)
        return whole

    def _mark_key(self, at: Position) -> str:
        return next(self._layout.parts(DONE, at, 0))[0]


def _upto(shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(map(slice, shape))
