"""The examples in docstrings do what they show."""

import doctest
import importlib
import pkgutil

import pytest

import jaxalign

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples():
    """The examples of every module and of what it defines; each sees the names of its module, as in doctest."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    names = [info.name for info in pkgutil.walk_packages(jaxalign.__path__, "jaxalign.")]
    for module in map(importlib.import_module, ["jaxalign", *(name for name in names if "__main__" not in name)]):
        yield doctest.DocTestParser().get_doctest(module.__doc__ or "", {}, module.__name__, module.__file__, 0)
        for name, value in list(vars(module).items()):
            # Wrapped functions, of jax.jit or of the shape checks, are known by their module and not by their globals.
            if getattr(value, "__module__", None) == module.__name__ and getattr(value, "__name__", None) == name:
                yield from finder.find(value, f"{module.__name__}.{name}", module=False, globs=vars(module))


EXAMPLES = {test.name: test for test in examples() if test.examples}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_example(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    failed = doctest.DocTestRunner(optionflags=OPTIONS).run(EXAMPLES[name], out=said.append).failed
    assert not failed, "".join(said)
