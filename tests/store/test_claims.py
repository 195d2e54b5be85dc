"""An authorization that was made ahead of an order serves one order, whoever comes at the same time."""

from __future__ import annotations

from pathlib import Path

import pytest

from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Challenge, Order
from acme_iid.store import accounts, orders
from acme_iid.store.database import Database, open_store

NAME = Identifier("dns", "foo.local")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A store with an account, two orders and an authorization that waits."""
    database = open_store(tmp_path / "ca.db")
    with database.transaction() as transaction:
        accounts.add(transaction, Account("a", "{}", "t", (), 1))
        for order_id in ("first", "second"):
            orders.add(transaction, Order(order_id, "a", (NAME,), 1, 100))
        orders.add_authorization(
            transaction, Authorization("z", "a", None, NAME, False, 1, 100, (Challenge("c", "iid-01", "token"),))
        )
    return database


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
