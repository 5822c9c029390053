"""Writes the tables of README.md between the markers from the saved results of the headline benchmarks.

    python -m benchmarks.readme            # rewrites README.md
    python -m benchmarks.readme --check    # exits with 1 if README.md is not what the saved results say

It quotes ratios, which hold from machine to machine better than seconds do, with the machine and the dates.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks import reports

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
INTRODUCTION = """\
How many times as fast jaxalign is as what one would use instead: a whole sweep as a process of its own, compilation
included; all pairs of given representations; training alone, from the same weights on the same rows. The last columns
say how equal the results are. `python -m benchmarks --dadapy PYTHON` prints and saves all of it (see `--help`)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if README.md is out of date")
    options = parser.parse_args()
    before = README.read_text()
    after = with_tables(before)
    if before == after:
        return
    if options.check:
        sys.exit("README.md differs from the saved results; `python -m benchmarks.readme` rewrites it")
    README.write_text(after)
    print(f"wrote {README}")


def with_tables(text: str) -> str:
    """The text with what is between the markers replaced.

    Raises:
      ValueError: if the markers are not there once each, in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"README.md must have one {BEGIN} and after it one {END}")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{tables()}\n{END}{rest.split(END)[1]}"


def tables() -> str:
    names = ("sweep", "alignment", "throughput_mlp", "throughput_cnn")
    results = {name: saved(f"{name}.json") for name in names}
    parts = [
        INTRODUCTION,
        of_sweep(results["sweep"]["rows"]),
        of_alignment(results["alignment"]["rows"]),
        of_throughput(results["throughput_mlp"]["rows"] + results["throughput_cnn"]["rows"]),
        measured_on(list(results.values())),
    ]
    return "\n\n".join(parts)


def saved(name: str) -> dict:
    """The results in a file; those of an accelerator are refused, as what is quoted here is said of CPUs."""
    result = json.loads((reports.RESULTS / name).read_text())
    if "accelerator" in result["about"]:
        raise ValueError(f"README.md quotes results of CPUs, got {result['about']['accelerator']} in {name}")
    return result


def of_sweep(rows: list[dict]) -> str:
    ours, *peers = rows
    faster = min(peers, key=lambda peer: peer["seconds"])["program"]
    columns = {
        "a sweep": lambda r: r[0],
        "PyTorch + DADApy, the faster of two ways": lambda r: ratio(r[1]),
        "results": lambda r: agreement(ours),
    }
    what = f"{ours['networks']} networks, all pairs in {ours['cells']} cells"
    compiled = ("the same again in the same process, programs compiled", ours["compiled_ratios"][faster])
    return reports.table(columns, [(what, ours["ratios"][faster]), compiled])


def agreement(row: dict) -> str:
    z = [abs(z) for score in row["scores"] for of_snr in score["z"] for z in of_snr]
    share = sum(value <= 2 for value in z) / len(z)
    expected = row["scores"][0]["expected_within_2"]
    return f"{share:.0%} of {len(z)} means within 2 standard errors, {expected:.0%} expected"


def of_alignment(rows: list[dict]) -> str:
    def column(name: str):
        return lambda r: ratio(r[f"{name}_ratio"])

    columns = {
        "all pairs of": lambda r: f"{r['members']} networks, {r['probes']} probes of {r['units']} units",
        "DADApy": column("dadapy"),
        "DADApy, neighbours shared": column("dadapy_shared"),
        "NumPy loop": column("numpy"),
        "results": lambda r: f"differ by {max(r['numpy_difference'], r['dadapy_difference']):.0e} at most",
    }
    return reports.table(columns, rows)


def of_throughput(rows: list[dict]) -> str:
    """A line for each ensemble, with the fastest method of each kind."""

    def column(start: str):
        def times(own: list[dict]) -> str:
            seconds = [row["seconds"] for row in own if row["method"].startswith(start)]
            return ratio(min(seconds) / own[0]["seconds"]) if seconds else ""

        return times

    columns = {
        "training of": lambda own: own[0]["label"],
        "PyTorch loop": column("PyTorch loop"),
        "torch.func": column("torch.func"),
        "batched PyTorch, by hand": column("hand-written"),
        "vmap of nnx.Linear": column("vmap"),
        "loop of jitted members": column("jitted members"),
        "results": lambda own: f"losses differ by {max(row.get('largest_difference', 0) for row in own):.0e} at most",
    }
    labels = dict.fromkeys(row["label"] for row in rows)
    return reports.table(columns, [[row for row in rows if row["label"] == label] for label in labels])


def ratio(value: float) -> str:
    """Two digits."""
    return f"{float(f'{value:.2g}'):g}"


def measured_on(results: list[dict]) -> str:
    """The machines, versions, dates and numbers of repetitions, each said once."""
    sources = {}
    for result in results:
        about = result["about"]
        versions = [v for v in about["versions"].split(", ") if v.split()[0] in ("jaxalign", "jax", "torch", "dadapy")]
        sources.setdefault((about["machine"], about["date"]), {}).update(dict.fromkeys(versions))
    sweep, _, mlp, _ = (result["rows"][0] for result in results)
    lines = [f"{machine}; {date}; {', '.join(versions)}." for (machine, date), versions in sources.items()]
    repeats = (
        f"Medians of {mlp['repeats']} repetitions in training and {sweep['processes']} processes of the sweep;"
        " the peer of the sweep ran once, and all pairs of DADApy and NumPy are extrapolated from a few."
    )
    return "\n".join([*lines, repeats])


if __name__ == "__main__":
    main()
