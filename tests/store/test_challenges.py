"""Attempts at a challenge: one process's at a time, and only of what can still lead to something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from acme_iid.authority.rounds import Rounds
from acme_iid.errors import Fault, Problem
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Challenge, Order, Proof
from acme_iid.store import accounts, challenges, orders
from acme_iid.store.database import Database, Transaction, open_store

NAME = Identifier("dns", "foo.local")
PROOF = Proof(None, "acme", "Racks", "")
FAULT = Fault(Problem.DNS, "the DNS has no foo.local")


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    """A store with an order whose authorization has two challenges, the first of them answered at 10."""
    database = open_store(store_url)
    offered = (Challenge("c", "http-01", "token"), Challenge("d", "dns-01", "other"))
    with database.transaction() as transaction:
        accounts.add(transaction, Account("a", "{}", "t", (), 1))
        orders.add(transaction, Order("o", "a", (NAME,), 1, 100))
        orders.add_authorization(transaction, Authorization("z", "a", "o", NAME, False, 1, 100, offered))
        assert challenges.set_answered(transaction, "c", "192.0.2.1", "192.0.2.1", 10)
    yield database
    database.close()


def read(database: Database, challenge_id: str = "c") -> Challenge:
    found = orders.authorization_of_challenge(database, challenge_id)
    assert found is not None
    return next(entry for entry in found.challenges if entry.id == challenge_id)


def due(database: Database, now: int) -> list[str]:
    """The first attempt that a process finds which has just been started."""
    return list(islice(Rounds().due(database, now), 1))


def take(database: Database, now: int, until: int) -> bool:
    with database.transaction() as transaction:
        return challenges.take(transaction, "c", now, until)


def test_a_challenge_is_answered_once(database: Database) -> None:
    with database.transaction() as transaction:
        assert not challenges.set_answered(transaction, "c", "192.0.2.2", "192.0.2.2", 20)
    answered = read(database)
    assert (answered.answered_at, answered.answered_from, answered.due_at) == (10, "192.0.2.1", 10)
    assert due(database, 10) == ["c"]
    assert due(database, 9) == []


def test_an_attempt_is_one_processs_until_its_lease_runs_out(database: Database) -> None:
    assert take(database, 10, 30)
    assert not take(database, 29, 50)
    assert due(database, 29) == []
    assert due(database, 30) == ["c"]
    assert take(database, 30, 50)
    assert read(database).attempts == 2


def test_an_attempt_that_was_overtaken_records_nothing(database: Database) -> None:
    take(database, 10, 30)
    first = read(database)
    take(database, 30, 50)
    with database.transaction() as transaction:
        assert not challenges.set_valid(transaction, first, PROOF, 31)
        assert not challenges.set_failed(transaction, first, FAULT, 31)
        assert not challenges.set_due(transaction, first, FAULT, 40)
        assert challenges.set_valid(transaction, read(database), PROOF, 31)
    assert read(database).validated_at == 31


def test_a_failed_attempt_gives_its_lease_back_and_says_what_it_found(database: Database) -> None:
    take(database, 10, 30)
    with database.transaction() as transaction:
        assert challenges.set_due(transaction, read(database), FAULT, 13)
    assert read(database).error == FAULT
    assert not take(database, 12, 40)
    assert take(database, 13, 40)


def end_order(transaction: Transaction) -> None:
    orders.end(transaction, "o", FAULT, 11)


def deactivate_authorization(transaction: Transaction) -> None:
    orders.deactivate_authorization(transaction, "z", 11)


def deactivate_account(transaction: Transaction) -> None:
    accounts.deactivate(transaction, "a", 11)


def meet_the_other(transaction: Transaction) -> None:
    challenges.set_valid(transaction, Challenge("d", "dns-01", "other"), PROOF, 11)


def fail_the_other(transaction: Transaction) -> None:
    challenges.set_failed(transaction, Challenge("d", "dns-01", "other"), FAULT, 11)


ENDS = [end_order, deactivate_authorization, deactivate_account, meet_the_other, fail_the_other]


@pytest.mark.parametrize("end", ENDS)
def test_what_has_ended_is_not_taken_and_not_due_again(database: Database, end: Callable[[Transaction], None]) -> None:
    with database.transaction() as transaction:
        end(transaction)
    assert not take(database, 12, 30)
    assert due(database, 1000) == []


@pytest.mark.parametrize("end", ENDS)
def test_an_attempt_that_was_under_way_when_all_ended_makes_nothing_valid(
    database: Database, end: Callable[[Transaction], None]
) -> None:
    take(database, 10, 30)
    with database.transaction() as transaction:
        end(transaction)
        assert not challenges.set_valid(transaction, read(database), PROOF, 12)


def test_an_authorization_that_has_run_out_is_not_looked_at(database: Database) -> None:
    assert not take(database, 100, 130)
    assert due(database, 1000) == []
    with database.transaction() as transaction:
        assert not challenges.set_answered(transaction, "d", "", "", 100)


def test_an_attempt_that_ends_after_the_authorization_makes_nothing_valid(database: Database) -> None:
    take(database, 99, 130)
    with database.transaction() as transaction:
        assert not challenges.set_valid(transaction, read(database), PROOF, 100)
