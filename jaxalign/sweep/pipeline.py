"""From units of work to finished cells: training, comparison and what is merged from before, on worker threads."""

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxalign.ensemble import Outcome
from jaxalign.sweep import processes
from jaxalign.sweep.comparison import by_level
from jaxalign.sweep.config import SweepConfig
from jaxalign.sweep.engine import Engine, Execution
from jaxalign.sweep.units import Cell, Unit
from jaxalign.sweep.workers import Workers

_COMPARE, _TRAIN = 0, 1

ReadCell = Callable[[Cell], dict[str, np.ndarray]]


class FinishedCell(NamedTuple):
    """All results of a cell, with the axes of the store."""

    cell: Cell
    values: dict[str, np.ndarray]
    members: int
    trained: int  # networks


class TrainedState(NamedTuple):
    """The trained variables of one network of a unit, leaves (noise level, member, ...)."""

    network: str
    replicate: int
    n_train: int
    levels: tuple[float, ...]
    first: int
    state: PyTree


class Stopped(NamedTuple):
    """Handed over when all processes agreed to stop before the end."""


class Pipeline:
    """Works on units in the background.

    One CPU device: one thread per core, over the parts of units and over the comparisons of cells, which go first.
    Several devices: one thread that goes from unit to unit, the same in all processes.
    """

    def __init__(self, engine: Engine, units: Sequence[Unit], read_cell: ReadCell | None, keep_state: bool) -> None:
        """Starts nothing yet.

        Args:
          engine: runs the units.
          units: in the order in which they are to be done.
          read_cell: reads what the store holds of a cell; None where nothing is merged.
          keep_state: whether trained variables are handed over.
        """
        self._engine = engine
        self._config: SweepConfig = engine.config
        self._read_cell = read_cell
        self._keep_state = keep_state
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._found: dict[Unit, list[tuple[Execution, list[Outcome]]]] = {unit: [] for unit in units}
        self._workers = Workers(engine.workers)
        for i, unit in enumerate(units):
            if engine.mesh is not None:
                self._workers.submit((_TRAIN, i), functools.partial(self._sharded, unit))
                continue
            executions = engine.executions(unit)
            for execution in executions:
                task = functools.partial(self._part, i, execution, len(executions))
                self._workers.submit((_TRAIN, i), task)

    def results(self, every: float) -> Iterator[FinishedCell | TrainedState | Stopped | None]:
        """Starts the work and yields what is finished, and None after each `every` seconds without."""
        self._workers.start()
        return self._workers.values(every)

    def stop(self) -> None:
        """Begins no further unit; with several processes, once all of them know."""
        self._stop.set()
        if jax.process_count() == 1:
            self._workers.stop()

    def leftover(self) -> Iterator[FinishedCell | TrainedState | Stopped]:
        """What is finished already, after a stop."""
        return self._workers.handed_over()

    def join(self) -> None:
        """Ends the threads."""
        self._workers.stop()
        self._workers.join()

    def _part(self, order: int, execution: Execution, parts: int) -> None:
        outcomes = self._engine.execute(execution)
        unit = execution.unit
        with self._lock:
            found = self._found[unit]
            found.append((execution, outcomes))
            if len(found) < parts:
                return
            del self._found[unit]
        ((replicate, of_networks),) = self._joined(unit, found)
        representations = self._represented(unit, of_networks)
        for level, cell in enumerate(unit.cells):
            own = None if representations is None else representations[level]
            task = functools.partial(self._cell, unit, cell, level, of_networks, own)
            self._workers.submit((_COMPARE, order), task)

    def _joined(self, unit: Unit, found: Sequence[tuple[Execution, list[Outcome]]]) -> list[tuple[int, list[Outcome]]]:
        """The outcomes of all networks, for each replicate; trained variables are handed over."""
        of_networks = [
            self._engine.join(unit, i, [(at, outcomes) for at, outcomes in found if at.network == i])
            for i in range(len(self._config.networks))
        ]
        joined = list(zip(unit.replicates, map(list, zip(*of_networks, strict=True)), strict=True))
        if self._keep_state:
            shape = (len(unit.levels), unit.members - unit.first)
            for replicate, outcomes in joined:
                for network, outcome in zip(self._config.networks, outcomes, strict=True):
                    state = jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), outcome.state)
                    self._workers.hand_over(
                        TrainedState(str(network), replicate, unit.n_train, unit.levels, unit.first, state)
                    )
        return joined

    def _represented(self, unit: Unit, of_networks: list[Outcome]) -> np.ndarray | None:
        return by_level(of_networks, len(unit.levels)) if self._config.metrics else None

    def _cell(
        self, unit: Unit, cell: Cell, level: int, of_networks: list[Outcome], representations: np.ndarray | None
    ) -> None:
        before = self._before(unit, cell)
        values = self._member_values(unit, level, of_networks)
        if representations is not None:
            whole = self._with_stored(unit, before, representations)
            values |= {**self._engine.compare(whole), "representation": whole}
        self._hand_over(unit, cell, values, before)

    def _hand_over(self, unit: Unit, cell: Cell, values: dict[str, Any], before: dict[str, np.ndarray]) -> None:
        metrics = self._config.metrics
        values = {n: merge(value, before.get(n), unit, pairs=n in metrics) for n, value in values.items()}
        trained = len(self._config.networks) * (unit.members - unit.first)
        self._workers.hand_over(FinishedCell(cell, values, unit.members, trained))

    def _before(self, unit: Unit, cell: Cell) -> dict[str, np.ndarray]:
        return self._read_cell(cell) if unit.kept and self._read_cell is not None else {}

    def _with_stored(self, unit: Unit, before: dict[str, np.ndarray], new: np.ndarray) -> np.ndarray:
        """The representations of all members, of which the first ones are not trained again."""
        return np.concatenate([before["representation"][:, : unit.first], new], axis=1) if unit.first else new

    def _member_values(self, unit: Unit, level: int, of_networks: list[Outcome]) -> dict[str, np.ndarray]:
        """What is known of each member of a cell, (network, member)."""
        count = unit.members - unit.first
        at = slice(level * count, (level + 1) * count)
        train, test, finite, steps = (
            np.stack([np.asarray(getattr(outcome, name))[at] for outcome in of_networks])
            for name in ("train_error", "test_error", "finite", "steps")
        )
        tolerance = self._config.training.tolerance
        values = {
            "train_error": train,
            "test_error": test,
            "converged": finite if tolerance is None else finite & (train <= tolerance),
            "steps_trained": steps,
        }
        return values | ({"train_accuracy": 1.0 - train} if self._config.task.classification else {})

    def _sharded(self, unit: Unit) -> None:
        """A whole unit on a mesh, in step with all other processes."""
        if processes.anywhere(self._stop.is_set()):
            self._stop.set()
            self._workers.hand_over(Stopped())
            self._workers.stop()
            return
        found = [(execution, self._engine.execute(execution)) for execution in self._engine.executions(unit)]
        with processes.together():
            joined = self._joined(unit, found)
            cells = [(cell, level, of) for cell, (level, of) in zip(unit.cells, _by_cell(joined, unit), strict=True)]
            before = [self._before(unit, cell) for cell, _, _ in cells]
            whole = []
            if self._config.metrics:
                represented = [self._represented(unit, of_networks) for _, of_networks in joined]
                stacked = [own for of_replicate in represented if of_replicate is not None for own in of_replicate]
                whole = [self._with_stored(unit, b, own) for b, own in zip(before, stacked, strict=True)]
            own = self._compare_own(whole)
        measured = self._from_all(own, whole)
        with processes.together():
            for i, (cell, level, of_networks) in enumerate(cells):
                values: dict[str, Any] = self._member_values(unit, level, of_networks)
                if whole:
                    values |= {**measured[i], "representation": whole[i]}
                self._hand_over(unit, cell, values, before[i])

    def _compare_own(self, whole: Sequence[np.ndarray]) -> dict[int, dict[str, np.ndarray]]:
        """Compares this process's share of the cells of a unit, divided among its devices."""
        devices = jax.local_devices()
        # One CPU gains nothing from being called several devices.
        devices = devices[:1] if devices[0].platform == "cpu" else devices
        count, own = jax.process_count(), jax.process_index()

        def compare(at: tuple[int, int]) -> dict[str, np.ndarray]:
            with jax.default_device(devices[at[0] % len(devices)]):
                return self._engine.compare(whole[at[1]])

        mine = list(enumerate(range(own, len(whole), count)))
        with ThreadPoolExecutor(len(devices)) as threads:
            return dict(zip([i for _, i in mine], threads.map(compare, mine), strict=True))

    def _from_all(self, own: dict[int, dict[str, np.ndarray]], whole: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        """The comparisons of all cells, from the processes that made them."""
        count = jax.process_count()
        if count == 1 or not whole:
            return [own[i] for i in range(len(whole))]
        networks, members = whole[0].shape[:2]
        matrices = np.zeros((len(whole), len(self._config.metrics), *(networks, members) * 2), np.float32)
        for i, of_cell in own.items():
            matrices[i] = np.stack([of_cell[name] for name in self._config.metrics])
        everyone = processes.from_each(matrices)
        return [dict(zip(self._config.metrics, everyone[i % count, i], strict=True)) for i in range(len(whole))]


def _by_cell(joined: list[tuple[int, list[Outcome]]], unit: Unit) -> Iterator[tuple[int, list[Outcome]]]:
    for _, of_networks in joined:
        for level in range(len(unit.levels)):
            yield level, of_networks


def merge(new: np.ndarray, before: np.ndarray | None, unit: Unit, *, pairs: bool) -> np.ndarray:
    """The values of all members of a cell; those that are stored stay as they are, bit for bit.

    Args:
      new: of the members that were trained, or of all, (network, member, ...).
      before: what is stored, None if nothing is.
      unit: says who is stored and who was trained.
      pairs: whether the values are those of pairs, (network, member, network, member).
    """
    if before is None or not unit.kept:
        return new
    kept = slice(unit.kept)
    if pairs:
        whole = new.copy()
        whole[:, kept, :, kept] = before[:, kept, :, kept]
        return whole
    not_trained = unit.members - new.shape[1]
    whole = np.concatenate([before[:, :not_trained], new], axis=1)
    whole[:, kept] = before[:, kept]
    return whole
