"""CONTRIBUTING.md names what is there, and its example of a new measure works."""

import importlib
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float32
from numpy.typing import ArrayLike

from jaxalign.alignment import METRICS, Metric, align, inputs
from jaxalign.alignment.forms import FromRanks, measure
from jaxalign.alignment.ranks import Ranks
from jaxalign.alignment.registry import ROTATION, SCALE, TRANSLATION

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if line.startswith("| ") and "---" not in line][1:]


def paths(text):
    return [path for path in re.findall(r"`(\S+)`", text) if "/" in path and "(" not in path]


@pytest.mark.parametrize("path", sorted({*paths(TEXT)}))
def test_path_exists(path):
    assert any((folder / path).exists() for folder in (ROOT, ROOT / "jaxalign"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_row_names_a_file_and_what_is_in_it(row):
    _, file, besides, *_ = row
    assert paths(file), "no file"
    texts = [(ROOT / path).read_text() for path in paths(f"{file} {besides}") if (ROOT / path).is_file()]
    for name in re.findall(r"`([A-Za-z_]+)`", besides):
        assert any(name in text for text in texts), f"{name} is in none of the files"


def test_the_new_measure_works(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tests/alignment")
    blocks = [re.sub("^   ", "", block, flags=re.M) for block in re.findall(r"```python\n(.*?)```", TEXT, re.S)]
    kernel, function, entry, test = blocks
    scope = {
        "Array": Array,
        "ArrayLike": ArrayLike,
        "Float32": Float32,
        "FromRanks": FromRanks,
        "Metric": Metric,
        "ROTATION": ROTATION,
        "Ranks": Ranks,
        "SCALE": SCALE,
        "TRANSLATION": TRANSLATION,
        "inputs": inputs,
        "jax": jax,
        "jnp": jnp,
        "measure": measure,
        "np": np,
        "oracle": importlib.import_module("alignment_oracles"),
    }
    for code in (kernel, function, test):
        exec(code, scope)
    scope["test_equals_the_oracle"]()
    metric = eval(entry, scope)
    monkeypatch.setitem(METRICS, metric.name, metric)
    a = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    b = np.random.default_rng(1).normal(size=(500, 4)).astype(np.float32)
    value = align([a, a + 0.1 * b, b], (metric.name,))[metric.name].values
    np.testing.assert_allclose(value[0, 1], scope["median_imbalance"](a, a + 0.1 * b), rtol=1e-6)
    assert abs(value[0, 2] - metric.independent(500, 4, 4)) < 0.2 and value[0, 1] < 0.1
    assert float(scope["median_imbalance"](a, a)) == np.float32(metric.identical(500))
