"""Threads that work on tasks by priority, and hand what they find to the thread that started them."""

import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Workers:
    """A pool of threads that does not outlive its use.

    They are daemons: an execution on a device cannot be interrupted, and a program that has to stop does not wait
    for it.
    """

    def __init__(self, count: int) -> None:
        self._tasks: queue.PriorityQueue = queue.PriorityQueue()
        self._found: queue.SimpleQueue = queue.SimpleQueue()
        self._order = itertools.count()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]

    def start(self) -> None:
        """Lets the threads begin."""
        for thread in self._threads:
            thread.start()

    def submit(self, priority: tuple[int, ...], task: Callable[[], None]) -> None:
        """Adds a task; those of the smallest priority are done first. Tasks may submit others."""
        self._tasks.put((priority, next(self._order), task))

    def hand_over(self, value: Any) -> None:
        """Gives a value to the thread that waits for them."""
        self._found.put((value, None))

    def values(self, every: float) -> Iterator[Any]:
        """Yields what was handed over, in that order, and None after each `every` seconds without.

        Raises:
          BaseException: what a task raised.
        """
        while True:
            try:
                value, error = self._found.get(timeout=every)
            except queue.Empty:
                yield None
                continue
            if error is not None:
                raise error
            yield value

    def handed_over(self) -> Iterator[Any]:
        """Yields what is there already; what a task raised is left out."""
        while True:
            try:
                value, error = self._found.get_nowait()
            except queue.Empty:
                return
            if error is None:
                yield value

    def stop(self) -> None:
        """Lets each thread end with the task that it is at."""
        self._stopped.set()
        for _ in self._threads:
            self.submit((-1,), lambda: None)

    def join(self) -> None:
        """Waits for the threads to end."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._stopped.is_set():
            _, _, task = self._tasks.get()
            if self._stopped.is_set():
                return
            try:
                task()
            except BaseException as error:
                self._found.put((None, error))
                return
