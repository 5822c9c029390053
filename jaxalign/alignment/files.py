"""Representations from files of any framework: NumPy's npy and npz, without pickles."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxalign import checks


def load_representations(paths: Sequence[str | os.PathLike], layer: str | None = None) -> dict[str, np.ndarray]:
    """Reads representations from files.

    A file holds one array (N, D), an array (K, N, D) of several networks, or named layers (npz). A representation is
    called after its file without the ending, followed by ":LAYER" where the file has several layers and none is
    chosen, and by "[k]" where an array holds several networks.

    Args:
      paths: of npy or npz files.
      layer: the array to take from each npz file; by default all.

    Returns:
      The arrays by name, in the order of the files.

    Raises:
      ValueError: if a file is no npy or npz, needs pickle, has no such layer or an array of other than 2 or 3 axes, or
        if two representations have the same name.
      FileNotFoundError: if a file does not exist.
    """
    found: dict[str, np.ndarray] = {}
    for path in map(Path, paths):
        for suffix, array in _arrays(path, layer).items():
            if array.ndim not in (2, 3):
                checks.reject(f"{path}{suffix}", "an array of shape (N, D) or (K, N, D)", array.shape)
            members = {"": array} if array.ndim == 2 else {f"[{k}]": member for k, member in enumerate(array)}
            for index, member in members.items():
                name = f"{path.stem}{suffix}{index}"
                if name in found:
                    checks.reject("files", "files of different names", f"{name} twice")
                found[name] = member
    return found


def _arrays(path: Path, layer: str | None) -> dict[str, np.ndarray]:
    """The arrays of one file, by what is added to its name."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"": loaded}
            if layer is not None:
                checks.choice(f"layer (of {path})", layer, loaded.files)
                return {"": loaded[layer]}
            return {f":{name}" if len(loaded.files) > 1 else "": loaded[name] for name in loaded.files}
    except (EOFError, zipfile.BadZipFile):
        checks.reject(str(path), "a npy or npz file", "a damaged file")
    except ValueError as error:
        if "pickle" not in str(error):
            raise
        checks.reject(str(path), "a npy or npz file of numbers, which needs no pickle", "another kind of file")
