"""All pairs of representations: jaxalign against a NumPy loop and DADApy, in one run.

    python -m benchmarks.alignment --dadapy PYTHON [--sizes 8,1000,16 32,2000,64 16,10000,64]
    python -m benchmarks.alignment --quick             # against NumPy alone, or also DADApy with --dadapy

DADApy pins versions of jax and numpy that jaxalign cannot use, so it runs in an interpreter of its own:

    python -m venv dadapy-env && dadapy-env/bin/pip install dadapy

Both peers compute the information imbalance of a few pairs, and their times are extrapolated to all pairs. Ratios are
to the time that jaxalign takes for the conditional copula entropy of all pairs, which rests on the same ranks; the
values compared are information imbalances. Work that pairs can share is granted to the NumPy loop: distances and
neighbours of each representation are computed once. DADApy's call for two sets of coordinates does not share it;
"neighbours shared" counts DADApy's search for the neighbours of each representation once, and for each pair the
function inside that call.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import common, reports
from jaxalign.alignment import all_pairs, pairs
from jaxalign.alignment.plan import plan_family
from jaxalign.memory import peak_bytes

DADAPY = Path(__file__).parent / "programs" / "dadapy_pairs.py"
_OTHERS = 2


def main() -> None:
    options = parse()
    about = reports.environment("numpy", others=reports.versions_in(options.dadapy, "dadapy") if options.dadapy else {})
    rates = machine_rates()
    about["limits"] = f"{rates['gflops']:.0f} GFLOP/s float32 products, {rates['compares']:.2g} compare-and-count/s"
    reports.print_header(about)
    print()
    rows = []
    for size in options.sizes:
        rows.append(measure(size, rates, options))
        print(", ".join(f"{name} {value:.4g}" for name, value in rows[-1].items()), flush=True)
    print("\n" + table(rows))
    reports.save(options.out, about, rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=lambda text: tuple(map(int, text.split(","))),
        help="members, probes and units; default: 8,1000,16 32,2000,64 16,10000,64",
    )
    parser.add_argument("--dadapy", metavar="PYTHON", help="an interpreter that has DADApy")
    parser.add_argument("--quick", action="store_true", help="the two smaller sizes, three repetitions")
    parser.add_argument("--repeats", type=int, help="default: 7, or 3 with --quick")
    parser.add_argument("--out", type=Path, help="default: results/alignment.json, or with --quick a temporary file")
    options = parser.parse_args()
    if not (options.dadapy or options.quick):
        parser.error("--dadapy PYTHON is needed but for --quick")
    sizes = [(8, 1000, 16), (32, 2000, 64), (16, 10000, 64)]
    options.sizes = options.sizes or (sizes[:2] if options.quick else sizes)
    options.repeats = options.repeats or (3 if options.quick else 7)
    options.out = options.out or reports.default_path("alignment", options.quick)
    return options


def measure(size: tuple[int, int, int], rates: dict, options: argparse.Namespace) -> dict:
    k, n, d = size
    rng = np.random.default_rng(0)
    points = (rng.normal(size=(n, d)) + rng.normal(size=(k, n, d))).astype(np.float32)
    grown = peak_bytes() or 0
    start = time.perf_counter()
    all_pairs(points, ("cce",))
    first = time.perf_counter() - start
    grown = (peak_bytes() or 0) - grown
    # The one measure that all three have is compared for equality, the one of the paper for speed.
    cce = common.timed(lambda: all_pairs(points, ("cce",)), options.repeats)
    imbalance = all_pairs(points, ("information_imbalance",))["information_imbalance"]
    ours = common.timed(lambda: all_pairs(points, ("information_imbalance",)), options.repeats)
    (family,) = pairs.families_of(("cce",), None, n)
    plan = plan_family(family, k, n, d, 0, 10**12)
    numpy_seconds, numpy_difference = numpy_loop(points, imbalance)
    limit = 2 * k * n**2 * (d + 1) / (1e9 * rates["gflops"]) + k**2 * n**2 / rates["compares"]
    row = {
        "members": k,
        "probes": n,
        "units": d,
        "cce_seconds": cce,
        "information_imbalance_seconds": ours,
        "compile_seconds": first - cce,
        "pairs_per_second": k * (k - 1) / cce,
        "compares_per_second": k**2 * n**2 / ours,
        "limit_seconds": limit,
        "memory_grown_mb": grown / 1e6,
        "memory_predicted_mb": plan.bytes / 1e6,
        "numpy_seconds": numpy_seconds,
        "numpy_ratio": numpy_seconds / cce,
        "numpy_difference": numpy_difference,
    }
    if options.dadapy:
        peer = dadapy(options.dadapy, points[: 1 + _OTHERS], repeats=3 if n <= 2000 else 1)
        parts = peer["seconds"]
        call, shared = parts["call"] * k * (k - 1), parts["neighbours"] * k + parts["pair"] * k * (k - 1)
        difference = max(abs(peer["values"][0] - imbalance[0, 1]), abs(peer["values"][1] - imbalance[1, 0]))
        row |= {"dadapy_seconds": call, "dadapy_ratio": call / cce, "dadapy_difference": float(difference)}
        row |= {"dadapy_shared_seconds": shared, "dadapy_shared_ratio": shared / cce}
    return row


def numpy_loop(points: np.ndarray, imbalance: np.ndarray, sampled: int = 3) -> tuple[float, float]:
    """Seconds for all pairs, extrapolated from a few, and the largest difference of their information imbalance."""
    k, n, _ = points.shape

    def distances(x: np.ndarray) -> np.ndarray:
        x = x - x.mean(0)
        norms = (x**2).sum(1)
        squared = norms[:, None] - 2 * x @ x.T + norms[None]
        np.fill_diagonal(squared, np.inf)
        return squared

    start = time.perf_counter()
    first = distances(points[0])
    nearest = first.argmin(1)
    per_member = time.perf_counter() - start
    differences, seconds = [], []
    for b in range(1, 1 + min(sampled, k - 1)):
        other = distances(points[b])
        start = time.perf_counter()
        thresholds = other[np.arange(n), nearest][:, None]
        less, equal = (other < thresholds).sum(1), (other == thresholds).sum(1)
        value = 2 / n * np.mean(less + (equal + 1) / 2)
        seconds.append(time.perf_counter() - start)
        differences.append(abs(value - imbalance[0, b]))
    return k * per_member + k * (k - 1) * statistics.median(seconds), float(max(differences))


def dadapy(interpreter: str, representations: np.ndarray, repeats: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/representations.npy", representations)
        command = [interpreter, "-W", "ignore", DADAPY, f"{folder}/representations.npy", str(repeats)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"DADApy failed in {interpreter}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def machine_rates() -> dict[str, float]:
    """What the machine does at best, with all cores: float32 products, and comparisons counted in the cache."""
    rows, loops = 4096, 20000
    thresholds, distances = jnp.linspace(0, 1, rows), jnp.linspace(0, 1, 16 * rows).reshape(16, rows)

    @jax.jit
    def count(distances, thresholds):
        def body(_, total):
            for u in range(16):
                total = jnp.where(distances[u] < thresholds, total + 1, total)
            return total

        return lax.fori_loop(0, loops, body, jnp.zeros(rows, jnp.int32))

    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as threads:

        def all_cores() -> None:
            list(threads.map(lambda _: count(distances, thresholds).block_until_ready(), range(cores)))

        seconds = common.timed(all_cores, 3)
    return {"gflops": common.product_gflops(), "compares": cores * loops * 16 * rows / seconds}


def table(rows: list[dict]) -> str:
    columns = {
        "M, N, D": lambda r: f"{r['members']}, {r['probes']}, {r['units']}",
        "CCE, s": lambda r: f"{r['cce_seconds']:.3g}",
        "II, s": lambda r: f"{r['information_imbalance_seconds']:.3g}",
        "of the limit": lambda r: f"{r['limit_seconds'] / r['information_imbalance_seconds']:.0%}",
        "compile, s": lambda r: f"{r['compile_seconds']:.1f}",
        "pairs/s": lambda r: f"{r['pairs_per_second']:.3g}",
        "compares/s": lambda r: f"{r['compares_per_second']:.2g}",
        "memory grown (predicted), MB": lambda r: f"{r['memory_grown_mb']:.0f} ({r['memory_predicted_mb']:.0f})",
        "NumPy / ours": lambda r: f"{r['numpy_ratio']:.0f}",
        "DADApy / ours": lambda r: f"{r['dadapy_ratio']:.0f}" if "dadapy_ratio" in r else "",
        "DADApy, neighbours shared / ours": lambda r: (
            f"{r['dadapy_shared_ratio']:.0f}" if "dadapy_shared_ratio" in r else ""
        ),
        "largest difference of II": lambda r: f"{max(r['numpy_difference'], r.get('dadapy_difference', 0)):.1e}",
    }
    return reports.table(columns, rows)


if __name__ == "__main__":
    main()
