"""Events that were stored and chained later, by whichever server comes: none is lost, and there is one whole chain."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import postgresql
import psycopg
import pytest
from running import ACCOUNT, CA, answer
from writing import put

from acme_iid.errors import UnstorableTextError
from acme_iid.simulator import aws
from acme_iid.store import events
from acme_iid.store.chain import Event
from acme_iid.store.database import open_store
from acme_iid.store.postgresql import PostgreSQL

NOW = 1_800_000_000
KILLS = 20
_SEALER = """
import sys
from acme_iid.store.database import connect
store = connect(sys.argv[1])
store.seal(waits=False)
print(flush=True)
while True:
    store.seal(waits=False)
"""


@pytest.fixture
def url() -> str:
    return postgresql.cluster().create()


@pytest.fixture
def database(url: str) -> Iterator[PostgreSQL]:
    with closing(open_store(url)) as opened:
        assert isinstance(opened, PostgreSQL)
        yield opened


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CA]:
    made = CA(tmp_path / "ca")
    made.init(in_postgresql=True)
    yield made
    if made.process is not None:
        made.kill()


def event(number: int) -> Event:
    return Event("test", NOW + number, detail={"number": number, "detail": "ä'\"%s :x"})


def numbers(database: PostgreSQL) -> list[int]:
    """What the events of a chain that is whole say, in its order."""
    assert len(list(events.check(database))) == database.rows("SELECT count(*) AS n FROM events")[0]["n"]
    return [json.loads(row["detail"])["number"] for row in database.rows("SELECT detail FROM events ORDER BY seq")]


def test_while_nobody_chains_events_nothing_is_lost(database: PostgreSQL) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: put(database, events=[event(number), event(-number)]), range(1, 601)))
    assert database.unsealed() == (1200, NOW - 600)
    assert not list(events.check(database))
    database.seal()
    assert database.unsealed() == (0, None)
    chained = numbers(database)
    assert sorted(chained) == sorted([*range(-600, 0), *range(1, 601)])
    # The two of one write stay in their order.
    assert all(chained.index(number) < chained.index(-number) for number in range(1, 601))


@pytest.mark.parametrize("text", ["\0", "\ud800"])
def test_an_event_that_no_row_can_hold_is_refused_and_delays_no_other(database: PostgreSQL, text: str) -> None:
    with pytest.raises(UnstorableTextError):
        put(database, events=[Event("good", NOW), Event("bad", NOW, name=text)])
    put(database, events=[Event("next", NOW)])
    database.seal()
    assert [row["kind"] for row in database.rows("SELECT kind FROM events")] == ["next"]


def test_several_that_chain_at_once_make_one_chain(database: PostgreSQL, url: str) -> None:
    done = threading.Event()

    def chain(waits: bool) -> None:
        with closing(open_store(url)) as other:
            while not done.is_set():
                other.seal(waits=waits)

    with ThreadPoolExecutor(3) as sealers, ThreadPoolExecutor(4) as pool:
        sealing = [sealers.submit(chain, waits) for waits in (False, False, True)]
        try:
            list(pool.map(lambda number: put(database, events=[event(number)]), range(600)))
        finally:
            done.set()
        for sealer in sealing:
            sealer.result(60)
    database.seal()
    assert sorted(numbers(database)) == list(range(600))


def test_whoever_chains_and_is_killed_loses_and_doubles_nothing(database: PostgreSQL, url: str) -> None:
    done, written = threading.Event(), []

    def load(start: int) -> None:
        number = start
        while not done.is_set():
            put(database, events=[event(number)])
            written.append(number)
            number += 4

    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load, start) for start in range(4)]
        try:
            for _ in range(KILLS):
                sealer = subprocess.Popen([sys.executable, "-c", _SEALER, url], stdout=subprocess.PIPE)
                with sealer:
                    assert sealer.stdout is not None
                    sealer.stdout.readline()
                    # At any point of its work.
                    time.sleep(random.uniform(0, 0.3))
                    sealer.send_signal(signal.SIGKILL)
        finally:
            done.set()
        for one in loads:
            one.result(60)
    chained = database.rows("SELECT count(*) AS n FROM events")[0]["n"]
    assert chained > 0
    database.seal()
    assert sorted(numbers(database)) == sorted(written)
    assert len(written) > KILLS


def test_a_server_chains_and_follows_by_itself_and_says_the_head(ca: CA) -> None:
    ca.start()
    ca.account().obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT)))
    with closing(open_store(ca.store_url)) as store:
        deadline = time.monotonic() + 60
        while store.unsealed().number or not store.rows("SELECT 1 FROM lookups WHERE field = 'issued name'"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        head = events.head(store)
        assert head.seq >= 2
    checked = json.loads(ca.cli("events", "--check", "--json").stdout)
    assert checked["unsealed"] == 0
    ca.until_logged("The head of the record's chain is ")


def test_an_event_that_nobody_chains_is_warned_of(ca: CA) -> None:
    with closing(open_store(ca.store_url)) as store, closing(psycopg.connect(ca.store_url)) as holding:
        holding.execute("SELECT id FROM sealing FOR UPDATE")
        put(store, events=[Event("test", int(time.time()) - 120)])
        ca.start()
        ca.until_logged("seconds to be chained; is another server stopped?")
        holding.rollback()
        deadline = time.monotonic() + 60
        while store.unsealed().number:
            assert time.monotonic() < deadline
            time.sleep(0.1)
