"""An authorization that was made ahead of an order serves one order, whoever comes at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
from writing import add_order, happens, key, put, read

from acme_iid.authority import authorizations
from acme_iid.errors import Fault, Problem
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Challenge, Instance, Order, Proof
from acme_iid.protocol.status import Status, of_authorization, of_order
from acme_iid.store import accounts, instances, order_counts, orders
from acme_iid.store.database import Database, open_store
from acme_iid.store.writes import Question, Reader, Row, Statement, perform

NAME = Identifier("dns", "foo.local")
INSTANCE = "aws:aws:123456789042:eu-west-1:i-0123456789abcdef0"
PROOF = Proof(INSTANCE, "aws", "AWS", "")


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    """A store with two accounts, and an instance that has proven something."""
    database = open_store(store_url)
    put(
        database,
        *(accounts.add(Account(name, "{}", f"thumb-{name}", (), 1)) for name in ("a", "b")),
        instances.prove(Instance(INSTANCE, "aws", "123456789042", "i", None, None, None, None, None)),
    )
    yield database
    database.close()


def offer(database: Database, name: Identifier = NAME, account: str = "a", expires_at: int = 100) -> Order:
    """An authorization ahead of an order, which is pending."""
    entry = Authorization("", account, name, False, 1, expires_at, (Challenge("", "iid-01", "token"),))
    thumbprint = f"thumb-{account}"
    return add_order(
        database,
        Order("", account, (name,), 1, expires_at, key=thumbprint, ahead=True, authorizations=(entry,)),
    )


def prove(database: Database, made: Order) -> Order:
    """Meet the challenge of an authorization."""
    located = orders.locate(made, 0, 0)
    assert located is not None
    met = orders.changed(located, replace(located.challenge, validated_at=40, proof=PROOF))
    put(database, orders.change(replace(met, instance_id=INSTANCE, generation=0), 40))
    return read(database, made)


def waiting(reader: Reader, now: int, *names: Identifier, account: str = "a") -> dict[Identifier, str]:
    """What waits for an order for the names, by ids."""
    found = orders.waiting(reader, account, names or (NAME,), now)
    return {name: order.id for name, order in found.items()}


def taking(made: Order, now: int = 50) -> tuple[list[Statement], str]:
    """What makes an order that takes an authorization, and the new order's tag."""
    order = Order(
        "", "a", (NAME,), 50, 150, key="thumb-a", instance_id=INSTANCE, generation=0, authorizations=made.authorizations
    )
    tag = orders.new_id()
    return [orders.take(made, now), orders.add(order, tag)], tag


def take(database: Database, made: Order) -> Order:
    """The order that has taken an authorization."""
    statements, tag = taking(made)
    (row,) = put(database, *statements)
    order = orders.get(database, f"{row['n']}.{tag}")
    assert order is not None
    return order


def test_the_second_claim_of_an_authorization_changes_nothing(database: Database) -> None:
    made = prove(database, offer(database))
    prove(database, offer(database, Identifier("dns", "another.local")))
    assert waiting(database, 50) == {NAME: made.id}
    second = taking(made)[0]
    first = take(database, made)
    assert not happens(database, *second)
    assert waiting(database, 50) == {}
    assert first.authorizations == made.authorizations
    assert orders.of_account(database, "a", None, 10) == [first.id]
    assert of_order(first, 60) is Status.READY


def deactivate(database: Database, made: Order) -> None:
    deactivating = partial(authorizations.deactivate, authorization_id=made.authorizations[0].id, now=50)
    assert perform(database, deactivating).deactivated_at == 50


def fail(database: Database, made: Order) -> None:
    located = orders.locate(made, 0, 0)
    assert located is not None
    put(database, orders.change(orders.failed(located, Fault(Problem.DNS, "no answer"), 40)[0], 40))


def revoke(database: Database, _made: Order) -> None:
    instance = instances.get(database, INSTANCE)
    assert instance is not None
    put(
        database,
        instances.raise_generation(key(INSTANCE), instance.generation, "an operator blocked this instance", 50),
    )


def claim(database: Database, made: Order) -> None:
    take(database, made)


@pytest.mark.parametrize("meanwhile", [deactivate, claim])
def test_what_has_happened_since_it_was_read_keeps_it_from_an_order(
    database: Database, meanwhile: Callable[[Database, Order], None]
) -> None:
    made = prove(database, offer(database))
    meanwhile(database, made)
    assert not happens(database, *taking(made)[0])
    assert waiting(database, 50) == {}


