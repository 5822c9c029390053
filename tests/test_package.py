"""The package as it is installed: what importing it loads, which names it has, and what its files say."""

import ast
import importlib.metadata
import importlib.resources
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import jaxalign

ROOT = Path(__file__).parents[1]


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_import_loads_nothing_heavy():
    """Only the standard library and the package itself; what is heavy is loaded by the first name that needs it."""
    run(
        "import sys; before = set(sys.modules)\n"
        "import jaxalign\n"
        "loaded = {name.split('.')[0] for name in set(sys.modules) - before} - {*sys.stdlib_module_names, 'jaxalign'}\n"
        "assert not loaded, loaded\n"
    )


def test_no_public_name_starts_a_device_or_loads_what_only_figures_and_data_need():
    run(
        "import sys\n"
        "from jaxalign import *\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge._backends, 'a device was initialized'\n"
        "apart = {'tensorflow', 'tensorflow_datasets', 'matplotlib', 'sklearn', 'orbax', 'tyro', 'PIL'}\n"
        "assert not apart & {*sys.modules}, apart & {*sys.modules}\n"
        "import jax; assert not jax.config.jax_enable_x64\n"
    )


def test_public_names_are_all_there_and_type_checkers_see_them():
    tree = ast.parse(Path(jaxalign.__file__).read_text())
    checked = next(node.body for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in checked for alias in node.names}  # pyright: ignore
    assert set(seen) | {"__version__", "selfcheck"} >= set(jaxalign.__all__)
    for name, module in seen.items():
        value = getattr(jaxalign, name)
        if module == "jaxalign":
            assert value is sys.modules[f"jaxalign.{name}"]
        else:
            assert value is getattr(sys.modules[module], name)
    assert {*seen, *jaxalign.__all__} <= set(dir(jaxalign))
    assert len(set(jaxalign.__all__)) == len(jaxalign.__all__)


def test_no_public_name_is_hidden_by_a_module():
    """Importing jaxalign.NAME sets that attribute to the module, whatever a lazy name would have been."""
    modules = {path.stem for path in Path(jaxalign.__file__).parent.iterdir()}
    for name in modules & set(jaxalign.__all__) - {"selfcheck"}:
        assert inspect.ismodule(getattr(jaxalign, name)), name
    run("import jaxalign, jaxalign.selfcheck; assert callable(jaxalign.selfcheck)")


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="module 'jaxalign' has no attribute 'run_sweeps'"):
        jaxalign.run_sweeps  # noqa: B018


def test_what_is_installed():
    distribution = importlib.metadata.distribution("jaxalign")
    assert distribution.version == jaxalign.__version__
    assert importlib.resources.files("jaxalign").joinpath("py.typed").is_file()
    scripts = {entry.name: entry.load() for entry in distribution.entry_points if entry.group == "console_scripts"}
    assert callable(scripts["jaxalign"])
    if "editable" in json.loads(distribution.read_text("direct_url.json") or "{}").get("dir_info", {}):
        return
    installed = {path.parts[0] for path in distribution.files or ()}
    assert installed - {".."} == {"jaxalign", f"jaxalign-{jaxalign.__version__}.dist-info"}


def test_citation_is_of_this_version():
    citation = (ROOT / "CITATION.cff").read_text()
    fields = dict(re.findall(r"^(\w[\w-]*): (.+)$", citation, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert fields["version"] == jaxalign.__version__
    assert (fields["title"], fields["license"]) == ("jaxalign", project["license"])
    assert project["authors"][0]["name"] in citation
