"""Writes to a store, without a use case around them."""

from __future__ import annotations

from collections.abc import Sequence

from acme_iid.protocol.resources import InstanceKey, Order
from acme_iid.store import orders
from acme_iid.store.chain import Event
from acme_iid.store.writes import Committed, Committing, Outcome, Reader, Row, Statement, Write


def key(instance_id: str) -> InstanceKey:
    """An instance's id with its cloud and owner; an id of any form, for what does not depend on them."""
    cloud, _, rest = instance_id.partition(":")
    parts = rest.split(":")
    return InstanceKey(instance_id, cloud, parts[1 if cloud == "aws" else 0])


def write(*statements: Statement, events: Sequence[Event] = ()) -> Write[Sequence[Row]]:
    """A write whose answer is the rows that its statements gave."""
    return Write(statements, lambda rows: rows, events)


def happens(database: Committing, *statements: Statement, events: Sequence[Event] = ()) -> bool:
    """Commit a write, and say whether it happened: False if a guard kept it from that."""
    return isinstance(database.commit(write(*statements, events=events)), Committed)


def put(database: Committing, *statements: Statement, events: Sequence[Event] = ()) -> Sequence[Row]:
    """Commit a write that has to happen; the rows that it gave."""
    return committed(database.commit(write(*statements, events=events)))


def committed(outcome: Outcome | Exception) -> Sequence[Row]:
    """The rows of a write that has to have happened."""
    assert isinstance(outcome, Committed), outcome
    return outcome.rows


def add_order(database: Committing, order: Order) -> Order:
    """Add a new order; as it is stored, with its id."""
    tag = orders.new_id()
    (row,) = put(database, orders.add(order, tag))
    found = orders.get(database, f"{row['n']}.{tag}")
    assert found is not None
    return found


def read(database: Reader, order: Order) -> Order:
    """An order as it is by now."""
    found = orders.get(database, order.id)
    assert found is not None
    return found


def pass_time(database: Committing, seconds: int) -> None:
    """Have attempts be as they will be so many seconds later; PostgreSQL's clock is nobody's to set."""
    text = "UPDATE attempts SET due_at = due_at - :seconds, leased_until = leased_until - :seconds"
    put(database, Statement(text, {"seconds": seconds}))
