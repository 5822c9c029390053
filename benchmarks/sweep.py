"""A whole sweep, like figure 2 of the paper: jaxalign against the same experiment in plain PyTorch and DADApy.

    python -m benchmarks.sweep --dadapy PYTHON
    python -m benchmarks.sweep --quick             # a small sweep by jaxalign alone, or beside PyTorch with --dadapy

PYTHON is an interpreter that has torch and DADApy, which pins versions of numpy and jax that jaxalign cannot use:

    python -m venv dadapy-env && dadapy-env/bin/pip install dadapy torch

Perceptrons with ReLU learn a linear teacher at several SNR and sample sizes, and all pairs of the members of a cell are
compared. Both programs lie in `benchmarks/programs`. They draw from the same distributions and train the same networks
with the same optimizer for as many steps; they share no draws, so that their results agree within error or not.

Times are those of whole processes, from the start of the interpreter to the saved result, compilation included, and of
jaxalign the median of processes before, between and after those of the peer. "Compiled" is a further sweep in the same
process. The peer is run as one would first write it, and as two processes of one thread each in which DADApy finds
the neighbours of each member once. "Core seconds" are those that a process and its children spent on all cores, which
other work on the machine disturbs less.

z = (mean of jaxalign - mean of the peer) / standard error, for the test error, the information imbalance and the
conditional copula entropy of every cell, the means and the errors being over replicates. z is about a Student t of
2 (replicates - 1) degrees of freedom. "expected" is its fraction within 2; replicates share their draws among cells,
so cells are not independent.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks import reports

PROGRAMS = Path(__file__).parent / "programs"
QUANTITIES = ("test_error", "information_imbalance", "cce")

EXPERIMENT = {
    "dim": 20,
    "hidden": 20,
    "snr": (0.5, 2.0, 8.0),
    "n_train": (50, 200, 500, 1000),
    "members": 5,
    "replicates": 5,
    "learning_rate": 0.01,
    "steps": 1000,
    "probes": 500,
    "seed": 0,
}
QUICK = {**EXPERIMENT, "n_train": (50, 200), "replicates": 3, "steps": 200}

# Of the peer: its name, its options, and what is set in its environment.
VARIANTS = (
    ("PyTorch + DADApy", (), {}),
    (
        "the same, two processes, neighbours shared",
        ("--processes", "2", "--share-neighbours"),
        {"OMP_NUM_THREADS": "1"},
    ),
)


def main() -> None:
    options = parse()
    experiment = QUICK if options.quick else EXPERIMENT
    others = reports.versions_in(options.dadapy, "torch", "dadapy") if options.dadapy else {}
    about = reports.environment("flax", "optax", "numpy", others=others)
    about["experiment"] = json.dumps(experiment)
    reports.print_header(about)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(experiment, options, Path(folder))
    print("\n" + reports.table(columns(), rows))
    ours = next((row for row in rows if "scores" in row), None)
    if ours:
        print(f"\n{reports.table(score_columns(), ours['scores'])}")
        for name, value in ours["ratios"].items():
            compiled = ours["compiled_ratios"][name]
            print(f"\n{value:.1f} times as fast as {name}; {compiled:.1f} times with its programs compiled")
    reports.save(options.out, about, rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dadapy", metavar="PYTHON", help="an interpreter that has torch and DADApy")
    parser.add_argument("--quick", action="store_true", help="a small sweep")
    parser.add_argument("--repeats", type=int, default=1, help="processes of jaxalign before and after each peer")
    parser.add_argument("--out", type=Path, help="default: results/sweep.json, or with --quick a temporary file")
    options = parser.parse_args()
    if not (options.dadapy or options.quick):
        parser.error("--dadapy PYTHON is needed but for --quick: the sweep is compared with PyTorch and DADApy")
    options.out = options.out or reports.default_path("sweep", options.quick)
    return options


def measure(experiment: dict, options: argparse.Namespace, folder: Path) -> list[dict]:
    """A row for each program; the first, of jaxalign, also has the ratio and the z-scores."""
    (folder / "experiment.json").write_text(json.dumps(experiment))
    result, peer = folder / "jaxalign.npz", folder / "peer.npz"
    seconds, core_seconds, peers = [], [], []

    def run_ours() -> None:
        for _ in range(options.repeats):
            whole, on_cores, _ = run(sys.executable, "jaxalign_sweep.py", folder, result)
            seconds.append(whole)
            core_seconds.append(on_cores)

    run_ours()
    for name, arguments, environment in VARIANTS if options.dadapy else ():
        program = "torch_dadapy_sweep.py"
        whole, on_cores, parts = run(options.dadapy, program, folder, peer, *arguments, environment=environment)
        once = {"fastest_seconds": whole, "slowest_seconds": whole, "core_seconds": on_cores, "processes": 1}
        peers.append({"program": name, "seconds": whole, **once, "parts": {k: parts[k] for k in ("train", "align")}})
        print(f"{name}: {whole:.0f} s", flush=True)
        run_ours()
    *_, parts = run(sys.executable, "jaxalign_sweep.py", folder, result, "--again", "3")
    compiled = statistics.median(parts["again"])
    cells = experiment["replicates"] * len(experiment["snr"]) * len(experiment["n_train"])
    row = {
        "program": "jaxalign",
        "networks": cells * experiment["members"],
        "cells": cells,
        "seconds": statistics.median(seconds),
        "fastest_seconds": min(seconds),
        "slowest_seconds": max(seconds),
        "core_seconds": statistics.median(core_seconds),
        "processes": len(seconds),
        "compiled_seconds": compiled,
        "parts": {"start and compilation": statistics.median(seconds) - compiled, "compiled sweep": compiled},
    }
    if not peers:
        return [row]
    row["ratios"] = {other["program"]: other["seconds"] / row["seconds"] for other in peers}
    row["compiled_ratios"] = {other["program"]: other["seconds"] / compiled for other in peers}
    with np.load(result) as ours, np.load(peer) as theirs:
        row["scores"] = [score(name, ours[name], theirs[name]) for name in QUANTITIES]
    return [row, *peers]


def run(interpreter: str, program: str, folder: Path, result: Path, *arguments: str, environment: dict | None = None):
    """The seconds of a whole process, those it spent on all cores, and those of its parts as it prints them."""
    command = [interpreter, "-W", "ignore", PROGRAMS / program, folder / "experiment.json", result, *arguments]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | (environment or {}))
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{program} failed in {interpreter}:\n{done.stderr}")
    core_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, core_seconds, json.loads(done.stdout.splitlines()[-1])


def score(name: str, ours: np.ndarray, theirs: np.ndarray) -> dict:
    """z-scores of all cells, from arrays (replicate, snr, n_train, ...)."""
    (mean, error), (other, other_error) = (over_replicates(values) for values in (ours, theirs))
    z = (mean - other) / np.hypot(error, other_error)
    freedom = 2 * (len(ours) - 1)
    return {
        "quantity": name,
        "jaxalign": mean.tolist(),
        "jaxalign_stderr": error.tolist(),
        "peer": other.tolist(),
        "peer_stderr": other_error.tolist(),
        "z": z.tolist(),
        "mean_z": float(z.mean()),
        "largest_z": float(np.abs(z).max()),
        "within_2": float(np.mean(np.abs(z) <= 2)),
        "expected_within_2": float(stats.t.cdf(2, freedom) - stats.t.cdf(-2, freedom)),
    }


def over_replicates(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (snr, n_train) and their standard errors."""
    of_replicates = np.nanmean(values, axis=tuple(range(3, values.ndim)))
    return of_replicates.mean(0), of_replicates.std(0, ddof=1) / np.sqrt(len(of_replicates))


def columns() -> dict:
    return {
        "program": lambda r: r["program"],
        "s (fastest to slowest)": lambda r: (
            f"{r['seconds']:.3g} ({r['fastest_seconds']:.3g} to {r['slowest_seconds']:.3g})"
        ),
        "core seconds": lambda r: f"{r['core_seconds']:.3g}",
        "processes": lambda r: f"{r['processes']}",
        "of which, s": lambda r: ", ".join(f"{name} {value:.3g}" for name, value in r["parts"].items()),
    }


def score_columns() -> dict:
    return {
        "quantity": lambda r: r["quantity"],
        "cells": lambda r: f"{np.size(r['z'])}",
        "mean z": lambda r: f"{r['mean_z']:.2f}",
        "largest abs(z)": lambda r: f"{r['largest_z']:.2f}",
        "within 2": lambda r: f"{r['within_2']:.0%}",
        "expected": lambda r: f"{r['expected_within_2']:.0%}",
        "z by SNR (row) and n_train": lambda r: "; ".join(" ".join(f"{z:.1f}" for z in row) for row in r["z"]),
    }


if __name__ == "__main__":
    main()
