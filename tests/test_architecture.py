"""Imports run one way."""

import ast
from pathlib import Path

import pytest

import jaxalign

PACKAGE = Path(jaxalign.__file__).parent
# Each room may import the rooms before it.
FLOOR = ["_version", "checks", "memory", "streams", "threads"]
ROOMS = ["alignment", "theory", "tasks", "networks", "ensemble", "sweep", "plots", "tables", "report"]
ORDER = [*FLOOR, *ROOMS, "reference_cases", "selfcheck", "cli"]
APART = {"theory": {"tasks", "networks"}, "tasks": {"alignment", "theory"}, "networks": {"alignment", "tasks"}}


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "jaxalign":
            parts = node.module.split(".")[1:]
            yield from [parts[0]] if parts else [alias.name for alias in node.names]


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    own = room(path)
    for other in set(imported_rooms(path)) - {own}:
        assert ORDER.index(other) < ORDER.index(own), f"{own} imports {other}"
        assert other not in APART.get(own, ()), f"{own} imports {other}"


def test_alignment_knows_nothing_but_the_checks():
    files = (PACKAGE / "alignment").rglob("*.py")
    assert {other for path in files for other in imported_rooms(path)} <= {"_version", "checks", "threads", "alignment"}
