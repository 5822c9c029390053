"""Prints and saves the tables of the benchmarks, each in a process of its own.

    python -m benchmarks --dadapy PYTHON                 # the headline: throughput, alignment, sweep
    python -m benchmarks throughput alignment --dadapy PYTHON
    python -m benchmarks --quick                         # a trial of the same in about three minutes, or less
    python -m benchmarks --list

PYTHON is an interpreter that has torch and DADApy, which pins versions of numpy and jax that jaxalign cannot use:

    python -m venv dadapy-env && dadapy-env/bin/pip install dadapy torch

With `--quick` DADApy may be left out. Run it on a machine that does nothing else. Every table is saved with the
machine, the versions and the date; `python -m benchmarks.readme` quotes the saved ones in README.md.
"""

import argparse
import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

from benchmarks import reports

ROOT = Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a module.

    Attributes:
      module: its name.
      file: the name of the file it saves, or None.
      options: what it is always called with.
      quick: what it is called with besides for a trial.
      dadapy: whether it compares with DADApy.
    """

    module: str
    file: str | None
    options: tuple[str, ...] = ()
    quick: tuple[str, ...] = ("--quick",)
    dadapy: bool = False


PARTS = {
    "throughput": (
        Run("throughput", "throughput_mlp", ("--network", "mlp")),
        Run("throughput", "throughput_cnn", ("--network", "cnn")),
    ),
    "alignment": (Run("alignment", "alignment", dadapy=True),),
    "sweep": (Run("sweep", "sweep", dadapy=True),),
    "exactness": (Run("exactness", "exactness"),),
    "scaling": (Run("scaling", "scaling", quick=("--part", "overhead", "--seconds", "5", "--repeats", "1")),),
    "theory": (Run("theory", "theory"), Run("theory", "theory_outputs", ("--outputs",))),
    "convolution": (Run("convolution", "convolution", quick=("--width", "4", "--members", "2", "--budget", "0.3")),),
    "solver": (Run("solver", None, quick=("--replicates", "2", "--per-size", "4")),),
    "trained_linear": (Run("trained_linear", None, quick=("--steps", "500", "--replicates", "2")),),
}
HEADLINE = ("throughput", "alignment", "sweep")


def main() -> None:
    options = parse()
    if options.list:
        for name in PARTS:
            print(f"{name:16}{'headline  ' if name in HEADLINE else '':10}{summary(name)}")
        return
    failed = [name for name in options.parts if not all(start(run, options) for run in PARTS[name])]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: {' '.join(HEADLINE)}")
    parser.add_argument("--dadapy", metavar="PYTHON", help="an interpreter that has torch and DADApy")
    parser.add_argument("--quick", action="store_true", help="a short trial; saved in a temporary folder")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where tables are saved; default: benchmarks/results"
    )
    parser.add_argument("--list", action="store_true", help="name the parts and stop")
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    options.parts = options.parts or HEADLINE
    lacking = [name for name in options.parts if any(run.dadapy for run in PARTS[name])]
    if lacking and not (options.dadapy or options.quick or options.list):
        parser.error(f"{' and '.join(lacking)}: --dadapy PYTHON is needed but for --quick, see --help")
    return options


def start(run: Run, options: argparse.Namespace) -> bool:
    """Whether the run succeeded; what it prints goes where ours does."""
    arguments = [*run.options, *(run.quick if options.quick else ())]
    if run.dadapy and options.dadapy:
        arguments += ["--dadapy", options.dadapy]
    if run.file:
        path = options.out / f"{run.file}.json" if options.out else reports.default_path(run.file, options.quick)
        arguments += ["--out", str(path.resolve())]
    command = [sys.executable, "-m", f"benchmarks.{run.module}", *arguments]
    print(f"\n# {' '.join(['python', *command[1:]])}\n", flush=True)
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def summary(name: str) -> str:
    """The first line of a part's docstring, without importing what it imports."""
    text = (Path(__file__).parent / f"{PARTS[name][0].module}.py").read_text()
    return (ast.get_docstring(ast.parse(text)) or "").splitlines()[0]


if __name__ == "__main__":
    main()
