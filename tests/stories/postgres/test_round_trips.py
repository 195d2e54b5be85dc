"""How often a certificate asks a database that is on another machine, and what a request does where it says nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import postgresql
import pytest
import requests
from relays import Relay, relay
from running import ACCOUNT, CA, answer
from wire import Account

from acme_iid.simulator import aws

MOST = 10
"""Round trips that a certificate takes."""


@pytest.fixture
def between() -> Iterator[Relay]:
    with relay(postgresql.cluster().port) as made:
        yield made


@pytest.fixture
def ca(tmp_path: Path, between: Relay) -> Iterator[CA]:
    """A CA whose server is connected to its database through the relay."""
    made = CA(tmp_path / "ca")
    made.init(in_postgresql=True, limits="")
    toml = made.home / "ca.toml"
    url = made.store_url
    toml.write_text(toml.read_text().replace(url, between.url(url)))
    made.start()
    yield made
    if made.process is not None:
        made.kill()


def turns(between: Relay, obtain: Callable[[], object], times: int) -> int:
    """The fewest round trips that something takes: the server's threads make some, too, now and then."""
    taken = []
    for _ in range(times):
        before = between.turns
        obtain()
        taken.append(between.turns - before)
    return min(taken)


def test_a_certificate_takes_ten_round_trips_at_most(ca: CA, between: Relay) -> None:
    account, instance = ca.account(), aws.Instance(account=ACCOUNT)
    account.obtain("foo.local", answer=answer(instance))
    assert turns(between, lambda: account.obtain("foo.local", answer=answer(instance)), 20) <= MOST


def read(account: Account) -> tuple[int, float]:
    began = time.monotonic()
    return account.post(account.url).status_code, time.monotonic() - began


def order(account: Account) -> tuple[int, float]:
    began = time.monotonic()
    return account.order("foo.local").status_code, time.monotonic() - began


def test_a_silent_database_holds_up_neither_requests_nor_the_end(ca: CA, between: Relay) -> None:
    accounts = [ca.account() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert {made.status_code for made in pool.map(lambda one: one.order("foo.local"), accounts)} == {201}
        between.silence()
        asking = [pool.submit(read, one) for one in accounts[:3]]
        asking += [pool.submit(order, one) for one in accounts[3:]]
        answers = [future.result(60) for future in asking]
        assert {code for code, _ in answers} == {503}
        assert max(seconds for _, seconds in answers) < 16.5, answers
        between.speak()
        deadline = time.monotonic() + 30
        while (response := accounts[0].order("foo.local")).status_code != 201:
            assert response.status_code == 503
            assert time.monotonic() < deadline
        # All connections are new, and none is missing.
        assert {made.status_code for made in pool.map(lambda one: one.order("foo.local"), accounts)} == {201}
        between.silence()
        waiting = [pool.submit(read, one) for one in accounts]
        time.sleep(0.5)
        assert ca.stop() == 0
        for future in waiting:
            assert isinstance(future.exception(60), requests.ConnectionError) or future.result()[0] == 503
    assert "Traceback" not in "".join(ca.log)
