"""An issuer is marked as stolen while another process activates it: PostgreSQL lets one of the two happen.

The second waits for the row of the first, and sees that row as it is by then, but all others as they were before.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from writing import put

from acme_iid.store import issuers
from acme_iid.store.postgresql import PostgreSQL
from acme_iid.store.writes import Committed, Refused, Statement, Write

FIRST, SECOND = "1" * 64, "2" * 64
ACTIVATED, COMPROMISED = issuers.activate(SECOND, FIRST, 20), issuers.compromise(SECOND, None, 21)


@pytest.fixture
def two(database: PostgreSQL) -> PostgreSQL:
    """A store with an issuer that signs and a prepared one."""
    put(database, issuers.note(FIRST, b"1", "", 1), issuers.activate_first(FIRST, 2), issuers.note(SECOND, b"2", "", 3))
    return database


@pytest.mark.parametrize(
    ("before", "after"), [(ACTIVATED, COMPROMISED), (COMPROMISED, ACTIVATED)], ids=["activated", "stolen"]
)
def test_the_second_one_is_decided_again(two: PostgreSQL, url: str, before: Statement, after: Statement) -> None:
    with ThreadPoolExecutor(1) as pool, psycopg.connect(url, autocommit=True) as watching:
        with two.transaction() as transaction:
            assert transaction.run(before.text, **before.values) == 1
            waiting = pool.submit(two.commit, Write([after], lambda _rows: None))
            deadline = time.monotonic() + 30
            while not watching.execute(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            ).fetchall():
                assert time.monotonic() < deadline
                time.sleep(0.01)
        assert isinstance(waiting.result(30), Refused)
    (second,) = (entry for entry in issuers.every(two) if entry.id == SECOND)
    assert (second.activated_at is None) != (second.compromised_at is None)


def test_without_the_other_either_happens(two: PostgreSQL) -> None:
    assert isinstance(two.commit(Write([ACTIVATED], lambda _rows: None)), Committed)
    former = issuers.compromise(FIRST, 2, 22)
    assert isinstance(two.commit(Write([former], lambda _rows: None)), Committed)
