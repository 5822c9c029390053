"""The Python of the README runs, from its first block to its last, in one session."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"^(<!-- not run -->\n+)?```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = README.read_text()
    blocks = [match for match in BLOCK.finditer(text) if not match[1]]
    assert blocks
    namespace = {}
    for block in blocks:
        # An error names the line of the README.
        lines_before = text[: block.start(2)].count("\n")
        exec(compile("\n" * lines_before + block[2], str(README), "exec"), namespace)
