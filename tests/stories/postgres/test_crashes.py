"""PostgreSQL crashes while events of answered requests wait to be chained: nothing is lost or half there."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import postgresql
import psycopg
import pytest
import requests
from acting import Actor, authority_of
from backing import Asked, check_whole, unbacked
from running import ACCOUNT, CA

from acme_iid.simulator import aws
from acme_iid.store.database import Database, open_store

CLIENTS = 3
ROUNDS = 3


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CA]:
    made = CA(tmp_path / "ca")
    made.init(in_postgresql=True)
    made.start()
    yield made
    if made.process is not None:
        made.kill()


@pytest.fixture(autouse=True)
def database_runs() -> Iterator[None]:
    yield
    postgresql.cluster().ensure_started()


@pytest.fixture
def asked(ca: CA) -> Asked:
    """An instance that was blocked; a block has all chained that was stored before."""
    asked = Asked(ca)
    asked.block(asked.order("127.0.0.9"))
    return asked


def ask(asked: Asked) -> None:
    """Orders, and a revocation, all of them answered."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        obtained = list(clients.map(asked.order, [f"127.0.0.{10 + number}" for number in range(CLIENTS)]))
    asked.revoke(obtained[0])


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def crash() -> None:
    """Have the cluster end at once, and start it again: it goes by its log."""
    postgresql.cluster().stop(signal.SIGQUIT)
    postgresql.cluster().start()


@contextmanager
def held(url: str, statement: str) -> Iterator[psycopg.Connection]:
    """Hold rows until the block ends; a crash ends it, too."""
    with closing(psycopg.connect(url)) as holding:
        holding.execute(statement.encode())
        yield holding


def is_waiting(url: str, what: str) -> bool:
    """Whether somebody waits for ``what`` in a database."""
    with closing(psycopg.connect(url)) as there:
        found = there.execute(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND "
            "(wait_event = %(what)s OR wait_event_type = %(what)s)",
            {"what": what},
        )
        return found.fetchone() is not None


def sealers_commit_waits(url: str) -> bool:
    """Whether the commit of whoever chains events waits for a standby; it has all of its locks until then."""
    with closing(psycopg.connect(url)) as there:
        found = there.execute(
            "SELECT 1 FROM pg_stat_activity JOIN pg_locks USING (pid) "
            "WHERE wait_event = 'SyncRep' AND relation = 'sealing'::regclass"
        )
        return found.fetchone() is not None


def check(ca: CA, asked: Asked, waiting: int | None) -> None:
    """See that all is there, and is chained and worked with by whoever comes next.

    :param waiting: how many events wait to be chained; None where that depends.
    """
    with closing(open_store(ca.store_url)) as store:
        if waiting is not None:
            assert store.unsealed().number == waiting
        check_whole(store)
        assert unbacked(store, asked.answers) == []
        _work_on(ca, store)
        store.seal()
        assert store.unsealed().number == 0
        check_whole(store)
        assert unbacked(store, asked.answers) == []
    assert ca.cli("events", "--check").stdout.startswith("OK: ")


def _work_on(ca: CA, store: Database) -> None:
    with authority_of(ca.home) as authority:
        Actor(replace(authority, database=store)).certificate(aws.Instance(account=ACCOUNT))


def unsealed(url: str) -> int:
    """How many events wait to be chained."""
    with closing(open_store(url)) as store:
        return store.unsealed().number


def test_what_waits_to_be_chained_is_there_after_a_crash(ca: CA, asked: Asked) -> None:
    with held(ca.store_url, "SELECT id FROM sealing FOR UPDATE"):
        ask(asked)
        waiting = unsealed(ca.store_url)
        assert waiting > 3 * CLIENTS
        ca.kill()
        crash()
    check(ca, asked, waiting)


def test_a_crash_in_the_middle_of_chaining_chains_nothing(ca: CA, asked: Asked) -> None:
    with held(ca.store_url, "SELECT id FROM sealing FOR UPDATE") as sealer:
        ask(asked)
        waiting = unsealed(ca.store_url)
        # Whoever chains has put the events into the chain by the time that it wants to take this one away.
        with held(ca.store_url, "SELECT id FROM event_inbox ORDER BY id LIMIT 1 FOR UPDATE"):
            sealer.rollback()
            until(lambda: is_waiting(ca.store_url, "Lock"))
            ca.kill()
            crash()
    check(ca, asked, waiting)


def test_a_crash_before_the_chains_commit_is_answered_chains_events_once(ca: CA, asked: Asked) -> None:
    postgres = postgresql.cluster().url("postgres")
    with held(ca.store_url, "SELECT id FROM sealing FOR UPDATE") as sealer:
        ask(asked)
        try:
            _have_commits_wait(postgres, "nobody")
            sealer.rollback()
            # It is in the log, and whoever asked for it is not told.
            until(lambda: sealers_commit_waits(ca.store_url))
            ca.kill()
            crash()
        finally:
            postgresql.cluster().ensure_started()
            _have_commits_wait(postgres, "")
    check(ca, asked, 0)


def _have_commits_wait(postgres: str, names: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'".encode())
        connection.execute("SELECT pg_reload_conf()")
        until(lambda: connection.execute("SHOW synchronous_standby_names").fetchone() == (names,))


def test_crashes_under_load_lose_nothing_that_was_answered(ca: CA, asked: Asked) -> None:
    over = threading.Event()

    def order(address: str) -> None:
        while not over.is_set():
            # While the database is away, nothing is; what was not answered may be there or not.
            with suppress(requests.RequestException, KeyError, AssertionError, ValueError):
                asked.order(address)

    with ThreadPoolExecutor(CLIENTS) as clients:
        ordering = [clients.submit(order, f"127.0.0.{10 + client}") for client in range(CLIENTS)]
        try:
            for number in range(ROUNDS):
                wanted = len(asked.answers) + 11 + 3 * number
                until(lambda wanted=wanted: len(asked.answers) >= wanted)  # type: ignore[misc]
                crash()
        finally:
            over.set()
        for one in ordering:
            one.result(60)
    ca.kill()
    check(ca, asked, None)
