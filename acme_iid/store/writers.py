"""Where those wait who want to write to a file of SQLite's, in all processes."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from acme_iid.errors import StoreBusyError, StoreUnavailableError

PATIENCE = 5.0
"""Seconds that a writer waits for others."""


def beside(database: Path, what: str) -> Path:
    """The path of a file that belongs to a database's file, as SQLite's own do."""
    return database.with_name(f"{database.name}-{what}")


def open_beside(database: Path, what: str) -> int:
    """Open such a file to read and write; it is made if it does not exist, for the database's owner alone.

    :raises OSError: if that cannot be done.
    """
    file = os.open(beside(database, what), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        # As SQLite does with its own files: the server may be another user's.
        owner = database.stat()
        os.fchown(file, owner.st_uid, owner.st_gid)
    return file


class Writers:
    """Where those wait who want to write, in all processes.

    SQLite would have them sleep, longer each time, so that who has waited longest looks least often. The kernel lets
    them go on in the order in which they came. This is no lock that anything relies on: BEGIN IMMEDIATE is.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = beside(database, "writers")
        self._threads = threading.Lock()
        self._file: int | None = None
        self._waited: int | None = None

    def enter(self, *, waits: bool = True) -> None:
        """Wait for those who are before; :meth:`leave` lets the next one on.

        :param waits: False to go away again where somebody is.
        :raises StoreUnavailableError: if that takes too long.
        """
        if not self._threads.acquire(timeout=PATIENCE if waits else 0):
            raise self._busy_error()
        try:
            self._wait_for_processes(waits=waits)
        except BaseException:
            self._threads.release()
            raise

    def leave(self) -> None:
        """Let the next one on."""
        assert self._file is not None
        if self._waited is None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        else:
            os.close(self._waited)
            self._waited = None
        self._threads.release()

    def close(self) -> None:
        """Close the file, unless somebody writes; the next one who wants to opens it again."""
        if self._threads.acquire(blocking=False):
            try:
                if self._file is not None:
                    os.close(self._file)
                    self._file = None
            finally:
                self._threads.release()

    def _wait_for_processes(self, *, waits: bool) -> None:
        try:
            if self._file is None:
                self._file = self._open()
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waits:
                    raise self._busy_error() from None
                # A lock belongs to what was opened: one that comes too late must be nobody else's.
                turn = _Turn(self._open())
                self._waited = turn.wait(PATIENCE)
                if self._waited is None:
                    raise self._busy_error() from None
        except OSError as error:
            raise StoreUnavailableError(f"{self._path} cannot be opened: {error}") from error

    def _open(self) -> int:
        return open_beside(self._database, "writers")

    def _busy_error(self) -> StoreUnavailableError:
        return StoreBusyError(f"others have been writing to the database beside {self._path} all the time")


class _Turn:
    """A place in the kernel's queue for the lock of a file, which a thread waits in: a call cannot be ended."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._came = threading.Event()
        self._given_up = False
        threading.Thread(target=self._run, daemon=True).start()

    def wait(self, seconds: float) -> int | None:
        """The locked file, which whoever closes it unlocks; None, and it is nobody's, if the lock does not come."""
        self._came.wait(seconds)
        with self._lock:
            self._given_up = not self._came.is_set()
            return None if self._given_up else self._file

    def _run(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        with self._lock:
            if not self._given_up:
                self._came.set()
                return
        os.close(self._file)
