"""What /health says: how the latest write went, and how one more goes when nobody wrote."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import postgresql
import psycopg
import pytest
from running import CA
from wire import Account, problem
from writing import put

from acme_iid.errors import StoreBusyError, StoreUnavailableError
from acme_iid.store import jobs
from acme_iid.store.database import Database, open_store
from acme_iid.store.health import PROBE_SECONDS, WatchedStore


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    with closing(open_store(store_url)) as opened:
        yield opened


def probes(database: Database) -> int | None:
    """When a probe was written last."""
    return jobs.due_at(database, "health")


def health(account: Account, ca: CA) -> int:
    return account.wire.session.get(f"{ca.url}/health", timeout=30).status_code


def test_whoever_asks_has_something_written_when_nobody_wrote(database: Database) -> None:
    store = WatchedStore(database)
    store.require_writable()
    first = probes(database)
    assert first is not None
    put(database, jobs.mark("health", 1))
    # The outcome counts for five seconds, however often it is asked for.
    for _ in range(100):
        store.require_writable()
    assert probes(database) == 1


def test_a_write_that_went_well_is_no_reason_for_another(database: Database) -> None:
    store = WatchedStore(database)
    put(store, jobs.mark("other", 1))
    store.require_writable()
    assert probes(database) is None


def test_what_a_user_gave_up_says_nothing_of_the_store(database: Database) -> None:
    store = WatchedStore(database)
    with pytest.raises(ValueError, match="given up"), store.transaction():
        raise ValueError("given up")
    store.require_writable()
    assert probes(database) is not None


def test_a_write_that_failed_is_reported_until_another_went_well(database: Database) -> None:
    store = WatchedStore(database)
    with pytest.raises(StoreUnavailableError), store.transaction():
        raise StoreUnavailableError("the disk is full")
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="takes no writes: the disk is full"):
            store.require_writable()
    assert probes(database) is None
    with store.transaction():
        pass
    store.require_writable()


def test_after_a_write_that_failed_another_is_tried_in_time(database: Database) -> None:
    store = WatchedStore(database)
    with suppress(StoreUnavailableError), store.transaction():
        raise StoreUnavailableError("the disk is full")
    deadline = time.monotonic() + 20 * PROBE_SECONDS
    while probes(database) is None:
        assert time.monotonic() < deadline
        with suppress(StoreUnavailableError):
            store.require_writable()
        time.sleep(0.1)
    store.require_writable()


def test_a_store_that_others_write_to_all_the_time_is_not_broken(database: Database) -> None:
    store = WatchedStore(database)
    with store.transaction():
        pass
    with pytest.raises(StoreBusyError), store.transaction():
        raise StoreBusyError("others are writing")
    store.require_writable()


def test_of_many_who_ask_at_once_one_has_it_tried(database: Database) -> None:
    store = WatchedStore(database)
    inside, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with database.transaction():
            inside.set()
            assert go_on.wait(60)

    holding = threading.Thread(target=hold)
    probing = threading.Thread(target=store.require_writable)
    holding.start()
    assert inside.wait(60)
    probing.start()
    began = time.monotonic()
    while time.monotonic() - began < 0.5:
        time.sleep(0.05)
    # The first one waits for its turn to write; nobody else has to.
    store.require_writable()
    # A transaction that writes nothing keeps nobody waiting in PostgreSQL.
    assert probing.is_alive() or database.dialect() == "postgresql"
    go_on.set()
    for thread in (holding, probing):
        thread.join(60)
    assert probes(database) is not None


def _rename(ca: CA, old: str, new: str) -> None:
    """Rename a table behind the server's back, so that statements about it can never work."""
    url = ca.store_url
    if url.startswith("postgresql:"):
        with closing(psycopg.connect(url, autocommit=True)) as other:
            other.execute(f"ALTER TABLE {old} RENAME TO {new}".encode())
        return
    with closing(open_store(url)) as store, store.transaction() as transaction:
        transaction.run(f"ALTER TABLE {old} RENAME TO {new}")


def test_a_statement_that_can_never_work_is_no_503(own_ca: CA) -> None:
    own_ca.start()
    account = own_ca.account()
    assert account.order("foo.local").status_code == 201
    _rename(own_ca, "orders", "elsewhere")
    failed = account.order("foo.local")
    assert failed.status_code == 500
    assert problem(failed) == "serverInternal"
    assert "Retry-After" not in failed.headers
    reference = failed.json()["detail"].rpartition(" ")[2]
    own_ca.until_logged(f"reference {reference}")
    # The store takes writes all the same.
    assert health(account, own_ca) == 200
    _rename(own_ca, "elsewhere", "orders")
    assert account.order("foo.local").status_code == 201


def test_health_is_503_while_nothing_can_be_written(own_ca: CA) -> None:
    own_ca.start()
    account = own_ca.account()
    assert health(account, own_ca) == 200
    url = own_ca.store_url
    if url.startswith("postgresql:"):
        cluster = postgresql.cluster()
        cluster.stop()
        try:
            # An order reads first, and what cannot be read says nothing of writing: the next probe does.
            assert account.order("foo.local").status_code == 503
            _until(account, own_ca, 503)
        finally:
            cluster.start()
    else:
        # No file can grow any more: as a full disk has it.
        _limit(own_ca, 0)
        assert account.order("foo.local").status_code == 503
        refused = account.wire.session.get(f"{own_ca.url}/health", timeout=30)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        _limit(own_ca, -1)
    _until(account, own_ca, 200)
    assert account.order("foo.local").status_code == 201


def _until(account: Account, ca: CA, status: int) -> None:
    """Ask until the answer is that."""
    deadline = time.monotonic() + 60
    while health(account, ca) != status:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _limit(ca: CA, size: int) -> None:
    (worker,) = ca.workers()
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (size, -1))
