"""`run_sweep`: trains every ensemble of a configuration, compares all pairs of its members, and stores cell by cell."""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np
import xarray as xr

from jaxalign import checks
from jaxalign.memory import peak_bytes
from jaxalign.sweep import processes, result
from jaxalign.sweep.config import SweepConfig
from jaxalign.sweep.engine import Engine, Execution
from jaxalign.sweep.grid import Grid
from jaxalign.sweep.pipeline import FinishedCell, Pipeline, Stopped, TrainedState
from jaxalign.sweep.presets import as_config
from jaxalign.sweep.progress import Progress, log_shown
from jaxalign.sweep.representations import kept_representations
from jaxalign.sweep.runtime import Interrupted, Interrupts, compiled_programs_kept
from jaxalign.sweep.storage.lock import StoreLock
from jaxalign.sweep.storage.opening import as_location, find
from jaxalign.sweep.storage.parameters import check_parameters_location, save_parameters
from jaxalign.sweep.storage.store import Store
from jaxalign.sweep.units import Cell, Unit, is_missing, members_in_cells, missing, units
from jaxalign.sweep.workers import exit_without_waiting
from jaxalign.threads import one_blas_thread

logger = logging.getLogger("jaxalign")

_SECONDS_PER_TICK = 0.5


def run_sweep(
    config: SweepConfig | str,
    store: str | os.PathLike | None = None,
    resume: bool = True,
    progress: bool = True,
    *,
    memory_budget: int | None = None,
    save_representations: bool | None = None,
    save_parameters: bool = False,
    compilation_cache: str | os.PathLike | None = None,
    verbose: bool = False,
) -> xr.Dataset:
    """Trains every ensemble of a sweep and compares all pairs of its members.

    On one CPU all cores are used; on several devices, of this process or of all processes of `jax.distributed`, members
    are sharded over them. On several hosts every process makes the same call, process 0 writes the store, and all
    return the result.

    Args:
      config: a `SweepConfig`, or the name of one of `jaxalign.presets`, which means its laptop scale.
      store: where the result is kept, written cell by cell: the path of a zarr store, or a URL that fsspec knows. None
        keeps nothing. A store of a smaller sweep grows: a configuration with more noise levels, sample sizes, members
        or replicates computes only what is new.
      resume: whether finished cells in the store are kept; otherwise all are computed again.
      progress: whether to show a progress bar, in a terminal or in a notebook, or elsewhere a line every minute.
      memory_budget: bytes per device that training and comparing may use; by default half of what is free.
      save_representations: whether the store keeps them, (probes, units) numbers for each network, so that more
        members can be added without training the present ones again. None keeps them up to 1 GB in all.
      save_parameters: whether trained weights are kept beside the store; see `jaxalign.load_parameters`.
      compilation_cache: a folder where compiled programs are kept for other processes, for the time of this call. It
        must be trusted: it holds code that is executed.
      verbose: whether the log of jaxalign is shown, unless the program has set up its own.

    Returns:
      A Dataset with `train_error`, `test_error`, `converged`, `steps_trained` (0 of solved networks) and, for
      classification, `train_accuracy` of dims (network, replicate, snr or label_noise, n_train, member), and one
      variable per metric of dims (replicate, noise, n_train, network_a, member_a, network_b, member_b): the measure
      from a to b. A representation is not compared with itself: the diagonal is NaN, so that plain means are means
      over pairs. Members that diverged are NaN, with `converged` False. Attributes hold the configuration as JSON,
      versions, the device, and seconds per phase, added up over the runs that computed the store (`seconds_compile`,
      `seconds_train` and `seconds_align` are summed over the threads that work at the same time), and `peak_bytes`,
      the most memory in use on a device, on a CPU by the process.

    Raises:
      ValueError: if an argument is not allowed, the store holds another configuration, or the budget is too small.
      FileNotFoundError: if the data set is not there and cannot be had.
      OSError: if the store is in use by another run, or cannot be written; finished cells are kept.
      KeyboardInterrupt: on Ctrl-C, after what is finished was written; the message says how to go on.
      SystemExit: on SIGTERM, in the same way, with the code 143.

    Example:
      >>> import jaxalign
      >>> task, network = jaxalign.LinearTeacher(dim=10), jaxalign.LinearNetwork(hidden=5)
      >>> config = jaxalign.SweepConfig(task, (network,), noise=(5.0,), n_train=(3, 10, 40), members=4, probes=100)
      >>> ds = jaxalign.run_sweep(config, progress=False)
      >>> dict(ds["test_error"].sizes)
      {'network': 1, 'replicate': 1, 'snr': 1, 'n_train': 3, 'member': 4}
      >>> ds["cce"].dims
      ('replicate', 'snr', 'n_train', 'network_a', 'member_a', 'network_b', 'member_b')
      >>> bool(ds["converged"].all())
      True
    """
    config = as_config(config)
    options = {"resume": resume, "progress": progress, "save_parameters": save_parameters, "verbose": verbose}
    for name, value in options.items():
        checks.boolean(name, value)
    if save_representations is not None:
        checks.boolean("save_representations", save_representations)
    location = as_location(store)
    if save_parameters:
        if location is None:
            checks.reject("store", "given where parameters are saved", None)
        check_parameters_location(location)
    start = time.perf_counter()
    engine = Engine(config, memory_budget=memory_budget, keep_state=save_parameters)
    level = logging.DEBUG if verbose else logging.INFO if progress else None
    with (
        log_shown(level if processes.is_leader() else None),
        compiled_programs_kept(compilation_cache),
        one_blas_thread(),
        contextlib.ExitStack() as stack,
    ):
        opened = _open(config, location, save_representations, resume, stack)
        done = opened.done
        run = _Run(engine, opened, save_parameters)
        networks = run.networks_missing(done)
        finished = sum(members >= config.members for members in done.values())
        if location is not None and finished:
            logger.info("%d of %d cells are finished already in %s", finished, len(done), location)
        bar = stack.enter_context(
            contextlib.closing(Progress(progress and processes.is_leader(), len(done), finished, networks))
        )
        interrupts, complete = Interrupts(), True
        with processes.together():
            try:
                with interrupts:
                    run.compute(done, bar, interrupts)
                    # Of several processes the others know nothing of it, and go on to read the result.
                    complete = interrupts.received is None or jax.process_count() > 1
            except Interrupted:
                complete = False
            finally:
                if opened.store is not None and bar.networks:
                    _account(opened, {**engine.seconds.phases, "total": time.perf_counter() - start})
            dataset = opened.store.read() if complete and opened.store is not None else None
        if not complete:
            _leave(interrupts, location, sum(members >= config.members for members in done.values()), len(done))
        return processes.from_leader(dataset)


