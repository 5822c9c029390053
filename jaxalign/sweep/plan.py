"""What a sweep will take: its cells, programs, memory, operations and time, before it is run."""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np

from jaxalign import checks
from jaxalign.ensemble import is_solved
from jaxalign.ensemble.flops import training_flops
from jaxalign.memory import peak_bytes
from jaxalign.networks import Network
from jaxalign.sweep import comparison
from jaxalign.sweep.config import SweepConfig, to_json
from jaxalign.sweep.engine import Engine, Execution, program_bytes
from jaxalign.sweep.grid import Grid
from jaxalign.sweep.presets import as_config
from jaxalign.sweep.representations import kept_representations, representation_bytes
from jaxalign.sweep.storage.opening import as_location, find, relation_to_stored
from jaxalign.sweep.storage.store import Store
from jaxalign.sweep.units import Cell, Unit, members_in_cells, missing, padded_rows, units
from jaxalign.threads import one_blas_thread

_PROBE_SECONDS = 0.4
_FEW_STEPS = 8


@dataclasses.dataclass(frozen=True)
class Bucket:
    """One compiled program: a network and a padded number of training rows.

    Attributes:
      network: which one.
      rows: of the padded training sets.
      n_train: the sample sizes that it serves.
      networks: how many it trains in all.
      at_once: how many in one call on each device, or on each thread.
      layout: how these are batched.
      flops: of all its networks.
      bytes: of one call on one device: arguments, results and what it needs in between; None without a probe.
      compile_seconds: None without a probe.
      seconds: of training all its networks, of one thread or all devices; None without a probe.
    """

    network: Network
    rows: int
    n_train: tuple[int, ...]
    networks: int
    at_once: int
    layout: str
    flops: float
    bytes: int | None = None
    compile_seconds: float | None = None
    seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a sweep will take; printed as a table.

    Attributes:
      config: the sweep.
      cells: (replicate, noise level, n_train) in all.
      finished: cells that the store holds already.
      networks: to be trained.
      buckets: the programs that will be compiled to train them.
      devices: how many, of all processes, and of which kind.
      side_by_side: executions at the same time on one device.
      bytes: the predicted peak of memory on each device (on a CPU, of the process); None without a probe.
      budget: bytes that training and comparing may use.
      stored_bytes: what the representations in the store will take; 0 if they are not kept.
      seconds: predicted per phase, of the clock on the wall; empty without a probe.
    """

    config: SweepConfig
    cells: int
    finished: int
    networks: int
    buckets: tuple[Bucket, ...]
    devices: str
    side_by_side: int
    bytes: int | None
    budget: int
    stored_bytes: int
    seconds: dict[str, float]

    @property
    def flops(self) -> float:
        """Of all training; see `jaxalign.ensemble.flops.training_flops`."""
        return sum(bucket.flops for bucket in self.buckets)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def plan(
    config: SweepConfig | str,
    store: str | os.PathLike | None = None,
    *,
    memory_budget: int | None = None,
    save_representations: bool | None = None,
    probe: bool = True,
) -> Plan:
    """Says what `run_sweep` would do with the same arguments, and what that would take.

    Args:
      config: a `SweepConfig`, or the name of one of `jaxalign.presets`.
      store: as in `run_sweep`; what it holds already is not planned again. Nothing is written.
      memory_budget: bytes per device, as in `run_sweep`. It changes a plan with a probe, which tells the memory.
      save_representations: as in `run_sweep`.
      probe: whether programs are compiled and run for a few steps, which memory and time are predicted from. A run in
        the same process does not compile them again.

    Returns:
      The plan; `print(plan(config))` shows it as a table.

    Raises:
      ValueError: if an argument is not allowed, the store holds another configuration, or the budget is too small.
      FileNotFoundError: if the data set is not there and cannot be had.

    Example:
      >>> import jaxalign
      >>> task, network = jaxalign.LinearTeacher(dim=10), jaxalign.LinearNetwork(hidden=5)
      >>> config = jaxalign.SweepConfig(task, (network,), noise=(5.0,), n_train=(3, 10, 40), members=4, probes=100)
      >>> plan = jaxalign.plan(config, probe=False)  # with the probe also memory and time; print(plan) is a table
      >>> plan.cells, plan.networks, [(bucket.rows, bucket.n_train) for bucket in plan.buckets]
      (3, 12, [(64, (40,)), (32, (3, 10))])
    """
    config = as_config(config)
    checks.boolean("probe", probe)
    if save_representations is not None:
        checks.boolean("save_representations", save_representations)
    engine = Engine(config, memory_budget=memory_budget)
    location = as_location(store)
    history, done, representation = _found(config, location, save_representations)
    stages = units(history, engine.devices, extend=representation is not None and jax.process_count() == 1)
    asked = Grid.of(config)
    pending = [unit for stage in stages for unit in missing(stage, done, asked)]
    cells = [Cell(r, level, n) for r in range(asked.replicates) for level in asked.noise for n in asked.n_train]
    with one_blas_thread():
        executions = engine.programs(pending)
        buckets = [_bucket(engine, of_program) for of_program in executions]
        seconds, peak = {}, None
        if probe and pending:
            engine.load_data()
            start = time.perf_counter()
            buckets = list(_compiled(engine, pending, buckets, executions))
            compiling = time.perf_counter() - start
            buckets = [_tried(engine, *pair) for pair in zip(buckets, executions, strict=True)]
            seconds = _seconds(engine, pending, buckets, compiling)
            peak = _peak(engine, pending)
    return Plan(
        config=config,
        cells=len(cells),
        finished=sum(done.get(cell, 0) >= config.members for cell in cells),
        networks=sum(bucket.networks for bucket in buckets),
        buckets=tuple(buckets),
        devices=f"{engine.devices} x {jax.devices()[0].device_kind}",
        side_by_side=engine.workers,
        bytes=peak,
        budget=engine.budget,
        stored_bytes=representation_bytes(config, representation),
        seconds=seconds,
    )


def _found(
    config: SweepConfig, location: str | None, save: bool | None
) -> tuple[tuple[Grid, ...], dict[Cell, int], tuple[int, int] | None]:
    """The grids of the store as it will be, the members in its cells, and the size of the representations it keeps."""
    asked = Grid.of(config)
    if location is None or find(location) is None:
        return (asked,), {}, kept_representations(config, location, save)
    with Store.open_to_read(location) as store:
        kind = relation_to_stored(location, store.attributes["config"], to_json(config))
        history = (*store.grids, store.grids[-1].extended(asked)) if kind == "grows" else store.grids
        done = members_in_cells(store.grid, store.members_done(verify=False))
        return history, done, store.representation


def _bucket(engine: Engine, executions: Sequence[Execution]) -> Bucket:
    """What is known of a program before it is compiled."""
    first = executions[0]
    network = engine.config.networks[first.network]
    return Bucket(
        network=network,
        rows=padded_rows(engine.config, network, first.unit.n_train),
        n_train=tuple(sorted({execution.unit.n_train for execution in executions})),
        networks=sum(_trained(execution) for execution in executions),
        at_once=len(first.at[0]),
        layout=str(engine.layout(first)),
        flops=sum(_flops(engine, execution) for execution in executions),
    )


def _trained(execution: Execution) -> int:
    """How many networks an execution trains; the rest of its members are repetitions of others."""
    unit = execution.unit
    parts = {tuple(at) for at in execution.at}
    distinct = len(np.unique(np.concatenate([np.array(part) for part in parts])))
    return distinct * len(unit.replicates)


def _flops(engine: Engine, execution: Execution) -> float:
    config, network = engine.config, engine.config.networks[execution.network]
    each = training_flops(network, config.task, config.training, execution.unit.n_train)
    shared = is_solved(network) and config.shared_inputs
    return each * (len(execution.unit.replicates) if shared else _trained(execution))


def _compiled(
    engine: Engine, pending: Sequence[Unit], buckets: Sequence[Bucket], executions: Sequence[Sequence[Execution]]
) -> Iterator[Bucket]:
    """The buckets with what is known once they are compiled, side by side as in the sweep."""

    def compiled(pair: tuple[Bucket, Sequence[Execution]]) -> Bucket:
        bucket, (first, *_) = pair
        start = time.perf_counter()
        program = engine.compile(first)
        return dataclasses.replace(
            bucket,
            at_once=engine.members_at_once(first),
            layout=str(engine.layout(first)),
            bytes=program_bytes(program),
            compile_seconds=time.perf_counter() - start,
        )

    with ThreadPoolExecutor(engine.workers) as threads:
        found = threads.map(compiled, zip(buckets, executions, strict=True))
        if engine.config.metrics:
            engine.prepare_compare(pending[0].members)
        yield from found


def _tried(engine: Engine, bucket: Bucket, executions: Sequence[Execution]) -> Bucket:
    """The bucket with the time that its program takes, from calls that take a few steps."""
    first = executions[0]

    def timed(limit: int) -> float:
        start = time.perf_counter()
        with ThreadPoolExecutor(engine.workers) as threads:
            # As in the sweep, where all cores are busy.
            list(threads.map(lambda _: engine.execute(first, limit), range(engine.workers)))
        return time.perf_counter() - start

    timed(1)
    if is_solved(bucket.network):
        return dataclasses.replace(bucket, seconds=len(executions) * timed(1))
    steps = [int(engine.config.training.total_steps(execution.unit.n_train)) for execution in executions]
    fixed, each = _line(timed, max(steps))
    return dataclasses.replace(bucket, seconds=sum(fixed + each * count for count in steps))


def _line(timed: Callable[[int], float], steps: int) -> tuple[float, float]:
    """Seconds of a call without any step, and of each step, from calls that take a few."""
    few = min(_FEW_STEPS, steps)
    least, many, seconds = timed(few), few, 0.0
    while many < steps and seconds < _PROBE_SECONDS:
        each = max(seconds, least) / many
        many = min(steps, max(2 * many, math.ceil(1.2 * _PROBE_SECONDS / each)))
        seconds = timed(many)
    if many == few:
        return 0.0, least / few
    each = max(0.0, (seconds - least) / (many - few))
    return max(0.0, seconds - each * many), each


def _seconds(engine: Engine, pending: Sequence[Unit], buckets: Sequence[Bucket], compiling: float) -> dict[str, float]:
    """Of the clock on the wall, with all workers busy."""
    seconds = {"compile": compiling, "train": sum(bucket.seconds or 0.0 for bucket in buckets) / engine.workers}
    if engine.config.metrics:
        example = comparison.example(engine.config, pending[0].members)
        start = time.perf_counter()
        with ThreadPoolExecutor(engine.workers) as threads:
            list(threads.map(lambda _: engine.compare(example), range(engine.workers)))
        cells = sum(len(unit.cells) for unit in pending)
        seconds["align"] = (time.perf_counter() - start) * cells / engine.workers
    return {**seconds, "total": sum(seconds.values())}


def _peak(engine: Engine, pending: Sequence[Unit]) -> int | None:
    """What the probe took, which ran every program on all workers at once, and what there will be beside it."""
    measured = peak_bytes()
    if measured is None or not pending:
        return measured
    config = engine.config
    replicates = min(config.replicates, engine.draws_kept)
    pairs = (len(config.networks) * config.members) ** 2 * len(config.metrics)
    on_host = 2 * 4 * len(pending) * len(config.noise) * pairs if jax.default_backend() == "cpu" else 0
    return measured + (replicates - 1) * engine.drawn_bytes(pending[0]) + on_host


def _lines(plan: Plan) -> list[str]:
    """The plan as text."""
    config = plan.config
    axes = [
        _count(len(config.networks), "network"),
        _count(config.replicates, "replicate"),
        _count(len(config.noise), "noise level"),
        _count(len(config.n_train), "sample size"),
        _count(config.members, "member"),
    ]
    lines = [
        f"{' x '.join(axes)}: {plan.networks} networks to train in {plan.cells - plan.finished} of {plan.cells} cells",
        f"devices: {plan.devices}, {plan.side_by_side} executions side by side",
        "",
    ]
    columns = ("program", "rows", "n_train", "networks", "layout", "GFLOP", "memory", "compile", "train")
    rows = [columns, *(_row(plan, bucket) for bucket in plan.buckets)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    for row in rows:
        first, *others = zip(row, widths, strict=True)
        lines.append("  ".join([first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]).rstrip())
    lines += ["", f"training: {plan.flops / 1e9:,.0f} GFLOP in {_count(len(plan.buckets), 'program')}"]
    if plan.bytes is not None:
        lines.append(
            f"memory: {_gigabytes(plan.bytes)} at the peak on each device, {_gigabytes(plan.budget)} may be used"
        )
    if plan.stored_bytes:
        lines.append(f"representations kept in the store: {_gigabytes(plan.stored_bytes)}")
    if plan.seconds:
        phases = ", ".join(f"{name} {_time(value)}" for name, value in plan.seconds.items() if name != "total")
        lines.append(f"time: about {_time(plan.seconds['total'])} ({phases})")
    return lines


def _count(number: int, of: str) -> str:
    return f"{number} {of}" if number == 1 else f"{number} {of}s"


def _row(plan: Plan, bucket: Bucket) -> tuple[str, ...]:
    first, last = bucket.n_train[0], bucket.n_train[-1]
    return (
        str(bucket.network),
        str(bucket.rows),
        str(first) if first == last else f"{first} to {last}",
        str(bucket.networks),
        bucket.layout,
        f"{bucket.flops / 1e9:,.3g}",
        "" if bucket.bytes is None else f"{bucket.bytes / 1e6:,.3g} MB",
        "" if bucket.compile_seconds is None else _time(bucket.compile_seconds),
        "" if bucket.seconds is None else _time(bucket.seconds / plan.side_by_side),
    )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