def test_an_order_that_took_what_was_lost_meanwhile_has_ended(database: Database) -> None:
    made = prove(database, offer(database))
    revoke(database, made)
    assert waiting(database, 50) == {}
    order = take(database, made)
    assert of_order(order, 60) is Status.INVALID
    assert order.error == Fault(Problem.UNAUTHORIZED, "an operator blocked this instance")


def test_one_that_is_pending_or_has_failed_waits_for_no_order(database: Database) -> None:
    made = offer(database)
    assert waiting(database, 50) == {}
    fail(database, made)
    assert waiting(database, 50) == {}


def test_one_that_has_run_out_waits_for_no_order(database: Database) -> None:
    made = prove(database, offer(database))
    assert waiting(database, 99) == {NAME: made.id}
    assert waiting(database, 100) == {}
    assert not happens(database, *taking(made, 100)[0])


def test_an_order_reads_the_newest_for_each_of_its_names_and_no_others(database: Database) -> None:
    bar, others = Identifier("dns", "bar.local"), [Identifier("dns", f"n{number}.local") for number in range(20)]
    made = [prove(database, offer(database, name)) for name in (NAME, NAME, bar, *others)]
    counting = Counting(database)
    found = waiting(counting, 50, NAME, bar, Identifier("dns", "*.n1.local"))
    assert found == {NAME: made[1].id, bar: made[2].id}
    assert counting.read <= 4
    assert order_counts.count_waiting(database, "a", 50, 300) == 23


@pytest.mark.parametrize(("end", "left"), [(fail, 1), (deactivate, 0)])
def test_what_failed_counts_until_it_is_deactivated(
    database: Database, end: Callable[[Database, Order], None], left: int
) -> None:
    made = offer(database)
    end(database, made)
    assert order_counts.count_waiting(database, "a", 50, 300) == left
    deactivate(database, made)
    assert order_counts.count_waiting(database, "a", 50, 300) == 0


class Counting:
    """A reader that counts the rows that it gives."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.read = 0

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        found = self._database.rows(statement, **parameters)
        self.read += len(found)
        return found

    def ahead(self, *_questions: Question) -> Reader:
        return self


def test_one_that_was_given_to_an_order_since_it_was_read_ends_that_order(database: Database) -> None:
    made = prove(database, offer(database))
    order = take(database, made)
    deactivate(database, made)
    ended = read(database, order)
    assert (ended.ended_at, of_order(ended, 50)) == (50, Status.INVALID)
    assert of_authorization(ended.authorizations[0], 50) is Status.DEACTIVATED


def end(database: Database, order: Order) -> None:
    put(database, orders.change(replace(order, ended_at=55), 55))


def deactivate_taken(database: Database, order: Order) -> None:
    deactivating = partial(authorizations.deactivate, authorization_id=order.authorizations[0].id, now=55)
    perform(database, deactivating)


@pytest.mark.parametrize("spoil", [None, deactivate_taken, revoke, end])
def test_an_order_gets_a_certificate_only_if_all_authorizations_are_valid(
    database: Database, spoil: Callable[[Database, Order], None] | None
) -> None:
    order = take(database, prove(database, offer(database)))
    ahead = orders.of_authorization_id(database, order.authorizations[0].id)
    assert ahead is not None
    finalizing = [instances.unchanged(INSTANCE, 0), orders.relied_on(ahead[0]), orders.finalize(order, 60)]
    if spoil is not None:
        spoil(database, order)
    assert happens(database, *finalizing) is (spoil is None)
    assert (read(database, order).issued_at is not None) is (spoil is None)


def test_an_order_has_run_out_when_an_authorization_of_it_has(database: Database) -> None:
    order = take(database, prove(database, offer(database)))
    assert [of_order(order, now) for now in (99, 100)] == [Status.READY, Status.INVALID]


def test_an_order_does_without_no_authorization_that_the_store_has_lost(database: Database) -> None:
    order = take(database, prove(database, offer(database)))
    ahead = orders.of_authorization_id(database, order.authorizations[0].id)
    assert ahead is not None
    put(database, Statement("DELETE FROM orders WHERE n = :n", {"n": orders.number(ahead[0])}))
    assert of_order(read(database, order), 60) is Status.INVALID


def test_what_waits_for_one_account_waits_for_no_other(database: Database) -> None:
    other = Identifier("dns", "bar.local")
    mine, theirs = prove(database, offer(database)), prove(database, offer(database, other, "b"))
    assert waiting(database, 50, NAME, other) == {NAME: mine.id}
    assert waiting(database, 50, NAME, other, account="b") == {other: theirs.id}
