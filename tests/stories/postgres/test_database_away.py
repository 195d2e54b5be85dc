"""A server whose database goes away and comes back: clients are told to wait, and nothing acknowledged is lost."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import postgresql
import psycopg
import pytest
import replicas
import requests
from running import ACCOUNT, CA, answer

from acme_iid.simulator import aws


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CA]:
    made = CA(tmp_path / "ca")
    made.init(in_postgresql=True)
    made.start("--workers", "2")
    yield made
    if made.process is not None:
        made.kill()


@pytest.fixture(autouse=True)
def database_runs() -> Iterator[None]:
    yield
    postgresql.cluster().ensure_started()


def is_unavailable(response: requests.Response) -> bool:
    """Whether a response tells the client to come back; any other trouble fails the test."""
    if response.status_code == 503:
        assert response.json()["type"] == "urn:ietf:params:acme:error:serverInternal"
        assert int(response.headers["Retry-After"]) > 0
        return True
    assert response.status_code < 400, response.text
    return False


def test_without_the_database_clients_are_soon_told_to_wait_then_served(ca: CA) -> None:
    account = ca.account()
    cluster = postgresql.cluster()
    cluster.stop()
    for _ in range(3):
        began = time.monotonic()
        assert is_unavailable(account.post(account.url))
        assert time.monotonic() - began < 60
    # What needs no database is answered.
    assert account.wire.session.get(ca.directory, timeout=10).status_code == 200
    cluster.start()
    deadline = time.monotonic() + 10
    while is_unavailable(account.post(account.url)):
        assert time.monotonic() < deadline
    assert account.obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT))).chain
    assert postgresql.PASSWORD not in "".join(ca.log)
    assert "Traceback" not in "".join(ca.log)


def test_with_a_silent_database_clients_are_told_to_wait_then_served(ca: CA) -> None:
    account = ca.account()
    cluster = postgresql.cluster()
    with ThreadPoolExecutor(6) as pool:
        # Several connections to the database are open, and will all be stopped in the middle.
        assert all(
            response.status_code == 201 for response in pool.map(lambda _: ca.account().order("foo.local"), range(6))
        )

        def ask(post: Callable[[], requests.Response]) -> bool:
            return is_unavailable(post())

        cluster.freeze()
        try:
            reading = [pool.submit(ask, lambda: account.post(account.url)) for _ in range(3)]
            writing = [pool.submit(ask, lambda: account.order("foo.local")) for _ in range(3)]
            answers = [future.result(60) for future in (*reading, *writing)]
        finally:
            cluster.thaw()
    assert answers == [True] * 6
    # One who then tried again would have had no connection.
    assert [line for line in ca.log if "the server has not answered for 12 seconds" in line]
    deadline = time.monotonic() + 10
    while is_unavailable(account.post(account.url)):
        assert time.monotonic() < deadline
    assert account.obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT))).chain
    assert "Traceback" not in "".join(ca.log)


def test_while_all_connections_are_in_use_health_is_answered(ca: CA) -> None:
    clients = [ca.account() for _ in range(12)]
    with closing(psycopg.connect(ca.store_url)) as there, ThreadPoolExecutor(len(clients)) as pool:
        # What a new order asks first waits for us, on as many connections as there are.
        there.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        asking = [pool.submit(client.order, "foo.local") for client in clients]
        session = ca.wire().session
        # For longer than the latest write counts.
        until = time.monotonic() + 8
        while time.monotonic() < until:
            assert session.get(f"{ca.url}/health", timeout=30).status_code == 200
            time.sleep(0.2)
        there.rollback()
        assert all(future.result(60).status_code in (201, 503) for future in asking)
    assert clients[0].order("foo.local").status_code == 201


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_database_restart_under_load_loses_no_acknowledged_certificate(ca: CA, how: signal.Signals) -> None:
    def stop_and_start(load: replicas.Load) -> None:
        cluster = postgresql.cluster()
        # A short absence is waited out; of a longer one clients are told.
        for share, seconds in ((0.2, 0.1), (0.4, 5.0), (0.6, 0.5)):
            load.wait_for(share)
            cluster.stop(how)
            time.sleep(seconds)
            cluster.start()

    load = replicas.Load(replicas.Fleet([ca], ca.store_url), 60, threads=4)
    load.run(stop_and_start)
    replicas.check(load)


def test_a_view_that_the_store_had_no_turn_for_is_run_again(ca: CA) -> None:
    account = ca.account()
    # A trigger that fails the first two inserts into orders, as a distributed relative of PostgreSQL would.
    with closing(psycopg.connect(ca.store_url, autocommit=True)) as there:
        there.execute("CREATE SEQUENCE turns")
        there.execute(
            """CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$
               BEGIN
                   IF nextval('turns') <= 2 THEN RAISE EXCEPTION 'restart transaction' USING ERRCODE = '40001'; END IF;
                   RETURN NEW;
               END $$"""
        )
        there.execute("CREATE TRIGGER late BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION late()")
        assert account.order("foo.local").status_code == 201
        there.execute("ALTER SEQUENCE turns RESTART")
        there.execute("CREATE OR REPLACE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS "
                      "$$ BEGIN RAISE EXCEPTION 'restart transaction' USING ERRCODE = '40001'; END $$")  # fmt: skip
        refused = account.order("foo.local")
        assert is_unavailable(refused)
        assert there.execute("SELECT count(*) FROM orders").fetchone() == (1,)


@pytest.mark.parametrize(
    "path", ["order/a%00b", "account/%00", "challenge/%00", "certificate/%00/0", "authorization/%00"]
)
def test_a_nul_in_a_url_is_the_clients_fault(ca: CA, path: str) -> None:
    account = ca.account()
    answered = account.post(f"{ca.url}/acme/{path}")
    assert 400 <= answered.status_code < 500, answered.text
    assert answered.json()["type"].startswith("urn:ietf:params:acme:error:")
    assert ca.wire().session.get(f"{ca.url}/acme/renewal-info/%00.%00", timeout=10).status_code in (400, 404)
