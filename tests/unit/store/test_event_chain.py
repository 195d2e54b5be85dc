"""Events are chained by hash: whatever is done to the record behind the store's back shows."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from writing import happens, key, put

from acme_iid.store import events, instances, lookups
from acme_iid.store.chain import Event, Link
from acme_iid.store.database import Database, open_store
from acme_iid.store.listing import Filter

NOW = 1_800_000_000
INSTANCE = "aws:aws:123456789042:us-west-2:i-05e360db6e50b5eda"


def fill(database: Database, count: int, first: int = 1) -> None:
    put(
        database,
        events=[
            Event(
                "challenge.valid",
                NOW + number,
                account_id="a",
                instance=key(INSTANCE),
                name="foo.local",
                detail={"number": number},
            )
            for number in range(first, first + count)
        ],
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_store(f"sqlite:{tmp_path / 'ca.db'}")
    fill(opened, 20)
    yield opened
    opened.close()


@pytest.fixture
def behind(tmp_path: Path, database: Database) -> Iterator[sqlite3.Connection]:
    """The same file, as somebody opens it who has no business there."""
    assert database.rows("SELECT 1")
    connection = sqlite3.connect(tmp_path / "ca.db", isolation_level=None)
    yield connection
    connection.close()


def found(database: Database, first: int = 1) -> str:
    """What the check says of the record."""
    try:
        return f"OK {len(list(events.check(database, first)))}"
    except events.BrokenChainError as error:
        return str(error)


def test_an_untouched_record_is_whole_from_any_event_on(database: Database) -> None:
    assert found(database) == "OK 20"
    assert found(database, 13) == "OK 8"
    assert list(events.check(database))[-1] == events.head(database)
    assert found(database, 21) == "OK 0"
    assert found(database, 23) == "there is no event 22 to begin after: the last event is 20"


def test_a_record_without_events_is_whole(store_url: str) -> None:
    database = open_store(store_url)
    assert found(database) == "OK 0"
    assert events.head(database) == Link(0, "0" * 64)
    database.close()


def test_the_hash_can_be_computed_by_anybody_from_the_row(behind: sqlite3.Connection) -> None:
    previous = "0" * 64
    for *columns, kept in behind.execute("SELECT * FROM events ORDER BY seq"):
        text = json.dumps(columns, separators=(",", ":"))
        previous = hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()
        assert kept == previous


def test_the_same_events_have_the_same_hashes_in_every_version(database: Database) -> None:
    assert str(events.head(database)) == "20:371f38bd2ece4060aa0289f31c03fd4399e9c9d512edf5513850813b246e56a1"


def test_an_event_is_read_as_it_was_made(store_url: str) -> None:
    made = [
        Event(
            "challenge.valid", NOW, account_id="a", instance=key(INSTANCE), name="foo.local", detail={"proven": True}
        ),
        Event("challenge.refused", NOW, cloud="gcp", detail={"identifiers": ["foo.local", "b\u00fccher.local"]}),
        Event("store.pruned", NOW, detail={"removed": {"orders": 2}, "by": None}),
    ]
    database = open_store(store_url)
    put(database, events=made)
    lookups.follow(database)
    read = dict(events.page(database, Filter()))
    assert read == {1: made[0], 2: made[1], 3: replace(made[2], detail={"removed": {"orders": 2}})}
    database.close()


@pytest.mark.parametrize(
    "change",
    [
        "at = at + 1",
        "kind = 'challenge.refused'",
        "account_id = 'b'",
        "account_id = NULL",
        "instance_id = 'aws:aws:1:r:i'",
        "cloud = 'gcp'",
        "owner = '1'",
        "name = NULL",
        "detail = '{\"number\": 8}'",
        "detail = replace(detail, ' ', '')",
        "detail = CAST(detail AS BLOB)",
        "hash = ''",
        "hash = (SELECT hash FROM events WHERE seq = 6)",
    ],
)
def test_an_edited_event_is_named(database: Database, behind: sqlite3.Connection, change: str) -> None:
    behind.execute(f"UPDATE events SET {change} WHERE seq = 7")  # noqa: S608 - the cases above
    assert found(database).startswith("event 7 was edited or inserted")
    assert found(database, 7).startswith("event 7 was edited or inserted")
    assert found(database, 9) == "OK 12"


def test_an_event_rewritten_with_its_own_hash_shows_at_the_next_event(
    database: Database, behind: sqlite3.Connection
) -> None:
    (before,) = behind.execute("SELECT hash FROM events WHERE seq = 6").fetchone()
    behind.execute("UPDATE events SET account_id = 'b' WHERE seq = 7")
    (*columns, _) = behind.execute("SELECT * FROM events WHERE seq = 7").fetchone()
    text = json.dumps(columns, separators=(",", ":"))
    forged = hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()
    behind.execute("UPDATE events SET hash = ? WHERE seq = 7", (forged,))
    assert found(database).startswith("event 8 was edited or inserted (or event 7, together with its own hash)")


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("seq = 1", "event 1 was removed"),
        ("seq = 7", "event 7 was removed"),
        ("seq IN (7, 8, 12)", "events 7 to 8 were removed"),
    ],
)
def test_a_removed_event_is_named(database: Database, behind: sqlite3.Connection, removed: str, message: str) -> None:
    behind.execute(f"DELETE FROM events WHERE {removed}")  # noqa: S608 - the cases above
    assert found(database) == message


def test_the_place_to_begin_after_must_be_there(database: Database, behind: sqlite3.Connection) -> None:
    behind.execute("DELETE FROM events WHERE seq = 7")
    assert found(database, 8) == "event 7 was removed"


def test_a_removed_event_shows_when_the_others_move_up(database: Database, behind: sqlite3.Connection) -> None:
    behind.execute("DELETE FROM events WHERE seq = 7")
    for number in range(8, 21):
        behind.execute("UPDATE events SET seq = ? WHERE seq = ?", (number - 1, number))
    assert found(database).startswith("event 7 was edited or inserted")


def test_an_inserted_event_is_named(database: Database, behind: sqlite3.Connection) -> None:
    for number in range(20, 6, -1):
        behind.execute("UPDATE events SET seq = ? WHERE seq = ?", (number + 1, number))
    behind.execute("INSERT INTO events SELECT 7, at, kind, 'b', instance_id, cloud, owner, name, detail, hash "
                   "FROM events WHERE seq = 6")  # fmt: skip
    assert found(database).startswith("event 7 was edited or inserted")


@pytest.mark.parametrize("number", ["0", "-3", "'x'", "20.5"])
def test_an_event_with_a_number_that_none_has_is_named(
    database: Database, behind: sqlite3.Connection, number: str
) -> None:
    behind.execute(f"INSERT INTO events SELECT {number}, at, kind, account_id, instance_id, cloud, owner, name, "  # noqa: S608 - the cases above
                   "detail, hash FROM events WHERE seq = 20")  # fmt: skip
    assert found(database) == f"an event with the number {number} was inserted"


def test_an_event_at_the_end_that_we_did_not_write_is_named(database: Database, behind: sqlite3.Connection) -> None:
    behind.execute("INSERT INTO events SELECT 21, at, kind, account_id, instance_id, cloud, owner, name, detail, hash "
                   "FROM events WHERE seq = 20")  # fmt: skip
    assert found(database).startswith("event 21 was edited or inserted")


def test_two_events_that_changed_places_are_found(database: Database, behind: sqlite3.Connection) -> None:
    for old, new in ((7, -1), (8, 7), (-1, 8)):
        behind.execute("UPDATE events SET seq = ? WHERE seq = ?", (new, old))
    assert found(database).startswith("event 7 was edited or inserted")


def test_events_after_an_edit_are_recorded_and_the_edit_is_still_found(
    database: Database, behind: sqlite3.Connection
) -> None:
    behind.execute("UPDATE events SET account_id = 'b' WHERE seq = 20")
    fill(database, 3, first=21)
    assert events.head(database).seq == 23
    assert found(database).startswith("event 20 was edited")
    assert found(database, 21) == "OK 3"


def test_an_event_of_a_write_that_a_guard_refuses_leaves_no_gap(database: Database) -> None:
    refused = instances.unchanged("nobody", 0)
    assert not happens(database, refused, events=[Event("lost", NOW)])
    fill(database, 1, first=21)
    assert found(database) == "OK 21"
    assert not database.rows("SELECT 1 FROM events WHERE kind = 'lost'")


def test_an_event_of_a_transaction_that_fails_leaves_no_gap(database: Database) -> None:
    def fail() -> None:
        with database.transaction() as transaction:
            events.append(transaction, Event("lost", NOW))
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    fill(database, 1, first=21)
    assert found(database) == "OK 21"


def test_processes_that_record_at_once_make_one_chain(store_url: str) -> None:
    open_store(store_url).close()
    script = """
import sys
from acme_iid.store.chain import Event
from acme_iid.store.database import open_store
from acme_iid.store.writes import Write
database = open_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for turn in range(50):
    kinds = ["turn"] if turn % 5 else ["turn", "again"]
    events = [Event(kind, turn, account_id=sys.argv[2]) for kind in kinds]
    database.commit(Write([], lambda rows: None, events))
    if turn % 7 == 0:
        database.seal()
"""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, store_url, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
    assert [writer.returncode for writer in writers] == [0] * 8
    database = open_store(store_url)
    database.seal()
    assert found(database) == "OK 480"
    turns: dict[str, list[int]] = {}
    for row in database.rows("SELECT account_id, at, kind FROM events ORDER BY seq"):
        if row["kind"] == "turn":
            turns.setdefault(row["account_id"], []).append(row["at"])
    # What one process recorded after the other stands in that order.
    assert list(turns.values()) == [list(range(50))] * 8
    database.close()
