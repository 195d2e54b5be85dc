"""Commits whose outcome is in doubt: what is answered is what the database has, and nothing is done twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import postgresql
import psycopg
import pytest
from relays import Relay, relay
from writing import happens, put

from acme_iid.errors import OutcomeUnknownError, StoreBusyError, StoreUnavailableError
from acme_iid.protocol.resources import Account
from acme_iid.store import accounts, jobs
from acme_iid.store.chain import Event
from acme_iid.store.database import open_store
from acme_iid.store.health import WatchedStore
from acme_iid.store.postgresql import PostgreSQL

NOW = 1_800_000_000


@pytest.fixture
def url() -> str:
    return postgresql.cluster().create()


@pytest.fixture
def between(url: str) -> Iterator[Relay]:
    """What stands between the store and its database."""
    with relay(postgresql.cluster().port) as made:
        open_store(url).close()
        yield made


@pytest.fixture
def database(url: str, between: Relay) -> Iterator[PostgreSQL]:
    with closing(open_store(between.url(url))) as opened:
        assert isinstance(opened, PostgreSQL)
        yield opened


@pytest.fixture
def there(url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection of somebody else's."""
    with closing(psycopg.connect(url, autocommit=True)) as opened:
        yield opened


def account(name: str) -> Account:
    return Account(name, "{}", name, (f"mailto:{name}@example.com",), NOW, key_since=NOW)


def stored(there: psycopg.Connection[tuple[object, ...]]) -> tuple[int, int]:
    """How many accounts are there, and events that are not chained."""
    row = there.execute("SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM event_inbox)").fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    assert isinstance(row[1], int)
    return row[0], row[1]


def until(happened: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_constraint_that_is_checked_at_the_commit_lets_nothing_happen(
    database: PostgreSQL, there: psycopg.Connection[tuple[object, ...]]
) -> None:
    there.execute("CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS "
                  "$$ BEGIN RAISE EXCEPTION 'too late' USING ERRCODE = '23505'; END $$")  # fmt: skip
    there.execute("CREATE CONSTRAINT TRIGGER late AFTER INSERT ON accounts DEFERRABLE INITIALLY DEFERRED "
                  "FOR EACH ROW EXECUTE FUNCTION late()")  # fmt: skip
    with pytest.raises(psycopg.errors.UniqueViolation, match="too late"):
        put(database, accounts.add(account("a")), events=[Event("test", NOW)])
    assert stored(there) == (0, 0)
    there.execute("DROP TRIGGER late ON accounts")
    assert happens(database, accounts.add(account("a")))


def test_a_commit_whose_answer_is_lost_is_in_doubt_and_not_repeated(
    database: PostgreSQL, between: Relay, there: psycopg.Connection[tuple[object, ...]]
) -> None:
    between.cut_after(b"COMMIT\0")
    with pytest.raises(OutcomeUnknownError):
        put(database, accounts.add(account("a")), events=[Event("test", NOW)])
    assert stored(there) == (1, 1)
    assert happens(database, accounts.add(account("b")))


def test_a_connection_that_the_server_has_ended_is_not_written_to(
    database: PostgreSQL, there: psycopg.Connection[tuple[object, ...]]
) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: database.rows("SELECT pg_sleep(0.1)"), range(8)))
    there.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert [happens(database, accounts.add(account(f"a{number}"))) for number in range(8)] == [True] * 8


@contextmanager
def standby_that_is_away() -> Iterator[Callable[[], None]]:
    """Have commits wait for a standby that is not there; gives what ends that."""
    with closing(psycopg.connect(postgresql.cluster().url("postgres"), autocommit=True)) as connection:

        def set_names(names: bytes) -> None:
            connection.execute(b"ALTER SYSTEM SET synchronous_standby_names = " + names)
            connection.execute("SELECT pg_reload_conf()")

        def end() -> None:
            set_names(b"''")

        set_names(b"'nobody'")
        try:
            _until_commits_wait(connection)
            yield end
        finally:
            end()


def _until_commits_wait(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Wait until the settings are in force, which all of the server's processes read when they come to it."""
    with (
        closing(psycopg.connect(postgresql.cluster().url("postgres"), autocommit=True)) as probe,
        ThreadPoolExecutor(1) as pool,
    ):
        waits = False
        while not waits:
            writing = pool.submit(probe.execute, "SELECT pg_logical_emit_message(true, 'probe', '')")
            while not writing.done() and not waits:
                waits = bool(waiting_for_standby(connection))
        connection.execute("SELECT pg_cancel_backend(%s)", (probe.info.backend_pid,))


def waiting_for_standby(there: psycopg.Connection[tuple[object, ...]]) -> list[int]:
    rows = there.execute(
        "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()"
    )
    return [int(str(row[0])) for row in rows]


def test_a_commit_that_no_standby_has_is_in_doubt(
    database: PostgreSQL, there: psycopg.Connection[tuple[object, ...]]
) -> None:
    # The one who looks does not wait.
    there.execute("SET synchronous_commit = off")
    with standby_that_is_away(), ThreadPoolExecutor(1) as pool:
        writing = pool.submit(put, database, accounts.add(account("a")), events=[Event("test", NOW)])
        until(lambda: bool(waiting_for_standby(there)))
        there.execute("SELECT pg_cancel_backend(%s)", (waiting_for_standby(there)[0],))
        with pytest.raises(OutcomeUnknownError, match="may lack"):
            writing.result(60)
        assert stored(there) == (1, 1)


def test_while_a_standby_is_waited_for_nobody_sees_what_it_lacks(
    database: PostgreSQL, there: psycopg.Connection[tuple[object, ...]]
) -> None:
    with standby_that_is_away() as end:
        began = time.monotonic()
        with pytest.raises(OutcomeUnknownError, match="has not answered"):
            put(database, accounts.add(account("a")), events=[Event("test", NOW)])
        assert time.monotonic() - began < 60
        # We have gone away, and no limit of ours ends the wait before the standby has it.
        assert waiting_for_standby(there)
        assert stored(there) == (0, 0)
        end()
        until(lambda: stored(there) == (1, 1))


def test_health_is_found_out_by_a_connection_of_its_own(url: str) -> None:
    with closing(open_store(url, 1)) as database, closing(open_store(url, 1)) as prober:
        store = WatchedStore(database, prober)
        with database.transaction():
            # There is no other connection, and nobody wrote.
            store.require_writable()
            assert jobs.due_at(prober, "health") is not None
            with pytest.raises(StoreBusyError, match="all 1 connections"):
                put(store, accounts.add(account("a")))
            store.require_writable()


def test_connections_to_a_server_that_takes_no_writes_are_all_replaced(
    database: PostgreSQL, url: str, there: psycopg.Connection[tuple[object, ...]]
) -> None:
    name = url.rpartition("/")[2]
    database.close()
    there.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
    store = WatchedStore(database)
    # As if they led to the primary of before, which is a standby now; new ones lead to another.
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: database.rows("SELECT pg_sleep(0.2)"), range(12)))
    there.execute("SET default_transaction_read_only = off")
    there.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
    with pytest.raises(StoreUnavailableError, match="takes no writes now") as caught:
        put(store, accounts.add(account("a")))
    assert not isinstance(caught.value, OutcomeUnknownError)
    with pytest.raises(StoreUnavailableError, match="takes no writes"):
        store.require_writable()
    assert [happens(store, accounts.add(account(f"a{number}"))) for number in range(8)] == [True] * 8
    store.require_writable()
