import json
import os
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest

import jaxalign.sweep.storage.lock as lock_module
from jaxalign.sweep.storage.lock import StoreLock, StoreLocked

# The file alone, without the seconds that importing the package takes.
HOLD = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("lock", {str(Path(lock_module.__file__))!r})
lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lock)
with lock.StoreLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "s.zarr")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def record(path):
    return json.loads((path / "s.zarr.lock").read_text())


def rewrite(path, **changes):
    (path / "s.zarr.lock").write_text(json.dumps(record(path) | changes))


@pytest.mark.parametrize("where", ["s.zarr", "deep/er/s.zarr"])
def test_a_lock_is_taken_and_given_back(tmp_path, where):
    with StoreLock(tmp_path / where) as lock:
        lock.check()
        kept = json.loads((tmp_path / f"{where}.lock").read_text())
        assert kept["pid"] == os.getpid() and {"host", "token", "taken", "renewed"} <= {*kept}
        with pytest.raises(StoreLocked, match=f"is being written by process {os.getpid()} on .*, since 20"):
            StoreLock(tmp_path / where).__enter__()
    assert [*(tmp_path / where).parent.iterdir()] == []
    with StoreLock(tmp_path / where):
        pass


def test_a_lock_of_another_process_is_respected_until_it_ends(tmp_path, holder, caplog):
    with pytest.raises(StoreLocked, match=f"by process {holder.pid} .*Wait until it ends.*delete .*s.zarr.lock"):
        StoreLock(tmp_path / "s.zarr").__enter__()
    assert record(tmp_path)["pid"] == holder.pid
    holder.kill()
    holder.wait()
    with StoreLock(tmp_path / "s.zarr") as lock:
        lock.check()
    assert f"took over the lock of process {holder.pid}" in caplog.text and "has ended" in caplog.text


def test_a_lock_that_is_not_renewed_is_taken_over_and_its_holder_learns_of_it(tmp_path):
    with StoreLock(tmp_path / "s.zarr") as asleep:
        rewrite(tmp_path, renewed=time.time() - lock_module.STALE_AFTER + 30)
        with pytest.raises(StoreLocked):
            StoreLock(tmp_path / "s.zarr").__enter__()
        rewrite(tmp_path, renewed=time.time() - lock_module.STALE_AFTER - 1)
        with StoreLock(tmp_path / "s.zarr") as lock:
            lock.check()
            with pytest.raises(StoreLocked, match="no longer locked by this process: process .* has taken it over"):
                asleep.check()
            asleep.__exit__()
            lock.check()


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
def test_a_number_that_another_process_got_is_not_the_holder(tmp_path):
    with StoreLock(tmp_path / "s.zarr") as first:
        rewrite(tmp_path, started="1")
        with StoreLock(tmp_path / "s.zarr"), pytest.raises(StoreLocked):
            first.check()


def test_a_process_of_another_machine_is_not_looked_for_here(tmp_path, holder):
    holder.kill()
    holder.wait()
    rewrite(tmp_path, machine="another", host="far")
    with pytest.raises(StoreLocked, match=f"process {holder.pid} on far"):
        StoreLock(tmp_path / "s.zarr").__enter__()


def test_a_record_that_cannot_be_read_is_as_old_as_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "_PAUSES", (0.0,))
    (tmp_path / "s.zarr.lock").write_text("")
    with pytest.raises(StoreLocked, match="an unknown host"):
        StoreLock(tmp_path / "s.zarr").__enter__()
    old = time.time() - 1000
    os.utime(tmp_path / "s.zarr.lock", (old, old))
    with StoreLock(tmp_path / "s.zarr") as lock:
        lock.check()


def test_the_lock_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "RENEW_EVERY", 0.01)
    with StoreLock(tmp_path / "s.zarr"):
        before = record(tmp_path)["renewed"]
        deadline = time.time() + 10
        while record(tmp_path)["renewed"] == before and time.time() < deadline:
            pass
        assert record(tmp_path)["renewed"] > before
    assert [*tmp_path.iterdir()] == []


def test_a_deleted_lock_is_noticed(tmp_path):
    with StoreLock(tmp_path / "s.zarr") as lock:
        (tmp_path / "s.zarr.lock").unlink()
        with pytest.raises(StoreLocked, match="somebody has deleted its lock"):
            lock.check()


def test_at_a_url_and_in_memory():
    with StoreLock("memory://locks/s.zarr") as lock:
        lock.check()
        assert fsspec.filesystem("memory").exists("/locks/s.zarr.lock")
        with pytest.raises(StoreLocked):
            StoreLock("memory://locks/s.zarr").__enter__()
    assert not fsspec.filesystem("memory").exists("/locks/s.zarr.lock")
    with StoreLock(None) as first, StoreLock(None):
        first.check()


def test_where_nothing_can_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="the store .*file/s.zarr cannot be locked for writing"):
        StoreLock(tmp_path / "file" / "s.zarr").__enter__()
