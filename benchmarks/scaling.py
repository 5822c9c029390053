"""How the time of a sweep grows with members and sample sizes, and what the engine around the training costs.

    python -m benchmarks.scaling                     # growth with members and n_train, then the overhead
    python -m benchmarks.scaling --part overhead     # a sweep of about a minute with and without the engine
    python -m benchmarks.scaling --part plan         # 2,000 networks, and what `plan` says of them beforehand

Every time is that of a whole `run_sweep` whose programs are compiled already, with a store, after one run that compiles
them: "compile" is what the first run took longer. The exponent is the slope of log(time) against log(size) over the
upper half of the sizes; 1 is proportional. Comparing M members takes M^2 pairs.

The overhead is 1 - (time of the bare executions) / (time of `run_sweep`), where the bare executions are the same calls
of the same compiled programs and comparisons, in as many threads, without planning, store, locks or progress.

The plan is made in a process of its own, as `jaxalign sweep --dry-run` does, and so is the run.
"""

import argparse
import dataclasses
import functools
import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np

import jaxalign
from benchmarks import common, reports
from jaxalign import MLP, ImageTask, LinearTeacher, SweepConfig, Training
from jaxalign.sweep.comparison import by_level
from jaxalign.sweep.engine import Engine
from jaxalign.sweep.grid import Grid
from jaxalign.sweep.units import units

MEMBERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
SIZES = (64, 128, 256, 512, 1024, 2048, 4096)

BASE = SweepConfig(
    task=LinearTeacher(dim=50),
    networks=(MLP(16),),
    noise=(1.0,),
    n_train=(256,),
    members=32,
    training=Training(steps=400),
    probes=500,
    metrics=(),
)
MINIBATCH = dataclasses.replace(
    BASE, task=ImageTask("digits"), noise=(0.4,), training=Training(steps=400, batch_size=64), probes=400
)


PLANNED = SweepConfig(
    task=LinearTeacher(dim=50),
    networks=(MLP(20),),
    noise=(0.5, 1.0, 2.0, 5.0, 20.0),
    n_train=(15, 30, 50, 70, 100, 150, 220, 350, 600, 1000),
    members=8,
    replicates=5,
    training=Training(steps=3000),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("growth", "overhead", "plan", "all"), default="all")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="about how long the sweep of the overhead takes")
    parser.add_argument("--out", type=Path, default=reports.RESULTS / "scaling.json")
    options = parser.parse_args()
    header = reports.environment("flax", "optax", "numpy", "zarr")
    header["limit"] = f"{common.product_gflops():.0f} GFLOP/s, float32 matrix products"
    reports.print_header(header)
    rows = []
    if options.part in ("growth", "all"):
        rows += growth(options.repeats)
    if options.part in ("overhead", "all"):
        rows.append(overhead(options.seconds, options.repeats))
    if options.part in ("plan", "all"):
        rows.append(planned())
    reports.save(options.out, header, rows)


