"""Commits that the requests of one event loop share.

The decisions of all requests that have arrived are committed together: one lock, one wait for the disk. The batch is
nobody's: a client that goes away cancels nothing. The loop itself runs the statements, since a thread beside it would
wait for Python's lock after each; where the lock is another process's, or the disk takes long, a thread waits instead.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from acme_iid.errors import OutcomeUnknownError, StoreBusyError, StoreConflictError
from acme_iid.store.front import Front
from acme_iid.store.health import WatchedStore
from acme_iid.store.writes import ATTEMPTS, Committed, Committing, Outcome, Reader, Write, is_empty

T = TypeVar("T")

MOST = 64
"""Writes in one batch."""
TURNS = 2
"""Turns of the loop that a batch waits for further writes: what has arrived takes two to be decided."""
LONGEST = 0.02
"""Seconds that a batch waits for further writes at most, while they keep coming."""
SLOW = 0.02
"""Seconds of a commit after which the next one is a thread's: the loop would stand still for as long."""


class Store(Committing, Protocol):
    """A store that commits several writes together."""

    def commit_all(self, writes: Sequence[Write[Any]], *, waits: bool = True) -> list[Outcome | Exception]:
        """Commit several writes together, each of which happens or does not.

        :param waits: whether to wait for others that are writing.
        :returns: the outcome of each; a fault of ours in one is its error alone.
        :raises StoreBusyError: if others are writing; nothing of any happened.
        :raises StoreUnavailableError: if the store cannot take them now; nothing of any happened.
        """


class _Queued(NamedTuple):
    """A write that waits for a batch, the future of its outcome, and the context in which it is reported, if here."""

    write: Write[Any]
    future: asyncio.Future[Outcome | Exception]
    context: contextvars.Context | None


class Batches:
    """Commits writes of one event loop, in the order in which they were decided.

    :param store: the store that they are committed to, and that is read.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._context = contextvars.Context()
        self._queue: list[_Queued] = []
        self._due = False
        self._beside: asyncio.Task[None] | None = None
        self._slow = False
        self._seen = self._turns = 0
        self._since = 0.0
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: int | None = None

    async def perform(self, decide: Callable[[Reader], T | Write[T]], attempts: int = ATTEMPTS) -> T:
        """Decide a use case in the loop, commit what it writes, and answer: as ``writes.perform`` does."""
        self._note_loop()
        for _ in range(attempts):
            decided = decide(self._store)
            if not isinstance(decided, Write):
                return decided
            write = cast("Write[T]", decided)
            outcome = Committed(()) if is_empty(write) else await self._commit(write, reports=True)
            if isinstance(outcome, Committed):
                return write.answer(outcome.rows)
            verdict = outcome.verdict(self._store)
            if isinstance(verdict, Exception):
                raise verdict
            if verdict is not None:
                refused = await self._commit(verdict, reports=True)
                if isinstance(refused, Committed):
                    return cast("T", verdict.answer(refused.rows))
        raise StoreConflictError("others changed the same at the same moments, again and again; nothing was changed")

    def _note_loop(self) -> None:
        if self.loop is None:
            self.loop, self.thread = asyncio.get_running_loop(), threading.get_ident()

    async def commit(self, write: Write[Any]) -> Outcome:
        """Commit a write with those that others decide in the same turns of the loop; whoever has it done reports it.

        :raises StoreUnavailableError: see :meth:`acme_iid.store.writes.Committing.commit`.
        """
        return await self._commit(write, reports=False)

    async def _commit(self, write: Write[Any], *, reports: bool) -> Outcome:
        future: asyncio.Future[Outcome | Exception] = asyncio.get_running_loop().create_future()
        self._queue.append(_Queued(write, future, contextvars.copy_context() if reports else None))
        self._schedule()
        # The caller may be cancelled; its write is committed, and reported, all the same.
        outcome = await asyncio.shield(future)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _schedule(self) -> None:
        if self._queue and not self._due and self._beside is None:
            self._due = True
            self._since = time.monotonic()
            # After the requests that have arrived by now; what a batch logs is of none of its requests.
            asyncio.get_running_loop().call_soon(self._flush, context=self._context)

    def _flush(self) -> None:
        """Commit what has been decided, or have a thread do so."""
        now = time.monotonic()
        if len(self._queue) > self._seen:
            self._seen, self._turns = len(self._queue), 0
        else:
            self._turns += 1
        if self._turns < TURNS and len(self._queue) < MOST and now - self._since < LONGEST:
            asyncio.get_running_loop().call_soon(self._flush, context=self._context)
            return
        self._due = False
        self._seen = self._turns = 0
        batch, self._queue = self._queue[:MOST], self._queue[MOST:]
        writes = [queued.write for queued in batch]
        if not self._slow:
            began = time.monotonic()
            try:
                self._settle(batch, self._store.commit_all(writes, waits=False))
            except StoreBusyError:
                pass
            except Exception as error:  # noqa: BLE001 - those that wait for one of these are told
                self._settle(batch, [error] * len(batch))
            else:
                self._slow = time.monotonic() - began > SLOW
            if all(queued.future.done() for queued in batch):
                self._schedule()
                return
        self._beside = asyncio.get_running_loop().create_task(self._commit_beside(batch))

    async def _commit_beside(self, batch: list[_Queued]) -> None:
        began = time.monotonic()
        try:
            outcomes = await asyncio.to_thread(self._store.commit_all, [queued.write for queued in batch])
            self._slow = time.monotonic() - began > SLOW
            self._settle(batch, outcomes)
        except Exception as error:  # noqa: BLE001 - those that wait for one of these are told
            self._settle(batch, [error] * len(batch))
        finally:
            self._beside = None
            self._schedule()

    @staticmethod
    def _settle(batch: list[_Queued], outcomes: Sequence[Outcome | Exception]) -> None:
        for (write, future, context), outcome in zip(batch, outcomes, strict=True):
            if future.done():
                continue
            if context is not None and isinstance(outcome, Committed):
                context.run(write.report)
            future.set_result(outcome)


class LoopStore(Front[WatchedStore]):
    """The store as threads beside a loop use it: they read by themselves, and their writes go into its batches.

    Another connection's commit would empty the cache of the loop's.
    """

    def __init__(self, store: WatchedStore, batches: Batches) -> None:
        super().__init__(store)
        self._batches = batches

    def commit(self, write: Write[Any]) -> Outcome:
        """See :meth:`acme_iid.store.writes.Committing.commit`."""
        loop = self._batches.loop
        if loop is None or not loop.is_running() or self._batches.thread == threading.get_ident():
            return super().commit(write)
        committing = self._batches.commit(write)
        try:
            future = asyncio.run_coroutine_threadsafe(committing, loop)
        except RuntimeError:
            committing.close()  # the loop has been closed meanwhile
            return super().commit(write)
        try:
            return future.result()
        except CancelledError:
            raise OutcomeUnknownError("the server ended before it was known whether the write was stored") from None
