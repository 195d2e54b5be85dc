"""Replicas whose clocks are wrong: what they share is dated by the database server's clock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import postgresql
import psycopg
import pytest
from clocks import Clock
from cryptography import x509
from running import ACCOUNT, CA, answer, run_module
from wire import problem

from acme_iid.simulator import aws
from acme_iid.store.clock import ClockError
from acme_iid.store.database import open_store
from acme_iid.store.nonce_table import NonceTable
from acme_iid.store.postgresql import PostgreSQL
from acme_iid.web.nonces import LIFETIME, Nonces

KEY = bytes(32)


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CA]:
    made = CA(tmp_path / "ca")
    made.init(in_postgresql=True)
    toml = made.home / "ca.toml"
    toml.write_text(toml.read_text().replace("\n[server]", "crl = true\n\n[server]", 1))
    yield made
    if made.process is not None:
        made.kill()


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


@pytest.mark.parametrize(("seconds", "sentence"), [(90, "seconds ahead of"), (-7200, "7200 seconds behind")])
def test_a_replica_whose_clock_is_wrong_does_not_start(ca: CA, clock: Clock, seconds: int, sentence: str) -> None:
    ca.start()
    assert ca.stop() == 0
    clock.set(seconds)
    done = run_module("acme_iid.cli", "--home", ca.home, "serve", "--workers", "1", env=clock.env)
    assert done.code == 1
    assert done.stderr.startswith("Error: this machine's clock is ")
    assert sentence in done.stderr
    assert "60 are the limit" in done.stderr
    assert postgresql.PASSWORD not in done.stderr


def test_a_replica_with_a_clock_a_little_off_serves(ca: CA, clock: Clock) -> None:
    clock.set(-30)
    ca.start(env=clock.env)
    assert ca.account().obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT))).chain


@pytest.mark.parametrize("seconds", [100, -2400, 86400])
def test_while_the_clock_is_wrong_nothing_is_written(ca: CA, clock: Clock, seconds: int) -> None:
    ca.start(env=clock.env)
    account = ca.account()
    order = account.order("foo.local")
    assert order.status_code == 201
    session = account.wire.session
    assert session.get(f"{ca.url}/crl", timeout=10).status_code == 200
    clock.set(seconds)
    for _ in range(2):
        refused = account.order("bar.local")
        assert refused.status_code == 503
        assert problem(refused) == "serverInternal"
        assert int(refused.headers["Retry-After"]) > 0
        assert account.post(account.url).status_code == 200
        assert account.post(order.headers["Location"]).status_code == 200
        assert session.get(f"{ca.url}/acme/directory", timeout=10).status_code == 200
    ca.until_logged("this machine's clock is ")
    # A list that can be relied on by that clock is served, and no other is made.
    assert session.get(f"{ca.url}/crl", timeout=10).status_code == (503 if seconds == 86400 else 200)
    clock.set(0)
    assert account.obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT))).chain


def test_a_list_that_lacks_a_revocation_is_not_served_in_any_case(ca: CA, clock: Clock) -> None:
    ca.start(env=clock.env)
    account = ca.account()
    leaf = account.obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT))).leaf
    session = account.wire.session
    assert session.get(f"{ca.url}/crl", timeout=10).status_code == 200
    clock.set(-600)
    # At another machine, with the right clock.
    ca.cli("certificate", "revoke", str(leaf.serial_number))
    assert session.get(f"{ca.url}/crl", timeout=10).status_code == 503
    clock.set(0)
    found = x509.load_der_x509_crl(session.get(f"{ca.url}/crl", timeout=10).content)
    assert found.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None


def test_a_replica_whose_clock_is_wrong_takes_up_its_settings_and_reads(ca: CA, clock: Clock) -> None:
    ca.start(env=clock.env)
    account = ca.account()
    clock.set(-600)
    assert ca.process is not None
    ca.process.send_signal(signal.SIGHUP)
    ca.until_logged("The configuration was reloaded.", "The configuration was not reloaded")
    assert account.post(account.url).status_code == 200
    assert account.order("foo.local").status_code == 503


def test_an_operator_on_such_a_machine_is_refused_too(ca: CA, clock: Clock) -> None:
    clock.set(3600)
    done = run_module("acme_iid.cli", "--home", ca.home, "eab", "add", env=clock.env)
    assert done.code == 1
    assert "3600 seconds ahead of" in done.stderr


@pytest.mark.parametrize("seconds", [1800, 61 * 60, 91 * 60, 30 * 86400])
def test_a_replica_that_is_ahead_forgets_no_nonce_that_is_good(database: PostgreSQL, url: str, seconds: int) -> None:
    now = int(time.time())
    with closing(open_store(url)) as other:
        assert isinstance(other, PostgreSQL)
        right, ahead = Nonces(KEY, NonceTable(database)), NonceTable(other)
        nonce = right.issue(now)
        assert right.spend(nonce, now)
        assert ahead.forget_expired(now + seconds) == 0
        assert not right.spend(nonce, now)


@pytest.mark.parametrize("seconds", [-86400, -1860, 120, 86400])
def test_a_nonce_is_dated_by_the_database(database: PostgreSQL, url: str, clock: Clock, seconds: int) -> None:
    script = (
        "import sys, time\nfrom acme_iid.store.nonce_table import NonceTable\n"
        "from acme_iid.store.postgresql import PostgreSQL\n"
        "from acme_iid.web.nonces import Nonces\n"
        "print(Nonces(bytes(32), NonceTable(PostgreSQL(sys.argv[1]))).issue(int(time.time())))"
    )
    clock.set(seconds)
    made = _python(script, url, env=clock.env)
    now = int(time.time())
    assert Nonces(KEY, NonceTable(database)).spend(made, now)
    # And so does the replica that is wrong take what others made.
    right = Nonces(KEY, NonceTable(database)).issue(now)
    script = script.replace(".issue(int(time.time()))", ".spend(sys.argv[2], int(time.time()))")
    assert _python(script, url, right, env=clock.env) == "True"


@pytest.mark.parametrize(("seconds", "taken"), [(-LIFETIME - 5, False), (-LIFETIME + 300, True), (86400, False)])
def test_a_nonce_is_taken_at_its_time_by_the_database(database: PostgreSQL, seconds: int, *, taken: bool) -> None:
    now = int(time.time())
    nonces = Nonces(KEY, NonceTable(database))
    assert nonces.spend(nonces.issue(now + seconds), now + seconds) is taken


def test_a_replica_takes_up_a_clock_of_the_database_that_was_set(database: PostgreSQL) -> None:
    table = NonceTable(database)
    nonces = Nonces(KEY, table)
    # As if the server's clock had been set by an hour since it was asked.
    database.clock.set(time.time() - 3600)
    now = int(time.time())
    assert not nonces.spend(nonces.issue(now), now)
    assert nonces.spend(nonces.issue(now), now)
    database.clock.set(time.time() + 3600)
    with pytest.raises(ClockError):
        database.clock.require_right()
    with database.transaction() as transaction:
        assert transaction.rows("SELECT 1 AS one")
    database.clock.require_right()


def test_nonces_are_forgotten_an_hour_after_they_ran_out(database: PostgreSQL, url: str) -> None:
    now = int(time.time())
    with closing(psycopg.connect(url, autocommit=True)) as other:
        for name, expired_at in (("old", now - 3660), ("late", now - 3500)):
            other.execute("INSERT INTO spent_nonces (nonce, expires_at) VALUES (%s, %s)", (name, expired_at))
    nonces = NonceTable(database)
    assert nonces.forget_expired(now - 3600) == 0
    assert nonces.forget_expired(now) == 1
    assert database.rows("SELECT nonce FROM spent_nonces") == [{"nonce": "late"}]


def _python(script: str, *arguments: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
