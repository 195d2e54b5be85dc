"""An authorization that was made ahead of an order serves one order, whoever comes at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from acme_iid.authority import authorizations
from acme_iid.errors import Fault, Problem
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Challenge, Order, Proof
from acme_iid.store import accounts, challenges, orders, waiting
from acme_iid.store.database import Database, Reader, Row, Transaction, open_store

NAME = Identifier("dns", "foo.local")
UNDER = ("AWS", "Racks")
"""The provisioners under which a proof is of use to the orders here."""


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    """A store with an account, two orders and an authorization that waits."""
    database = open_store(store_url)
    with database.transaction() as transaction:
        accounts.add(transaction, Account("a", "{}", "t", (), 1))
        for order_id in ("first", "second"):
            orders.add(transaction, Order(order_id, "a", (NAME,), 1, 100))
        orders.add_authorization(
            transaction, Authorization("z", "a", None, NAME, False, 1, 100, (Challenge("c", "iid-01", "token"),))
        )
    yield database
    database.close()


def ahead(reader: Reader, now: int, *names: Identifier) -> list[str]:
    """What waits for an order for the names, by ids."""
    return sorted(waiting.for_names(reader, "a", names or (NAME,), UNDER, now).values())


def take(transaction: Transaction, order_id: str, now: int = 50) -> bool:
    return waiting.take(transaction, "z", order_id, 0, UNDER, now)


def test_the_second_claim_of_an_authorization_changes_nothing(database: Database) -> None:
    assert ahead(database, 50) == ["z"]
    with database.transaction() as transaction:
        assert take(transaction, "first")
        assert not take(transaction, "second")
    found = orders.get_authorization(database, "z")
    assert found is not None
    assert found.order_id == "first"
    assert ahead(database, 50) == []


def prove(transaction: Transaction, provisioner: str) -> None:
    proof = Proof("aws:aws:123456789042:eu-west-1:i-0123456789abcdef0", "aws", provisioner, "")
    assert challenges.set_valid(transaction, Challenge("c", "iid-01", "token"), proof, 40)


def prove_elsewhere(transaction: Transaction) -> None:
    prove(transaction, "of another profile")


def fail(transaction: Transaction) -> None:
    challenges.set_failed(transaction, Challenge("c", "iid-01", "token"), Fault(Problem.DNS, "no answer"), 40)


def deactivate(transaction: Transaction) -> None:
    orders.deactivate_authorization(transaction, "z", 50)


def revoke(transaction: Transaction) -> None:
    transaction.run("UPDATE authorizations SET revoked_at = 50")


@pytest.mark.parametrize("meanwhile", [deactivate, revoke, fail, prove_elsewhere])
def test_what_has_happened_since_it_was_read_keeps_it_from_an_order(
    database: Database, meanwhile: Callable[[Transaction], None]
) -> None:
    assert ahead(database, 50) == ["z"]
    with database.transaction() as transaction:
        meanwhile(transaction)
        assert not take(transaction, "first")
    assert ahead(database, 50) == []


def test_one_that_has_run_out_waits_for_no_order(database: Database) -> None:
    assert ahead(database, 100) == []
    with database.transaction() as transaction:
        assert not take(transaction, "first", 100)


def test_one_that_was_proven_since_it_was_read_serves_an_order(database: Database) -> None:
    with database.transaction() as transaction:
        prove(transaction, UNDER[0])
        assert take(transaction, "first")


def test_an_order_reads_the_newest_for_each_of_its_names_and_no_others(database: Database) -> None:
    bar, others = Identifier("dns", "bar.local"), [Identifier("dns", f"n{number}.local") for number in range(20)]
    with database.transaction() as transaction:
        for number, name in enumerate((NAME, bar, *others)):
            made = Authorization(f"y{number}", "a", None, name, False, 2, 101, (Challenge(f"d{number}", "x", "t"),))
            orders.add_authorization(transaction, made)
    counting = Counting(database)
    assert ahead(counting, 50, NAME, bar, Identifier("dns", "*.n1.local")) == ["y0", "y1"]
    assert counting.read <= 4
    assert waiting.count(database, "a", 50, 300) == 23


@pytest.mark.parametrize(("end", "left"), [(fail, 1), (deactivate, 0), (revoke, 0)])
def test_what_failed_counts_until_it_is_deactivated(
    database: Database, end: Callable[[Transaction], None], left: int
) -> None:
    with database.transaction() as transaction:
        end(transaction)
    assert waiting.count(database, "a", 50, 300) == left
    with database.transaction() as transaction:
        deactivate(transaction)
    assert waiting.count(database, "a", 50, 300) == 0


class Counting:
    """A reader that counts the rows that it gives."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.read = 0

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        found = self._database.rows(statement, **parameters)
        self.read += len(found)
        return found


def test_one_that_was_given_to_an_order_since_it_was_read_ends_that_order(database: Database) -> None:
    read = orders.get_authorization(database, "z")
    assert read is not None
    with database.transaction() as transaction:
        assert take(transaction, "first")
    assert authorizations.deactivate(database, read, 50).deactivated_at == 50
    order = orders.get(database, "first")
    assert order is not None
    assert order.ended_at == 50


def shorten(transaction: Transaction) -> None:
    orders.limit_authorization(transaction, "z", 60)


def unprove(transaction: Transaction) -> None:
    transaction.run("UPDATE challenges SET validated_at = NULL")


@pytest.mark.parametrize("spoil", [None, deactivate, shorten, revoke, unprove])
def test_an_order_is_tied_to_no_certificate_unless_every_authorization_is_valid_then(
    database: Database, spoil: Callable[[Transaction], None] | None
) -> None:
    with database.transaction() as transaction:
        assert take(transaction, "first")
        prove(transaction, UNDER[0])
        if spoil is not None:
            spoil(transaction)
        assert orders.set_finalized(transaction, "first", "certificate", 60) is (spoil is None)


def test_what_waits_for_one_account_waits_for_no_other(database: Database) -> None:
    other = Identifier("dns", "bar.local")
    with database.transaction() as transaction:
        accounts.add(transaction, Account("b", "{}", "u", (), 1))
        orders.add_authorization(
            transaction, Authorization("y", "b", None, other, False, 1, 100, (Challenge("d", "iid-01", "token"),))
        )
    assert ahead(database, 50, NAME, other) == ["z"]
    assert waiting.for_names(database, "b", (NAME, other), UNDER, 50) == {other: "y"}
