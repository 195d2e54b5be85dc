"""Writes: all of one happens or nothing, whatever is wrong with it or with those beside it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from writing import committed, happens, key, put, write

from acme_iid.errors import (
    AcmeError,
    Problem,
    StoreBusyError,
    StoreConflictError,
    StoreUnavailableError,
    UnstorableTextError,
)
from acme_iid.protocol.resources import Account
from acme_iid.store import accounts, events, instances
from acme_iid.store.chain import Event
from acme_iid.store.database import Database, SQLite, open_store
from acme_iid.store.writes import Committed, Reader, Refused, Statement, Write, again, perform, refuse

NOW = 1_800_000_000
REFUSED = AcmeError(Problem.UNAUTHORIZED, "no")
BATCH = 5


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    opened = open_store(store_url)
    put(opened, accounts.add(account("taken")))
    yield opened
    opened.close()


@pytest.fixture
def in_file(tmp_path: Path) -> Iterator[SQLite]:
    opened = open_store(f"sqlite:{tmp_path / 'batches.db'}")
    assert isinstance(opened, SQLite)
    put(opened, accounts.add(account("taken")))
    yield opened
    opened.close()


def account(name: str) -> Account:
    return Account(name, "{}", f"thumb-{name}", (), NOW, key_since=NOW)


def note(key: str, value: object = 1) -> Statement:
    """A statement that always happens, once."""
    return Statement("INSERT INTO limits (key, until) VALUES (:key, :value)", {"key": key, "value": value})


def notes(reader: Reader) -> list[str]:
    return [row["key"] for row in reader.rows("SELECT key FROM limits ORDER BY key")]


def kinds(database: Database) -> list[str]:
    """The kinds of all events, which have to be one whole chain."""
    database.seal()
    rows = database.rows("SELECT kind FROM events ORDER BY seq")
    assert len(list(events.check(database))) == len(rows)
    return [row["kind"] for row in rows]


GUARD = instances.unchanged("nobody", 0)
RENAMED = Statement("UPDATE accounts SET contact = '[]' WHERE id = 'nobody'", {}, lambda _reader: REFUSED)
TAKEN = accounts.set_key(account("other"), "{}", "thumb-taken", NOW)
"""Hurts a constraint that the statement names."""


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("guard", [GUARD, RENAMED, TAKEN], ids=["select", "update", "named constraint"])
def test_a_guard_that_fails_lets_nothing_happen_wherever_it_stands(
    database: Database, guard: Statement, at: int
) -> None:
    put(database, accounts.add(account("other")))
    statements = [note("a"), note("b")]
    statements.insert(at, guard)
    outcome = database.commit(write(*statements, events=[Event("never", NOW)]))
    assert outcome == Refused(guard.verdict or again)
    assert (notes(database), kinds(database)) == ([], [])
    assert happens(database, note("a"), events=[Event("after", NOW)])
    assert (notes(database), kinds(database)) == (["a"], ["after"])


def test_a_guard_that_fails_repeatedly_takes_nothing_from_later_writes(database: Database) -> None:
    # A driver that prepares a statement of a write must not rely on it where the write came to nothing.
    for turn in range(12):
        assert not happens(database, GUARD, note(f"never{turn}"), events=[Event("never", NOW)])
    for turn in range(12):
        assert happens(database, instances.block(key(f"gcp:1:{turn}"), 0, "", None, NOW), note(f"{turn:02}"))
        assert not happens(database, note(f"never{turn}"), GUARD)
    assert notes(database) == [f"{turn:02}" for turn in range(12)]


SAME_KEY = Statement("INSERT INTO limits (key, until) VALUES ('a', 1)", {})
SAME_THUMBPRINT = Statement(
    """INSERT INTO accounts (id, jwk, thumbprint, contact, key_since, created_at)
       VALUES ('other', '{}', 'thumb-taken', '[]', 1, 1)""",
    {},
    again,
    unique="accounts.id",
)
"""Hurts another constraint than the one that it names."""


@pytest.mark.parametrize("statement", [SAME_KEY, SAME_THUMBPRINT], ids=["no guard", "another constraint"])
def test_a_constraint_that_a_statement_does_not_name_is_a_fault(database: Database, statement: Statement) -> None:
    faults = (sqlite3.IntegrityError, psycopg.IntegrityError)
    with pytest.raises(faults):
        database.commit(write(note("a"), statement, events=[Event("never", NOW)]))
    assert (notes(database), kinds(database)) == ([], [])
    assert happens(database, note("a"))


FAULTS: dict[str, tuple[Statement, type[Exception]]] = {
    "no such table": (Statement("INSERT INTO nowhere VALUES (1)", {}), sqlite3.OperationalError),
    "no parameter": (Statement("INSERT INTO limits (key, until) VALUES (:key, 1)", {}), sqlite3.ProgrammingError),
    "constraint": (Statement("INSERT INTO limits (key, until) VALUES ('k', NULL)", {}), sqlite3.IntegrityError),
    "too large": (note("k", 1 << 63), OverflowError),
    "no text": (note("\ud800"), UnicodeEncodeError),
    "no type": (note("k", object()), sqlite3.Error),
    "too long": (Statement("SELECT zeroblob(2000000000)", {}), sqlite3.DataError),
}


def batch(wrong: int, at: int, statement: Statement) -> list[Write[Any]]:
    """Five writes of three statements and two events each, one of which has one more."""
    writes = []
    for number in range(BATCH):
        statements = [note(f"{number}{place}") for place in "abc"]
        if number == wrong:
            statements.insert(at, statement)
        recorded = [Event(f"{number}{place}", NOW) for place in "xy"]
        writes.append(write(*statements, events=recorded))
    return writes


def assert_all_but(in_file: SQLite, wrong: int) -> None:
    """All of a batch is there, in order, but for one write of which nothing is."""
    others = [number for number in range(BATCH) if number != wrong]
    assert notes(in_file) == [f"{number}{place}" for number in others for place in "abc"]
    assert kinds(in_file) == [f"{number}{place}" for number in others for place in "xy"]


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("wrong", range(BATCH))
def test_a_fault_at_each_statement_of_a_batch_leaves_the_others_whole(in_file: SQLite, wrong: int, at: int) -> None:
    outcomes = in_file.commit_all(batch(wrong, at, FAULTS["no such table"][0]))
    assert isinstance(outcomes.pop(wrong), sqlite3.OperationalError)
    assert all(isinstance(outcome, Committed) for outcome in outcomes)
    assert_all_but(in_file, wrong)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_ours_is_that_writes_alone(in_file: SQLite, fault: str) -> None:
    statement, error = FAULTS[fault]
    outcomes = in_file.commit_all(batch(2, 1, statement))
    assert isinstance(outcomes.pop(2), error)
    assert all(isinstance(outcome, Committed) for outcome in outcomes)
    assert_all_but(in_file, 2)


@pytest.mark.parametrize("wrong", range(BATCH))
@pytest.mark.parametrize("guard", [GUARD, RENAMED], ids=["select", "update"])
def test_a_write_that_is_refused_leaves_the_others_of_its_batch_whole(
    in_file: SQLite, guard: Statement, wrong: int
) -> None:
    outcomes = in_file.commit_all(batch(wrong, 2, guard))
    assert outcomes.pop(wrong) == Refused(guard.verdict or again)
    assert all(isinstance(outcome, Committed) for outcome in outcomes)
    assert_all_but(in_file, wrong)


def test_an_event_that_cannot_be_stored_takes_its_write_along_alone(in_file: SQLite) -> None:
    writes = batch(2, 0, note("2"))
    bad = Event("2y", NOW, detail={"bytes": b"\xff"})
    writes[2] = write(note("2"), events=[Event("2x", NOW), bad])
    outcomes = in_file.commit_all(writes)
    assert isinstance(outcomes.pop(2), TypeError)
    assert_all_but(in_file, 2)


def test_a_write_in_a_batch_relies_on_what_earlier_ones_have_left(in_file: SQLite) -> None:
    block = instances.block(key("gcp:1:1"), 0, "blocked", None, NOW)
    first, second, third = in_file.commit_all(
        [write(block), write(block), write(note("a"), instances.unblock("gcp:1:1"))]
    )
    assert [type(outcome) for outcome in (first, second, third)] == [Committed, Refused, Committed]


def test_each_write_of_a_batch_has_its_own_rows(in_file: SQLite) -> None:
    giving = [
        Statement("INSERT INTO limits (key, until) VALUES (:key, 1) RETURNING key", {"key": str(number)})
        for number in range(BATCH)
    ]
    outcomes = in_file.commit_all(
        [write(statement, GUARD) if at == 1 else write(statement) for at, statement in enumerate(giving)]
    )
    assert outcomes.pop(1) == Refused(again)
    assert [committed(outcome)[0]["key"] for outcome in outcomes] == ["0", "2", "3", "4"]


@pytest.mark.parametrize("wrong", range(BATCH))
def test_a_full_disk_lets_nothing_of_the_batch_happen(in_file: SQLite, wrong: int) -> None:
    (pages,) = in_file.rows("PRAGMA page_count")
    in_file.rows(f"PRAGMA max_page_count = {pages['page_count'] + 4}")
    with pytest.raises(StoreUnavailableError, match="full"):
        in_file.commit_all(batch(wrong, 1, note("k", "x" * 100_000)))
    assert (notes(in_file), kinds(in_file)) == ([], [])
    in_file.rows("PRAGMA max_page_count = 1000000")
    assert all(
        isinstance(outcome, Committed) for outcome in in_file.commit_all(batch(wrong, 1, note("k", "x" * 100_000)))
    )
    assert len(kinds(in_file)) == 2 * BATCH


def test_an_input_output_error_lets_nothing_of_the_batch_happen(tmp_path: Path) -> None:
    # Files may not grow: the kernel refuses to write to the log.
    script = """
