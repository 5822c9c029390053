"""Sweeps in processes of their own, forked from one that has imported jaxalign: real, and without the import's seconds.

The process that forks has started no device, so what it starts is as a script of its own.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRELUDE = """
import dataclasses, os, signal, sys
import jax, jaxalign
from jaxalign import MLP, LinearNetwork, LinearTeacher, SweepConfig, Training, run_sweep
from jaxalign.sweep import progress
jax.config.update("jax_disable_most_optimizations", True)
# A line for each cell.
progress._SECONDS_PER_LINE = 0.0
CONFIG = SweepConfig(
    task=LinearTeacher(dim=10),
    networks=(LinearNetwork(hidden=3), MLP(hidden=5)),
    noise=(1.0, 5.0),
    n_train=(40, 20, 12, 6),
    members=3,
    replicates=2,
    training=Training(steps=2000, batch_size=4),
    probes=40,
)
"""


def serve() -> None:
    """Forks for every line of the standard input, and says how each process ended once the caller asks for it."""
    exec(PRELUDE, shared := {})
    print("ready", flush=True)
    while line := sys.stdin.readline():
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
        elif pid := os.fork():
            print(pid, flush=True)
        else:
            out = os.open(order["out"], os.O_WRONLY)
            for number in (1, 2):
                os.dup2(out, number)
            os.close(out)
            exec(compile(order["code"], "script", "exec"), shared)
            return


class Script:
    """A running script; `lines` yields what it prints, as it does, until it ends."""

    def __init__(self, server: subprocess.Popen, code: str, out: Path) -> None:
        self._server = server
        os.mkfifo(out)
        self.pid = self._ask({"code": code, "out": str(out)})
        self._out = out.open()
        self.text = ""

    def _ask(self, order: dict) -> int:
        stdin, stdout = self._server.stdin, self._server.stdout
        assert stdin is not None and stdout is not None
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()
        return int(stdout.readline())

    def lines(self) -> Iterator[str]:
        while line := self._out.readline():
            self.text += line
            yield line

    def until(self, text: str, times: int = 1) -> bool:
        """Waits for lines with this text, and says whether they came before the end."""
        for line in self.lines():
            times -= text in line
            if not times:
                return True
        return False

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def end(self) -> int:
        """Waits for the end; the exit code, or the negative number of the signal."""
        self.text += self._out.read()
        self._out.close()
        return self._ask({"wait": self.pid})


class Server:
    """Runs scripts: Python code that starts with what `PRELUDE` defines."""

    def __init__(self, process: subprocess.Popen, folder: Path) -> None:
        self._process, self._folder, self._count = process, folder, 0

    def start(self, code: str) -> Script:
        self._count += 1
        return Script(self._process, code, self._folder / f"out-{self._count}")

    def run(self, code: str) -> str:
        """Runs a script to its end, which must be a good one, and returns what it printed."""
        script = self.start(code)
        status = script.end()
        assert status == 0, script.text
        return script.text


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    """The process that forks, for as long as the context lasts."""
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield Server(process, folder)
        assert process.stdin is not None
        process.stdin.close()


if __name__ == "__main__":
    serve()