class _Opened(NamedTuple):
    """The store and its lock, which the leader alone has, and what all processes know of it."""

    store: Store | None
    lock: StoreLock | None
    grids: tuple[Grid, ...]
    done: dict[Cell, int]  # members that each cell holds
    extend: bool  # whether these need not be trained again


def _open(
    config: SweepConfig,
    location: str | None,
    save_representations: bool | None,
    resume: bool,
    stack: contextlib.ExitStack,
) -> _Opened:
    """Locks and opens the store, and says what is in it.

    Only the leader has the store; all processes learn what is in it, or why it cannot be used.
    """
    store, lock, found = None, None, None
    with processes.together():
        if processes.is_leader():
            lock = stack.enter_context(StoreLock(location))
            # What a store that is there keeps was decided when it was made.
            asked = save_representations or find(location) is None
            representation = kept_representations(config, location, save_representations) if asked else None
            store = stack.enter_context(Store.open(location, result.template(config), representation=representation))
            if not resume:
                store.forget()
            done = store.members_done()
            found = store.grids, done, store.representation is not None
    grids, done, kept = processes.from_leader(found)
    cells = members_in_cells(Grid.of(config), done)
    # Only the leader could read the representations that members were trained to before.
    return _Opened(store, lock, grids, cells, kept and jax.process_count() == 1)


def _leave(interrupts: Interrupts, location: str | None, finished: int, cells: int) -> NoReturn:
    kept = f"{finished} of {cells} cells are kept in {location}; the same call goes on with the others"
    message = f"stopped: {kept if location is not None else 'nothing is kept without a store'}"
    if interrupts.received == signal.SIGTERM:
        logger.warning(message)
        code = 128 + signal.SIGTERM
        exit_without_waiting(code)
        raise SystemExit(code)
    raise KeyboardInterrupt(message)


def _account(opened: _Opened, seconds: dict[str, float]) -> None:
    """Adds the seconds of this run to those of the store, and keeps the highest peak of memory."""
    if opened.store is None or opened.lock is None:
        return
    before = opened.store.attributes
    names = {f"seconds_{phase}": value for phase, value in seconds.items()}
    added: dict[str, Any] = {name: round(before.get(name, 0.0) + value, 3) for name, value in names.items()}
    if (peak := peak_bytes()) is not None:
        added["peak_bytes"] = max(peak, before.get("peak_bytes", 0))
    try:
        # A store that another process has taken over may have grown, which writing would undo.
        opened.lock.check()
        opened.store.update_attributes(added)
    except OSError as error:
        logger.warning("the seconds of this run are not kept: %s", error)


