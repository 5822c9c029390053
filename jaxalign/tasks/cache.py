"""Decoded data sets, kept as plain array files in the user's cache folder.

One uncompressed .npz file per key: each of its members carries a CRC-32 that is checked when it is read. A file is
written beside its place and moved there whole, so that processes at the same time do no harm. A cache is never
needed: what cannot be read is decoded again, and what cannot be written is only logged.
"""

import logging
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

_LOGGER = logging.getLogger(__name__)


def folder() -> Path:
    """JAXALIGN_CACHE_DIR, or the folder "jaxalign" where the platform keeps caches.

    That is in XDG_CACHE_HOME, else in ~/.cache; on macOS in ~/Library/Caches; on Windows in LOCALAPPDATA.

    Raises:
      RuntimeError: if the home of the user cannot be told.
    """
    if named := os.environ.get("JAXALIGN_CACHE_DIR"):
        return Path(named)
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named, "jaxalign")
    if sys.platform == "win32" and (named := os.environ.get("LOCALAPPDATA")):
        return Path(named, "jaxalign")
    caches = Path("Library", "Caches") if sys.platform == "darwin" else Path(".cache")
    return Path.home() / caches / "jaxalign"


def read(key: str) -> dict[str, np.ndarray] | None:
    """The arrays kept under `key`; None if there are none, or they are damaged."""
    try:
        path = _path(key)
        if not path.is_file():
            return None
        # Opened here, because NumPy leaves a file that is no archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    # A damaged file can fail in any way, from its table of contents to the shape of an array.
    except Exception as error:
        _LOGGER.debug("the cache of %s cannot be read: %s", key, error)
        return None


def write(key: str, arrays: dict[str, np.ndarray]) -> None:
    """Keeps the arrays under `key`, in the place of what was there."""
    try:
        path = _path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{key}-", suffix=".partial")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            os.replace(scratch, path)
        except BaseException:
            Path(scratch).unlink(missing_ok=True)
            raise
    except (OSError, RuntimeError) as error:
        _LOGGER.warning("the decoded data set cannot be kept for the next time: %s", error)


def _path(key: str) -> Path:
    return folder() / f"{key}.npz"
