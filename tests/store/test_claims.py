"""An authorization that was made ahead of an order serves one order, whoever comes at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from acme_iid.authority import authorizations
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Challenge, Order, Proof
from acme_iid.store import accounts, challenges, orders
from acme_iid.store.database import Database, Transaction, open_store

NAME = Identifier("dns", "foo.local")


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


def test_the_second_claim_of_an_authorization_changes_nothing(database: Database) -> None:
    assert [entry.id for entry in orders.unclaimed(database, "a", 50)] == ["z"]
    with database.transaction() as transaction:
        assert orders.claim(transaction, "z", "first", 0)
        assert not orders.claim(transaction, "z", "second", 0)
    found = orders.get_authorization(database, "z")
    assert found is not None
    assert found.order_id == "first"
    assert orders.unclaimed(database, "a", 50) == []


def test_an_authorization_that_was_deactivated_or_has_run_out_waits_for_no_order(database: Database) -> None:
    assert orders.unclaimed(database, "a", 100) == []
    with database.transaction() as transaction:
        orders.deactivate_authorization(transaction, "z", 50)
        assert not orders.claim(transaction, "z", "first", 0)
    assert orders.unclaimed(database, "a", 50) == []


def test_of_very_many_authorizations_the_newest_wait(database: Database) -> None:
    with database.transaction() as transaction:
        for number in range(orders.MAX_WAITING):
            offered = (Challenge(f"c{number}", "iid-01", "token"),)
            orders.add_authorization(transaction, Authorization(f"n{number}", "a", None, NAME, False, 2, 101, offered))
    waiting = {entry.id for entry in orders.unclaimed(database, "a", 50)}
    assert len(waiting) == orders.MAX_WAITING
    assert "z" not in waiting


def test_one_that_was_given_to_an_order_since_it_was_read_ends_that_order(database: Database) -> None:
    read = orders.get_authorization(database, "z")
    assert read is not None
    with database.transaction() as transaction:
        assert orders.claim(transaction, "z", "first", 0)
    assert authorizations.deactivate(database, read, 50).deactivated_at == 50
    order = orders.get(database, "first")
    assert order is not None
    assert order.ended_at == 50


def deactivate(transaction: Transaction) -> None:
    orders.deactivate_authorization(transaction, "z", 50)


def shorten(transaction: Transaction) -> None:
    orders.limit_authorization(transaction, "z", 60)


def revoke(transaction: Transaction) -> None:
    transaction.run("UPDATE authorizations SET revoked_at = 50")


def unprove(transaction: Transaction) -> None:
    transaction.run("UPDATE challenges SET validated_at = NULL")


@pytest.mark.parametrize("spoil", [None, deactivate, shorten, revoke, unprove])
def test_an_order_is_tied_to_no_certificate_unless_every_authorization_is_valid_then(
    database: Database, spoil: Callable[[Transaction], None] | None
) -> None:
    with database.transaction() as transaction:
        assert orders.claim(transaction, "z", "first", 0)
        proof = Proof("aws:aws:123456789042:eu-west-1:i-0123456789abcdef0", "aws", "AWS", "")
        assert challenges.set_valid(transaction, Challenge("c", "iid-01", "token"), proof, 50)
        if spoil is not None:
            spoil(transaction)
        assert orders.set_finalized(transaction, "first", "certificate", 60) is (spoil is None)
