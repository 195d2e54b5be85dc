"""The fleet in numbers: which certificates wait for a successor, by the windows that their clients are given."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import issued
import pytest
from issued import DAY, issue
from writing import put

from acme_iid.protocol.renewal import Window, window
from acme_iid.protocol.resources import Certificate
from acme_iid.store import certificates, fleet
from acme_iid.store.database import Database
from acme_iid.store.fleet import Counts
from acme_iid.store.listing import Filter
from acme_iid.store.writes import Statement

NOW = 1_800_000_000
VM, OTHER = "gcp:4711:1", "gcp:4711:2"


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    with issued.prepared(store_url, NOW) as database:
        yield database


def revoke(database: Database, certificate: Certificate) -> None:
    put(database, certificates.revoke(certificate, 0, "operator", NOW))


def states(database: Database, now: int) -> dict[int, str]:
    return dict(fleet.waiting(database, now))


def test_a_certificate_is_due_then_overdue_then_lapsed_for_a_day(database: Database) -> None:
    one = issue(database, "a.local", at=NOW, instance=VM)
    due, late = window(one)
    for now, expected in (
        (due - 1, Counts(1, 0, 0, 0, 0)),
        (due, Counts(1, 0, 1, 0, 0)),
        (late - 1, Counts(1, 0, 1, 0, 0)),
        (late, Counts(1, 0, 0, 1, 0)),
        (one.not_after - 1, Counts(1, 0, 0, 1, 0)),
        (one.not_after, Counts(0, 0, 0, 0, 1)),
        (one.not_after + DAY - 1, Counts(0, 0, 0, 0, 1)),
        (one.not_after + DAY, Counts(0, 0, 0, 0, 0)),
    ):
        assert fleet.count(database, now) == expected


def test_a_certificate_with_a_successor_waits_for_nothing(database: Database) -> None:
    issue(database, "a.local", at=NOW, instance=VM)
    second = issue(database, "a.local", at=NOW + 15 * 3600, instance=VM)
    assert fleet.count(database, NOW + 18 * 3600) == Counts(2, 1, 0, 0, 0)
    assert fleet.count(database, NOW + 18 * 3600).used == 1
    assert fleet.count(database, NOW + 25 * 3600) == Counts(1, 0, 0, 0, 0)
    revoke(database, second)
    assert fleet.count(database, NOW + 18 * 3600) == Counts(1, 0, 0, 1, 0)
    assert fleet.count(database, NOW + 25 * 3600) == Counts(0, 0, 0, 0, 1)


def test_another_holder_of_the_same_name_is_no_successor(database: Database) -> None:
    issue(database, "a.local", at=NOW, instance=VM)
    issue(database, "a.local", at=NOW + 15 * 3600, instance=OTHER)
    issue(database, "a.local", at=NOW + 15 * 3600)
    assert fleet.count(database, NOW + 18 * 3600) == Counts(3, 0, 0, 1, 0)


def test_what_an_order_replaced_has_a_successor_of_other_names(database: Database) -> None:
    first = issue(database, "a.local", at=NOW, instance=VM)
    second = issue(database, "a.local", "b.local", at=NOW + 15 * 3600, instance=VM, replaces=first)
    assert fleet.count(database, NOW + 18 * 3600) == Counts(2, 1, 0, 0, 0)
    assert fleet.count(database, NOW + 25 * 3600) == Counts(1, 0, 0, 0, 0)
    revoke(database, second)
    assert fleet.count(database, NOW + 18 * 3600) == Counts(1, 0, 0, 1, 0)


def test_a_window_that_an_operator_or_a_stolen_key_set_counts(database: Database) -> None:
    asked = issue(database, "a.local", at=NOW, instance=VM)
    put(database, certificates.set_window(asked, Window(NOW + 60, NOW + 120)))
    assert fleet.count(database, NOW + 59) == Counts(1, 0, 0, 0, 0)
    assert fleet.count(database, NOW + 60) == Counts(1, 0, 1, 0, 0)
    assert fleet.count(database, NOW + 120) == Counts(1, 0, 0, 1, 0)
    issue(database, "b.local", at=NOW, instance=VM)
    put(database, Statement("UPDATE issuers SET activated_at = :at, compromised_at = :at", {"at": NOW + 200}))
    assert states(database, NOW + 199) == {certificates.number(asked): "overdue"}
    assert sorted(states(database, NOW + 200).values()) == ["due", "overdue"]
    assert set(states(database, NOW + 200 + 1800).values()) == {"overdue"}


def test_the_overdue_are_listed_in_pages_under_a_filter(database: Database) -> None:
    late = [issue(database, f"{number}.local", at=NOW + number, instance=VM) for number in range(5)]
    issue(database, "0.local", at=NOW + 15 * 3600, instance=VM)
    issue(database, "host.local", at=NOW)
    now = NOW + 18 * 3600
    listed = fleet.overdue(database, Filter(limit=3), now)
    assert [entry.id for entry in listed] == [late[4].id, late[3].id, late[2].id]
    rest = fleet.overdue(database, Filter(limit=3, before=certificates.position(listed[-1])), now)
    assert [entry.names[0].value for entry in rest] == ["1.local", "host.local"]
    assert fleet.overdue(database, Filter(limit=3), NOW + 3600) == []


def test_the_numbers_are_those_of_a_plain_count(database: Database) -> None:
    chance = random.Random(17)
    made: list[Certificate] = []
    for _ in range(60):
        instance = chance.choice([VM, OTHER, None])
        names = chance.choice([("a.local",), ("b.local",), ("a.local", "b.local")])
        at = NOW + chance.randrange(3 * DAY)
        made.append(issue(database, *names, at=at, instance=instance, life=chance.choice([3600, DAY, 2 * DAY])))
        if chance.random() < 0.2:
            revoke(database, made.pop())
    for now in range(NOW, NOW + 6 * DAY, 3 * 3600 + 7):
        plain: Counter[str] = Counter()
        for one in made:
            later = [
                other
                for other in made
                if (other.instance, other.names) == (one.instance, one.names)
                and (other.issued_at, certificates.number(other)) > (one.issued_at, certificates.number(one))
                and other.not_after > now - DAY
            ]
            begin, end = window(one)
            plain["valid"] += one.not_after > now
            plain["replaced"] += one.not_after > now and bool(later)
            plain["due"] += begin <= now < end and not later
            plain["overdue"] += end <= now < one.not_after and not later
            plain["lapsed"] += one.not_after <= now < one.not_after + DAY and not later
        assert fleet.count(database, now)._asdict() == dict(plain)
