"""Finds, makes and grows the zarr group of a store."""

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xarray as xr
import zarr

from jaxalign import checks
from jaxalign.sweep.grid import Grid, Relation, relation
from jaxalign.sweep.storage.arrays import Layout, conform
from jaxalign.sweep.storage.chunks import Chunks, is_url, open_zarr_store

# Attributes of the zarr group that say how it is kept, beside those of the Dataset.
OWN_ATTRIBUTES = ("coordinates", "grids", "layout")


def as_location(location: Any) -> str | None:
    """A path or URL as text.

    Raises:
      ValueError: if it is neither, nor None.
    """
    if location is not None and not isinstance(location, (str, os.PathLike)):
        checks.reject("store", "None, a path or a URL", location)
    return None if location is None else os.fspath(location).removeprefix("file://")


def find(location: str | None) -> dict[str, Any] | None:
    """The attributes of the store at a location, None if there is nothing, or one whose making was interrupted.

    Raises:
      ValueError: if there is something else.
    """
    if location is None or (not is_url(location) and not Path(location).exists()):
        return None
    chunks = Chunks(open_zarr_store(location, read_only=True))
    raw = chunks.read(["zarr.json"])[0]
    allowed = f"{location} must be a zarr store written by jaxalign"
    if raw is None:
        if is_url(location) and chunks.is_empty():
            return None
        raise ValueError(f"{allowed}, got a {'file' if Path(location).is_file() else 'folder'}")
    try:
        attributes = json.loads(raw).get("attributes", {})
    except ValueError as error:
        raise ValueError(f"{allowed}, got one whose zarr.json cannot be read: {error}") from error
    if "incomplete" in attributes:
        return None
    if "config" not in attributes:
        raise ValueError(f"{allowed}, got one without a configuration")
    if not {*OWN_ATTRIBUTES} <= {*attributes}:
        raise ValueError(f"{allowed}, got one that another program or version has written")
    return attributes


def create(location: str | None, template: xr.Dataset, representation: tuple[int, int] | None) -> zarr.Group:
    """Makes a store without results; in a folder beside its place, where it appears whole."""
    layout = Layout.of(template, representation)
    if location is None or is_url(location):
        return _create_in(open_zarr_store(location), template, layout)
    path = Path(location)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        _create_in(open_zarr_store(f"{scratch}/made"), template, layout)
        os.rename(f"{scratch}/made", path)
    return zarr.open_group(open_zarr_store(location), mode="r+")


def _create_in(store: Any, template: xr.Dataset, layout: Layout) -> zarr.Group:
    # The attributes come last: what has the first ones only was interrupted, and is made over what is there.
    root = zarr.open_group(store, mode="a", attributes={"incomplete": True})
    for name in [name for name in root.array_keys() if name not in {*layout.variables, *layout.coordinates}]:
        del root[name]
    config = template.attrs["config"]
    grid = Grid.from_dict(json.loads(config))
    conform(root, layout, grid, template.coords.to_dataset())
    beside_indices = [name for name, dims in layout.coordinates.items() if dims != (name,)]
    root.attrs.put(
        {
            **template.attrs,
            "coordinates": " ".join(beside_indices),
            "grids": _as_json([grid]),
            "layout": layout.to_json(),
        }
    )
    return zarr.open_group(store, mode="r+")


def reopen(
    location: str, attributes: dict[str, Any], template: xr.Dataset, representation: tuple[int, int] | None
) -> zarr.Group:
    """Opens a store that is there, and lets it grow to hold the configuration of a template.

    Raises:
      ValueError: if it cannot hold it.
    """
    asked = template.attrs["config"]
    kind = relation_to_stored(location, attributes["config"], asked)
    layout = Layout.from_json(attributes["layout"])
    if representation is not None and tuple(representation) != layout.representation:
        raise ValueError(
            f"the store {location} must keep representations of (probes, units) {tuple(representation)}, got one with "
            f"{layout.representation or 'none'}; name another store"
        )
    grids = [Grid.from_dict(axes) for axes in json.loads(attributes["grids"])]
    wanted = Grid.from_dict(json.loads(asked))
    grid = grids[-1].extended(wanted) if kind == "grows" else grids[-1]
    root = zarr.open_group(open_zarr_store(location), mode="r+")
    try:
        conform(root, layout, grid, _in_order_of(grid, template, layout) if wanted.holds(grid) else None)
    except KeyError as error:
        raise damaged(location, f"the array {error} is missing") from error
    if kind == "grows":
        root = root.update_attributes({"config": grid.in_json(asked), "grids": _as_json([*grids, grid])})
    return root


def relation_to_stored(location: str, stored: str, asked: str) -> Relation:
    """Whether a stored configuration holds all of the one asked for, or has to grow; both as JSON.

    Raises:
      ValueError: if neither is so.
    """
    kind, differences = relation(stored, asked)
    if kind == "other":
        raise ValueError(
            f"the store {location} holds another configuration ({differences}); name another store. One that is there "
            "can grow in noise, n_train, members and replicates as long as it loses nothing"
        )
    return kind


def _in_order_of(grid: Grid, template: xr.Dataset, layout: Layout) -> xr.Dataset:
    """The coordinates of a template in the stored order."""
    coordinates = template.coords.to_dataset()
    asked = Grid.from_dict(json.loads(template.attrs["config"]))
    order = {
        layout.noise: [asked.noise.index(level) for level in grid.noise],
        "n_train": [asked.n_train.index(n) for n in grid.n_train],
    }
    return coordinates.isel(order)


def _as_json(grids: list[Grid]) -> str:
    # Not as a list, for which JSON has no infinite signal-to-noise ratio.
    return json.dumps([dataclasses.asdict(grid) for grid in grids])


def damaged(location: str | None, how: str) -> OSError:
    """The error of a store that is not whole."""
    return OSError(f"the store {location} is damaged: {how}. Running its sweep again computes anew what is missing")


@contextlib.contextmanager
def writing(location: str | None) -> Iterator[None]:
    """Names the store in an error of the file system."""
    try:
        yield
    except OSError as error:
        text = (
            f"the store {location} cannot be written: {error}. The finished cells in it are kept; "
            "when the cause is removed, the same command goes on from there"
        )
        raise OSError(text) from error
