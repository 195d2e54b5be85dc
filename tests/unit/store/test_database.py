"""The store: durable, atomic, right under threads and processes, and honest when it cannot."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from writing import happens, key, put

from acme_iid.errors import StoreUnavailableError
from acme_iid.protocol.resources import Account, Instance
from acme_iid.store import accounts, instances, nonces
from acme_iid.store.database import Database, open_store
from acme_iid.store.writes import Reader, Statement, Write, perform

NOW = 1_800_000_000


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    opened = open_store(store_url)
    yield opened
    opened.close()


def account(account_id: str, thumbprint: str) -> Account:
    return Account(account_id, "{}", thumbprint, (), NOW, key_since=NOW)


def test_opening_twice_changes_nothing(store_url: str) -> None:
    first = open_store(store_url)
    put(first, accounts.add(account("a", "t")))
    first.close()
    again = open_store(store_url)
    assert accounts.get(again, "a") == account("a", "t")
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
            statement = accounts.add(account("a", "t"))
            transaction.run(statement.text, **statement.values)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert accounts.get(database, "a") is None


def test_one_key_has_one_account(database: Database) -> None:
    assert happens(database, accounts.add(account("a", "t")))
    assert not happens(database, accounts.add(account("b", "t")))
    assert accounts.get(database, "b") is None


def test_a_key_that_another_account_has_is_given_to_none(database: Database) -> None:
    put(database, accounts.add(account("a", "t")), accounts.add(account("b", "u")))
    assert not happens(database, accounts.set_key(account("b", "u"), "{}", "t", NOW + 1))
    assert accounts.get(database, "b") == account("b", "u")


def test_threads_that_read_and_write_wait_for_each_other(store_url: str) -> None:
    database = open_store(store_url)
    put(database, instances.use(instance("a")))

    def prove_again(reader: Reader) -> Write[int]:
        known = instances.get(reader, "aws:aws:1:us-west-2:i-0")
        assert known is not None
        return Write(
            [instances.raise_generation(key(known.id), known.generation, "again", NOW)], lambda _rows: known.generation
        )

    with ThreadPoolExecutor(8) as pool:
        raised = list(pool.map(lambda _turn: perform(database, prove_again, attempts=10_000), range(200)))
    assert sorted(raised) == list(range(200))
    final = instances.get(database, "aws:aws:1:us-west-2:i-0")
    assert final is not None
    assert final.generation == 200
    database.close()


def raising(known: Instance) -> Statement:
    return instances.raise_generation(key(known.id), known.generation, "a name was closed", NOW)


def instance(account: str, *, started_at: int | None = NOW, at: int = NOW) -> Instance:
    return Instance("aws:aws:1:us-west-2:i-0", "aws", "1", "i", account, f"thumb-{account}", started_at, at, at)


def found(database: Database) -> Instance:
    known = instances.get(database, "aws:aws:1:us-west-2:i-0")
    assert known is not None
    return known


def test_an_instance_belongs_to_the_first_account(database: Database) -> None:
    assert happens(database, instances.use(instance("a")))
    assert happens(database, instances.use(instance("a", started_at=NOW + 5)))
    assert not happens(database, instances.use(instance("b", started_at=NOW + 9)))
    assert not happens(database, instances.use(instance("a", started_at=NOW + 4)))
    assert (found(database).account_id, found(database).started_at) == ("a", NOW + 5)


def test_a_release_lets_one_key_in_once_and_keeps_the_start(database: Database) -> None:
    def use(account: str, started_at: int = NOW, at: int = NOW) -> bool:
        used = replace(instance(account, started_at=started_at, at=at), generation=1)
        return happens(database, instances.use(used))

    put(database, instances.use(instance("a", started_at=NOW)))
    put(database, instances.release(key("aws:aws:1:us-west-2:i-0"), 0, "thumb-b", "released", NOW, NOW + 60))
    assert not use("a", at=NOW + 1)
    assert not use("c", at=NOW + 1)
    assert not use("b", started_at=NOW - 1, at=NOW + 1)
    assert not use("b", at=NOW + 60)
    assert use("b", at=NOW + 59)
    assert not use("a", at=NOW + 59)


def test_an_earlier_decision_does_not_prove_what_was_taken_since(database: Database) -> None:
    put(database, instances.use(instance("a")))
    put(database, raising(found(database)))
    assert not happens(database, instances.use(instance("a")))
    assert not happens(database, instances.unchanged("aws:aws:1:us-west-2:i-0", 0))
    assert happens(database, instances.use(replace(instance("a"), generation=1)))


def test_a_blocked_instance_is_used_by_nobody_used_before_or_not(database: Database) -> None:
    blocked = instances.block(key("aws:aws:1:us-west-2:i-0"), 0, "an operator blocked it", "why", NOW)
    assert happens(database, blocked)
    assert not happens(database, blocked)
    for generation in (0, 1):
        assert not happens(database, instances.use(replace(instance("a"), generation=generation)))
        assert not happens(database, instances.prove(replace(instance("a"), generation=generation)))
        assert not happens(database, instances.unchanged("aws:aws:1:us-west-2:i-0", generation))
    assert happens(database, instances.unblock("aws:aws:1:us-west-2:i-0"))
    assert happens(database, instances.use(replace(instance("a"), generation=1)))


def test_a_vm_resource_is_one_instances_until_that_is_released(database: Database) -> None:
    def use(name: str, resource: str | None, generation: int = 0) -> bool:
        vm = Instance(name, "azure", "s", name, "a", "thumb-a", None, NOW, NOW, resource_id=resource)
        return happens(database, instances.use(replace(vm, generation=generation)))

    assert use("one", None)
    assert use("one", "/vm/one")
    assert use("one", None)
    assert not use("one", "/vm/two")
    holder = instances.of_resource(database, "/vm/one")
    assert holder is not None
    assert holder.id == "one"
    assert not use("two", "/vm/one")
    assert instances.get(database, "two") is None
    put(database, instances.release(key("one"), 0, "thumb-b", "released", NOW, NOW + 60))
    assert use("two", "/vm/one")


def test_of_processes_that_race_for_an_instance_one_wins(store_url: str) -> None:
    open_store(store_url).close()
    script = """
import sys
from acme_iid.protocol.resources import Instance
from acme_iid.store import instances
from acme_iid.store.database import open_store
from acme_iid.store.writes import Committed, Write
database = open_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for turn in range(50):
    found = Instance(f"aws:{turn}", "aws", "1", "i", sys.argv[2], sys.argv[2], 1, 1, 1)
    outcome = database.commit(Write([instances.use(found)], lambda rows: None))
    print(turn if isinstance(outcome, Committed) else -1, flush=True)
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


def test_a_database_from_before_the_first_release_is_refused(store_url: str) -> None:
    database = open_store(store_url)
    with database.transaction() as transaction:
        transaction.run("INSERT INTO schema_migrations VALUES ('0002_orders.sql')")
    database.close()
    with pytest.raises(StoreUnavailableError, match="before the first release"):
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
