"""Every measure on data of many kinds: how far `align` is from float64 NumPy, from the definition of the same numbers.

    python -m benchmarks.exactness [--probes 50 1000 20000] [--kinds KIND ...] [--measures NAME ...]
    python -m benchmarks.exactness --quick             # 50 probes alone

A difference is the largest over both directions of a pair. One above the tolerance is marked with "!". Numbers that
float32 does not hold are rounded by `align`, which has to warn where that changes ranks; whether it did is a column.
"undefined" is where both are NaN; "not unique" where the definition does not give one value.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import definitions, reports
from jaxalign import align
from jaxalign.alignment import METRICS, DegenerateRepresentationWarning

TOLERANCE = 1e-4
UNITS = 10
ROUNDED = "float32 does not hold"

Pair = tuple[np.ndarray, np.ndarray]


def main() -> None:
    options = parse()
    about = reports.environment("numpy", "scipy")
    about["tolerance"] = str(TOLERANCE)
    reports.print_header(about)
    rows = []
    whole = len(options.probes) * len(options.kinds)
    for n in options.probes:
        print(f"\nN = {n}", flush=True)
        for kind in options.kinds:
            rows.append(compare(kind, n, options.measures))
            print(line(rows[-1]), flush=True)
            # An interruption leaves what there is, and the file says what is missing.
            missing = {"missing": f"{whole - len(rows)} of {whole} rows"} if len(rows) < whole else {}
            reports.save(options.out, about | missing, rows)
    print("\n" + reports.table(columns(options.measures), rows))
    print_times(rows, options.measures)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probes", nargs="+", type=int, help="default: 50 1000 20000, or 50 with --quick")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, metavar="KIND", help=f"default: all of {', '.join(KINDS)}")
    parser.add_argument("--measures", nargs="+", choices=METRICS, metavar="NAME", help="default: all")
    parser.add_argument("--quick", action="store_true", help="few probes")
    parser.add_argument("--out", type=Path, help="default: results/exactness.json, or with --quick a temporary file")
    options = parser.parse_args()
    options.probes = options.probes or ([50] if options.quick else [50, 1000, 20000])
    options.kinds, options.measures = options.kinds or list(KINDS), options.measures or list(METRICS)
    options.out = options.out or reports.default_path("exactness", options.quick)
    return options


def compare(kind: str, n: int, measures: list[str]) -> dict:
    """One row: of each measure the values in both directions, the difference and the seconds it took."""
    pair = KINDS[kind](np.random.default_rng(0), n)
    row = {"kind": kind, "probes": n, "differences": {}, "values": {}, "seconds": {}, "warning": ""}
    wide = [np.asarray(x, np.float64) for x in pair]
    for function, group in definitions.GROUPS.items():
        names = [name for name in group if name in measures]
        if not names:
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            forth = function(wide[0], wide[1])
            back = forth if all(METRICS[name].symmetric for name in names) else function(wide[1], wide[0])
        # Ranks are shared by their measures, and so is the time.
        calls = [names] if function is definitions.rank_measures else [[name] for name in names]
        for together in calls:
            found, seconds, warning = measure(pair, together)
            row["warning"] = max(row["warning"], warning, key=lambda text: (ROUNDED in text, len(text)))
            for name in together:
                expected = forth[name], back[name]
                values = float(found[name][0, 1]), float(found[name][1, 0])
                row["values"][name] = {"align": values, "float64": expected}
                row["differences"][name] = difference(values, expected)
                row["seconds"][name] = seconds
    return row


def measure(pair: Pair, names: list[str]) -> tuple[dict[str, np.ndarray], float, str]:
    """The matrices of `align`, how long it took, and its warning."""
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = align(list(pair), names)
    seconds = time.perf_counter() - start
    texts = [str(w.message) for w in caught if issubclass(w.category, DegenerateRepresentationWarning)]
    return {name: found[name].values for name in names}, seconds, "\n".join(texts)


def difference(values: tuple[float, float], expected: tuple[float | None, float | None]) -> float | str:
    """The largest of both directions."""
    if any(x is None for x in expected):
        return "not unique"
    if np.isnan(values).all() and np.isnan(np.float64(expected)).all():
        return "undefined"
    gaps = np.abs(np.subtract(values, np.float64(expected)))
    return "one is NaN" if np.isnan(gaps).any() else float(gaps.max())


def cell(gap: float | str) -> str:
    wrong = gap == "one is NaN" or (isinstance(gap, float) and gap > TOLERANCE)
    return ("! " if wrong else "") + (gap if isinstance(gap, str) else f"{gap:.0e}")


def warned(row: dict) -> str:
    return "float32" if ROUNDED in row["warning"] else "yes" if row["warning"] else ""


def line(row: dict) -> str:
    """The row while it runs: its largest difference, and what is beyond the tolerance."""
    gaps = row["differences"]
    largest = max((gap for gap in gaps.values() if isinstance(gap, float)), default=0.0)
    beyond = [f"{name} {text}" for name, text in ((name, cell(gap)) for name, gap in gaps.items()) if "!" in text]
    return f"{row['kind']:20}{largest:8.0e}  warning {warned(row) or 'no':8}{sum(row['seconds'].values()):6.1f} s  " + (
        ", ".join(beyond)
    )


def columns(measures: list[str]) -> dict[str, Callable[[dict], str]]:
    named: dict[str, Callable[[dict], str]] = {
        "data": lambda row: row["kind"],
        "N": lambda row: str(row["probes"]),
        "warning": warned,
    }
    return named | {name: lambda row, name=name: cell(row["differences"][name]) for name in measures}


def print_times(rows: list[dict], measures: list[str]) -> None:
    """The median over kinds of data, most of which find the program of their shape compiled."""
    print("\nseconds of `align`, median over kinds of data (measures of ranks: all together)")
    for n in sorted({row["probes"] for row in rows}):
        times = {name: np.median([row["seconds"][name] for row in rows if row["probes"] == n]) for name in measures}
        print(f"N = {n}: " + ", ".join(f"{name} {seconds:.2g}" for name, seconds in times.items()))


def noisy(x: np.ndarray, rng: np.random.Generator, scale: float = 0.5) -> Pair:
    return x.astype(np.float32), (x + scale * rng.normal(size=x.shape)).astype(np.float32)


def clusters(spread: float) -> Callable[[np.random.Generator, int], Pair]:
    def of(rng: np.random.Generator, n: int) -> Pair:
        centres = rng.normal(size=(10, UNITS))[rng.integers(0, 10, n)]
        w, e = rng.normal(size=(2, n, UNITS))
        return (centres + spread * w).astype(np.float32), (centres + spread * (w + 0.5 * e)).astype(np.float32)

    return of


def softmax(margin: float) -> Callable[[np.random.Generator, int], Pair]:
    """Outputs of a classifier that is sure of its answers, by this much in its logits."""

    def of(rng: np.random.Generator, n: int) -> Pair:
        a, e = rng.normal(size=(2, n, UNITS))
        a[np.arange(n), rng.integers(0, UNITS, n)] += margin
        logits = np.stack([a, a + 0.5 * e])
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p = (p / p.sum(-1, keepdims=True)).astype(np.float32)
        return p[0], p[1]

    return of


def heavy_tails(rng: np.random.Generator, n: int) -> Pair:
    x = rng.standard_t(0.5, size=(n, UNITS))
    return x.astype(np.float32), (x * (1 + 0.1 * rng.normal(size=x.shape))).astype(np.float32)


def sparse_relu(rng: np.random.Generator, n: int) -> Pair:
    a, b = noisy(rng.normal(size=(n, UNITS)), rng)
    return np.maximum(a - 1, 0), np.maximum(b - 1, 0)


def binary(rng: np.random.Generator, n: int) -> Pair:
    bits, flips = rng.random((n, UNITS)) < 0.5, rng.random((n, UNITS)) < 0.2
    return bits.astype(np.float32), (bits ^ flips).astype(np.float32)


def one_hot(rng: np.random.Generator, n: int) -> Pair:
    labels, others = rng.integers(0, UNITS, (2, n))
    eye = np.eye(UNITS, dtype=np.float32)
    return eye[labels], eye[np.where(rng.random(n) < 0.3, others, labels)]


def rank_one(rng: np.random.Generator, n: int) -> Pair:
    a, b = noisy(rng.normal(size=(n, 1)), rng, 0.1)
    directions = rng.normal(size=(2, 64))
    return (a * directions[0]).astype(np.float32), (b * directions[1]).astype(np.float32)


def offset(rng: np.random.Generator, n: int) -> Pair:
    x, e = rng.normal(size=(2, n, UNITS))
    return x + 1e7, x + 0.5 * e + 1e7


def scaled_columns(rng: np.random.Generator, n: int) -> Pair:
    scale = np.where(np.arange(UNITS) == 0, 1000, 1).astype(np.float32)
    a, b = noisy(rng.normal(size=(n, UNITS)), rng)
    return a * scale, b * scale


def one_outlier(rng: np.random.Generator, n: int) -> Pair:
    x = rng.normal(size=(n, UNITS))
    x[0] *= 1e5
    return noisy(x, rng)


# What trained networks have, and what is hard: pairs of representations, by (rng, probes).
KINDS: dict[str, Callable[[np.random.Generator, int], Pair]] = {
    "Gaussian": lambda rng, n: noisy(rng.normal(size=(n, UNITS)), rng),
    "clusters 1": clusters(1),
    "clusters 1e-2": clusters(1e-2),
    "clusters 1e-4": clusters(1e-4),
    "clusters 1e-6": clusters(1e-6),
    "softmax 10": softmax(10),
    "softmax 20": softmax(20),
    "softmax 30": softmax(30),
    "heavy tails": heavy_tails,
    "sparse ReLU": sparse_relu,
    "binary codes": binary,
    "one-hot codes": one_hot,
    "one column": lambda rng, n: noisy(rng.normal(size=(n, 1)), rng),
    "rank one": rank_one,
    "offset 1e7": offset,
    "columns 1 and 1000": scaled_columns,
    "one outlier": one_outlier,
}


if __name__ == "__main__":
    main()
