"""Reports: whoever listens hears of each thing that was committed, once and after it, and of nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from acme_iid.errors import AcmeError, Problem, StoreConflictError
from acme_iid.store import instances
from acme_iid.store.batches import Batches, LoopStore
from acme_iid.store.chain import Event
from acme_iid.store.database import Database, open_store
from acme_iid.store.health import WatchedStore
from acme_iid.store.writes import Reader, Statement, Write, again, perform, refuse
from acme_iid.telemetry import reports

NOW = 1_800_000_000
ERROR = AcmeError(Problem.UNAUTHORIZED, "no")
GUARD = instances.unchanged("nobody", 0)


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    opened = open_store(store_url)
    yield opened
    opened.close()


@pytest.fixture
def in_file(tmp_path: Path) -> Iterator[Database]:
    """A store whose commits the requests of a loop share."""
    opened = open_store(f"sqlite:{tmp_path / 'batches.db'}")
    yield opened
    opened.close()


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """The kinds of what was reported."""
    kinds: list[str] = []

    def listener(fact: reports.Fact) -> None:
        kinds.append(fact.kind)

    reports.listen(listener)
    yield kinds
    reports.cease(listener)


def noted(kind: str, *guards: Statement) -> Write[str]:
    """A write of two events, one of which is only reported."""
    return Write(guards, lambda _rows: kind, [Event(kind, NOW)], [Event(f"{kind} again", NOW)])


def decided(write: Write[str]) -> Callable[[Reader], str | Write[str]]:
    """A use case that has this written."""
    return lambda _reader: write


def stored(database: Database) -> list[str]:
    database.seal()
    return [row["kind"] for row in database.rows("SELECT kind FROM events ORDER BY seq")]


def test_what_is_committed_is_reported_and_only_events_are_stored(database: Database, heard: list[str]) -> None:
    perform(database, lambda _reader: noted("a").then(len))
    assert heard == ["a", "a again"]
    assert stored(database) == ["a"]


def test_a_refusal_that_is_committed_is_reported(database: Database, heard: list[str]) -> None:
    with pytest.raises(AcmeError):
        perform(database, lambda _reader: refuse([], ERROR, [Event("a", NOW)], [Event("b", NOW)]))
    assert heard == ["a", "b"]


def test_what_comes_to_nothing_is_not_reported(database: Database, heard: list[str]) -> None:
    guard = Statement(GUARD.text, GUARD.values, again)
    with pytest.raises(StoreConflictError):
        perform(database, lambda _reader: noted("a", guard))
    with pytest.raises(AcmeError):
        perform(database, lambda _reader: noted("a", Statement(GUARD.text, GUARD.values, lambda _reader: ERROR)))
    assert heard == [] == stored(database)


def test_what_is_refused_after_a_guard_failed_is_reported_alone(database: Database, heard: list[str]) -> None:
    def verdict(_reader: Reader) -> Write[str]:
        return refuse([], ERROR, [Event("refused", NOW)])

    with pytest.raises(AcmeError):
        perform(database, lambda _reader: noted("a", Statement(GUARD.text, GUARD.values, verdict)))
    assert heard == ["refused"] == stored(database)


def test_a_batch_reports_what_is_refused_after_a_guard_failed(in_file: Database, heard: list[str]) -> None:
    def verdict(_reader: Reader) -> Write[str]:
        return refuse([], ERROR, [Event("refused", NOW)])

    batches = Batches(WatchedStore(in_file))
    with pytest.raises(AcmeError):
        asyncio.run(batches.perform(decided(noted("a", Statement(GUARD.text, GUARD.values, verdict)))))
    assert heard == ["refused"] == stored(in_file)


def test_a_batch_reports_each_of_its_writes_once(in_file: Database, heard: list[str]) -> None:
    batches = Batches(WatchedStore(in_file))
    guard = Statement(GUARD.text, GUARD.values, lambda _reader: ERROR)

    async def several() -> None:
        writes = [noted("a"), noted("b", guard), noted("c")]
        await asyncio.gather(*(batches.perform(decided(write)) for write in writes), return_exceptions=True)

    asyncio.run(several())
    assert heard == ["a", "a again", "c", "c again"]
    assert stored(in_file) == ["a", "c"]


def test_a_thread_whose_write_goes_into_a_batch_reports_it_once(in_file: Database, heard: list[str]) -> None:
    batches = Batches(WatchedStore(in_file))
    store = LoopStore(WatchedStore(in_file), batches)

    async def both() -> None:
        await batches.perform(decided(noted("loop")))
        await asyncio.to_thread(perform, store, lambda _reader: noted("thread"))

    asyncio.run(both())
    assert heard == ["loop", "loop again", "thread", "thread again"]


def test_a_write_whose_client_went_away_is_reported(in_file: Database, heard: list[str]) -> None:
    batches = Batches(WatchedStore(in_file))

    async def gone() -> None:
        asked = asyncio.ensure_future(batches.perform(decided(noted("a"))))
        await asyncio.sleep(0)
        asked.cancel()
        await batches.perform(decided(noted("b")))

    asyncio.run(gone())
    assert heard == ["a", "a again", "b", "b again"]
    assert stored(in_file) == ["a", "b"]


def test_a_listener_that_fails_is_logged_and_changes_nothing(
    database: Database, heard: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    def failing(_fact: reports.Fact) -> None:
        raise RuntimeError("its fault")

    reports.listen(failing)
    reports.listen(failing)
    try:
        perform(database, lambda _reader: noted("b"))
    finally:
        reports.cease(failing)
    assert caplog.text.count("RuntimeError: its fault") == 2
    assert heard == ["b", "b again"]
