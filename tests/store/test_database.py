"""The store: durable, atomic, right under threads and processes, and honest when it cannot."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from acme_iid.errors import StoreUnavailableError
from acme_iid.protocol.resources import Account, Instance
from acme_iid.store import accounts, instances, nonces
from acme_iid.store.database import Database, open_store

NOW = 1_800_000_000


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    opened = open_store(store_url)
    yield opened
    opened.close()


def test_opening_twice_changes_nothing(store_url: str) -> None:
    first = open_store(store_url)
    with first.transaction() as transaction:
        accounts.add(transaction, Account("a", "{}", "t", (), NOW))
    first.close()
    again = open_store(store_url)
    assert accounts.get(again, "a") == Account("a", "{}", "t", (), NOW)
    again.close()


def test_the_files_are_their_owners_alone(tmp_path: Path) -> None:
    database = open_store(f"sqlite:{tmp_path / 'ca.db'}")
    nonces.NonceFile(tmp_path / "nonces")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert len(modes) >= 4
    assert set(modes.values()) == {0o600}
    database.close()


def test_what_root_writes_first_is_the_databases_owners(tmp_path: Path) -> None:
    path = tmp_path / "ca.db"
    path.touch(0o600)
    owner = (12345, 23456) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(path, *owner)
    open_store(f"sqlite:{path}").close()
    found = (tmp_path / "ca.db-writers").stat()
    assert (found.st_uid, found.st_gid) == owner


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="nowhere"):
        open_store(f"sqlite:{tmp_path}/nowhere/ca.db")


def test_a_transaction_that_raises_leaves_nothing_behind(database: Database) -> None:
    def fail() -> None:
        with database.transaction() as transaction:
            accounts.add(transaction, Account("a", "{}", "t", (), NOW))
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert accounts.get(database, "a") is None


def test_one_key_has_one_account(database: Database) -> None:
    with database.transaction() as transaction:
        assert accounts.add(transaction, Account("a", "{}", "t", (), NOW))
        assert not accounts.add(transaction, Account("b", "{}", "t", (), NOW))
    assert accounts.get(database, "b") is None


def test_threads_that_read_and_write_wait_for_each_other(store_url: str) -> None:
    database = open_store(store_url)
    with database.transaction() as transaction:
        instances.use(transaction, instance("a"))

    def use(turn: int) -> bool:
        with database.transaction() as transaction:
            known = instances.get(transaction, "aws:aws:1:us-west-2:i-0")
            assert known is not None
            assert known.started_at is not None
            used = instances.use(transaction, instance("a", started_at=known.started_at + 1))
        # A thread has its own connection to a file; those to a server are all of the process's.
        if store_url.startswith("sqlite:"):
            database.close()
        return used and turn >= 0

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(200)))
    final = instances.get(database, "aws:aws:1:us-west-2:i-0")
    assert final is not None
    assert final.started_at == NOW + 200
    database.close()


def instance(account: str, *, started_at: int | None = NOW, at: int = NOW) -> Instance:
    return Instance("aws:aws:1:us-west-2:i-0", "aws", "1", "i", account, f"thumb-{account}", started_at, at, at)


def test_an_instance_belongs_to_the_first_account(database: Database) -> None:
    with database.transaction() as transaction:
        assert instances.use(transaction, instance("a"))
        assert instances.use(transaction, instance("a", started_at=NOW + 5))
        assert not instances.use(transaction, instance("b", started_at=NOW + 9))
        assert not instances.use(transaction, instance("a", started_at=NOW + 4))
    found = instances.get(database, "aws:aws:1:us-west-2:i-0")
    assert found is not None
    assert (found.account_id, found.started_at) == ("a", NOW + 5)


def test_a_release_lets_one_key_in_once_and_keeps_the_start(database: Database) -> None:
    with database.transaction() as transaction:
        instances.use(transaction, instance("a", started_at=NOW))
        instances.release(transaction, "aws:aws:1:us-west-2:i-0", "thumb-b", NOW, NOW + 60)
        assert not instances.use(transaction, instance("a", at=NOW + 1))
        assert not instances.use(transaction, instance("c", at=NOW + 1))
        assert not instances.use(transaction, instance("b", started_at=NOW - 1, at=NOW + 1))
        assert not instances.use(transaction, instance("b", at=NOW + 60))
        assert instances.use(transaction, instance("b", at=NOW + 59))
        assert not instances.use(transaction, instance("a", at=NOW + 59))


def test_a_vm_resource_is_one_instances_until_that_is_released(database: Database) -> None:
    def vm(name: str, resource: str | None) -> Instance:
        return Instance(name, "azure", "s", name, "a", "thumb-a", None, NOW, NOW, resource_id=resource)

    with database.transaction() as transaction:
        assert instances.use(transaction, vm("one", None))
        assert instances.use(transaction, vm("one", "/vm/one"))
        assert instances.use(transaction, vm("one", None))
        assert not instances.use(transaction, vm("one", "/vm/two"))
        holder = instances.of_resource(transaction, "/vm/one")
        assert holder is not None
        assert holder.id == "one"
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)), database.transaction() as transaction:
        instances.use(transaction, vm("two", "/vm/one"))
    with database.transaction() as transaction:
        instances.release(transaction, "one", "thumb-b", NOW, NOW + 60)
        assert instances.use(transaction, vm("two", "/vm/one"))


def test_of_processes_that_race_for_an_instance_one_wins(store_url: str) -> None:
    open_store(store_url).close()
    script = """
import sys
from acme_iid.protocol.resources import Instance
from acme_iid.store import instances
from acme_iid.store.database import open_store
database = open_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for turn in range(50):
    found = Instance(f"aws:{turn}", "aws", "1", "i", sys.argv[2], sys.argv[2], 1, 1, 1)
    with database.transaction() as transaction:
        print(turn if instances.use(transaction, found) else -1, flush=True)
"""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, store_url, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b", "c", "d")
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = [int(line) for racer in racers for line in racer.communicate(timeout=60)[0].split()]
    assert [racer.returncode for racer in racers] == [0, 0, 0, 0]
    assert sorted(turn for turn in won if turn >= 0) == list(range(50))


def test_a_database_from_a_newer_version_is_not_touched(store_url: str) -> None:
    database = open_store(store_url)
    with database.transaction() as transaction:
        transaction.run("INSERT INTO schema_migrations VALUES ('9999_future.sql')")
    database.close()
    with pytest.raises(StoreUnavailableError, match="newer"):
        open_store(store_url)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.db").write_bytes(b"not a database, and long enough to look like a header" * 20)
    with pytest.raises(StoreUnavailableError, match=r"ca\.db"):
        open_store(f"sqlite:{tmp_path / 'ca.db'}")


def test_all_processes_share_the_nonce_key(store_url: str) -> None:
    first, second = open_store(store_url), open_store(store_url)
    key = nonces.mac_key(first)
    assert len(key) == 32
    assert nonces.mac_key(second) == key
    first.close()
    second.close()
