"""Threads beside a loop: their writes go into its batches, and the loop may end meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from writing import write

from acme_iid.errors import OutcomeUnknownError
from acme_iid.store.batches import Batches, LoopStore
from acme_iid.store.database import SQLite, open_store
from acme_iid.store.health import WatchedStore
from acme_iid.store.writes import Committed, Outcome, Statement, Write

DEADLINE = 60
NOTE = write(Statement("INSERT INTO limits (key, until) VALUES ('a', 1)", {}))


class Seen(SQLite):
    """Says when a thread waits with a batch for others that are writing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.waits = threading.Event()

    def commit_all(self, writes: Sequence[Write[Any]], *, waits: bool = True) -> list[Outcome | Exception]:
        if waits:
            self.waits.set()
        return super().commit_all(writes, waits=waits)


@pytest.fixture
def store(tmp_path: Path) -> Seen:
    path = tmp_path / "ca.db"
    open_store(f"sqlite:{path}").close()
    return Seen(path)


def in_thread(store: LoopStore) -> Future[Outcome]:
    """Commit a note in a thread of its own."""
    found: Future[Outcome] = Future()

    def run() -> None:
        try:
            found.set_result(store.commit(NOTE))
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            found.set_exception(error)

    threading.Thread(target=run).start()
    return found


def test_a_write_that_waits_when_the_loop_ends_has_an_unknown_outcome(store: Seen) -> None:
    watched = WatchedStore(store)
    batches = Batches(watched)
    other = SQLite(store.path)

    async def serve() -> Future[Outcome]:
        await batches.perform(lambda _reader: None)
        found = in_thread(LoopStore(watched, batches))
        assert await asyncio.to_thread(store.waits.wait, DEADLINE)
        return found

    with other.transaction() as transaction:
        transaction.run("INSERT INTO limits (key, until) VALUES ('other', 1)")
        loop = asyncio.new_event_loop()
        found = loop.run_until_complete(serve())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        with pytest.raises(OutcomeUnknownError, match="the server ended"):
            found.result(DEADLINE)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    store.close()
    other.close()


def test_a_batch_that_waits_for_another_program_is_committed_once(store: Seen) -> None:
    watched = WatchedStore(store)
    batches = Batches(watched)
    other = SQLite(store.path)
    count = "INSERT INTO limits (key, until) VALUES ('a', 1) ON CONFLICT (key) DO UPDATE SET until = limits.until + 1"

    async def serve(writing: ExitStack) -> None:
        await batches.perform(lambda _reader: None)
        counting = asyncio.create_task(batches.commit(write(Statement(count, {}))))
        assert await asyncio.to_thread(store.waits.wait, DEADLINE)
        writing.close()
        assert isinstance(await counting, Committed)
        # What was to be committed before this has been.
        await batches.commit(write(Statement("INSERT INTO limits (key, until) VALUES ('b', 1)", {})))

    with ExitStack() as writing:
        transaction = writing.enter_context(other.transaction())
        transaction.run("INSERT INTO limits (key, until) VALUES ('other', 1)")
        asyncio.run(serve(writing))
    found = {row["key"]: row["until"] for row in store.rows("SELECT key, until FROM limits")}
    assert found == {"a": 1, "b": 1, "other": 1}
    store.close()
    other.close()


def test_a_thread_writes_by_itself_once_the_loop_has_ended(store: Seen) -> None:
    watched = WatchedStore(store)
    batches = Batches(watched)

    async def serve() -> None:
        await batches.perform(lambda _reader: None)

    asyncio.run(serve())
    assert isinstance(in_thread(LoopStore(watched, batches)).result(DEADLINE), Committed)
    store.close()
