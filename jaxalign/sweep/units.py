"""The units of work that a sweep is cut into."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxalign.ensemble import is_solved
from jaxalign.networks import Network
from jaxalign.sweep.config import SweepConfig
from jaxalign.sweep.grid import Grid

_SMALLEST_BUCKET = 32


class Cell(NamedTuple):
    """All networks and members of one replicate, noise level and sample size; what is stored and marked at once."""

    replicate: int
    level: float
    n_train: int


class Unit(NamedTuple):
    """What is trained together: some noise levels and replicates of one sample size.

    Attributes:
      replicates: at once; several only where devices would be idle with one.
      n_train: the sample size.
      levels: noise levels.
      first: members from this one on are trained; those before it are stored with their representations.
      members: how many members the cells have then.
      kept: members before this one are stored, and stay as they are.
    """

    replicates: tuple[int, ...]
    n_train: int
    levels: tuple[float, ...]
    first: int
    members: int
    kept: int

    @property
    def cells(self) -> list[Cell]:
        """In the order (replicate, level)."""
        return [Cell(replicate, level, self.n_train) for replicate in self.replicates for level in self.levels]

    @property
    def group(self) -> int:
        """How many networks of one kind are trained in each replicate."""
        return len(self.levels) * (self.members - self.first)


def units(history: Sequence[Grid], devices: int = 1, *, extend: bool = False) -> list[list[Unit]]:
    """All units of work of a sweep that grew, by the stages in which it did.

    A stage may rest on those before it. In a stage units go replicate by replicate and the largest sample sizes first.

    What is trained together depends on the grids alone, never on what is finished already: a sweep that was killed
    repeats its unfinished units as they were, bit for bit.

    Args:
      history: the grids, each a part of the next; the last one is computed.
      devices: among which the networks of a unit are divided.
      extend: whether members that an earlier grid has need not be trained again, as their representations are kept.
    """
    stages = []
    for stage, grid in enumerate(history):
        earlier = history[stage - 1] if stage else None
        of_stage = []
        for n_train in grid.n_train:
            together: dict[tuple[int, tuple[float, ...]], list[int]] = {}
            for replicate in range(grid.replicates):
                kept = {
                    level: _members(earlier, Cell(replicate, level, n_train)) if earlier else 0 for level in grid.noise
                }
                for count in sorted({*kept.values()} - {grid.members}):
                    levels = tuple(level for level in grid.noise if kept[level] == count)
                    together.setdefault((count, levels), []).append(replicate)
            for (kept, levels), replicates in together.items():
                first = kept if extend else 0
                at_once = replicates_at_once(devices, len(levels) * (grid.members - first), len(replicates))
                for start in range(0, len(replicates), at_once):
                    block = tuple(replicates[start : start + at_once])
                    of_stage.append(Unit(block, n_train, levels, first, grid.members, kept))
        stages.append(sorted(of_stage, key=lambda unit: (unit.replicates[0], -unit.n_train)))
    return stages


def members_in_cells(grid: Grid, done: np.ndarray) -> dict[Cell, int]:
    """How many members each cell of a grid holds, from an array (replicate, noise level, n_train) of them."""
    return {
        Cell(replicate, level, n_train): int(done[replicate, i, j])
        for replicate in range(grid.replicates)
        for i, level in enumerate(grid.noise)
        for j, n_train in enumerate(grid.n_train)
    }


def is_missing(cell: Cell, members: int, done: Mapping[Cell, int], asked: Grid) -> bool:
    """Whether a cell of so many members was asked for and holds fewer of those that were."""
    wanted = min(members, _members(asked, cell))
    return done.get(cell, 0) < wanted


def missing(units: Sequence[Unit], done: Mapping[Cell, int], asked: Grid) -> list[Unit]:
    """The units with a cell that is missing."""
    return [unit for unit in units if any(is_missing(cell, unit.members, done, asked) for cell in unit.cells)]


def _members(grid: Grid | None, cell: Cell) -> int:
    if grid is None:
        return 0
    inside = cell.replicate < grid.replicates and cell.level in grid.noise and cell.n_train in grid.n_train
    return grid.members if inside else 0


def replicates_at_once(devices: int, group: int, replicates: int) -> int:
    """How many replicates fill the devices best, each on an equal share of them; the fewest of those."""

    def idle(count: int) -> float:
        share = devices // count
        return 1.0 - group * count / (devices * -(-group // share))

    counts = [count for count in range(1, min(devices, replicates) + 1) if devices % count == 0]
    return min(counts, key=lambda count: (round(idle(count), 6), count))


def padded_rows(config: SweepConfig, network: Network, n_train: int) -> int:
    """How many rows the training set of this cell is padded to.

    Minibatch training costs the same for any number of rows, so all sample sizes share one shape and one compilation.
    A full batch is padded to the next power of two: few shapes, and less than twice the work. The ladder does not
    depend on the other sample sizes of the sweep.
    """
    if config.training.batch_size is not None and not is_solved(network):
        return max(config.n_train)
    bucket = max(_SMALLEST_BUCKET, 1 << (n_train - 1).bit_length())
    return min(bucket, config.task.n_train_available or bucket)
