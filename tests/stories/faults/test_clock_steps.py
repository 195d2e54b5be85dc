"""A server whose clock is set while it runs, or is wrong when it starts, by libfaketime."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from clocks import Clock
from running import ACCOUNT, CA, answer, restarted
from wire import Account, b64, csr, problem
from writing import put

from acme_iid.protocol.resources import ExternalKey
from acme_iid.simulator import aws
from acme_iid.store import external_keys
from acme_iid.store.database import SQLite

HOUR, DAY = 3600, 24 * 3600


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


def is_taken(account: Account, nonce: str) -> bool:
    """Whether a request with this nonce is taken."""
    response = account.wire.post(account.url, None, account.key, account.url, nonce=nonce)
    if response.status_code == 200:
        return True
    assert problem(response) == "badNonce"
    return False


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_step_of_an_hour_breaks_no_order_and_no_nonce_passes_twice(own_ca: CA, clock: Clock, step: int) -> None:
    own_ca.start(env=clock.env)
    # It was started hours ago: a document of the future is refused, and says that the CA's clock is wrong.
    account, instance = own_ca.account(), restarted(aws.Instance(account=ACCOUNT), -2 * HOUR)
    first = account.obtain("foo.local", answer=answer(instance))
    ordered, (proven,) = account.prove("bar.local", answer=answer(instance))
    assert proven.json()["status"] == "valid"
    unspent, spent = account.wire.nonce(), account.wire.nonce()
    assert is_taken(account, spent)
    clock.set(step)
    # Nonces live for half an hour; what is of a later time than it is now was made before the clock was set back.
    assert is_taken(account, unspent) == (step < 0)
    assert not is_taken(account, unspent)
    assert not is_taken(account, spent)
    # The order that was under way has an hour: it goes on, or its client is told that it has ended.
    done = account.post(ordered.json()["finalize"], {"csr": b64(csr("bar.local")[1])})
    if step < 0:
        assert done.json()["status"] == "valid", done.text
    else:
        assert problem(done) == "orderNotReady"
    second = account.obtain("foo.local", answer=answer(instance))
    now = datetime.fromtimestamp(time.time() + step, UTC)
    assert second.leaf.not_valid_before_utc <= now < second.leaf.not_valid_after_utc
    life = [leaf.not_valid_after_utc - leaf.not_valid_before_utc for leaf in (first.leaf, second.leaf)]
    assert life[0] == life[1]
    moved = second.leaf.not_valid_before_utc - first.leaf.not_valid_before_utc
    assert abs(moved.total_seconds() - step) < 120
    later = account.wire.nonce()
    clock.set(0)
    assert is_taken(account, later) == (step > 0)
    assert not is_taken(account, later)
    assert account.obtain("foo.local", answer=answer(instance)).chain
    assert account.post(first.order).json()["status"] == "valid"
    assert "Traceback" not in "".join(own_ca.log)
    assert own_ca.stop() == 0
    assert own_ca.cli("events", "--check").stdout.startswith("OK: ")


def test_a_server_started_with_a_clock_a_year_ahead_prunes_nothing(tmp_path: Path, clock: Clock) -> None:
    ca = CA(tmp_path / "ca")
    ca.init(in_a_file=True)
    try:
        ca.start()
        until_pruned_once(ca)
        assert ca.stop() == 0
        database = SQLite(ca.home / "ca.db")
        soon = int(time.time()) + 30 * DAY
        put(database, external_keys.add(ExternalKey("in force", "A" * 43, None, False, int(time.time()), soon)))
        database.close()
        clock.set(365 * DAY)
        ca.start(env=clock.env)
        deadline = time.monotonic() + 30
        while not any("The store was not pruned for more than a week" in line for line in ca.log):
            assert time.monotonic() < deadline, ca.log
            assert not any("Pruned" in line for line in ca.log), ca.log
            time.sleep(0.1)
        assert ca.stop() == 0
        assert [key["key_id"] for key in json.loads(ca.cli("eab", "list", "--json").stdout)] == ["in force"]
    finally:
        if ca.process is not None:
            ca.kill()


def until_pruned_once(ca: CA) -> None:
    """Wait until a server has had its turn at pruning."""
    deadline = time.monotonic() + 30
    with closing(sqlite3.connect(ca.home / "ca.db")) as there:
        while not there.execute("SELECT 1 FROM jobs WHERE name = 'prune'").fetchall():
            assert time.monotonic() < deadline, "nobody has pruned"
            time.sleep(0.1)
