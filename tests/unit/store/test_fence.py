"""The fence of a store: programs that a newer release has left behind write nothing to it any more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from writing import put

from acme_iid.errors import FencedError
from acme_iid.protocol.resources import Account
from acme_iid.store import accounts, events, fence, migration
from acme_iid.store.chain import Event
from acme_iid.store.database import Database, open_store

NOW = 1_800_000_000
WORDS = f"know its schema file {fence.WRITER + 1} may write to it; this one knows {fence.WRITER}. Install that version"


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    """A store that is open."""
    with closing(open_store(store_url)) as opened:
        yield opened


def expand(store_url: str) -> None:
    """Have a newer release use a store, and leave it open to this one."""
    with closing(open_store(store_url)) as newer, newer.transaction() as transaction:
        name = f"{fence.WRITER + 1}_later.sql"
        transaction.run("INSERT INTO schema_migrations (name) VALUES (:name)", name=name)
        transaction.run("CREATE TABLE later (id BIGINT PRIMARY KEY)")


def raise_fence(store_url: str) -> None:
    """Have a newer release close a store to this one."""
    with closing(open_store(store_url)) as newer, newer.transaction() as transaction:
        transaction.run("UPDATE fence SET min_writer = :number", number=fence.WRITER + 1)


def test_a_store_that_a_newer_release_has_expanded_is_used_as_before(database: Database, store_url: str) -> None:
    assert not migration.is_newer(database)
    expand(store_url)
    put(database, events=[Event("test", NOW)])
    with closing(open_store(store_url)) as again:
        put(again, events=[Event("test", NOW)])
        assert migration.is_newer(again)
        assert migration.latest_applied(again) == f"{fence.WRITER + 1}_later.sql"
        assert fence.min_writer(again) <= fence.WRITER


def test_a_store_with_its_fence_raised_is_not_opened(store_url: str) -> None:
    open_store(store_url).close()
    raise_fence(store_url)
    with pytest.raises(FencedError, match=WORDS):
        open_store(store_url)


def test_a_program_that_has_a_store_open_writes_nothing_from_then_on(database: Database, store_url: str) -> None:
    put(database, events=[Event("test", NOW)])
    raise_fence(store_url)
    with pytest.raises(FencedError, match=WORDS):
        put(database, accounts.add(Account("a", "{}", "a", (), NOW, key_since=NOW)), events=[Event("test", NOW)])
    with pytest.raises(FencedError, match=WORDS), database.transaction() as transaction:
        transaction.run("INSERT INTO secrets (name, value) VALUES ('a', 'b')")
    assert not database.rows("SELECT id FROM accounts")
    assert not database.rows("SELECT name FROM secrets")
    assert events.head(database).seq + database.unsealed().number == 1


def test_what_a_newer_release_has_taken_away_is_no_fault(database: Database, store_url: str) -> None:
    with closing(open_store(store_url)) as newer, newer.transaction() as transaction:
        transaction.run("DROP TABLE expiry_warnings")
    with pytest.raises(Exception, match="expiry_warnings") as fault:
        database.rows("SELECT subject FROM expiry_warnings")
    assert not isinstance(fault.value, FencedError)
    raise_fence(store_url)
    with pytest.raises(FencedError, match=WORDS):
        database.rows("SELECT subject FROM expiry_warnings")
