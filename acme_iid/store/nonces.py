"""Which nonces were spent, and the key under which nonces are made.

On one machine: nonces are numbered, and a file that all processes map into their memory has a bit for each of the
latest sixteen million. No request waits for the disk for it, and none of the other processes is asked. The numbers hold
for one boot of the machine, since what a power failure leaves of such a file may be old: after it, the nonces of before
are refused, and clients ask again (RFC 8555 section 6.5).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from acme_iid.errors import StoreUnavailableError
from acme_iid.store.database import Database, Transaction
from acme_iid.store.writes import Question, Reader

ID_BYTES = 16
"""The size of what identifies a nonce, in octets."""

_KEY_BYTES = 32
_HEADER = struct.Struct(">16s16s8sQ")  # the file's kind, the boot, the epoch, the next number
_MAGIC = b"acme-iid nonces1"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_BITS_AT = 4096
NUMBERS = 1 << 24
"""The count of the numbers that are remembered; a nonce that is older is refused, whatever its time."""
BLOCK = 256
"""The count of the numbers that a process takes at a time, to give them out by itself."""


class SpentNonces(Protocol):
    """Makes the part of a nonce that identifies it, and remembers which were spent."""

    def fresh(self) -> bytes:
        """An identifier that no nonce had before, :data:`ID_BYTES` octets; it may be guessable.

        :raises StoreUnavailableError: if there can be none now.
        """

    def time(self, now: int) -> int:
        """The time of the clock that dates nonces when this machine's says ``now``; both in seconds."""

    def spend(self, identifier: bytes, issued_at: int, expires_at: int, now: int) -> bool:
        """Spend a nonce by its identifier; False if it ran out, was spent before, or may have been.

        :param issued_at: the time that :meth:`time` gave when it was made.
        :param expires_at: until when it is accepted, by the same clock.
        :param now: the time by this machine's clock.
        :raises StoreUnavailableError: if that cannot be known now.
        """

    def spend_asking(
        self,
        identifier: bytes,
        issued_at: int,
        expires_at: int,
        now: int,
        reader: Reader,
        questions: Sequence[Question],
    ) -> Reader | None:
        """Spend a nonce as :meth:`spend` does, and ask some questions with it.

        :param reader: the store.
        :returns: a reader that has their answers; None if the nonce could not be spent.
        :raises StoreUnavailableError: as :meth:`spend` does.
        """

    def close(self) -> None:
        """Give back what it holds of this process's; nothing asks it any more."""


def mac_key(database: Database) -> bytes:
    """The key that all processes of this CA make and check nonces with; made at the first call."""
    statement = "SELECT value FROM secrets WHERE name = 'nonce key'"
    if not database.rows(statement):
        with database.transaction() as transaction:
            make_mac_key(transaction)
    value: str = database.rows(statement)[0]["value"]
    return bytes.fromhex(value)


def make_mac_key(transaction: Transaction) -> None:
    """Make the key of :func:`mac_key`, if there is none."""
    transaction.run(
        "INSERT INTO secrets (name, value) VALUES ('nonce key', :value) ON CONFLICT DO NOTHING",
        value=secrets.token_hex(_KEY_BYTES),
    )


class NonceFile:
    """The nonces of one machine, in a file that its processes share.

    :param path: the file; it is made if it does not exist, and made anew after a reboot or if it is no such file.
    :param numbers: the count of remembered numbers, a multiple of :data:`BLOCK`; the same in all processes.
    :raises StoreUnavailableError: if it cannot be opened.
    """

    def __init__(self, path: Path, numbers: int = NUMBERS) -> None:
        self._threads = threading.Lock()
        self._mine = iter(range(0))
        self._numbers = numbers
        size = _BITS_AT + numbers // 8
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with self._alone():
                # With its blocks: to write to a page that the disk has no room for would end the process.
                os.posix_fallocate(self._file, 0, size)
                self._memory = mmap.mmap(self._file, size)
                boot = bytes.fromhex(_BOOT_ID.read_text().strip().replace("-", ""))
                if self._memory[:32] != _MAGIC + boot:
                    self._memory[:] = bytes(size)
                    _HEADER.pack_into(self._memory, 0, _MAGIC, boot, secrets.token_bytes(8), 0)
        except (OSError, ValueError) as error:
            raise StoreUnavailableError(f"the file of nonces {path} cannot be used: {error}") from error
        # Read once: a process that still runs when another makes the file anew goes on in neither's numbers.
        self._epoch: bytes = _HEADER.unpack_from(self._memory)[2]

    def close(self) -> None:
        """See :meth:`SpentNonces.close`."""
        self._memory.close()
        os.close(self._file)

    def fresh(self) -> bytes:
        """See :meth:`SpentNonces.fresh`."""
        with self._threads:
            number = next(self._mine, None)
            # A block that was taken long ago may have lost its places to others by now.
            if number is None or number < _HEADER.unpack_from(self._memory)[3] - self._numbers:
                self._mine = iter(self._block())
                number = next(self._mine)
        return self._epoch + number.to_bytes(8, "big")

    def time(self, now: int) -> int:
        """See :meth:`SpentNonces.time`: there is one machine, and one clock."""
        return now

    def spend(self, identifier: bytes, issued_at: int, expires_at: int, now: int) -> bool:
        """See :meth:`SpentNonces.spend`."""
        # One that is from the future was made before the clock was set back; nothing is wrong with it.
        del issued_at
        if expires_at <= now:
            return False
        epoch, number = identifier[:8], int.from_bytes(identifier[8:], "big")
        at, bit = self._place(number)
        with self._threads, self._alone():
            _, _, current, head = _HEADER.unpack_from(self._memory)
            if epoch != current or not head - self._numbers <= number < head or self._memory[at] & bit:
                return False
            self._memory[at] |= bit
        return True

    def spend_asking(
        self,
        identifier: bytes,
        issued_at: int,
        expires_at: int,
        now: int,
        reader: Reader,
        questions: Sequence[Question],
    ) -> Reader | None:
        """See :meth:`SpentNonces.spend_asking`."""
        return reader.ahead(*questions) if self.spend(identifier, issued_at, expires_at, now) else None

    def _block(self) -> range:
        """Take the next numbers, and forget who had their places before."""
        with self._alone():
            magic, boot, epoch, head = _HEADER.unpack_from(self._memory)
            at, _ = self._place(head)
            # The head first: the former numbers are refused from then on, and nobody has the new ones yet.
            _HEADER.pack_into(self._memory, 0, magic, boot, epoch, head + BLOCK)
            self._memory[at : at + BLOCK // 8] = bytes(BLOCK // 8)
        return range(head, head + BLOCK)

    def _place(self, number: int) -> tuple[int, int]:
        """Where a number's bit is: its octet, and the octet's bit."""
        index = number % self._numbers
        return _BITS_AT + index // 8, 1 << index % 8

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep the other processes out; the kernel lets them in again if this one is killed."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
