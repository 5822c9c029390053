"""Where the time of a sweep goes."""

import threading
import time


class Seconds:
    """Seconds per phase, added up from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.phases = {"compile": 0.0, "train": 0.0, "align": 0.0, "write": 0.0}

    def add(self, phase: str, start: float) -> None:
        """Counts the time since `start`, of `time.perf_counter`, to a phase."""
        with self._lock:
            self.phases[phase] += time.perf_counter() - start
