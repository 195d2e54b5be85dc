"""The records of a machine's certificates, for a program that looks at them all the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from acme_iid_client.storage import records
from acme_iid_client.storage.directories import Directories

_READ_AGAIN = 10.0
"""Seconds after which records that could not be read are read again, whatever their directory says."""


class CachedRecords:
    """The records, read again when one was added or changed: a daemon looks all the time.

    :param read: reads them; what it is given is called with a sentence about each that cannot be read.
    :param complain: called once with each of these sentences, for as long as it holds.
    """

    def __init__(
        self,
        where: Directories,
        read: Callable[[Callable[[str], None]], list[records.Record]],
        complain: Callable[[str], None],
    ) -> None:
        self._directory = records.directory(where.state)
        self._read = read
        self._complain = complain
        self._stamp: int | None = None
        self._read_at = 0.0
        self._complaints: list[str] = []
        self._found: list[records.Record] = []

    def get(self) -> list[records.Record]:
        """The records as they are now."""
        now, stamp = time.monotonic(), _changed(self._directory)
        # A file may become readable, or unreadable, without a trace in its directory.
        if stamp != self._stamp or (self._complaints and now >= self._read_at + _READ_AGAIN):
            before, self._complaints = self._complaints, []
            self._found, self._stamp, self._read_at = self._read(self._complaints.append), stamp, now
            for text in self._complaints:
                if text not in before:
                    self._complain(text)
        return self._found


def _changed(directory: Path) -> int:
    """The time at which a directory or its permissions were changed last.

    :raises OSError: if it cannot be looked at.
    """
    try:
        return directory.stat().st_ctime_ns
    except FileNotFoundError:
        return 0
