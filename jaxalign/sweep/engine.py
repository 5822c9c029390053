"""The engine of a sweep: draws, compiles and runs its units of work on the devices that there are."""

import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from jaxalign import checks
from jaxalign.alignment.plan import default_budget
from jaxalign.ensemble import GroupSpec, Layout, Outcome, choose_layout, draw_group, is_solved
from jaxalign.ensemble.placement import (
    ALL_STEPS,
    MEMBERS,
    Program,
    divide,
    first_rows,
    halve,
    host_arguments,
    on_mesh,
    put_together,
    separate_after,
    take,
    to_host,
)
from jaxalign.networks import Network
from jaxalign.streams import Role, stream
from jaxalign.sweep import comparison, processes
from jaxalign.sweep.config import SweepConfig
from jaxalign.sweep.recent import Recent
from jaxalign.sweep.seconds import Seconds
from jaxalign.sweep.units import Unit, padded_rows

logger = logging.getLogger("jaxalign")


class Execution(NamedTuple):
    """One call of a program: some members of one network of a unit, all at once."""

    unit: Unit
    network: int
    at: tuple[np.ndarray, ...]  # the members of each device, or of the one thread


class Engine:
    """Runs units of work.

    On one CPU device a unit is cut into as many parts as there are cores, each run by a thread of its own, since one
    execution leaves cores idle. On several devices, of one process or of several, its members are sharded over a mesh
    with the one axis "members", and no execution waits for another device.

    Attributes:
      config: the sweep.
      mesh: of all devices of all processes; None on one device.
      workers: how many executions run side by side.
      draws_kept: how many replicates have their draws in memory at a time.
      seconds: spent per phase, added up over threads.
    """

    def __init__(
        self,
        config: SweepConfig,
        *,
        memory_budget: int | None = None,
        keep_state: bool = False,
        devices: Sequence[Any] | None = None,
    ) -> None:
        """Looks at the devices; draws and compiles nothing.

        Args:
          config: the sweep.
          memory_budget: bytes per device; by default half of what is free.
          keep_state: whether outcomes have the trained variables.
          devices: of all processes; all that there are by default.

        Raises:
          ValueError: if the budget is not a positive integer.
        """
        if memory_budget is not None:
            checks.integer("memory_budget", memory_budget)
        devices = jax.devices() if devices is None else list(devices)
        self.config = config
        self.mesh = Mesh(np.array(devices), (MEMBERS,)) if len(devices) > 1 else None
        on_threads = self.mesh is None and devices[0].platform == "cpu"
        self.workers = (os.cpu_count() or 1) if on_threads else 1
        self.devices = len(devices)
        self.budget = default_budget() if memory_budget is None else memory_budget
        self.seconds = Seconds()
        self._keep_state = keep_state
        self.draws_kept = max(self.workers, self.devices) + 1
        self._draws = Recent(self.draws_kept)
        self._placed = Recent(len(config.networks))
        self._too_large: set[tuple[Network, int, int]] = set()

    def load_data(self) -> None:
        """Reads the data set, which is done before other threads are at work.

        While TensorFlow Datasets is imported, it replaces how all threads of the process import, and JAX imports when
        it traces: what it got would not be the modules themselves.

        Raises:
          FileNotFoundError: if the data set is not there and cannot be had.
        """
        self.config.task.load(stream(self.config.seed, Role.TEACHER, 0))

    def executions(self, unit: Unit) -> list[Execution]:
        """What has to be run for a unit, in any order; the same list at each call."""
        found = []
        for index, network in enumerate(self.config.networks):
            spec = self._spec(network, unit, padded_rows(self.config, network, unit.n_train))
            if self.mesh is not None:
                share = self.devices // self._slots(unit)
                of_replicate = divide(spec, unit.group, share, exactly=True)
                found.append(Execution(unit, index, tuple(of_replicate * self._slots(unit))))
                continue
            # Members that share a decomposition would each repeat it.
            parts = 1 if is_solved(network) and self.config.shared_inputs else self.workers
            found += [Execution(unit, index, (at,)) for at in divide(spec, unit.group, parts)]
        return found

    def programs(self, pending: Sequence[Unit]) -> list[list[Execution]]:
        """All executions of some units, those of one program together."""
        found: dict[tuple[Any, ...], list[Execution]] = {}
        for unit in pending:
            for execution in self.executions(unit):
                found.setdefault(self._shape(execution), []).append(execution)
        return list(found.values())

    def _shape(self, execution: Execution) -> tuple[Any, ...]:
        """What the program of an execution depends on: equal for executions that need the same one."""
        unit, network = execution.unit, self.config.networks[execution.network]
        rows = padded_rows(self.config, network, unit.n_train)
        return network, rows, len(unit.levels), len(execution.at[0])

    def layout(self, execution: Execution) -> Layout:
        """How the members of an execution are batched."""
        config, network = self.config, self.config.networks[execution.network]
        rows = padded_rows(config, network, execution.unit.n_train)
        return self._layout(network, rows, self.members_at_once(execution))

    def _layout(self, network: Network, rows: int, members: int) -> Layout:
        config = self.config
        return choose_layout(
            network,
            config.task,
            rows,
            members,
            batch_size=config.training.batch_size,
            shared_rows=config.shared_inputs and (config.shared_batches or config.training.batch_size is None),
        )

    def _slots(self, unit: Unit) -> int:
        """Into how many equal sets the devices are divided, one for each replicate."""
        count = len(unit.replicates)
        while self.devices % count:
            count += 1
        return count

    def execute(self, execution: Execution, limit: int = ALL_STEPS) -> list[Outcome]:
        """Trains the members of an execution, in smaller pieces if they do not fit the memory at once.

        Args:
          execution: one of those of a unit.
          limit: training ends after so many steps, as if interrupted.

        Returns:
          Host arrays for each device, or for the one thread, in the order of `execution.at`.

        Raises:
          MemoryError: if one member alone does not fit.
        """
        start = time.perf_counter()
        found = self._execute(execution, limit)
        self.seconds.add("train", start)
        return found

    def _execute(self, execution: Execution, limit: int) -> list[Outcome]:
        unit, network = execution.unit, self.config.networks[execution.network]
        size = len(execution.at[0])
        key = (network, padded_rows(self.config, network, unit.n_train), size)
        if key in self._too_large:
            return self._in_halves(execution, limit)
        outcome, failed = None, None
        try:
            spec, shared, members = self._arguments(execution)
            outcome = jax.block_until_ready(
                Program(spec, shared, members, self.mesh)(shared, members, unit.n_train, limit)
            )
        except Exception as error:
            failed = error
        if not processes.anywhere(failed is not None) and outcome is not None:
            return self._per_device(outcome, len(execution.at))
        processes.raise_anywhere(None if comparison.is_out_of_memory(failed) else failed)
        self._give_up(key, separate_after(self._spec(network, unit, 1)), failed)
        return self._in_halves(execution, limit)

    def _give_up(self, key: tuple[Network, int, int], smallest: int, error: Exception | None) -> None:
        network, _, size = key
        if size <= smallest:
            raise MemoryError(f"the device has no memory for one {network} at a time: {error}") from error
        logger.warning("out of memory with %d of %s at once: going on with half as many", size, network)
        self._too_large.add(key)

    def _in_halves(self, execution: Execution, limit: int) -> list[Outcome]:
        network = self.config.networks[execution.network]
        spec = self._spec(network, execution.unit, 1)
        halves = [halve(spec, at) for at in execution.at]
        first, second = (
            self._execute(execution._replace(at=tuple(pair[i].members for pair in halves)), limit) for i in (0, 1)
        )
        return [
            put_together((a, b), [half.places for half in pair], len(at))
            for a, b, pair, at in zip(first, second, halves, execution.at, strict=True)
        ]

    def _per_device(self, outcome: Outcome, devices: int) -> list[Outcome]:
        if self.mesh is None:
            return [jax.tree.map(np.asarray, outcome)]
        whole = processes.gather(outcome)
        return [jax.tree.map(lambda x, i=i: np.split(x, devices)[i], whole) for i in range(devices)]

    def join(self, unit: Unit, network: int, found: Sequence[tuple[Execution, list[Outcome]]]) -> list[Outcome]:
        """The outcomes of one network of a unit, for each replicate, in the order (noise level, member)."""
        if self.mesh is None:
            parts = [outcomes[0] for _, outcomes in found]
            return [put_together(parts, [execution.at[0] for execution, _ in found], unit.group)]
        ((execution, outcomes),) = found
        share = self.devices // self._slots(unit)
        return [
            put_together(outcomes[start : start + share], execution.at[start : start + share], unit.group)
            for start in range(0, share * len(unit.replicates), share)
        ]

    def compile(self, execution: Execution) -> Program:
        """Compiles what an execution needs, of as many members as fit the budget.

        Raises:
          ValueError: if the budget is too small for one member.
        """
        start = time.perf_counter()
        unit, network = execution.unit, self.config.networks[execution.network]
        rows, size = padded_rows(self.config, network, unit.n_train), len(execution.at[0])
        key = (network, rows, size)
        spec, program = self._spec(network, unit, rows), None
        if key not in self._too_large:
            with processes.together():
                program = Program(*self._arguments(execution), self.mesh)
                needed = self.workers * program_bytes(program)
            if processes.anywhere(needed > self.budget):
                if size <= separate_after(spec):
                    raise ValueError(
                        f"memory_budget must be at least {needed} bytes for one {network} at a time, got {self.budget}"
                    )
                logger.info(
                    "%d of %s at once would take %d bytes: half as many are trained at once", size, network, needed
                )
                self._too_large.add(key)
                program = None
        self.seconds.add("compile", start)
        if program is not None:
            return program
        return self.compile(execution._replace(at=tuple(halve(spec, at)[0].members for at in execution.at)))

    def _spec(self, network: Network, unit: Unit, rows: int, members: int = 1) -> GroupSpec:
        """The program of some members; their number decides about the layout alone."""
        config = self.config
        return GroupSpec(
            network=network,
            task=config.task,
            training=config.training,
            layer=config.layer,
            # Without a measure nothing looks at the representations, which are most of what a solved network returns.
            probes=config.probes if config.metrics else 1,
            shared_inputs=config.shared_inputs,
            shared_batches=config.shared_batches,
            chunk=self._layout(network, rows, members).members_at_once,
            noise_levels=len(unit.levels),
            keep_state=self._keep_state,
        )

    def _arguments(self, execution: Execution) -> tuple[GroupSpec, PyTree, PyTree]:
        unit, network = execution.unit, self.config.networks[execution.network]
        rows = padded_rows(self.config, network, unit.n_train)
        spec = self._spec(network, unit, rows, len(execution.at[0]))
        drawn = [self._drawn(unit, replicate).of(network, spec) for replicate in unit.replicates]
        cut = [(first_rows(s, rows, leading=False), first_rows(m, rows, leading=True)) for s, m in drawn]
        mesh = self.mesh
        if mesh is None:
            ((shared, members),) = cut
            return spec, shared, take(members, execution.at[0])
        share = self.devices // self._slots(unit)
        of_device = [cut[min(device // share, len(cut) - 1)] for device in range(self.devices)]
        shared = self._placed.get(
            (network, rows, unit.replicates, unit.levels, unit.first, unit.members),
            lambda: on_mesh(mesh, [shared for shared, _ in of_device], leading=False),
        )
        taken = [take(members, at) for (_, members), at in zip(of_device, execution.at, strict=True)]
        return spec, shared, on_mesh(mesh, taken, leading=True)

    def _drawn(self, unit: Unit, replicate: int) -> "_Drawn":
        config = self.config

        def draw() -> _Drawn:
            return _Drawn(
                draw_group(
                    config.task,
                    seed=config.seed,
                    replicate=replicate,
                    noise=unit.levels,
                    members=unit.members,
                    first_member=unit.first,
                    rows=max(padded_rows(config, network, n) for network in config.networks for n in config.n_train),
                    n_train=max(config.n_train),
                    probes=config.probes,
                    shared_inputs=config.shared_inputs,
                    shared_init=config.shared_init,
                    shared_batches=config.shared_batches,
                ),
                on_host=self.mesh is not None,
            )

        return self._draws.get((replicate, unit.levels, unit.first, unit.members), draw)

    def members_at_once(self, execution: Execution) -> int:
        """How many members of an execution are trained in one call, as far as is known."""
        unit, network = execution.unit, self.config.networks[execution.network]
        rows, at = padded_rows(self.config, network, unit.n_train), execution.at[0]
        while (network, rows, len(at)) in self._too_large:
            at = halve(self._spec(network, unit, rows), at)[0].members
        return len(at)

    def prepare_compare(self, members: int) -> None:
        """Compiles the comparison of cells of so many members, by comparing noise once."""
        start = time.perf_counter()
        self._compare(comparison.example(self.config, members))
        self.seconds.add("compile", start)

    def compare(self, representations: np.ndarray) -> dict[str, np.ndarray]:
        """Every measure for all pairs of a cell, (network, member, network, member); the diagonal is NaN."""
        start = time.perf_counter()
        found = self._compare(representations)
        self.seconds.add("align", start)
        return found

    def _compare(self, representations: np.ndarray) -> dict[str, np.ndarray]:
        return comparison.compare(self.config, representations, self.budget // self.workers)

    def drawn_bytes(self, unit: Unit) -> int:
        """The memory of the draws of one replicate."""
        return self._drawn(unit, unit.replicates[0]).bytes


def program_bytes(program: Program) -> int:
    """The memory of one execution on each device: its arguments, what it returns and what it needs in between."""
    memory = program.compiled.memory_analysis()
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )


class _Drawn:
    """The draws of one replicate, and what each network is given of them."""

    def __init__(self, data: Any, on_host: bool) -> None:
        self._data = data
        self._on_host = on_host
        self.bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(data))
        self._lock = threading.Lock()
        self._of: dict[Network, tuple[PyTree, PyTree]] = {}

    def of(self, network: Network, spec: GroupSpec) -> tuple[PyTree, PyTree]:
        with self._lock:
            if network not in self._of:
                shared, members = host_arguments(spec, self._data)
                self._of[network] = (to_host(shared) if self._on_host else shared), members
            return self._of[network]
