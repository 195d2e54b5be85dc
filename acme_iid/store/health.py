"""Whether the store takes writes, known from those that there were."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from acme_iid.errors import StoreBusyError, StoreConflictError, StoreUnavailableError
from acme_iid.store import jobs
from acme_iid.store.database import Database, SQLite, Transaction
from acme_iid.store.front import Front
from acme_iid.store.writes import Outcome, Write
from acme_iid.telemetry import instruments

PROBE_SECONDS = 5.0
"""The seconds that the outcome of the latest write counts; after that, the next question writes something."""
BUSY_SECONDS = 30.0
"""The seconds that a store may be busy with other writers before that counts as a fault."""

_JOB = "health"


class WatchedStore(Front[Database]):
    """A store of which it is remembered how the latest write of this process went.

    A transaction that its user gave up says nothing of the store, nor does one that others went before: where all are
    at work, nobody is ill.

    :param prober: the store that is asked for a write where nobody wrote: with a connection of its own, where others
        may wait for one.
    """

    def __init__(self, database: Database, prober: Database | None = None) -> None:
        super().__init__(database)
        self._prober = database if prober is None else prober
        self._probing = threading.Lock()
        self._began = time.monotonic()
        self._succeeded_at = self._failed_at = -float("inf")
        self._failure: StoreUnavailableError | None = None

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See :meth:`~acme_iid.store.database.Database.transaction`."""
        try:
            with self._behind.transaction() as transaction:
                yield transaction
        except StoreUnavailableError as error:
            self._note(error)
            raise
        self._succeeded_at, self._failure = time.monotonic(), None

    def commit(self, write: Write[Any]) -> Outcome:
        """See :meth:`~acme_iid.store.writes.Committing.commit`."""
        began = time.monotonic()
        try:
            outcome = self._behind.commit(write)
        except StoreUnavailableError as error:
            self._note(error)
            raise
        self._note_success(began, 1)
        return outcome

    def commit_all(self, writes: Sequence[Write[Any]], *, waits: bool = True) -> list[Outcome | Exception]:
        """See :meth:`acme_iid.store.batches.Store.commit_all`; for a store that has it."""
        assert isinstance(self._behind, SQLite)
        began = time.monotonic()
        try:
            outcomes = self._behind.commit_all(writes, waits=waits)
        except StoreUnavailableError as error:
            if waits or not isinstance(error, StoreBusyError):
                self._note(error)
            raise
        self._note_success(began, len(writes))
        return outcomes

    def close(self) -> None:
        """See :meth:`~acme_iid.store.database.Database.close`."""
        super().close()
        self._prober.close()

    def require_writable(self) -> None:
        """Find out whether the store takes writes: from the latest one, or from one more if that is long ago.

        :raises StoreUnavailableError: if it does not.
        """
        latest = max(self._succeeded_at, self._failed_at)
        # Of several who ask, one has it tried, and the others are told what was so before.
        if time.monotonic() - latest > PROBE_SECONDS and self._probing.acquire(blocking=False):
            try:
                self._probe()
            finally:
                self._probing.release()
        failure = self._failure
        if failure is not None:
            raise StoreUnavailableError(f"the store takes no writes: {failure}")

    def _probe(self) -> None:
        """Have something written, and remember how that went."""
        try:
            self._prober.commit(Write([jobs.mark(_JOB, int(time.time()))], lambda _rows: None))
        except StoreUnavailableError as error:
            now = time.monotonic()
            # Others wrote all the while, unless nothing of ours was written for long.
            if not isinstance(error, StoreConflictError | StoreBusyError) or now - self._well_since() >= BUSY_SECONDS:
                self._failed_at, self._failure = now, error
        else:
            self._succeeded_at, self._failure = time.monotonic(), None

    def _well_since(self) -> float:
        return max(self._succeeded_at, self._began)

    def _note_success(self, began: float, writes: int) -> None:
        self._succeeded_at, self._failure = time.monotonic(), None
        instruments.COMMIT_SECONDS.observe(self._succeeded_at - began)
        instruments.BATCH_WRITES.observe(writes)

    def _note(self, error: StoreUnavailableError) -> None:
        instruments.STORE_FAILURES.add()
        if not isinstance(error, StoreConflictError | StoreBusyError):
            self._failed_at, self._failure = time.monotonic(), error
