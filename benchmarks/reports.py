"""What every benchmark reports: the machine and the versions, a table, and a JSON file of both."""

import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def environment(*packages: str, others: Mapping[str, str] | None = None) -> dict[str, str]:
    """The machine, its system, the versions of jaxalign, jax and further packages, and the date.

    Args:
      packages: the names of distributions of this interpreter.
      others: versions of packages that run in another interpreter.
    """
    import jax

    numbers = {"Python": platform.python_version()}
    numbers |= {name: version(name) for name in ("jaxalign", "jax", *packages)} | dict(others or {})
    about = {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB of memory",
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "versions": ", ".join(f"{name} {number}" for name, number in numbers.items()),
        "date": str(datetime.date.today()),
    }
    if jax.default_backend() != "cpu":
        about["accelerator"] = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    return about


def versions_in(interpreter: str, *packages: str) -> dict[str, str]:
    """The versions of packages in another Python interpreter; exits with what is missing where one is not there."""
    code = "import json, sys; from importlib.metadata import version; print(json.dumps([*map(version, sys.argv[1:])]))"
    done = subprocess.run([interpreter, "-c", code, *packages], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{interpreter} lacks one of {', '.join(packages)}:\n{done.stderr.strip().splitlines()[-1]}")
    return dict(zip(packages, json.loads(done.stdout), strict=True))


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def print_header(about: Mapping[str, Any]) -> None:
    for name, value in about.items():
        print(f"{name:12}{value}", flush=True)


def save(path: Path, about: Mapping[str, Any], rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    print(f"wrote {path}")


def table(columns: Mapping[str, Callable[[dict], str]], rows: list[dict]) -> str:
    """A Markdown table; each column is a function of the row."""
    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    lines += ["| " + " | ".join(cell(row) for cell in columns.values()) + " |" for row in rows]
    return "\n".join(lines)


def default_path(name: str, quick: bool) -> Path:
    """Where the results of a benchmark are kept; those of a quick trial never replace those of a whole run."""
    folder = Path(tempfile.gettempdir()) / "jaxalign-benchmarks-quick" if quick else RESULTS
    return folder / f"{name}.json"
