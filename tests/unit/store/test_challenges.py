"""Attempts at a challenge: one process's at a time, and only of what can still lead to something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice

import pytest
from writing import add_order, happens, pass_time, put

from acme_iid.authority import authorizations, validations
from acme_iid.authority.rounds import Rounds
from acme_iid.errors import Fault, Problem
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Challenge, Order, Proof
from acme_iid.store import accounts, attempts, orders
from acme_iid.store.attempts import Asked
from acme_iid.store.database import Database, open_store
from acme_iid.store.orders import LocatedChallenge
from acme_iid.store.writes import Statement, perform

NAME = Identifier("dns", "foo.local")
ACCOUNT = Account("a", "{}", "t", (), 1)
PROOF = Proof(None, "acme", "Racks", "")
FAULT = Fault(Problem.DNS, "the DNS has no foo.local")
FAR = 10**10
"""Seconds; beyond every clock's time."""


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    """A store with an order whose authorization has two challenges, the first of them answered at 10."""
    database = open_store(store_url)
    offered = (Challenge("", "http-01", "token"), Challenge("", "dns-01", "other"))
    entry = Authorization("", "a", NAME, False, 1, 100, offered)
    put(database, accounts.add(ACCOUNT))
    add_order(database, Order("", "a", (NAME,), 1, 100, key="t", authorizations=(entry,)))
    put(database, attempts.ask(located(database), "192.0.2.1", "192.0.2.1", 10))
    yield database
    database.close()


def located(database: Database, k: int = 0) -> LocatedChallenge:
    """A challenge as it stands now."""
    order = orders.by_number(database, 1)
    assert order is not None
    found = orders.locate(order, 0, k)
    assert found is not None
    return found


def asked(database: Database) -> Asked:
    return Asked(orders.number(located(database).order), 0, 0, "192.0.2.1", "a", "foo.local")


def due(database: Database, now: int) -> list[Asked]:
    """The first attempt that a process finds which has just been started."""
    return list(islice(Rounds().due(database, now), 1))


def lease(database: Database, now: int, until: int) -> bool:
    return bool(put(database, attempts.take(asked(database), now, until)))


def take(database: Database, now: int) -> bool:
    """Take the attempt as a process does, which drops it where it can lead to nothing."""
    return perform(database, partial(validations.take, asked=asked(database), now=now))


def met(at: LocatedChallenge, now: int) -> list[Statement]:
    """What records that an attempt met its challenge."""
    order = orders.changed(at, replace(at.challenge, validated_at=now, proof=PROOF))
    return [accounts.in_force(ACCOUNT), orders.change(order, now), *attempts.decide(at)]


def not_met(at: LocatedChallenge, now: int) -> list[Statement]:
    """What records that an attempt failed for good."""
    return [orders.change(orders.failed(at, FAULT, now)[0], now), *attempts.decide(at)]


def test_a_challenge_is_answered_once(database: Database) -> None:
    put(database, attempts.ask(located(database), "192.0.2.2", "192.0.2.2", 20))
    answered = located(database).challenge
    assert (answered.answered_at, answered.answered_from, answered.due_at) == (10, "192.0.2.1", 10)
    assert due(database, 10) == [asked(database)]
    pass_time(database, -FAR)
    assert due(database, 10) == []


def test_an_attempt_is_one_processs_until_its_lease_runs_out(database: Database) -> None:
    assert lease(database, 10, 30)
    assert not lease(database, 10, 30)
    assert due(database, 10) == []
    pass_time(database, 20)
    assert due(database, 10) == [asked(database)]
    assert lease(database, 10, 30)
    assert located(database).challenge.attempts == 2


def test_an_attempt_that_was_overtaken_records_nothing(database: Database) -> None:
    lease(database, 10, 30)
    first = located(database)
    pass_time(database, 20)
    lease(database, 10, 30)
    assert not happens(database, *met(first, 31))
    assert not happens(database, *not_met(first, 31))
    assert not happens(database, attempts.postpone(first, FAULT, 40))
    assert located(database).challenge == replace(first.challenge, attempts=2, due_at=-10)
    assert happens(database, *met(located(database), 31))
    assert located(database).challenge.validated_at == 31


def test_a_failed_attempt_gives_its_lease_back_and_says_what_it_found(database: Database) -> None:
    lease(database, 10, 30)
    assert happens(database, attempts.postpone(located(database), FAULT, FAR))
    assert located(database).challenge.error == FAULT
    assert not lease(database, 12, 40)
    pass_time(database, FAR)
    assert lease(database, 12, 40)


def end_order(database: Database) -> None:
    put(database, orders.change(replace(located(database).order, ended_at=11, error=FAULT), 11))


def deactivate_authorization(database: Database) -> None:
    deactivating = partial(authorizations.deactivate, authorization_id=located(database).authorization.id, now=11)
    assert perform(database, deactivating).deactivated_at == 11


def deactivate_account(database: Database) -> None:
    put(database, accounts.deactivate("a", 11))


def meet_the_other(database: Database) -> None:
    other = located(database, 1)
    order = orders.changed(other, replace(other.challenge, validated_at=11, proof=PROOF))
    put(database, orders.change(order, 11))


def fail_the_other(database: Database) -> None:
    put(database, orders.change(orders.failed(located(database, 1), FAULT, 11)[0], 11))


ENDS = [end_order, deactivate_authorization, deactivate_account, meet_the_other, fail_the_other]


@pytest.mark.parametrize("end", ENDS)
def test_what_has_ended_is_not_taken_and_not_due_again(database: Database, end: Callable[[Database], None]) -> None:
    end(database)
    assert not take(database, 12)
    assert due(database, 1000) == []


@pytest.mark.parametrize("end", ENDS)
def test_an_attempt_that_was_under_way_when_all_ended_makes_nothing_valid(
    database: Database, end: Callable[[Database], None]
) -> None:
    lease(database, 10, 30)
    under_way = located(database)
    end(database)
    assert not happens(database, *met(under_way, 12))
    assert located(database).challenge.validated_at is None


def test_an_authorization_that_has_run_out_is_not_looked_at(database: Database) -> None:
    other = located(database, 1)
    assert not happens(database, orders.unchanged(other.order, 100), attempts.ask(other, "", "", 100))
    assert happens(database, orders.unchanged(other.order, 99))
    assert not take(database, 100)
    assert due(database, 1000) == []


def test_an_attempt_that_ends_after_the_authorization_makes_nothing_valid(database: Database) -> None:
    assert take(database, 99)
    assert not happens(database, *met(located(database), 100))
