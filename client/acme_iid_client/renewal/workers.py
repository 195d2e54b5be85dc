"""The threads that do what takes time for the daemon: renewing, telling programs, asking the CA for its wish."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cryptography import x509

from acme_iid_client.errors import ClientError
from acme_iid_client.renewal.refusals import Refusal
from acme_iid_client.renewal.schedule import Window
from acme_iid_client.renewal.scheduled_pair import ScheduledPair
from acme_iid_client.storage.records import Record

WORKERS = 4
"""Renewals at the same time: enough that a slow one does not keep the others, few enough for any CA."""

What = Literal["renew", "advise", "notify"]
"""The jobs of threads."""


@dataclass(frozen=True, slots=True)
class Current:
    """A pair as it is on the disk.

    :ivar revoked: whether the certificate was revoked from here, so that it is not renewed.
    :ivar notification_pending: whether programs are still to be told of it.
    :ivar refusal: the refusal to renew it that stands.
    """

    leaf: x509.Certificate
    revoked: bool
    notification_pending: bool
    refusal: Refusal | None


@dataclass(frozen=True, slots=True)
class Duties:
    """The functions that the daemon is made of. The loop calls the first three, threads call the others.

    :ivar find: the pairs, each with what is known about it.
    :ivar stamp: gives a value that changes when a pair is worth another look.
    :ivar look: reads a pair.
    :ivar renew: gets a new certificate and puts it in place; returns it.
    :ivar notify: tells others of it.
    :ivar advise: asks the CA when it would like a certificate to be renewed.
    :ivar expires_in: renew with this much time left, instead of when the CA or the certificate's life says so.
    :ivar look_at_roots: has the list of the CA's roots looked at soon, beside all else.
    :ivar seconds: the longest that ``renew`` and ``notify`` take together for a pair.
    """

    find: Callable[[], list[Record]]
    stamp: Callable[[Record], tuple[int, ...]]
    look: Callable[[Record], Current]
    renew: Callable[[Record], x509.Certificate]
    notify: Callable[[Record, x509.Certificate], None]
    advise: Callable[[Record, x509.Certificate], Window | None]
    look_at_roots: Callable[[], None]
    expires_in: str | None
    seconds: Callable[[Record], float]


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a job.

    :ivar outcome: the certificate that was issued or that others were told of, or None where only the CA's wish was
        asked for; or what went wrong.
    :ivar wish: the CA's for the certificate that is there now, or why it is not known.
    :ivar notification_error: why others were not told.
    """

    pair: ScheduledPair
    what: What
    outcome: x509.Certificate | Exception | None
    wish: Window | Exception | None = None
    notification_error: Exception | None = None


class Workers:
    """The threads.

    :param ring: called by a thread that is done.
    """

    def __init__(self, duties: Duties, ring: Callable[[], None]) -> None:
        self._duties = duties
        self._ring = ring
        self._jobs: queue.SimpleQueue[tuple[What, ScheduledPair]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Done] = queue.SimpleQueue()

    def start(self) -> None:
        """Start them; they end with the program."""
        for _ in range(WORKERS):
            threading.Thread(target=self._work, daemon=True).start()

    def give(self, what: What, pair: ScheduledPair) -> None:
        """Have one of them do something."""
        self._jobs.put((what, pair))

    def results(self) -> list[Done]:
        """The results since the last call."""
        results = []
        while True:
            try:
                results.append(self._done.get_nowait())
            except queue.Empty:
                return results

    def take_back(self) -> list[ScheduledPair]:
        """The pairs of the jobs that no thread has begun; these jobs are dropped."""
        pairs = []
        while not self._jobs.empty():
            pairs.append(self._jobs.get()[1])
        return pairs

    def _work(self) -> None:
        while True:
            what, pair = self._jobs.get()
            try:
                done = self._do(what, pair)
            except Exception as error:  # noqa: BLE001 - a fault of ours ends one try, never the renewing
                done = Done(pair, what, error)
            self._done.put(done)
            self._ring()

    def _do(self, what: What, pair: ScheduledPair) -> Done:
        if what == "renew":
            return self._renew(pair)
        leaf = pair.leaf
        assert leaf is not None
        if what == "advise":
            return Done(pair, "advise", None, self._duties.advise(pair.record, leaf))
        return Done(pair, "notify", leaf, None, self._notify(pair.record, leaf))

    def _renew(self, pair: ScheduledPair) -> Done:
        leaf = self._duties.renew(pair.record)
        notification_error = self._notify(pair.record, leaf)
        wish: Window | Exception | None = None
        if self._duties.expires_in is None:
            # At once, as RFC 9773 section 4.3 would have it, so that what is said about the next time holds.
            try:
                wish = self._duties.advise(pair.record, leaf)
            except ClientError as error:
                wish = error
        return Done(pair, "renew", leaf, wish, notification_error)

    def _notify(self, record: Record, leaf: x509.Certificate) -> Exception | None:
        try:
            self._duties.notify(record, leaf)
        except (ClientError, OSError) as error:
            return error
        return None