def growth(repeats: int) -> list[dict]:
    """Time against one size at a time."""
    with_pairs = dataclasses.replace(BASE, metrics=("cce",))
    series = {
        "members, full batch": [(m, dataclasses.replace(BASE, members=m)) for m in MEMBERS],
        "members, minibatches": [(m, dataclasses.replace(MINIBATCH, members=m)) for m in MEMBERS],
        "members, with all pairs": [(m, dataclasses.replace(with_pairs, members=m)) for m in MEMBERS[3:8]],
        "n_train, full batch": [(n, dataclasses.replace(BASE, n_train=(n,))) for n in SIZES],
        "n_train, minibatches": [(n, dataclasses.replace(MINIBATCH, n_train=(n,))) for n in SIZES[:5]],
    }
    rows = []
    for name, configs in series.items():
        own = [{"series": name, "size": size, **timed(config, repeats)} for size, config in configs]
        upper = own[len(own) // 2 :]
        slope = np.polyfit(np.log([row["size"] for row in upper]), np.log([row["seconds"] for row in upper]), 1)[0]
        columns = {
            name: lambda r: f"{r['size']}",
            "s": lambda r: f"{r['seconds']:.3f}",
            "compile, s": lambda r: f"{r['compile_seconds']:.1f}",
            "networks/s": lambda r: f"{r['networks_per_second']:.0f}",
        }
        print(f"\n{reports.table(columns, own)}\n\nexponent over the upper half: {slope:.2f}", flush=True)
        rows += [*own, {"series": name, "exponent": float(slope)}]
    return rows


def timed(config: SweepConfig, repeats: int) -> dict:
    """The median of some runs, and how much longer the first one took, which compiles."""
    first, *others = (seconds(config) for _ in range(repeats + 1))
    median = statistics.median(others)
    networks = config.members * config.replicates * len(config.noise) * len(config.n_train)
    return {"seconds": median, "compile_seconds": first - median, "networks_per_second": networks / median}


def seconds(config: SweepConfig) -> float:
    with tempfile.TemporaryDirectory() as folder:
        run = functools.partial(jaxalign.run_sweep, config, f"{folder}/sweep.zarr", progress=False)
        return common.seconds_of(run)


def overhead(target: float, repeats: int) -> dict:
    """The preset quickstart, with as many replicates as take so long, against the bare calls of what it is made of."""
    config = jaxalign.presets["quickstart"]
    seconds(config)
    config = dataclasses.replace(config, replicates=max(1, round(target / seconds(config))))
    cells = config.replicates * len(config.noise) * len(config.n_train)
    bare, whole = [], []
    for _ in range(repeats):
        bare.append(common.seconds_of(functools.partial(bare_executions, config)))
        whole.append(seconds(config))
    # Neighbours in time, as the machine is not the same from minute to minute.
    share = statistics.median(1.0 - b / w for b, w in zip(bare, whole, strict=True))
    row = {
        "series": "overhead",
        "cells": cells,
        "networks": cells * config.members,
        "bare_seconds": statistics.median(bare),
        "seconds": statistics.median(whole),
        "overhead": share,
        "milliseconds_per_cell": 1e3 * (statistics.median(whole) - statistics.median(bare)) / cells,
    }
    print(
        f"\n{row['networks']} networks in {cells} cells: {row['seconds']:.1f} s, bare executions "
        f"{row['bare_seconds']:.1f} s; overhead {share:.1%} (median of {repeats}), "
        f"{row['milliseconds_per_cell']:.1f} ms per cell",
        flush=True,
    )
    return row


def planned() -> dict:
    """A sweep of 2,000 networks, predicted and run."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as process:
        text, predicted = process.submit(predict_all).result()
    with ProcessPoolExecutor(1, mp_context=fresh) as process:
        happened = process.submit(run_all).result()
    print(f"\n{text}\n", flush=True)
    columns = {
        "": lambda r: r["what"],
        "predicted": lambda r: f"{r['predicted']:.2f}",
        "happened": lambda r: f"{r['happened']:.2f}",
        "ratio": lambda r: f"{r['predicted'] / r['happened']:.2f}",
    }
    rows = [{"what": name, "predicted": predicted[name], "happened": happened[name]} for name in happened]
    print(reports.table(columns, rows), flush=True)
    return {"series": "plan", "predicted": predicted, "happened": happened}


def predict_all() -> tuple[str, dict[str, float]]:
    plan = jaxalign.plan(PLANNED)
    assert plan.bytes is not None
    return str(plan), {"total, s": plan.seconds["total"], "peak, GB": plan.bytes / 1e9}


def run_all() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        dataset = jaxalign.run_sweep(PLANNED, f"{folder}/sweep.zarr", progress=False)
    return {"total, s": dataset.attrs["seconds_total"], "peak, GB": dataset.attrs["peak_bytes"] / 1e9}


def bare_executions(config: SweepConfig) -> None:
    engine = Engine(config)
    (stage,) = units([Grid.of(config)])

    def run(unit) -> None:
        executions = engine.executions(unit)
        found = [(execution, engine.execute(execution)) for execution in executions]
        for of_cell in by_level(engine.join(unit, 0, found), len(unit.levels)):
            engine.compare(of_cell)

    with ThreadPoolExecutor(engine.workers) as threads:
        list(threads.map(run, stage))


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s in all")
