"""How far a sweep is: a bar in a terminal or a notebook, elsewhere a line of the log every minute."""

import contextlib
import datetime
import logging
import sys
import time
from collections.abc import Iterator

from tqdm.auto import tqdm

logger = logging.getLogger("jaxalign")

_SECONDS_PER_LINE = 60.0


class Progress:
    """Counts the cells and networks of one run.

    Attributes:
      networks: computed so far in this run.
    """

    def __init__(self, shown: bool, cells: int, finished: int, networks: int) -> None:
        """Shows nothing yet.

        Args:
          shown: whether anything is shown.
          cells: of the whole sweep.
          finished: those that were there before.
          networks: to be trained in this run.
        """
        self.networks = 0
        self._cells, self._finished, self._total = cells, finished, networks
        self._started = self._line = time.monotonic()
        self._shown = shown
        self._bar = tqdm(
            total=networks,
            unit="network",
            disable=not (shown and networks and _has_display()),
            smoothing=0.0,
            dynamic_ncols=True,
        )

    def stage(self, name: str) -> None:
        """Says what is being done; the time of the rate counts from the last stage on."""
        self._started = time.monotonic()
        if not self._bar.disable:
            self._bar.set_description(name)
            self._bar.start_t = time.time()
        logger.debug("%s", name)

    def cell(self, name: str, networks: int) -> None:
        """Counts a cell that is finished and stored."""
        self._finished += 1
        self.networks += networks
        self._bar.set_postfix_str(f"{self._finished}/{self._cells} cells, {name}", refresh=False)
        self._bar.update(networks)
        self.tick(name)

    def tick(self, name: str = "") -> None:
        """Logs a line if there is no bar and the last one is a minute ago."""
        now = time.monotonic()
        if not self._shown or not self._bar.disable or now - self._line < _SECONDS_PER_LINE:
            return
        self._line = now
        logger.info("%s", self.describe(now - self._started, name))

    def describe(self, seconds: float, name: str = "") -> str:
        """One line: cells done, rate, time left, and the cell that was finished last."""
        rate = self.networks / seconds if seconds > 0 else 0.0
        parts = [f"{self._finished} of {self._cells} cells", f"{rate:.3g} networks/s"]
        if rate > 0:
            left = datetime.timedelta(seconds=round((self._total - self.networks) / rate))
            parts.append(f"{left} left")
        return ", ".join([*parts, *([name] if name else [])])

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()


def _has_display() -> bool:
    return sys.stderr.isatty() or _in_notebook()


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    shell = shell.get_ipython() if shell is not None else None
    return shell is not None and hasattr(shell, "kernel")


@contextlib.contextmanager
def log_shown(level: int | None) -> Iterator[None]:
    """Shows the log of jaxalign from a level on the standard error, unless the program has handlers of its own."""
    if level is None or logger.hasHandlers():
        yield
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s jaxalign: %(message)s", "%H:%M:%S"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