import resource, sys
from acme_iid.errors import StoreUnavailableError
from acme_iid.store.chain import Event
from acme_iid.store.database import open_store
from acme_iid.store.writes import Statement, Write
database = open_store(sys.argv[1])
def batch(size):
    text = "INSERT INTO limits (key, until) VALUES (:key, :value)"
    return [
        Write([Statement(text, {"key": str(n), "value": "x" * size})], len, [Event("kept", n)]) for n in range(5)
    ]
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, hard))
try:
    database.commit_all(batch(100_000))
except StoreUnavailableError as error:
    print("refused:", error)
print(len(database.rows("SELECT 1 FROM limits")), len(database.rows("SELECT 1 FROM events")))
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
print(len(database.commit_all(batch(10))), len(database.rows("SELECT 1 FROM events")))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, f"sqlite:{tmp_path / 'ca.db'}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    refused, nothing, after = done.stdout.splitlines()
    assert refused.startswith("refused: ")
    assert (nothing, after) == ("0 0", "5 5")
    database = open_store(f"sqlite:{tmp_path / 'ca.db'}")
    assert kinds(database) == ["kept"] * 5
    database.close()


def test_while_another_process_writes_nothing_of_the_batch_happens(in_file: SQLite) -> None:
    other = sqlite3.connect(in_file.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusyError):
        in_file.commit_all(batch(0, 0, note("0")), waits=False)
    assert notes(in_file) == []
    other.execute("ROLLBACK")
    other.close()
    assert len(in_file.commit_all(batch(0, 0, note("0")), waits=False)) == BATCH
    assert len(kinds(in_file)) == 2 * BATCH


