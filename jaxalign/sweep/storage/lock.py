"""The lock of a store: one process at a time writes it, on whatever machine."""

import json
import logging
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Any, Self

import fsspec

STALE_AFTER = 120.0
RENEW_EVERY = 20.0
_PAUSES = (0.0, 0.05, 0.2, 0.5)
_log = logging.getLogger("jaxalign")


class StoreLocked(OSError):
    """Another process writes the store."""


class StoreLock:
    """Keeps other processes from writing a store, by an object LOCATION.lock beside it.

    The object says who holds the lock and is renewed every 20 s by a thread. One whose process is known to have ended,
    or which was not renewed for 120 s, is taken over. Where a holder was only asleep, it learns of that by `check`.
    A store in memory (None) needs no lock.

    Args:
      location: of the store: a path, a URL that fsspec knows, or None.
    """

    def __init__(self, location: str | os.PathLike | None) -> None:
        self._location = None if location is None else os.fspath(location).removeprefix("file://").rstrip("/")
        self._token = secrets.token_hex(16)
        self._taken = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        # Renewing and giving back must not cross: the one would write anew what the other deleted.
        self._own = threading.Lock()
        if self._location is not None:
            self._files, self._path = fsspec.url_to_fs(f"{self._location}.lock")

    def __enter__(self) -> Self:
        """Takes the lock.

        Raises:
          StoreLocked: if another process, or another part of this one, holds it.
          OSError: if it cannot be written.
        """
        if self._location is None:
            return self
        self._taken = time.time()
        try:
            self._files.makedirs(self._files._parent(self._path), exist_ok=True)
            self._take()
        except StoreLocked:
            raise
        except OSError as error:
            raise OSError(f"the store {self._location} cannot be locked for writing: {error}") from error
        self._ended.clear()
        self._thread = threading.Thread(target=self._keep, name="jaxalign-lock", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._location is None:
            return
        self._ended.set()
        with self._own:
            try:
                if self._is_ours():
                    self._files.rm_file(self._path)
            except OSError as error:
                _log.warning("the lock %s could not be deleted: %s", self._path, error)
        if self._thread is not None:
            self._thread.join(timeout=1.0)

    def check(self) -> None:
        """Makes sure that the lock is still held, before something is written.

        Raises:
          StoreLocked: if somebody took it over, or deleted it.
        """
        if self._location is not None and not self._is_ours():
            holder = _read(self._files, self._path)
            who = f"{_who(holder)} has taken it over" if holder else "somebody has deleted its lock"
            raise StoreLocked(
                f"the store {self._location} is no longer locked by this process: {who}, as happens when a process "
                f"is stopped for more than {STALE_AFTER:.0f} s. Nothing more is written; finished cells are kept"
            )

    def _take(self) -> None:
        try:
            self._create()
            return
        except FileExistsError:
            holder = _read(self._files, self._path)
        if (why := _stale(holder)) is None:
            raise StoreLocked(
                f"the store {self._location} is being written by {_who(holder)}, since {_when(holder.get('taken'))}. "
                f"Wait until it ends, or name another store; if it is certain that it has ended, delete {self._path}"
            )
        _log.warning("%s: took over the lock of %s, which %s", self._location, _who(holder), why)
        self._write()
        if not self._is_ours():
            raise StoreLocked(f"the store {self._location} was locked by another process at the same time; try again")

    def _create(self) -> None:
        with self._files.open(self._path, "xb") as file:
            file.write(self._record())

    def _write(self) -> None:
        """Replaces the record; a reader finds the old or the new one."""
        if isinstance(self._files, fsspec.get_filesystem_class("file")):
            beside = Path(f"{self._path}.{self._token}")
            beside.write_bytes(self._record())
            os.replace(beside, self._path)
        else:
            self._files.pipe_file(self._path, self._record())

    def _record(self) -> bytes:
        record = {
            "host": socket.gethostname(),
            "machine": _machine(),
            "pid": os.getpid(),
            "started": _started(os.getpid()),
            "token": self._token,
            "taken": self._taken,
            "renewed": time.time(),
        }
        return json.dumps(record).encode()

    def _is_ours(self) -> bool:
        return _read(self._files, self._path).get("token") == self._token

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_EVERY):
            with self._own:
                try:
                    if self._ended.is_set() or not self._is_ours():
                        return
                    self._write()
                except Exception as error:
                    # Of whatever kind, the lock stays valid for a while and is renewed at the next turn.
                    _log.warning("the lock %s could not be renewed: %s", self._path, error)


def _read(files: Any, path: str) -> dict[str, Any]:
    """The record of a lock; empty if there is none.

    A lock appears before its record is in it. One that can still not be read after a while has no holder to name, and
    is as old as the file.
    """
    for pause in _PAUSES:
        time.sleep(pause)
        files.invalidate_cache()
        try:
            record = json.loads(files.cat_file(path))
        except FileNotFoundError:
            return {}
        except ValueError:
            continue
        if isinstance(record, dict):
            return record
    try:
        modified = files.modified(path).timestamp()
    except (NotImplementedError, AttributeError, FileNotFoundError):
        modified = time.time()
    return {"host": "an unknown host", "pid": "?", "taken": modified, "renewed": modified}


def _stale(holder: dict[str, Any]) -> str | None:
    """Why a lock has no holder any more; None if it has one."""
    if not holder:
        return "was given back"
    if holder.get("machine") and holder["machine"] == _machine() and not _is_alive(holder):
        return "has ended"
    age = time.time() - float(holder.get("renewed", 0.0))
    return f"did not renew it for {age:.0f} s" if age > STALE_AFTER else None


def _is_alive(holder: dict[str, Any]) -> bool:
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    if _stat(int(holder["pid"]))[:1] == ["Z"]:
        # Killed, and its parent, as the first process of a container may be, never asks for how it ended.
        return False
    # Another process may have got the same number since.
    started = _started(int(holder["pid"]))
    return started is None or holder.get("started") in (None, started)


def _machine() -> str:
    """The running system and its space of process numbers, "" where that is not known; host names may repeat."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')} {socket.gethostname()}"
    except OSError:
        return socket.gethostname() if os.name == "posix" else ""


def _started(pid: int) -> str | None:
    """When a process was started, in ticks since the system was."""
    found = _stat(pid)
    return found[19] if len(found) > 19 else None


def _stat(pid: int) -> list[str]:
    """What the system knows of a process, from its state on; empty where that is not to be had."""
    try:
        # The name of the command, in parentheses, may hold spaces.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _who(holder: dict[str, Any]) -> str:
    return f"process {holder.get('pid', '?')} on {holder.get('host', 'an unknown host')}"


def _when(seconds: float | None) -> str:
    return "an unknown time" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
