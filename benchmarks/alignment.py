"""All pairs of representations: jaxalign against a NumPy loop and DADApy, in one run.

    python benchmarks/alignment.py [--sizes 8,1000,16 32,2000,64 16,10000,64] [--dadapy PYTHON] [--out FILE]

DADApy pins versions of jax and numpy that jaxalign cannot use, so it runs in an interpreter of its own:

    python -m venv dadapy-env && dadapy-env/bin/pip install dadapy
    python benchmarks/alignment.py --dadapy dadapy-env/bin/python

Both peers are timed on a few pairs and extrapolated to all. The work they could share between pairs is granted to the
NumPy loop (distances and neighbours of each representation are computed once, apart); DADApy has no such call.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import common
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxalign.alignment import all_pairs, pairs
from jaxalign.alignment.plan import plan_family

DADAPY = """
import json, sys, time
import numpy as np
import dadapy
a, b = np.load(sys.argv[1]).astype(np.float64)
n, d = a.shape
both = np.concatenate([a, b], axis=1)
comparison = dadapy.MetricComparisons(coordinates=both, maxk=n - 1)
columns = list(range(d)), list(range(d, 2 * d))
seconds = []
for _ in range(int(sys.argv[2])):
    start = time.perf_counter()
    values = comparison.return_inf_imb_two_selected_coords(*columns)
    seconds.append(time.perf_counter() - start)
version = getattr(dadapy, "__version__", "")
print(json.dumps({"seconds": min(seconds) / 2, "values": [float(v) for v in values], "version": version}))
"""


def main() -> None:
    options = parse()
    header = common.environment("numpy")
    common.print_header(header)
    rates = machine_rates()
    print(f"limits     {rates['gflops']:.0f} GFLOP/s float32 products, {rates['compares']:.2g} compare-and-count/s\n")
    rows = []
    for size in options.sizes:
        rows.append(measure(size, rates, options))
        print(json.dumps(rows[-1], indent=1), flush=True)
    print("\n" + table(rows))
    if options.out:
        common.save(options.out, {**header, "limits": rates}, rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = [(8, 1000, 16), (32, 2000, 64), (16, 10000, 64)]
    parser.add_argument("--sizes", nargs="+", default=sizes, type=lambda text: tuple(map(int, text.split(","))))
    parser.add_argument("--dadapy", help="a Python interpreter that has DADApy")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    return parser.parse_args()


def measure(size: tuple[int, int, int], rates: dict, options: argparse.Namespace) -> dict:
    k, n, d = size
    rng = np.random.default_rng(0)
    points = (rng.normal(size=(n, d)) + rng.normal(size=(k, n, d))).astype(np.float32)
    grown = peak_memory()
    start = time.perf_counter()
    all_pairs(points, ("cce",))
    first = time.perf_counter() - start
    grown = peak_memory() - grown
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
        peer = dadapy(options.dadapy, points[:2], repeats=3 if n <= 2000 else 1)
        seconds = peer["seconds"] * k * (k - 1)
        difference = max(abs(peer["values"][0] - imbalance[0, 1]), abs(peer["values"][1] - imbalance[1, 0]))
        row |= {"dadapy_seconds": seconds, "dadapy_ratio": seconds / cce, "dadapy_difference": float(difference)}
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


def dadapy(interpreter: str, two: np.ndarray, repeats: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/two.npy", two)
        command = [interpreter, "-W", "ignore", "-c", DADAPY, f"{folder}/two.npy", str(repeats)]
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


def peak_memory() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


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
        "largest difference of II": lambda r: f"{max(r['numpy_difference'], r.get('dadapy_difference', 0)):.1e}",
    }
    return common.table(columns, rows)


if __name__ == "__main__":
    main()
