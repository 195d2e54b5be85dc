"""A number that changes with the accounts of a SQLite file, in memory that all processes share.

A request is sent by an account, and most accounts never change: a process keeps the rows that it has read. Each asks
this number whether one may have changed since, in any process, and needs no statement for it.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from pathlib import Path

from acme_iid.errors import StoreUnavailableError
from acme_iid.store.writers import beside, open_beside

_NUMBER = struct.Struct("=Q")


class Generation:
    """The number of a database's file.

    It is odd from before an account is changed until after the commit. A process that is killed in between leaves it
    odd, and nobody relies on a row in memory then, until the next change has ended.

    :param database: the database's file.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._opening = threading.Lock()
        self._memory: mmap.mmap | None = None

    def now(self) -> int | None:
        """The number; None while accounts are being changed, or if the file cannot be used."""
        try:
            number: int = _NUMBER.unpack_from(self._mapped())[0]
        except (OSError, ValueError):
            return None
        return None if number % 2 else number

    def begin(self) -> None:
        """Say that accounts are about to be changed; by whoever writes, who is alone.

        :raises StoreUnavailableError: if the file cannot be used: others may rely on it.
        """
        try:
            memory = self._mapped()
        except (OSError, ValueError) as error:
            raise StoreUnavailableError(f"{beside(self._database, 'accounts')} cannot be used: {error}") from error
        number: int = _NUMBER.unpack_from(memory)[0]
        # An odd one was left by a process that was killed.
        _NUMBER.pack_into(memory, 0, (number + 1) | 1)

    def end(self) -> None:
        """Say that the change has been committed, or came to nothing."""
        memory = self._mapped()
        number: int = _NUMBER.unpack_from(memory)[0]
        _NUMBER.pack_into(memory, 0, number + 1)

    def close(self) -> None:
        """Give back the memory; it is taken again when it is needed."""
        with self._opening:
            if self._memory is not None:
                self._memory.close()
                self._memory = None

    def _mapped(self) -> mmap.mmap:
        memory = self._memory
        if memory is not None:
            return memory
        with self._opening:
            if self._memory is None:
                file = open_beside(self._database, "accounts")
                try:
                    # With its block: to write to a page that the disk has no room for would end the process.
                    os.posix_fallocate(file, 0, _NUMBER.size)
                    self._memory = mmap.mmap(file, _NUMBER.size)
                finally:
                    os.close(file)
            return self._memory
