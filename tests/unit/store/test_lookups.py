"""What operators look for is written after the events that it is of, once, by whoever follows them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from writing import add_order, key, put

from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Certificate, Instance, Order
from acme_iid.store import accounts, certificates, events, instances, lookups, orders
from acme_iid.store.chain import Event
from acme_iid.store.database import Database, open_store
from acme_iid.store.listing import Filter
from acme_iid.store.writes import Statement

NOW = 1_800_000_000
INSTANCE = "gcp:4711:90210"
FOO, BAR = Identifier("dns", "foo.local"), Identifier("dns", "bar.local")


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    database = open_store(store_url)
    put(
        database,
        accounts.add(Account("a", "{}", "t", (), NOW)),
        instances.use(Instance(INSTANCE, "gcp", "4711", "90210", "a", "t", None, NOW, NOW)),
    )
    yield database
    database.close()


def issue(database: Database, *names: Identifier, at: int = NOW, image: str | None = None) -> Certificate:
    """A certificate of the instance, with its event."""
    entries = tuple(Authorization("", "a", name, False, at, at + 60, ()) for name in names)
    order = add_order(database, Order("", "a", names, at, at + 60, authorizations=entries))
    serial = f"1{orders.number(order):016x}"
    certificate = Certificate(
        order.id, serial, "a", names, at, at + 60, at, b"", "issuer", "", "P", INSTANCE, image=image
    )
    event = Event(
        "certificate.issued",
        at,
        account_id="a",
        instance=key(INSTANCE),
        detail={
            "serial": serial,
            "names": [name.value for name in names],
            "image": image,
        },
    )
    put(database, orders.finalize(order, at), certificates.add(certificate, key(INSTANCE)), events=[event])
    return certificate


def listed(database: Database, **wanted: str) -> list[str]:
    return [entry.id for entry in certificates.page(database, Filter(**wanted), None, NOW)]  # type: ignore[arg-type]


def kinds(database: Database, **wanted: str) -> list[str]:
    return [event.kind for _, event in events.page(database, Filter(**wanted))]  # type: ignore[arg-type]


def test_no_request_writes_what_operators_look_for(database: Database) -> None:
    issue(database, FOO)
    assert database.rows("SELECT 1 FROM lookups") == []
    assert listed(database, name="foo.local") == []


def test_a_certificate_is_found_by_all_that_it_is_of(database: Database) -> None:
    one = issue(database, FOO, BAR, image="ami-1")
    other = issue(database, BAR, at=NOW + 1)
    lookups.follow(database)
    assert listed(database, name="foo.local") == listed(database, image="ami-1") == [one.id]
    for wanted in (
        {"name": "bar.local"},
        {"account": "a"},
        {"instance": INSTANCE},
        {"cloud": "gcp"},
        {"owner": "4711"},
    ):
        assert listed(database, **wanted) == [other.id, one.id]
    assert listed(database, name="bar.local", image="ami-1") == [one.id]
    assert listed(database, name="foo.local", account="b") == []
    assert [entry.id for entry in certificates.of_instance(database, INSTANCE)] == [other.id, one.id]
    assert [entry.id for entry in instances.page(database, Filter(name="foo.local"))] == [INSTANCE]


def test_a_refused_order_is_found_by_the_names_that_it_was_for(database: Database) -> None:
    put(
        database,
        events=[
            Event("order.refused", NOW, account_id="a", detail={"identifiers": ["foo.local", "bar.local"]}),
            Event(
                "challenge.refused",
                NOW,
                account_id="a",
                name="foo.local",
                detail={"identifiers": ["foo.local", "x.local"]},
            ),
        ],
    )
    lookups.follow(database)
    assert kinds(database, name="bar.local") == ["order.refused"]
    assert kinds(database, name="foo.local") == ["challenge.refused", "order.refused"]
    assert kinds(database, name="x.local") == []


def test_what_is_long_is_found_by_its_whole_value(database: Database) -> None:
    first, second = (f"{'a' * 60}.{'b' * 60}.{end}.local" for end in "xy")
    put(database, events=[Event("challenge.refused", NOW, account_id="a", name=first, detail={"identifiers": []})])
    lookups.follow(database)
    assert kinds(database, name=first) == kinds(database, name=first, account="a") == ["challenge.refused"]
    assert kinds(database, name=second) == kinds(database, name=second, account="a") == []


def test_a_certificate_that_was_pruned_is_in_no_list_and_its_event_is(database: Database) -> None:
    first, second = issue(database, FOO), issue(database, FOO, at=NOW + 1)
    lookups.follow(database)
    for table in ("certificates", "orders"):
        put(database, Statement(f"DELETE FROM {table} WHERE n = :n", {"n": certificates.number(first)}))  # noqa: S608
    assert listed(database, name="foo.local") == [second.id]
    assert kinds(database, name="foo.local") == ["certificate.issued"] * 2


def test_more_events_than_one_write_takes_are_followed_and_none_twice(database: Database) -> None:
    count = 2 * lookups.BATCH + 7
    numbers = iter(range(count))
    while recorded := [
        Event("counted", NOW + number, account_id="a", name=f"n{number % 3}.local")
        for number in itertools.islice(numbers, 400)
    ]:
        put(database, events=recorded)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(lookups.follow, database) for _ in range(4)]:
            done.result()
    assert [row["seq"] for row in database.rows("SELECT seq FROM followings")] == [count]
    found = database.rows("SELECT seq FROM lookups WHERE field = 'account' ORDER BY seq")
    assert [row["seq"] for row in found] == list(range(1, count + 1))
    lookups.follow(database)
    assert len(database.rows("SELECT 1 FROM lookups")) == 3 * count


def test_what_was_followed_is_followed_on_from_there(database: Database) -> None:
    one = issue(database, FOO)
    lookups.follow(database)
    other = issue(database, FOO, at=NOW + 1)
    assert listed(database, name="foo.local") == [one.id]
    lookups.follow(database)
    assert listed(database, name="foo.local") == [other.id, one.id]
