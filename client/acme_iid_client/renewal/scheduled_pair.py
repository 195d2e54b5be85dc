"""A pair that a daemon looks after: what it knows of it, and how patient it is."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from acme_iid_client.acme.connection import CaError
from acme_iid_client.renewal.refusals import RefusedError
from acme_iid_client.renewal.schedule import Window, planned_at
from acme_iid_client.storage.records import Record
from acme_iid_client.transport.pauses import spread

LONGEST_PAUSE = 300.0
"""Seconds between two tries at most, unless only an operator can change what was refused."""


@dataclass
class ScheduledPair:
    """A pair, and what is planned for it.

    :ivar leaf: the certificate; None while the files cannot be used, or it is not to be renewed.
    :ivar trouble: why the files cannot be used, as it was said; None if they can.
    :ivar absent: whether there is nothing to be renewed: no certificate, or one that was revoked from here.
    :ivar stamp: the state of the files when they were read, at ``looked_at`` by the monotonic clock.
    :ivar planned: when it is renewed, and ``ask_at`` when the CA is asked for its wish; seconds since the epoch.
    :ivar retry_at: before this moment of the monotonic clock, nothing is tried.
    :ivar forced: whether it is to be renewed, due or not.
    :ivar refused: the refusal that was said last, which only an operator can change; None if none stands.
    :ivar notification_pending: whether there are programs that do not know of the certificate yet.
    :ivar notification_tries: the number of tries in a row to tell them.
    :ivar notify_at: when it is tried again, by the monotonic clock.
    :ivar since: when a thread took it up, by the monotonic clock; None if none has.
    """

    record: Record
    leaf: x509.Certificate | None = None
    trouble: str | None = None
    absent: bool = False
    stamp: tuple[int, ...] | None = None
    planned: float = 0.0
    ask_at: float = 0.0
    failures: int = 0
    retry_at: float = 0.0
    forced: bool = False
    refused: str | None = None
    notification_pending: bool = False
    notification_tries: int = 0
    notify_at: float = 0.0
    since: float | None = None
    looked_at: float = 0.0

    @property
    def name(self) -> str:
        """The pair's name for people."""
        return str(self.record.certificate)

    @property
    def ca(self) -> str:
        """The CA's address; "" is the CA of the bootstrap."""
        return self.record.ca_url or ""

    @property
    def end(self) -> float:
        """When the certificate expires, seconds since the epoch."""
        return 0.0 if self.leaf is None else self.leaf.not_valid_after_utc.timestamp()

    @property
    def _longest_pause(self) -> float:
        # Certificates that live for minutes are tried more often.
        if self.leaf is None:
            return LONGEST_PAUSE
        life = self.leaf.not_valid_after_utc - self.leaf.not_valid_before_utc
        return min(LONGEST_PAUSE, max(2.0, life.total_seconds() / 60))

    def plan(self, window: Window | None, expires_in: str | None) -> None:
        """Settle when the certificate is renewed.

        :param window: the window that the CA suggests.
        :param expires_in: the time that is to be left then, as an administrator has chosen it.
        """
        assert self.leaf is not None
        self.planned = planned_at(self.leaf, window, expires_in).timestamp()

    def pause(self, tries: int, error: Exception) -> float:
        """Seconds until the next try: longer each time, up to a limit, and never alike for all.

        :param tries: the number of tries in a row that failed.
        :param error: the error of the last one.
        """
        if isinstance(error, RefusedError):
            return max(0.0, error.refusal.until - time.time())
        pause = min(self._longest_pause, 2.0 ** min(tries - 1, 30)) * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        if isinstance(error, CaError) and error.retry_after is not None:
            # As long as the CA asks for, but never so long that the certificate's end is risked.
            pause = max(pause, min(spread(error.retry_after), (self.end - time.time()) / 4))
        return pause


def stamp(record: Record) -> tuple[int, ...]:
    """A value that changes when a file of a pair is replaced."""
    return (*stamp_of(record.certificate), *stamp_of(record.key))


def stamp_of(path: Path) -> tuple[int, int, int]:
    """A value that changes when a file or a directory does; zeros if it cannot be looked at."""
    try:
        status = os.stat(path)  # noqa: PTH116 - two hundred of them each second
    except (OSError, ValueError):
        return 0, 0, 0
    # The time of the last change, not of the content alone: a file's permissions change as well.
    return status.st_ino, status.st_ctime_ns, status.st_size
