"""``acme-iid-ca store migrate``: a store in a file becomes one in PostgreSQL, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import postgresql
import psycopg
import pytest
from running import ACCOUNT, CA, answer
from wire import Account, Wire, problem
from writing import put

from acme_iid.protocol import resources
from acme_iid.simulator import aws
from acme_iid.store import accounts, certificates, compromised_keys, events
from acme_iid.store.chain import Event
from acme_iid.store.copying import tables
from acme_iid.store.database import Database, open_store

NOW = 1_800_000_000
COMPROMISED = "ab" * 32


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CA]:
    """A CA whose store is a file."""
    made = CA(tmp_path / "ca")
    made.init(in_a_file=True)
    yield made
    if made.process is not None:
        made.kill()


@pytest.fixture
def url() -> str:
    return postgresql.cluster().create()


def fill(ca: CA, count: int) -> None:
    """Many events, and accounts whose ids sort one way in SQLite and another in PostgreSQL."""
    names = ("a", "B", "_", "-c", "Z9", "ä", "a b", "10", "9")
    with closing(open_store(ca.store_url)) as store:
        put(
            store,
            compromised_keys.add(COMPROMISED, NOW),
            *(accounts.add(resources.Account(name, "{}", name, (), NOW)) for name in names),
            events=[
                Event("test", NOW + number, account_id=f"a{number}", detail={"detail": "ä'\"%s :x \\ \t"})
                for number in range(count)
            ],
        )


def everything(store: Database, names: list[tuple[str, tuple[str, ...]]]) -> dict[str, set[tuple[object, ...]]]:
    return {
        name: {tuple(row[column] for column in columns) for row in store.rows(f"SELECT * FROM {name}")}  # noqa: S608
        for name, columns in names
    }


def move(ca: CA, url: str) -> None:
    file = ca.home / "ca.toml"
    file.write_text(file.read_text().replace('"sqlite:ca.db"', f'"{url}"'))


def test_a_ca_goes_on_with_its_store_in_postgresql(ca: CA, url: str) -> None:
    ca.start()
    instance = aws.Instance(account=ACCOUNT)
    account = ca.account()
    issued = account.obtain("foo.local", answer=answer(instance))
    spent, unspent = account.wire.nonce(), account.wire.nonce()
    body = {nonce: account.wire.body(account.url, None, account.key, account.url, {"nonce": nonce})
            for nonce in (spent, unspent)}  # fmt: skip
    assert account.wire.send(account.url, body[spent]).status_code == 200
    ca.stop()
    fill(ca, 500)
    with closing(open_store(ca.store_url)) as source:
        names = [(table.name, table.columns) for table in tables(source)]
        before = everything(source, names)
    done = ca.cli("store", "migrate", "--to", url)
    assert done.stdout.startswith("Copied and compared "), done.stdout
    assert postgresql.PASSWORD not in done.stdout + done.stderr
    with closing(open_store(url)) as target:
        after = everything(target, names)
        (moved,) = after["events"] - before["events"]
        assert "store.moved" in moved
        assert {**after, "events": after["events"] - {moved}} == before
        assert len(list(events.check(target))) == len(before["events"]) + 1
        assert compromised_keys.has(target, COMPROMISED)
        assert certificates.by_serial(target, f"{issued.leaf.serial_number:x}") is not None
    move(ca, url)
    ca.start()
    again = Account(Wire(ca.directory, ca.root), account.key, account.url)
    assert again.post(account.url).json()["status"] == "valid"
    # Which nonces were spent does not come along, so those of before are refused; clients go on with another.
    for sent in body.values():
        assert problem(again.wire.send(account.url, sent)) == "badNonce"
    assert again.obtain("foo.local", answer=answer(instance)).leaf.serial_number != issued.leaf.serial_number
    stranger = ca.account()
    _, answers = stranger.prove("foo.local", answer=answer(instance))
    assert answers[0].json()["status"] == "invalid"


def test_a_copy_that_was_killed_goes_on_where_it_was(ca: CA, url: str) -> None:
    fill(ca, 8000)
    process = subprocess.Popen(
        [sys.executable, "-m", "acme_iid.cli", "--home", str(ca.home), "store", "migrate", "--to", url, "--json"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    with closing(psycopg.connect(url, autocommit=True)) as there:
        while time.monotonic() < deadline:
            if (
                there.execute("SELECT 1 FROM pg_tables WHERE tablename = 'copied'").fetchone()
                and there.execute("SELECT 1 FROM copied WHERE table_name = 'events'").fetchone()
            ):
                break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        # Half of a store is none.
        move(ca, url)
        refused = ca.try_cli("account", "list")
        assert (refused.code, "a part of a store" in refused.stderr) == (1, True)
        file = ca.home / "ca.toml"
        file.write_text(file.read_text().replace(f'"{url}"', '"sqlite:ca.db"'))
        row = there.execute("SELECT count(*) FROM events").fetchone()
        assert row is not None
        assert 0 < row[0] < 8000
        there.execute("CREATE TABLE seen AS SELECT seq, xmin AS transaction FROM events")
        done = json.loads(ca.cli("store", "migrate", "--to", url, "--json").stdout)
        assert done["tables"]["events"] == 8000
        assert done["tables"]["accounts"] == 9
        # What was there was not written again.
        moved = there.execute(
            "SELECT 1 FROM events JOIN seen USING (seq) WHERE events.xmin <> transaction LIMIT 1"
        ).fetchone()
        assert moved is None
    with closing(open_store(url)) as store:
        assert len(list(events.check(store))) == 8001  # that it was moved is the last one


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE events SET detail = '{}' WHERE seq = 2", "seq 2 of the table events is another in the copy"),
        ("DELETE FROM accounts WHERE id = 'Z9'", "accounts has rows that the store does not have"),
        (
            """INSERT INTO accounts (id, jwk, thumbprint, contact, created_at, key_since)
               VALUES ('A', '{}', 'x', '[]', 1, 1)""",
            "id 'A' of the table accounts is missing from the copy",
        ),
    ],
)
def test_a_row_that_was_changed_between_two_parts_of_a_copy_is_found(
    ca: CA, url: str, statement: str, message: str
) -> None:
    fill(ca, 5)
    ca.cli("store", "migrate", "--to", url)
    with closing(sqlite3.connect(ca.home / "ca.db")) as store, closing(psycopg.connect(url, autocommit=True)) as there:
        # As it is when the command was killed before it had compared the last rows.
        unfinished(store, there)
        store.execute(statement)
        store.commit()
    refused = ca.try_cli("store", "migrate", "--to", url)
    assert refused.code == 1
    assert message in refused.stderr
    assert "copy again" in refused.stderr


def unfinished(store: sqlite3.Connection, there: psycopg.Connection[tuple[object, ...]]) -> None:
    """Note in a copy that all was copied and nothing compared."""
    secrets = store.execute("SELECT name, value FROM secrets ORDER BY name").fetchall()
    source = hashlib.sha256(json.dumps([list(row) for row in secrets]).encode()).hexdigest()
    names = (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('schema_migrations', 'sealing', 'fence')"
    )
    for (table,) in store.execute(names).fetchall():
        key = [row[1] for row in sorted(store.execute(f"PRAGMA table_info({table})"), key=lambda row: row[5]) if row[5]]
        last = store.execute(f"SELECT {', '.join(key)} FROM {table} ORDER BY {', '.join(f'{c} DESC' for c in key)}")  # noqa: S608
        if (row := last.fetchone()) is not None:
            there.execute("INSERT INTO copied VALUES (%s, %s, %s)", (table, source, json.dumps(list(row))))


def test_a_server_that_still_runs_is_noticed(ca: CA, url: str) -> None:
    fill(ca, 6000)
    ca.start()
    process = subprocess.Popen(
        [sys.executable, "-m", "acme_iid.cli", "--home", str(ca.home), "store", "migrate", "--to", url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    made = 0
    while process.poll() is None:
        ca.account()
        made += 1
    _, told = process.communicate()
    assert made > 3
    assert process.returncode == 1, told
    assert "stop the server" in told


def test_a_target_that_holds_something_else_is_refused(ca: CA, url: str) -> None:
    fill(ca, 3)
    with closing(open_store(url)) as other:
        put(other, events=[Event("another", NOW)])
        other.seal()
    refused = ca.try_cli("store", "migrate", "--to", url)
    assert (refused.code, "its table events has rows" in refused.stderr) == (1, True)


def test_a_target_that_holds_a_part_of_another_store_is_refused(ca: CA, url: str) -> None:
    fill(ca, 3)
    with closing(open_store(url)) as other, other.transaction() as transaction:
        transaction.run("INSERT INTO copied (table_name, source, last_key) VALUES ('all', 'another', '[]')")
    refused = ca.try_cli("store", "migrate", "--to", url)
    assert (refused.code, "a part of another store" in refused.stderr) == (1, True)


def test_a_store_that_a_newer_release_has_expanded_is_not_copied(ca: CA, url: str) -> None:
    fill(ca, 3)
    with closing(sqlite3.connect(ca.home / "ca.db")) as store:
        store.execute("INSERT INTO schema_migrations VALUES ('99_later.sql')")
        store.commit()
    refused = ca.try_cli("store", "migrate", "--to", url)
    assert (refused.code, "(it has 99_later.sql)" in refused.stderr) == (1, True), refused.stderr


def test_a_value_that_we_never_write_is_named_and_not_copied(ca: CA, url: str) -> None:
    fill(ca, 3)
    with closing(sqlite3.connect(ca.home / "ca.db")) as store:
        store.execute("UPDATE events SET detail = CAST(detail AS BLOB) WHERE seq = 2")
        store.commit()
    refused = ca.try_cli("store", "migrate", "--to", url)
    assert (refused.code, "seq 2 of the table events has a value in detail" in refused.stderr) == (1, True)


def test_what_cannot_be_copied_is_said(ca: CA, url: str) -> None:
    wrong = ca.try_cli("store", "migrate", "--to", "sqlite:other.db")
    assert (wrong.code, "begins with postgresql://" in wrong.stderr) == (2, True)
    move(ca, url)
    there = ca.try_cli("store", "migrate", "--to", url)
    assert (there.code, "in PostgreSQL already" in there.stderr) == (1, True)
