"""The notebooks run from their first cell to their last in a small setting, and are saved with what they show."""

import json
import re
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = Path(__file__).parents[1] / "notebooks"
MOST_BYTES = 2_000_000
TIMEOUT = 300
KERNEL = "jaxalign-tests"
REPOSITORY = "https://github.com/jaxalign/jaxalign"
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
# What each notebook assigns in its cell tagged "parameters", in the form in which the tests run it.
SMALL = {
    "quickstart": {"members": 3, "steps": 50, "n_train": (20, 100, 500)},
    "reproduce_the_paper": {
        "figure1": {"members": 3, "replicates": 2, "n_train": (50, 200, 800)},
        "figure2": {"members": 2, "replicates": 1, "n_train": (20, 160)},
        "figure3": {"members": 2, "replicates": 1, "n_train": (12, 120)},
        "figure4": {"members": 2, "n_train": (100, 400)},
        "steps": 20,
    },
    "theory_of_linear_networks": {"dim": 30, "members": 3, "replicates": 2, "draws": 4},
    "your_own_representations": {"seeds": 2, "max_iter": 10, "null": 9},
    "tpu_and_scaling": {"members": 2, "steps": 50, "sizes": (30, 300)},
}


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parameter_cell(notebook):
    """The place of the one cell tagged "parameters"."""
    (place,) = (i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    return place


def figures(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs if "image/png" in output.get("data", {})]


def test_every_notebook_is_tested():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_notebook_runs_in_a_small_setting(name, tmp_path, monkeypatch):
    """In a folder of its own, by a kernel of this Python, whichever kernels Jupyter knows of on this machine."""
    kernel = tmp_path / "jupyter" / "kernels" / KERNEL
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    specification = {"argv": command, "display_name": "Python 3", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(specification))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    work = tmp_path / "work"
    work.mkdir()

    notebook = read(name)
    place = parameter_cell(notebook)
    assigned = set(re.findall(r"^(\w+) =", notebook.cells[place].source, re.MULTILINE))
    assert set(SMALL[name]) <= assigned
    small = "\n".join(f"{key} = {value!r}" for key, value in SMALL[name].items())
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(small))
    expected = len(figures(notebook))
    for cell in code_cells(notebook):
        cell.outputs = []

    resources = {"metadata": {"path": str(work)}}
    nbclient.NotebookClient(notebook, timeout=TIMEOUT, kernel_name=KERNEL, resources=resources).execute()

    printed = "".join(output.get("text", "") for cell in code_cells(notebook) for output in cell.outputs)
    assert len(figures(notebook)) == expected - printed.count("is left out") > 0
    assert list(work.iterdir()) == [], "a notebook leaves no files behind"


@pytest.mark.parametrize("name", SMALL)
def test_saved_notebook_shows_its_outputs(name):
    path = FOLDER / f"{name}.ipynb"
    assert path.stat().st_size < MOST_BYTES
    notebook = read(name)
    nbformat.validate(notebook)
    assert figures(notebook)
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert "error" not in {output.output_type for output in outputs}
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    # What only assigns has nothing to show.
    for cell in code_cells(notebook):
        assert cell.outputs or not shows(cell.source), cell.source


def shows(source):
    """Whether a cell prints unconditionally, or ends with an expression."""
    last = source.rstrip().splitlines()[-1]
    return bool(re.search(r"^print\(", source, re.MULTILINE) or re.match(r"[\w.]+(\(|\[|$)", last))


@pytest.mark.parametrize("name", SMALL)
def test_saved_notebook_names_no_folder_of_a_machine(name):
    text = (FOLDER / f"{name}.ipynb").read_text()
    assert not re.findall(r"/(?:home|root|work|tmp|Users|opt|var)/[^\s\"']*", text)
    notebook = read(name)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert all(not {"execution", "collapsed"} & set(cell.metadata) for cell in notebook.cells)


@pytest.mark.parametrize("name", SMALL)
def test_notebook_opens_and_installs_on_colab(name):
    notebook = read(name)
    url = REPOSITORY.replace("https://github.com", "https://colab.research.google.com/github")
    assert f"{BADGE}({url}/blob/main/notebooks/{name}.ipynb)" in notebook.cells[0].source
    install = code_cells(notebook)[0].source
    assert f'REPOSITORY = "{REPOSITORY}"' in install
    assert 'find_spec("jaxalign") is None' in install
    assert '%pip install -q "jaxalign @ git+{REPOSITORY}"' in install
