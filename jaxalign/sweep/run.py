"""`run_sweep`: trains every ensemble of a configuration and compares all pairs of its members."""

import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from jaxalign import checks
from jaxalign.alignment.pairs import all_pairs
from jaxalign.ensemble import GroupData, GroupSpec, Outcome, choose_chunk, compile_group, draw_group
from jaxalign.networks import Network
from jaxalign.sweep import plan, result
from jaxalign.sweep.config import SweepConfig
from jaxalign.sweep.presets import presets
from jaxalign.sweep.store import load_same, save_sweep
from jaxalign.threads import one_blas_thread


def run_sweep(
    config: SweepConfig | str,
    store: str | os.PathLike | None = None,
    resume: bool = True,
    progress: bool = True,
) -> xr.Dataset:
    """Trains every ensemble of a sweep and compares all pairs of its members.

    Args:
      config: a `SweepConfig`, or the name of one of `jaxalign.presets`, which means its laptop scale.
      store: the path of a zarr store to keep the result in, or None.
      resume: whether a store that holds the result of this configuration is loaded instead of computed again.
      progress: whether to show a progress bar, in a terminal or in a notebook; it counts networks.

    Returns:
      A Dataset with `train_error`, `test_error`, `converged`, `steps_trained` (0 of solved networks) and, for
      classification, `train_accuracy` of dims (network, replicate, snr or label_noise, n_train, member), and one
      variable per metric of dims (replicate, noise, n_train, network_a, member_a, network_b, member_b): the measure
      from a to b. A representation is not compared with itself: the diagonal is NaN, so that plain means are means
      over pairs. Members that diverged are NaN, with `converged` False. Attributes hold the configuration as JSON,
      versions, the device, and seconds per phase (`seconds_train` and `seconds_align` summed over the threads that
      work at the same time).

    Raises:
      ValueError: if an argument is not allowed, or if the store holds another configuration.
      FileNotFoundError: if the data set is not there and cannot be had.
    """
    config = _as_config(config)
    checks.boolean("resume", resume)
    checks.boolean("progress", progress)
    path = _as_path(store)
    if path is not None and (kept := load_same(path, config)) is not None and resume:
        return kept
    dataset = _compute(config, progress)
    if path is not None:
        save_sweep(dataset, path)
    return dataset


def _as_config(config: Any) -> SweepConfig:
    if isinstance(config, str):
        return presets[config]
    if not isinstance(config, SweepConfig):
        checks.reject("config", "a SweepConfig or the name of a preset", config)
    return config


def _as_path(path: Any) -> Path | None:
    if path is not None and not isinstance(path, (str, os.PathLike)):
        checks.reject("store", "None or a path", path)
    return None if path is None else Path(path)


