"""What a sweep changes of its process while it runs: signals, and where compiled programs are kept."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any, Self

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from jaxalign.sweep import processes


@contextlib.contextmanager
def compiled_programs_kept(folder: str | os.PathLike | None) -> Iterator[None]:
    """Keeps compiled programs in a folder, for other processes, while the context lasts; None changes nothing."""
    if folder is None:
        yield
        return
    settings = {
        "jax_compilation_cache_dir": os.fspath(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    _configure(settings)
    try:
        yield
    finally:
        _configure(before)


def _configure(settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    # The folder is looked at once, at the first compilation of the process.
    compilation_cache.reset_cache()


class Interrupts:
    """Ctrl-C and SIGTERM as something to look at between two cells; a second one has its usual effect."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        # Only the main thread of a program may handle signals.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def agree(self) -> None:
        """Makes the signal that one process received that of all."""
        received = int(processes.from_each(np.array(self.received or 0, np.int32)).max())
        self.received = signal.Signals(received) if received else None

    def _receive(self, number: int, _: object) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())


class Interrupted(Exception):
    """The computation ended before the end, on all processes."""
