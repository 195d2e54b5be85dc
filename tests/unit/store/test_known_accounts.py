"""Accounts that a process knows: from memory while none has been changed, by whatever process; else from the store."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from writing import happens, put, write

from acme_iid.errors import StoreUnavailableError
from acme_iid.protocol.resources import Account
from acme_iid.store import accounts
from acme_iid.store.database import SQLite, open_store
from acme_iid.store.writes import Row, Statement, again
from acme_iid.web.ahead import KnownAccounts

NOW = 1_800_000_000
ACCOUNT = Account("a", "{}", "thumb-a", (), NOW, key_since=NOW)
CHANGES: dict[str, Callable[[Account], Statement]] = {
    "proven": lambda account: accounts.set_proven(account, NOW + 1),
    "contact": lambda account: accounts.set_contact(account, ("mailto:a@example.net",)),
    "terms": lambda account: accounts.set_terms_agreed(account, "https://ca/terms"),
    "key": lambda account: accounts.set_key(account, '{"kty":"EC"}', "thumb-b", NOW + 1),
    "deactivated": lambda account: accounts.deactivate(account.id, NOW + 1),
}
KILLED_AT_AN_ACCOUNT = """
import os, signal, sys
from pathlib import Path
from acme_iid.store.database import SQLite

with SQLite(Path(sys.argv[1])).transaction() as transaction:
    transaction.run("UPDATE accounts SET contact = '[1]' WHERE id = 'a'")
    os.kill(os.getpid(), signal.SIGKILL)
"""
REFUSED = Statement("SELECT 1 WHERE 0", {}, again)


class Counted:
    """A store that counts how often it is read."""

    def __init__(self, store: SQLite) -> None:
        self._store = store
        self.reads = 0

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        self.reads += 1
        return self._store.rows(statement, **parameters)

    def ahead(self, *questions: object) -> Counted:
        del questions
        return self


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ca.db"


@pytest.fixture
def store(file: Path) -> Iterator[SQLite]:
    opened = open_store(f"sqlite:{file}")
    assert isinstance(opened, SQLite)
    put(opened, accounts.add(ACCOUNT))
    yield opened
    opened.close()


@pytest.fixture
def other(store: SQLite) -> Iterator[SQLite]:
    """The same file, as another process has it open."""
    opened = SQLite(store.path)
    yield opened
    opened.close()


def test_an_account_that_nobody_has_changed_is_read_once(store: SQLite) -> None:
    known, counted = KnownAccounts(store), Counted(store)
    first = known.get(counted, "a")
    assert first is not None
    assert [known.get(counted, "a") for _ in range(3)] == [first] * 3
    assert counted.reads == 1
    assert known.key("a") == first.jwk


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_by_another_process_is_seen_at_once(store: SQLite, other: SQLite, change: str) -> None:
    known = KnownAccounts(store)
    before = known.get(store, "a")
    assert before is not None
    put(other, CHANGES[change](before))
    after = known.get(store, "a")
    assert after == accounts.get(store, "a") != before


def test_one_change_in_a_batch_is_seen_and_a_new_account_changes_none(store: SQLite, other: SQLite) -> None:
    before = store.account_generation()
    put(other, accounts.add(replace(ACCOUNT, id="b", thumbprint="thumb-b")))
    assert store.account_generation() == before
    new = accounts.add(replace(ACCOUNT, id="c", thumbprint="thumb-c"))
    other.commit_all([write(new), write(accounts.deactivate("a", NOW)), write(REFUSED)])
    assert store.account_generation() not in (before, None)


def test_no_account_is_remembered_during_a_change_even_a_failed_one(store: SQLite, other: SQLite) -> None:
    known = KnownAccounts(store)
    counted = Counted(store)
    known.get(counted, "a")
    with other.transaction() as transaction:
        transaction.run("UPDATE accounts SET contact = '[]' WHERE id = 'a'")
        assert store.account_generation() is None
        known.get(counted, "a")
        # Of before the commit: it may be in force no longer in a moment.
        known.get(counted, "a")
    assert counted.reads == 3
    assert not happens(other, accounts.deactivate("a", NOW), REFUSED)
    assert store.account_generation() is not None
    assert known.get(store, "a") == ACCOUNT


def test_a_process_killed_in_a_change_leaves_no_stale_account_behind(store: SQLite) -> None:
    known, counted = KnownAccounts(store), Counted(store)
    known.get(counted, "a")
    killed = subprocess.run([sys.executable, "-c", KILLED_AT_AN_ACCOUNT, store.path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert store.account_generation() is None
    known.get(counted, "a")
    known.get(counted, "a")
    assert counted.reads == 3
    # The next change ends that.
    put(store, CHANGES["contact"](ACCOUNT))
    assert store.account_generation() is not None
    account = known.get(counted, "a")
    assert account is not None
    assert account.contact
    known.get(counted, "a")
    assert counted.reads == 4


def test_without_its_file_nothing_is_known_and_nothing_changed(store: SQLite, file: Path) -> None:
    store.close()
    beside = file.with_name("ca.db-accounts")
    beside.unlink(missing_ok=True)
    beside.mkdir()
    assert store.account_generation() is None
    with pytest.raises(StoreUnavailableError, match=r"ca\.db-accounts"):
        happens(store, accounts.deactivate("a", NOW))
    assert accounts.get(store, "a") == ACCOUNT
    beside.rmdir()
    assert happens(store, accounts.deactivate("a", NOW))


def test_its_file_is_the_owners_alone(store: SQLite, file: Path) -> None:
    assert store.account_generation() == 0
    assert file.with_name("ca.db-accounts").stat().st_mode & 0o777 == 0o600
