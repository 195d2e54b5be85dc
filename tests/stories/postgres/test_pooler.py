"""Servers whose database is behind pgbouncer, which gives each transaction another session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from interop.harness import listens, running, until
from ports import free_port
from running import ACCOUNT, CA, answer

from acme_iid.simulator import aws
from acme_iid.store import events
from acme_iid.store.database import open_store

ORDERS = 1000
SESSIONS = 3
"""That the pooler has with the database."""
_CONFIGURATION = """
[databases]
{name} = host=127.0.0.1 port={port} dbname={name} user={user} password={password}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 100
server_lifetime = {lifetime}
server_check_delay = 0
"""


@contextmanager
def pooler(url: str, home: Path, lifetime: int) -> Iterator[str]:
    """pgbouncer before a database; gives its URL there.

    :param lifetime: seconds that one of its sessions lasts.
    """
    parts = urlsplit(url)
    port = free_port()
    home.mkdir()
    name = parts.path.removeprefix("/")
    configuration = home / "pgbouncer.ini"
    configuration.write_text(
        _CONFIGURATION.format(
            name=name,
            port=parts.port,
            user=parts.username,
            password=parts.password,
            own_port=port,
            sessions=SESSIONS,
            lifetime=lifetime,
        )
    )
    command = ["/usr/sbin/pgbouncer", *(["-u", "postgres"] if os.geteuid() == 0 else []), str(configuration)]
    with running(*command, log=home / "log"):
        until(lambda: listens(port), "pgbouncer")
        yield f"postgresql://{parts.username}@127.0.0.1:{port}/{name}"


@pytest.fixture
def ca(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[CA]:
    """A CA whose database is behind a pooler; the parameter is how long one of its sessions lasts."""
    made = CA(tmp_path / "ca")
    made.init(in_postgresql=True)
    direct = made.store_url
    toml = made.home / "ca.toml"
    with pooler(direct, tmp_path / "pooler", request.param) as url:
        toml.write_text(toml.read_text().replace(direct, url))
        made.start()
        yield made
        if made.process is not None:
            made.kill()
        toml.write_text(toml.read_text().replace(url, direct))


@pytest.mark.parametrize("ca", [1], indirect=True)
def test_a_thousand_orders_behind_a_pooler_of_transactions(ca: CA) -> None:
    threads = 6
    clients = [ca.account() for _ in range(threads)]

    def order(number: int) -> None:
        for _ in range(ORDERS // threads + 1):
            made = clients[number].order("foo.local")
            assert made.status_code == 201, made.text
        instance = aws.Instance(account=ACCOUNT)
        for _ in range(3):
            clients[number].obtain("foo.local", answer=answer(instance))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(order, range(threads)))
    assert "Traceback" not in "".join(ca.log)
    assert ca.cli("events", "--check").stdout.startswith("OK")
    with closing(open_store(ca.store_url)) as store:
        (row,) = store.rows("SELECT count(*) AS number FROM orders")
        assert row["number"] >= ORDERS
        assert len(list(events.check(store))) >= 3 * threads


@pytest.mark.parametrize("ca", [3600], indirect=True)
def test_nothing_of_a_session_is_left_to_others(ca: CA) -> None:
    client = ca.account()
    # On each of the connections more often than psycopg waits before it prepares a statement.
    for _ in range(100):
        assert client.order("foo.local").status_code == 201
    client.obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT)))
    with ExitStack() as stack:
        # Each in a transaction of its own, so that all of the pooler's sessions are seen.
        for _ in range(SESSIONS):
            connection = stack.enter_context(closing(psycopg.connect(ca.store_url)))
            settings = connection.execute(
                "SELECT current_setting('lock_timeout'), current_setting('statement_timeout'), "
                "current_setting('synchronous_commit'), (SELECT count(*) FROM pg_prepared_statements), "
                "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')",
                prepare=False,
            ).fetchone()
            assert settings == ("0", "0", "on", 0, 0)
