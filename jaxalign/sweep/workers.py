"""Threads that work on tasks by priority, and hand what they find to the thread that started them."""

import atexit
import functools
import itertools
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_NAME = "jaxalign-worker"


class Workers:
    """A pool of threads that does not outlive its use.

    They are daemons: an execution on a device cannot be interrupted, and what has to stop does not wait for it. Only
    the end of the interpreter does, which the thread would abort if it came back from an execution afterwards.
    """

    def __init__(self, count: int) -> None:
        self._tasks: queue.PriorityQueue = queue.PriorityQueue()
        self._found: queue.SimpleQueue = queue.SimpleQueue()
        self._order = itertools.count()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work, name=_NAME, daemon=True) for _ in range(count)]
        self._at_exit = functools.partial(_wait, self._threads)

    def start(self) -> None:
        """Lets the threads begin."""
        atexit.register(self._at_exit)
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
        atexit.unregister(self._at_exit)

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


def _wait(threads: Sequence[threading.Thread]) -> None:
    """Waits for threads to end; Ctrl-C ends the process at once."""
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)


def exit_without_waiting(code: int) -> None:
    """Lets the interpreter end with a code at once when it comes to its end while threads are at work."""

    def leave() -> None:
        if any(thread.name == _NAME for thread in threading.enumerate()):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    atexit.register(leave)
