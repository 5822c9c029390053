"""The axes along which a sweep may grow, and how two configurations differ."""

import dataclasses
import json
from typing import Any, Literal

from jaxalign.sweep.config import SweepConfig


@dataclasses.dataclass(frozen=True)
class Grid:
    """What of a configuration may grow; a cell is all networks and members of one (replicate, noise level, n_train).

    Attributes:
      noise: the noise levels.
      n_train: the numbers of training samples.
      members: how many networks an ensemble has.
      replicates: how many independent draws there are.
    """

    noise: tuple[float, ...]
    n_train: tuple[int, ...]
    members: int
    replicates: int

    @classmethod
    def of(cls, config: SweepConfig) -> "Grid":
        """The grid of a configuration."""
        return cls(config.noise, config.n_train, config.members, config.replicates)

    @classmethod
    def from_dict(cls, axes: dict[str, Any]) -> "Grid":
        """The grid in a configuration, or in a list of grids, that was read from JSON."""
        return cls(tuple(axes["noise"]), tuple(axes["n_train"]), axes["members"], axes["replicates"])

    def holds(self, other: "Grid") -> bool:
        """Whether every cell and member of `other` is in this grid, in whatever order."""
        return (
            {*other.noise} <= {*self.noise}
            and {*other.n_train} <= {*self.n_train}
            and other.members <= self.members
            and other.replicates <= self.replicates
        )

    def extended(self, other: "Grid") -> "Grid":
        """The larger grid `other` with the levels and sizes of this one first and in its order."""
        noise = (*self.noise, *(level for level in other.noise if level not in self.noise))
        n_train = (*self.n_train, *(n for n in other.n_train if n not in self.n_train))
        return Grid(noise, n_train, other.members, other.replicates)

    def in_json(self, config: str) -> str:
        """The configuration `config`, as JSON, with the axes of this grid."""
        return json.dumps(json.loads(config) | dataclasses.asdict(self), sort_keys=True)


AXES = tuple(field.name for field in dataclasses.fields(Grid))
Relation = Literal["within", "grows", "other"]


def relation(stored: str, asked: str) -> tuple[Relation, str]:
    """How a configuration that is asked for stands to one that is stored, both as JSON.

    Returns:
      "within" if the stored one holds all of it, "grows" if it holds all of the stored one and more, and "other"
      where neither is so; and in words where they differ, axis orders aside.
    """
    there, wanted = json.loads(stored), json.loads(asked)
    grids = Grid.from_dict(there), Grid.from_dict(wanted)
    differing = [
        name
        for name in sorted({*there, *wanted})
        if (getattr(grids[0], name) if name in AXES else there.get(name))
        != (getattr(grids[1], name) if name in AXES else wanted.get(name))
    ]
    words = "; ".join(
        f"{name}: {json.dumps(there.get(name))} there, {json.dumps(wanted.get(name))} asked for" for name in differing
    )
    if {*differing} <= {*AXES}:
        if grids[0].holds(grids[1]):
            return "within", words
        if grids[1].holds(grids[0]):
            return "grows", words
    return "other", words