class _Seconds:
    """Seconds per phase, added up from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.phases = {"compile": 0.0, "train": 0.0, "align": 0.0}

    def add(self, phase: str, start: float) -> None:
        with self._lock:
            self.phases[phase] += time.perf_counter() - start


def _compute(config: SweepConfig, progress: bool) -> xr.Dataset:
    start = time.perf_counter()
    seconds = _Seconds()
    arrays = result.empty_arrays(config)
    todo = plan.cells(config)
    networks_per_unit = len(config.networks) * len(config.noise) * config.members
    with tqdm(total=networks_per_unit * len(todo), unit="network", disable=not progress, smoothing=0.0) as bar:
        bar.set_description("drawing")
        data = [_draw(config, replicate) for replicate in range(config.replicates)]
        bar.set_description("compiling")
        phase = time.perf_counter()
        programs = _compile(config, data[0])
        seconds.add("compile", phase)
        bar.set_description("training")

        def run(cell: plan.Cells) -> None:
            _run_cells(config, cell, data[cell.replicate], programs, arrays, seconds)

        for _ in _in_threads(run, todo):
            bar.update(networks_per_unit)
    return result.assemble(config, arrays, {**seconds.phases, "total": time.perf_counter() - start})


def _in_threads(function: Any, items: list) -> Iterable[Any]:
    """Yields the results as they come. On a CPU one execution leaves cores idle, so there is one thread per core."""
    workers = (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1
    with one_blas_thread(), ThreadPoolExecutor(min(workers, len(items))) as executor:
        futures = [executor.submit(function, item) for item in items]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _spec(config: SweepConfig, network: Network, rows: int) -> GroupSpec:
    return GroupSpec(
        network=network,
        task=config.task,
        training=config.training,
        layer=config.layer,
        # Without a measure nothing looks at the representations, which are most of what a solved network returns.
        probes=config.probes if config.metrics else 1,
        shared_inputs=config.shared_inputs,
        shared_batches=config.shared_batches,
        chunk=choose_chunk(network, config.task, rows),
        noise_levels=len(config.noise),
    )


def _draw(config: SweepConfig, replicate: int) -> GroupData:
    rows = max(plan.padded_rows(config, network, n) for network in config.networks for n in config.n_train)
    return draw_group(
        config.task,
        seed=config.seed,
        replicate=replicate,
        noise=config.noise,
        members=config.members,
        rows=rows,
        n_train=max(config.n_train),
        probes=config.probes,
        shared_inputs=config.shared_inputs,
        shared_init=config.shared_init,
        shared_batches=config.shared_batches,
    )


def _first_rows(config: SweepConfig, data: GroupData, rows: int) -> GroupData:
    drawn = data.drawn[:rows] if config.shared_inputs else data.drawn[:, :rows]
    return data._replace(drawn=drawn, targets=data.targets[:, :rows])


def _compile(config: SweepConfig, data: GroupData) -> dict[tuple[Network, int], Any]:
    """One program per network and padded number of rows, compiled side by side."""
    shapes = {(network, plan.padded_rows(config, network, n)) for network in config.networks for n in config.n_train}

    def compile_one(shape: tuple[Network, int]) -> tuple[tuple[Network, int], Any]:
        network, rows = shape
        return shape, compile_group(_spec(config, network, rows), _first_rows(config, data, rows))

    return dict(_in_threads(compile_one, sorted(shapes, key=lambda shape: -shape[1])))


def _run_cells(
    config: SweepConfig,
    cell: plan.Cells,
    data: GroupData,
    programs: dict[tuple[Network, int], Any],
    arrays: dict[str, np.ndarray],
    seconds: _Seconds,
) -> None:
    """Computes all networks and noise levels of one replicate and sample size, and writes them into `arrays`."""
    at = config.n_train.index(cell.n_train)
    grid = (len(config.noise), config.members)
    representations = []
    start = time.perf_counter()
    for i, network in enumerate(config.networks):
        rows = plan.padded_rows(config, network, cell.n_train)
        outcome: Outcome = programs[network, rows](_first_rows(config, data, rows), jnp.int32(cell.n_train))
        arrays["train_error"][i, cell.replicate, :, at] = np.asarray(outcome.train_error).reshape(grid)
        arrays["test_error"][i, cell.replicate, :, at] = np.asarray(outcome.test_error).reshape(grid)
        arrays["steps_trained"][i, cell.replicate, :, at] = np.asarray(outcome.steps).reshape(grid)
        arrays["finite"][i, cell.replicate, :, at] = np.asarray(outcome.finite).reshape(grid)
        representations.append(outcome.representation.reshape(*grid, *outcome.representation.shape[1:]))
    seconds.add("train", start)
    if not config.metrics:
        return
    start = time.perf_counter()
    # Narrower representations are widened by zeros, which change no distance between probes.
    width = max(x.shape[-1] for x in representations)
    widened = [jnp.pad(x, [(0, 0)] * 3 + [(0, width - x.shape[-1])]) for x in representations]
    for level, members in enumerate(jnp.concatenate(widened, axis=1)):
        for name, matrix in all_pairs(members, config.metrics, workers=1).items():
            matrix = np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix)
            sides = (len(config.networks), config.members) * 2
            arrays[name][cell.replicate, level, at] = matrix.reshape(sides)
    seconds.add("align", start)
