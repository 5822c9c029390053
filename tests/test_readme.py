"""The Python of the README runs: its script alone in an empty folder, the other blocks in one session."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text()
BLOCK = re.compile(r"^(<!-- not run -->\n+)?```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [block for block in BLOCK.finditer(TEXT) if not block[1]]
SCRIPT = next(block for block in BLOCKS if block.start() > TEXT.index("## Data and a network of your own"))
LONGEST_SCRIPT = 29


@pytest.mark.slow
def test_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for block in BLOCKS:
        if block is not SCRIPT:
            # An error names the line of the README.
            lines_before = TEXT[: block.start(2)].count("\n")
            exec(compile("\n" * lines_before + block[2], str(README), "exec"), namespace)


@pytest.mark.slow
def test_the_script_of_the_readme_runs_in_an_empty_folder(tmp_path):
    """From nothing to a sweep over one's own arrays with one's own module, as a stranger would do it."""
    assert len(SCRIPT[2].splitlines()) <= LONGEST_SCRIPT
    (tmp_path / "tour.py").write_text(SCRIPT[2])
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, "tour.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sweep.png").stat().st_size > 10_000
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == ["sweep.png", "tour.py"]


def test_the_tables_of_the_benchmarks_are_those_of_the_saved_results():
    command = [sys.executable, "-m", "benchmarks.readme", "--check"]
    done = subprocess.run(command, cwd=README.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_pictures_and_links_into_the_repository_exist():
    places = re.findall(r"\]\((?!https?:|#)([^)]+)\)", TEXT)
    assert places and all((README.parent / place).exists() for place in places)
    headings = {
        re.sub(r"[^\w -]", "", line[3:].lower()).replace(" ", "-") for line in re.findall(r"^## .*$", TEXT, re.M)
    }
    assert {place[1:] for place in re.findall(r"\]\((#[^)]+)\)", TEXT)} <= headings
