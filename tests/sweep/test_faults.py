"""What a sweep survives: real processes, signals, damaged files and full disks."""

import collections
import functools
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray as xr
from sweep_server import server as serving

from jaxalign.sweep.storage.results import load_sweep


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def sweep(cache):
    """The code of a sweep at a store."""

    def code(store, config="CONFIG", **options):
        options = {"verbose": True, "compilation_cache": str(cache), **options}
        return f"run_sweep({config}, {str(store)!r}, **{options!r})"

    return code


@pytest.fixture(scope="module")
def undisturbed(server, sweep, tmp_path_factory):
    store = tmp_path_factory.mktemp("undisturbed") / "sweep.zarr"
    server.run(sweep(store))
    return store


def results(store):
    dataset = load_sweep(store)
    measured = ("seconds_", "peak_bytes")
    dataset.attrs = {name: value for name, value in dataset.attrs.items() if not name.startswith(measured)}
    return dataset


def files(store, name):
    # What is being written has another name until it is there.
    return sorted(path for path in (store / name).glob("c.*") if path.suffix != ".partial")


def unmarked(store, since):
    """The results, newer than a time in nanoseconds, of cells that are not marked."""
    found = {}
    for name in ("representation", "cce", "test_error"):
        for path in files(store, name):
            if path.stat().st_mtime_ns > since:
                found[path] = cell_of(store, name, path)
    marks = {cell_of(store, "members_done", path) for path in files(store, "members_done")}
    return [path for path, cell in found.items() if cell not in marks]


def wait_for(condition):
    """Waits a few seconds at most, as the process may have gone by what is waited for."""
    end = time.monotonic() + 3
    while not condition() and time.monotonic() < end:
        pass


# Between the results of a cell and its mark there is time to be killed, however busy the machine is.
SLOW_MARKS = """
import time
from jaxalign.sweep.storage.cells import Cells
mark = Cells.mark
Cells.mark = lambda *arguments: (time.sleep(0.05), mark(*arguments))[1]
"""


@pytest.mark.slow
def test_kills_at_any_time_leave_no_trace(server, sweep, undisturbed, tmp_path):
    phases = ("start", "compiling", "training", "cells", "writing")
    longest = {"start": 0.5, "compiling": 0.8, "training": 0.05, "cells": 0.03, "writing": 0.01}
    draw, landed, within, stores = random.Random(0), collections.Counter(), 0, 0
    while landed.total() < 20:
        store = tmp_path / f"{stores}.zarr"
        phase = phases[landed.total() % len(phases)]
        since = time.time_ns()
        script = server.start((SLOW_MARKS if phase == "writing" else "") + sweep(store))
        if phase != "start":
            script.until("training" if phase == "writing" else phase)
        for _ in range(1000 if phase == "writing" else 1):
            time.sleep(draw.uniform(0, longest[phase]))
            if phase == "writing":
                script.send(signal.SIGSTOP)
                if unmarked(store, since):
                    break
                script.send(signal.SIGCONT)
        script.send(signal.SIGKILL)
        status = script.end()
        assert status in (0, -signal.SIGKILL), script.text
        if status:
            landed[phase] += 1
            within += store.exists() and bool(unmarked(store, since))
        if store.exists():
            load_sweep(store)
        if not status or landed.total() == 20:
            server.run(sweep(store))
            xr.testing.assert_identical(results(store), results(undisturbed))
            assert not (tmp_path / f"{store.name}.lock").exists()
            stores += 1
    print(f"killed {landed}, {within} of them between the first result of a cell and its mark; {stores} stores")
    assert within >= 2


def truncate(path):
    path.write_bytes(path.read_bytes()[:-3])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


@pytest.mark.slow
def test_only_damaged_cells_are_computed_again(server, sweep, undisturbed, tmp_path):
    store = tmp_path / "sweep.zarr"
    shutil.copytree(undisturbed, store)
    names = ["train_error", "test_error", "converged", "steps_trained", "cce", "representation", "members_done"]
    damages = {name: truncate for name in names} | {"test_error ": flip, "members_done ": Path.unlink}
    hurt = range(1, 1 + len(damages))
    for at, (name, damage) in zip(hurt, damages.items(), strict=True):
        name = name.strip()
        damage(next(path for path in files(store, name) if cell_of(store, name, path) == CELLS[at]))
    with pytest.raises(AssertionError):
        xr.testing.assert_identical(results(store), results(undisturbed))
    before = {cell: mark_time(store, cell) for i, cell in enumerate(CELLS) if i not in hurt}
    text = server.run(sweep(store))
    assert text.count("is damaged; it will be computed again") == len(hurt) - 2
    assert f"{16 - len(hurt)} of 16 cells are finished already" in text
    xr.testing.assert_identical(results(store), results(undisturbed))
    assert before == {cell: mark_time(store, cell) for cell in before}
    assert "training" not in server.run(sweep(store))


CELLS = [(r, x, n) for r in range(2) for x in range(2) for n in range(4)]


def cell_of(store, name, path):
    """The cell (replicate, noise level, n_train) of a chunk file."""
    at = dict(zip(dimensions(store, name), path.name.split(".")[1:], strict=True))
    return tuple(int(at[dim]) for dim in ("replicate", "snr", "n_train"))


@functools.cache
def dimensions(store, name):
    return json.loads((store / name / "zarr.json").read_text())["dimension_names"]


