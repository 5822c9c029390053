"""Representations from files of any framework: NumPy's npy and npz, without pickles."""

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxalign import checks

# What NumPy and the zip format raise for bytes that are not what they should be.
_DAMAGE = (EOFError, zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError, OverflowError)


def load_representations(
    paths: Sequence[str | os.PathLike], layer: str | None = None, names: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Reads representations from files.

    A file holds one array (N, D), an array (K, N, D) of several networks, or named layers (npz). A representation is
    called after its file without the ending and, where files have the same name, with as many of its folders as tell
    them apart, or the ending if only that does. There follows ":LAYER" where the file has several layers and none is
    chosen, and "[k]" where an array holds several networks.

    Args:
      paths: of npy or npz files.
      layer: the array to take from each npz file; by default all.
      names: of the files, instead of their own.

    Returns:
      The arrays by name, in the order of the files.

    Raises:
      ValueError: if a file is no npy or npz, needs pickle, has no such layer or holds something else than arrays of 2
        or 3 axes; if the names are not one for each file; or if two representations have the same name.
      OSError: if a file cannot be read.
    """
    paths = [Path(path) for path in paths]
    names = _distinct_names(paths) if names is None else _check_names(names, len(paths))
    found: dict[str, np.ndarray] = {}
    for path, own in zip(paths, names, strict=True):
        for suffix, array in _arrays(path, layer).items():
            if array.ndim not in (2, 3):
                checks.reject(f"{path}{suffix}", "an array of shape (N, D) or (K, N, D)", array.shape)
            members = {"": array} if array.ndim == 2 else {f"[{k}]": member for k, member in enumerate(array)}
            for index, member in members.items():
                name = f"{own}{suffix}{index}"
                if name in found:
                    checks.reject("files", "files whose representations have different names", f"{name} twice")
                found[name] = member
    return found


def _check_names(names: Any, count: int) -> list[str]:
    names = checks.sequence("names", names, "names, one for each file")
    if len(names) != count or not all(isinstance(name, str) for name in names):
        checks.reject("names", f"{count} strings, one for each file", names)
    return list(names)


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """Of each path the shortest end that no other shares, without the ending of the file where that is not needed."""
    twice = next((path for i, path in enumerate(paths) if path in paths[:i]), None)
    if twice is not None:
        checks.reject("files", "different files", f"{twice} twice")
    plain = [path.with_suffix("") for path in paths]

    def end(path: Path, length: int) -> str:
        return Path(*path.parts[-length:]).as_posix()

    def shortest(path: Path) -> str:
        length, shared = 1, [other for other in set(plain) if end(other, 1) == end(path, 1)]
        while len(shared) > 1 and length < len(path.parts):
            length += 1
            shared = [other for other in shared if end(other, length) == end(path, length)]
        return end(path, length)

    return [
        shortest(short) + (path.suffix if plain.count(short) > 1 else "")
        for path, short in zip(paths, plain, strict=True)
    ]


def _arrays(path: Path, layer: str | None) -> dict[str, np.ndarray]:
    """The arrays of one file, by what is added to its name."""
    with path.open("rb") as file:
        loaded = _read(path, lambda: np.load(file, allow_pickle=False))
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        if layer is not None:
            checks.choice(f"layer (of {path})", layer, loaded.files)
            return {"": _member(path, loaded, layer)}
        if not loaded.files:
            checks.reject(str(path), "a file of at least one array", "an empty archive")
        return {f":{name}" if len(loaded.files) > 1 else "": _member(path, loaded, name) for name in loaded.files}


def _member(path: Path, archive: Any, name: str) -> np.ndarray:
    array = _read(path, lambda: archive[name])
    if not isinstance(array, np.ndarray):
        checks.reject(str(path), "a npy or npz file, which holds arrays alone", f"an archive with the file {name}")
    return array


def _read(path: Path, load: Any) -> Any:
    """What `load` returns; whatever it finds wrong is said of the file."""
    try:
        return load()
    except _DAMAGE:
        checks.reject(str(path), "a npy or npz file", "a damaged file")
    except MemoryError as error:
        checks.reject(str(path), "a file whose arrays fit in memory", str(error))
    except ValueError as error:
        if "pickle" in str(error):
            checks.reject(str(path), "a npy or npz file of numbers, which needs no pickle", "another kind of file")
        checks.reject(str(path), "a npy or npz file", f"a damaged file ({' '.join(str(error).split())})")
