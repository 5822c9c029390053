"""The store of a sweep: results cell by cell in a zarr group, which grows with its configuration."""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import xarray as xr
import zarr

from jaxalign.sweep.grid import Grid
from jaxalign.sweep.result import fill_value, noise_dimension
from jaxalign.sweep.storage.arrays import DONE, REPRESENTATION, Layout, quiet, read_coordinates
from jaxalign.sweep.storage.cells import Cells, Position, Values
from jaxalign.sweep.storage.chunks import Chunks, open_zarr_store
from jaxalign.sweep.storage.opening import OWN_ATTRIBUTES, as_location, create, damaged, find, reopen, writing

_CELLS_AT_ONCE = 64
_log = logging.getLogger("jaxalign")


class Store:
    """The results of one sweep, in a folder, at a URL or in memory.

    A cell is written whole and then marked with the number of members that it holds, so whatever interrupts a run,
    marked cells are kept and the others are computed again. A configuration with more noise levels, sample sizes,
    members or replicates makes the store grow. What is there stays where it is, so the order of the stored axes is
    that in which they grew, while everything is returned in the order of the configuration asked for; one with fewer
    sees its part of the store. For an instant while a store grows, readers other than `load_sweep` may find arrays of
    different sizes.

    Attributes:
      location: the path or URL, None in memory.
      grid: what was asked for.
      grids: how the store grew; the first is the grid it was made with.
      coordinates: those of what was asked for.
      representation: how many (probes, units) the kept representations have, None if none are kept.
    """

    def __init__(self, location: str | None, root: zarr.Group, coordinates: xr.Dataset, config: str) -> None:
        self.location = location
        self.grid = Grid.from_dict(json.loads(config))
        self.grids = tuple(Grid.from_dict(axes) for axes in json.loads(str(root.attrs["grids"])))
        self._root = root
        self.coordinates = coordinates
        self._config = config
        self._layout = Layout.from_json(str(root.attrs["layout"]))
        self._cells = Cells(Chunks(root.store), self._layout)
        self.representation = self._layout.representation
        self._noise_at = [self.grids[-1].noise.index(level) for level in self.grid.noise]
        self._n_train_at = [self.grids[-1].n_train.index(n) for n in self.grid.n_train]

    @classmethod
    def open(
        cls,
        location: str | os.PathLike | None,
        template: xr.Dataset,
        *,
        representation: tuple[int, int] | None = None,
    ) -> "Store":
        """Opens the store of a sweep for writing, and makes it or lets it grow where needed.

        Nothing that interrupts this leaves a store that cannot be opened again. The store is not locked by it.

        Args:
          location: a path, a URL that fsspec knows, or None for memory.
          template: a Dataset like the result, of any values.
          representation: how many (probes, units) representations have, to keep them; None to keep none in a store
            that is made, and to leave it to one that is there.

        Raises:
          ValueError: if what is there is no store, or one whose configuration differs in more than noise, n_train,
            members and replicates, or has more in one of them and less in another; or if it keeps no such
            representations.
          OSError: if the store cannot be written.
        """
        noise_dimension(template)
        where = as_location(location)
        attributes = find(where)
        with writing(where), quiet():
            if where is None or attributes is None:
                root = create(where, template, representation)
            else:
                root = reopen(where, attributes, template, representation)
        return cls(where, root, template.coords.to_dataset(), template.attrs["config"])

    @classmethod
    def open_to_read(cls, location: str | os.PathLike) -> "Store":
        """Opens all of a store that is there, without writing anything.

        Raises:
          FileNotFoundError: if there is nothing.
          ValueError: if what is there is not a store of a sweep.
          OSError: if its coordinates cannot be read.
        """
        where = as_location(location)
        attributes = find(where)
        if where is None or attributes is None:
            raise FileNotFoundError(f"there is no store at {where}")
        root = zarr.open_group(open_zarr_store(where, read_only=True), mode="r")
        try:
            layout, grids = Layout.from_json(str(root.attrs["layout"])), json.loads(str(root.attrs["grids"]))
            coordinates = read_coordinates(root, layout, Grid.from_dict(grids[-1]))
        except (KeyError, ValueError) as error:
            raise damaged(where, str(error)) from error
        return cls(where, root, coordinates, str(root.attrs["config"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the use of the store."""
        self._root.store.close()

    @property
    def attributes(self) -> dict[str, Any]:
        """Those of the Dataset: the configuration asked for, versions, seconds."""
        kept = {name: value for name, value in self._root.attrs.asdict().items() if name not in OWN_ATTRIBUTES}
        return kept | {"config": self._config}

    def update_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Sets attributes of the Dataset.

        Raises:
          OSError: if the store cannot be written.
        """
        with writing(self.location):
            self._root = self._root.update_attributes(dict(attributes))

    def members_done(self, verify: bool = True) -> np.ndarray:
        """How many of the members asked for each cell holds, of shape (replicate, noise, n_train).

        Args:
          verify: whether to read the results of every marked cell and compare their checksums; of representations
            only the sizes. A cell that is not whole counts 0, loses its mark, and is named in a warning.

        Raises:
          OSError: if the store cannot be read, or a mark cannot be taken back.
        """
        done = self._marks()
        if verify:
            for cell, values in self._read_cells(done, sizes=True):
                if values is None:
                    done[cell] = 0
        return np.minimum(done, self.grid.members)

    def forget(self, cells: Sequence[Position] | None = None) -> None:
        """Takes back the marks of cells, which then count as not computed, all their members included.

        Args:
          cells: their indices (replicate, noise level, n_train) in the configuration asked for; None for all of it.

        Raises:
          OSError: if the store cannot be written.
        """
        with writing(self.location):
            self._cells.mark([self._stored(cell) for cell in (self._asked_cells() if cells is None else cells)], 0)

    def write_cell(
        self, replicate: int, level: float, n_train: int, values: Mapping[str, np.ndarray], members: int
    ) -> None:
        """Writes all results of a cell, and then marks it.

        Args:
          replicate: the index of the replicate.
          level: the noise level.
          n_train: the number of training samples.
          values: every variable, and `representation` where it is kept, with its own axes but those of the cell:
            (network, member), (network_a, member_a, network_b, member_b) or (network, member, probe, unit).
          members: how many members they hold, counted from the first; those that the cell held must be among them,
            with the same values.

        Raises:
          ValueError: if the cell is not in the store, or a variable is missing or has another shape.
          OSError: if the store cannot be written; the cell then keeps its mark, as do all others.
        """
        at = self._position(replicate, level, n_train)
        with writing(self.location):
            self._cells.write(at, values, members)

    def read_cell(
        self, replicate: int, level: float, n_train: int, names: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """The results of a cell, of those of the members asked for that it holds, with the axes of `write_cell`.

        Args:
          replicate: the index of the replicate.
          level: the noise level.
          n_train: the number of training samples.
          names: of the variables; None for all, representations included.

        Raises:
          ValueError: if the cell or a variable is not in the store.
          OSError: if the cell is not whole; it loses its mark, so that running the sweep again computes it.
        """
        at = self._position(replicate, level, n_train)
        wanted = self._layout.results if names is None else tuple(names)
        if not {*wanted} <= {*self._layout.results}:
            raise ValueError(f"names must be among {', '.join(self._layout.results)}; got {wanted}")
        values = self._cells.read([at], self._cells.marks([at]), wanted)[0]
        if values is None:
            self._take_back(at)
            raise damaged(self.location, f"the cell {self._name(at)} is not whole")
        return self._of_asked_members(values)

    def read(self) -> xr.Dataset:
        """The results of the configuration asked for, in its order and without representations.

        What is not computed is NaN, False or 0; if there is any, `members_done` of dims (replicate, noise, n_train)
        says how many members each cell holds.

        Raises:
          OSError: if the store cannot be read.
        """
        done = self._marks()
        variables = [self._layout.variables[name] for name in self._small_results()]
        shapes = [self._layout.shape(variable.dims, self.grid) for variable in variables]
        arrays = [np.full(shape, fill_value(v.dtype), v.dtype) for shape, v in zip(shapes, variables, strict=True)]
        for cell, values in self._read_cells(done, sizes=False):
            if values is None:
                done[cell] = 0
                continue
            at = dict(zip(self._layout.cell, cell, strict=True))
            for variable, array in zip(variables, arrays, strict=True):
                computed = self._of_asked_members(values)[variable.name]
                place = array[tuple(at.get(dim, slice(None)) for dim in variable.dims)]
                place[tuple(map(slice, computed.shape))] = computed
        results: dict[str, Any] = {v.name: (v.dims, array) for v, array in zip(variables, arrays, strict=True)}
        if (done < self.grid.members).any():
            results[DONE] = (self._layout.cell, np.minimum(done, self.grid.members))
        return xr.Dataset(results, self.coordinates.coords, self.attributes)

    def _small_results(self) -> list[str]:
        return [name for name in self._layout.results if name != REPRESENTATION]

    def _asked_cells(self) -> list[Position]:
        return list(np.ndindex(self.grid.replicates, len(self.grid.noise), len(self.grid.n_train)))

    def _stored(self, cell: Position) -> Position:
        """Where along the stored axes a cell lies that was asked for."""
        return cell[0], self._noise_at[cell[1]], self._n_train_at[cell[2]]

    def _position(self, replicate: int, level: float, n_train: int) -> Position:
        grid = self.grids[-1]
        if replicate not in range(grid.replicates) or level not in grid.noise or n_train not in grid.n_train:
            allowed = f"one of {grid.replicates} replicates, noise {grid.noise} and n_train {grid.n_train}"
            raise ValueError(f"the cell must be {allowed}, got ({replicate}, {level}, {n_train})")
        return replicate, grid.noise.index(level), grid.n_train.index(n_train)

    def _name(self, at: Position) -> str:
        grid = self.grids[-1]
        return f"(replicate {at[0]}, {self._layout.noise} {grid.noise[at[1]]:g}, n_train {grid.n_train[at[2]]})"

    def _marks(self) -> np.ndarray:
        marks = self._cells.marks([self._stored(cell) for cell in self._asked_cells()])
        shape = (self.grid.replicates, len(self.grid.noise), len(self.grid.n_train))
        return np.array(marks, np.int32).reshape(shape)

    def _read_cells(self, done: np.ndarray, *, sizes: bool) -> Iterator[tuple[Position, Values | None]]:
        """The values of every marked cell, None of one that is not whole."""
        marked = [cell for cell in self._asked_cells() if done[cell]]
        for start in range(0, len(marked), _CELLS_AT_ONCE):
            block = marked[start : start + _CELLS_AT_ONCE]
            at, marks = [self._stored(cell) for cell in block], [int(done[cell]) for cell in block]
            found = self._cells.read(at, marks, self._small_results())
            whole = self._cells.has_representations(at, marks) if sizes else [True] * len(block)
            for cell, position, values, complete in zip(block, at, found, whole, strict=True):
                if values is None or not complete:
                    self._take_back(position)
                    yield cell, None
                else:
                    yield cell, values

    def _of_asked_members(self, values: Values) -> Values:
        shapes = {name: self._layout.cell_shape(name, self.grid.members) for name in values}
        return {name: array[tuple(map(slice, shapes[name]))] for name, array in values.items()}

    def _take_back(self, at: Position) -> None:
        _log.warning("%s: data of the cell %s is damaged; it will be computed again", self.location, self._name(at))
        if not self._root.read_only:
            with writing(self.location):
                self._cells.mark([at], 0)