class _Run:
    """One call of `run_sweep`; the leader of the processes has the store."""

    def __init__(self, engine: Engine, opened: _Opened, save: bool) -> None:
        self._engine, self._store, self._lock = engine, opened.store, opened.lock
        self._stages = units(opened.grids, engine.devices, extend=opened.extend)
        self._save = save
        self._asked = Grid.of(engine.config)

    def compute(self, done: dict[Cell, int], progress: Progress, interrupts: Interrupts) -> None:
        """Computes what is not done, stage by stage, and raises what stopped it."""
        for stage in self._stages:
            pending = missing(stage, done, self._asked)
            if not pending:
                continue
            progress.stage("compiling")
            self._compile(pending, interrupts)
            progress.stage("training")
            self._compute(pending, done, progress, interrupts)

    def networks_missing(self, done: dict[Cell, int]) -> int:
        """How many networks are to be trained."""
        pending = [unit for stage in self._stages for unit in missing(stage, done, self._asked)]
        return len(self._engine.config.networks) * sum(len(unit.replicates) * unit.group for unit in pending)

    def _compile(self, pending: Sequence[Unit], interrupts: Interrupts) -> None:
        engine = self._engine

        def compile_one(execution: Execution) -> None:
            if interrupts.received and jax.process_count() == 1:
                raise Interrupted
            engine.compile(execution)

        with processes.together():
            engine.load_data()
        with processes.together(), ThreadPoolExecutor(engine.workers) as threads:
            compiled = threads.map(compile_one, [first for first, *_ in engine.programs(pending)])
            if engine.config.metrics:
                engine.prepare_compare(max(unit.members for unit in pending))
            list(compiled)

    def _compute(
        self, pending: Sequence[Unit], done: dict[Cell, int], progress: Progress, interrupts: Interrupts
    ) -> None:
        pipeline = Pipeline(self._engine, pending, self._read, self._save)
        try:
            self._collect(pipeline, sum(len(unit.cells) for unit in pending), done, progress, interrupts)
        finally:
            # Whatever a task or the store raised, the other threads do not go on.
            pipeline.stop()
        pipeline.join()

    def _collect(
        self, pipeline: Pipeline, left: int, done: dict[Cell, int], progress: Progress, interrupts: Interrupts
    ) -> None:
        """Writes what is finished until no cell is left."""
        stopping, failure = False, None
        for value in pipeline.results(_SECONDS_PER_TICK):
            progress.tick()
            if interrupts.received and not stopping:
                stopping = True
                pipeline.stop()
                if jax.process_count() == 1:
                    break
            if isinstance(value, Stopped):
                break
            if value is not None and failure is None:
                try:
                    self._write(value, done, progress)
                except Exception as error:
                    failure = error
                    pipeline.stop()
                    if jax.process_count() == 1:
                        break
            left -= isinstance(value, FinishedCell)
            if not left:
                break
        if jax.process_count() > 1:
            # Only one thread at a time may speak to the other processes.
            pipeline.join()
        processes.raise_anywhere(failure)
        if left:
            interrupts.agree()
            with processes.together():
                for value in pipeline.leftover():
                    self._write(value, done, progress)
            raise Interrupted

    def _read(self, cell: Cell) -> dict[str, np.ndarray]:
        return {} if self._store is None else self._store.read_cell(*cell)

    def _write(self, value: Any, done: dict[Cell, int], progress: Progress) -> None:
        start = time.perf_counter()
        if self._lock is not None:
            self._lock.check()
        if isinstance(value, TrainedState):
            if self._store is not None and self._store.location is not None:
                save_parameters(self._store.location, *value)
        elif isinstance(value, FinishedCell) and is_missing(value.cell, value.members, done, self._asked):
            # Others beside it may have been there already, or not asked for.
            if self._store is not None:
                kept = value.values if self._store.representation else _without(value.values, "representation")
                self._store.write_cell(*value.cell, kept, value.members)
            done[value.cell] = value.members
            progress.cell(_name(value.cell, self._engine.config), value.trained)
        self._engine.seconds.add("write", start)


def _without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _name(cell: Cell, config: SweepConfig) -> str:
    return f"n_train {cell.n_train}, {config.task.noise_name} {cell.level:g}, replicate {cell.replicate}"