def mark_time(store, cell):
    return (store / "members_done" / ".".join(["c", *map(str, cell)])).stat().st_mtime_ns


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_script_ends_by_a_signal_with_a_message(server, sweep, undisturbed, tmp_path, number):
    """Also while its threads are inside of executions, out of which they come back when the interpreter has ended."""
    store = tmp_path / "sweep.zarr"
    script = server.start(sweep(store))
    assert script.until("cells")
    script.send(number)
    # Python ends itself with the signal for a KeyboardInterrupt that nobody caught.
    assert script.end() == (-number if number == signal.SIGINT else 128 + number), script.text
    message = f"stopped: [0-9]+ of 16 cells are kept in {store}; the same call goes on with the others"
    assert re.search(f"KeyboardInterrupt: {message}" if number == signal.SIGINT else message, script.text)
    assert load_sweep(store)["members_done"].sum() % 3 == 0 and not (tmp_path / "sweep.zarr.lock").exists()
    server.run(sweep(store))
    xr.testing.assert_identical(results(store), results(undisturbed))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_script_ends_while_an_execution_takes_long(server, sweep, tmp_path, number):
    config = "dataclasses.replace(CONFIG, training=Training(steps=60_000, batch_size=4))"
    script = server.start(sweep(tmp_path / "sweep.zarr", config))
    assert script.until("training")
    script.send(number)
    assert script.until("stopped: ")
    assert script.end() == (-number if number == signal.SIGINT else 128 + number), script.text


def test_a_signal_during_compilation(server, sweep, tmp_path):
    store = tmp_path / "sweep.zarr"
    script = server.start(sweep(store, compilation_cache=None))
    assert script.until("compiling")
    script.send(signal.SIGTERM)
    assert script.end() == 143 and "stopped: 0 of 16 cells" in script.text and "training" not in script.text


@pytest.mark.slow
def test_the_command_is_stopped_and_goes_on(tmp_path):
    command = [sys.executable, "-m", "jaxalign", "sweep", "quickstart", "--verbose", "--out", str(tmp_path / "out")]
    command += "--noise 0.0 0.2 --n-train 20 40 60 80 100 200 --members 3 --steps 20000 --probes 50".split()
    command += ["--compilation-cache", str(tmp_path / "compiled")]

    def start():
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    for number in (signal.SIGTERM, signal.SIGINT):
        with start() as process:
            assert process.stderr is not None
            assert any("training" in line for line in process.stderr)
            if number == signal.SIGTERM:
                # It does not finish in the meantime.
                process.send_signal(signal.SIGSTOP)
                second = subprocess.run(command, capture_output=True, text=True)
                process.send_signal(signal.SIGCONT)
                assert second.returncode == 2, second.stderr
                assert f"is being written by process {process.pid} on " in second.stderr
                assert "Traceback" not in second.stderr
            process.send_signal(number)
            rest = process.stderr.read()
            assert process.wait() == 128 + number, rest
            found = re.findall("stopped: ([0-9]+) of 12 cells are kept in .*; the same call goes on", rest)
            assert len(found) == 1 and "Traceback" not in rest
        dataset = load_sweep(tmp_path / "out" / "sweep.zarr")
        assert (dataset["members_done"] == 3).sum() == int(found[0])
    with start() as process:
        out, rest = process.communicate()
        assert process.returncode == 0 and "Spearman" in out, rest
    assert "members_done" not in load_sweep(tmp_path / "out" / "sweep.zarr")


@pytest.mark.slow
def test_the_lock_of_a_killed_process_is_taken_over(server, sweep, undisturbed, tmp_path):
    store = tmp_path / "sweep.zarr"
    first = server.start(sweep(store))
    assert first.until("training")
    first.send(signal.SIGSTOP)
    second = server.start(sweep(store))
    assert second.end() == 1
    assert f"StoreLocked: the store {store} is being written by process {first.pid}" in second.text
    first.send(signal.SIGKILL)
    wait_for(lambda: is_zombie(first.pid))
    # Nobody has asked yet how it ended, so its number is still taken.
    assert f"took over the lock of process {first.pid}" in server.run(sweep(store))
    assert first.end() == -signal.SIGKILL
    xr.testing.assert_identical(results(store), results(undisturbed))


def is_zombie(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_full_disk_stops_the_sweep_and_it_goes_on(server, sweep, undisturbed, tmp_path):
    """A limit on the size of files that the larger ones of a cell, those of representations, do not keep."""
    store = tmp_path / "sweep.zarr"
    limit = (
        "import resource, threading\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from jaxalign.sweep.storage.store import Store\n"
        "real, count = Store.write_cell, []\n"
        "def write_cell(*arguments):\n"
        "    count.append(1)\n"
        "    if len(count) == 4:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (512, resource.RLIM_INFINITY))\n"
        "    return real(*arguments)\n"
        "Store.write_cell = write_cell\n"
    )
    script = server.start(limit + sweep(store))
    assert script.end() == 1
    assert f"OSError: the store {store} cannot be written: " in script.text and "File too large" in script.text
    assert "goes on from there" in script.text
    assert (load_sweep(store)["members_done"] == 3).sum() == 3
    assert not (tmp_path / "sweep.zarr.lock").exists()
    assert "3 of 16 cells are finished already" in server.run(sweep(store))
    xr.testing.assert_identical(results(store), results(undisturbed))


@pytest.mark.parametrize("where", ["file/sweep.zarr", "file", "folder"])
def test_where_no_store_can_be_is_named_before_anything_is_compiled(server, sweep, tmp_path, where):
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder").mkdir()
    script = server.start(sweep(tmp_path / where))
    assert script.end() == 1 and "compiling" not in script.text
    assert re.search(f"(Not.*|OS|Value)Error: .*{tmp_path / where}", script.text.splitlines()[-1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
