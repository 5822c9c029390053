"""Which arrays a store of a sweep has, and in which chunk a result of a cell lies."""

import contextlib
import dataclasses
import itertools
import json
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec

from jaxalign.sweep.grid import Grid
from jaxalign.sweep.result import fill_value, noise_dimension
from jaxalign.sweep.storage.chunks import Chunks

REPRESENTATION = "representation"
DONE = "members_done"
# All chunks of an array in one folder: making folders is most of the cost of writing a small file.
SEPARATOR = "."
MEMBER_AXES = ("member", "member_a", "member_b")
# An array whose description cannot be read is described anew; its chunks have checksums of their own.
_UNREADABLE = (KeyError, ValueError, TypeError)


class Variable(NamedTuple):
    """A result of every cell.

    Attributes:
      name: of the array.
      dims: the names of its axes, the three of the cell among them.
      dtype: of its values.
      chunk: the shape of a chunk along the axes that are not of the cell; along those of the cell it is 1.
    """

    name: str
    dims: tuple[str, ...]
    dtype: np.dtype
    chunk: tuple[int, ...]

    def inner(self, cell: tuple[str, ...]) -> tuple[str, ...]:
        """The axes that are not of the cell."""
        return tuple(dim for dim in self.dims if dim not in cell)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The arrays of a store.

    There is one chunk for each cell and variable, so that a cell is written without touching another. Where members
    were added there is a further one for every as many members as the store had when it was made.

    Attributes:
      noise: the name of the noise axis.
      variables: the results, and `members_done`, by name.
      coordinates: the names of the axes of each coordinate.
      sizes: the sizes of the axes that cannot grow.
    """

    noise: str
    variables: Mapping[str, Variable]
    coordinates: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, int]

    @classmethod
    def of(cls, template: xr.Dataset, representation: tuple[int, int] | None) -> "Layout":
        """That of results like `template`, with representations of that many (probes, units) or without."""
        noise = noise_dimension(template)
        cell = ("replicate", noise, "n_train")
        sizes = {str(dim): size for dim, size in template.sizes.items()}
        described = {str(n): (tuple(map(str, v.dims)), v.dtype) for n, v in template.data_vars.items() if n != DONE}
        if representation is not None:
            sizes |= {"probe": representation[0], "unit": representation[1]}
            described[REPRESENTATION] = (("network", *cell, "member", "probe", "unit"), np.dtype(np.float32))
        described[DONE] = (cell, np.dtype(np.int32))
        variables = {
            name: Variable(name, dims, dtype, tuple(sizes[dim] for dim in dims if dim not in cell))
            for name, (dims, dtype) in described.items()
        }
        coordinates = {str(name): tuple(map(str, c.dims)) for name, c in template.coords.items()}
        fixed = {dim: size for dim, size in sizes.items() if dim not in (*cell, *MEMBER_AXES)}
        return cls(noise, variables, coordinates, fixed)

    def to_json(self) -> str:
        """As JSON, for the attributes of the store."""
        variables = {v.name: {"dims": v.dims, "dtype": v.dtype.name, "chunk": v.chunk} for v in self.variables.values()}
        return json.dumps(
            {"noise": self.noise, "variables": variables, "coordinates": {**self.coordinates}, "sizes": {**self.sizes}}
        )

    @classmethod
    def from_json(cls, text: str) -> "Layout":
        """What `to_json` wrote."""
        read = json.loads(text)
        variables = {
            name: Variable(name, tuple(v["dims"]), np.dtype(v["dtype"]), tuple(v["chunk"]))
            for name, v in read["variables"].items()
        }
        coordinates = {name: tuple(dims) for name, dims in read["coordinates"].items()}
        return cls(read["noise"], variables, coordinates, read["sizes"])

    @property
    def cell(self) -> tuple[str, str, str]:
        """The names of the axes of a cell."""
        return ("replicate", self.noise, "n_train")

    @property
    def results(self) -> tuple[str, ...]:
        """The names of what is computed for every cell."""
        return tuple(name for name in self.variables if name != DONE)

    @property
    def representation(self) -> tuple[int, int] | None:
        """How many (probes, units) the kept representations have, None if none are kept."""
        kept = self.variables.get(REPRESENTATION)
        return None if kept is None else (kept.chunk[-2], kept.chunk[-1])

    def shape(self, dims: tuple[str, ...], grid: Grid) -> tuple[int, ...]:
        """The sizes of axes when the store has this grid."""
        grown = {"replicate": grid.replicates, self.noise: len(grid.noise), "n_train": len(grid.n_train)}
        sizes = {**self.sizes, **grown, **dict.fromkeys(MEMBER_AXES, grid.members)}
        return tuple(sizes[dim] for dim in dims)

    def cell_shape(self, name: str, members: int) -> tuple[int, ...]:
        """The shape of a variable in one cell."""
        return self.shape(self.variables[name].inner(self.cell), Grid((), (), members, 0))

    def parts(self, name: str, at: tuple[int, int, int], members: int) -> Iterator[tuple[str, tuple[slice, ...]]]:
        """The chunks of a cell: the key of each, and which part it is of the variable in that cell."""
        variable = self.variables[name]
        inner = variable.inner(self.cell)
        counts = [-(-members // c) if d in MEMBER_AXES else 1 for d, c in zip(inner, variable.chunk, strict=True)]
        for numbers in itertools.product(*map(range, counts)):
            position = dict(zip((*self.cell, *inner), (*at, *numbers), strict=True))
            key = f"{name}/{SEPARATOR.join(['c', *(str(position[dim]) for dim in variable.dims)])}"
            slices = (slice(n * c, n * c + c) for n, c in zip(numbers, variable.chunk, strict=True))
            yield key, tuple(slices)


def conform(root: zarr.Group, layout: Layout, grid: Grid, coordinates: xr.Dataset | None) -> None:
    """Gives every array of a store the shape of a grid, and makes those that are not there.

    Arrays that already are as they should be are left alone, so that this may be interrupted and done again.

    Args:
      root: the group of the store.
      layout: its arrays.
      grid: what they are to hold.
      coordinates: the values of the coordinates on that grid; None leaves those that are stored.
    """
    for variable in layout.variables.values():
        chunk = dict(zip(variable.inner(layout.cell), variable.chunk, strict=True))
        _require(
            root,
            variable.name,
            variable.dims,
            layout.shape(variable.dims, grid),
            tuple(chunk.get(dim, 1) for dim in variable.dims),
            variable.dtype,
        )
    for name, dims in layout.coordinates.items():
        shape = layout.shape(dims, grid)
        if coordinates is None:
            array = root[name]
            if isinstance(array, zarr.Array) and array.shape != shape:
                array.resize(shape)
            continue
        values = coordinates[name].values
        array = _require(root, name, dims, shape, None, values.dtype)
        try:
            same = bool(np.array_equal(array[:], values))
        except _UNREADABLE:
            same = False
        if not same:
            array[:] = values


def read_coordinates(root: zarr.Group, layout: Layout, grid: Grid) -> xr.Dataset:
    """The coordinates of a grid, though the arrays may be larger for the moment."""
    found = {}
    with quiet():
        for name, dims in layout.coordinates.items():
            array: Any = root[name]
            found[name] = (dims, array[:][tuple(slice(size) for size in layout.shape(dims, grid))])
    return xr.Dataset(coords=found)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warning that text has no final specification in zarr format 3: what is written here is read here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(Zarr V3|Zarr format 3).*")
        yield


def _require(
    root: zarr.Group,
    name: str,
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    chunks: tuple[int, ...] | None,
    dtype: np.dtype,
) -> zarr.Array:
    """An array of that shape; with chunks of None one that is there keeps its own, and a new one has a single one."""
    try:
        array = root[name]
    except _UNREADABLE:
        array = None
    if (
        isinstance(array, zarr.Array)
        and getattr(array.metadata, "dimension_names", None) == dims
        and array.dtype == dtype
        and chunks in (None, array.chunks)
    ):
        if array.shape != shape:
            array.resize(shape)
        return array
    Chunks(root.store).delete(f"{name}/zarr.json")
    return root.create_array(
        name,
        shape=shape,
        chunks=shape if chunks is None else chunks,
        dtype=dtype,
        fill_value=None if dtype.kind in "US" else fill_value(dtype),
        serializer=BytesCodec(),
        compressors=[Crc32cCodec()],
        filters=None,
        chunk_key_encoding={"name": "default", "separator": SEPARATOR},
        dimension_names=dims,
    )