def test_a_text_that_no_engine_takes_is_a_fault(database: Database) -> None:
    with pytest.raises((UnicodeEncodeError, UnstorableTextError)):
        database.commit(write(note("a"), note("\ud800")))
    assert notes(database) == []


class Stale:
    """Decides on what was so when it was first asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked = 0
        self.error = error

    def __call__(self, _reader: Reader) -> Write[str]:
        self.asked += 1
        guard = Statement(GUARD.text, GUARD.values, lambda _reader: self.error)
        return Write([note(f"{self.asked}"), guard], lambda _rows: "never")


def test_a_use_case_whose_guards_always_fail_is_decided_three_times(database: Database) -> None:
    stale = Stale()
    with pytest.raises(StoreConflictError):
        perform(database, stale)
    assert stale.asked == 3
    assert notes(database) == []


def test_what_a_guards_failure_means_is_the_answer(database: Database) -> None:
    stale = Stale(REFUSED)
    with pytest.raises(AcmeError, match="no"):
        perform(database, stale)
    assert stale.asked == 1


def test_a_use_case_is_decided_again_on_what_is_there_by_then(database: Database) -> None:
    def decide(reader: Reader) -> Write[int]:
        known = instances.get(reader, "gcp:1:1")
        generation = 0 if known is None else known.generation
        if known is None:
            # Another process is faster.
            put(database, instances.release(key("gcp:1:1"), 0, "t", "released", NOW, NOW + 9))
        return Write([instances.block(key("gcp:1:1"), generation, "blocked", None, NOW)], lambda _rows: generation)

    assert perform(database, decide) == 1
    known = instances.get(database, "gcp:1:1")
    assert known is not None
    assert (known.generation, known.blocked_at, known.release_to) == (2, NOW, "t")


def test_a_refusal_leaves_behind_what_it_writes(database: Database) -> None:
    with pytest.raises(AcmeError, match="no"):
        perform(database, lambda _reader: refuse([note("a")], REFUSED, [Event("refused", NOW)]))
    assert (notes(database), kinds(database)) == (["a"], ["refused"])


def test_an_answer_that_raises_undoes_nothing(database: Database) -> None:
    def answer(_rows: object) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        perform(database, lambda _reader: Write([note("a")], answer))
    assert notes(database) == ["a"]


def test_an_answer_without_a_write_is_no_commit(database: Database) -> None:
    assert perform(database, lambda reader: len(notes(reader))) == 0
    assert perform(database, lambda _reader: Write([], lambda rows: (0, rows)).then(lambda pair: pair[0] + 1)) == 1


RECOVERING = """
import fcntl, sys
with open(sys.argv[1], "r+b", buffering=0) as index:
    fcntl.lockf(index, fcntl.LOCK_EX, 3, 120)  # to write, to checkpoint, to recover (sqlite.org/walformat.html)
    index.write(bytes(136))
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_a_reader_waits_for_log_recovery_even_after_an_unwaiting_commit(in_file: SQLite) -> None:
    in_file.commit_all([write(note("a"))], waits=False)
    index = in_file.path.with_name(f"{in_file.path.name}-shm")
    with subprocess.Popen(
        [sys.executable, "-c", RECOVERING, index], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"begun\n"
        with pytest.raises(StoreBusyError):
            in_file.commit_all([write(note("b"))], waits=False)
        ending = threading.Timer(0.5, other.stdin.close)
        ending.start()
        assert in_file.rows("SELECT 1 AS one FROM limits WHERE key = 'a'")[0]["one"] == 1
        ending.join()
