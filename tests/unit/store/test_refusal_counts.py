"""Refusals by hour, step and rule: each is counted once, few causes are kept apart, and all are found again."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

import pytest
from writing import happens, put

from acme_iid.store import refusal_counts, refusals
from acme_iid.store.chain import Event
from acme_iid.store.database import Database, open_store
from acme_iid.store.fleet_samples import DAY, KEPT_SECONDS
from acme_iid.store.refusal_counts import HOUR, MOST, OTHERS, Cause, Counted
from acme_iid.store.writes import Reader, Statement, Write, perform

NOW = 1_800_000_000 // HOUR * HOUR
STEPS, RULES = ("admission", "signature", "first use"), ("formats of Web", "blocked instance", "allow of 'Ŵ'")


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    opened = open_store(store_url)
    yield opened
    opened.close()


def refusal(
    at: int, step: str = "admission", rule: str = "r", kind: str = "challenge.refused", number: int = 1
) -> Event:
    detail = {"step": step, "rule": rule, "refused": number if number > 1 else None}
    return Event(kind, at, cloud="aws", detail=detail)


def record(database: Database, several: Sequence[Event]) -> None:
    put(database, events=several)
    database.seal()


def cause(event: Event) -> Cause:
    return Cause(str(event.detail["step"]), str(event.detail["rule"]))


def step(reader: Reader, most: int, now: int = NOW) -> Write[bool] | bool:
    batch = refusal_counts.next_batch(reader, refusals.KINDS, now, most)
    if batch is None:
        return False
    return Write(refusal_counts.count(reader, batch, map(cause, batch.events), now), lambda _rows: True)


def count(database: Database, most: int = 100) -> None:
    while perform(database, partial(step, most=most)):
        pass


def by_hour(database: Database, hours: int = 48, most: int = 100) -> list[Counted]:
    return refusal_counts.by_time(database, NOW - (hours - 1) * HOUR, HOUR, hours, most)


def test_the_numbers_are_those_of_a_plain_count(database: Database) -> None:
    chance = random.Random(5)
    plain: Counter[tuple[int, Cause]] = Counter()
    for _ in range(12):
        several: list[Event] = []
        for _ in range(chance.randrange(40)):
            at = NOW - chance.randrange(30 * HOUR)
            kind = chance.choice([*refusals.KINDS, "challenge.valid", "certificate.issued"])
            number = chance.choice([1, 1, 1, 7])
            several.append(refusal(at, chance.choice(STEPS), chance.choice(RULES), kind, number))
            if kind.endswith(".refused"):
                plain[at // HOUR * HOUR, cause(several[-1])] += number
        record(database, several)
        if chance.random() < 0.5:
            count(database, chance.choice([1, 7, 100]))
    count(database)
    assert not refusal_counts.is_behind(database, NOW)
    assert by_hour(database) == [Counted(*key, number) for key, number in sorted(plain.items())]


def test_what_two_servers_count_at_once_is_counted_by_one(database: Database) -> None:
    record(database, [refusal(NOW) for _ in range(10)])
    one, other = step(database, 6), step(database, 4)
    assert isinstance(one, Write)
    assert isinstance(other, Write)
    assert happens(database, *one.statements)
    assert not happens(database, *other.statements)
    assert not happens(database, *one.statements)
    assert [entry.refusals for entry in by_hour(database)] == [6]
    count(database)
    assert [entry.refusals for entry in by_hour(database)] == [10]


def test_the_causes_of_an_hour_beyond_the_first_are_one(database: Database) -> None:
    record(database, [refusal(NOW, rule=f"rule {number:03}") for number in range(MOST - 1)])
    count(database)
    record(database, [refusal(NOW, rule=f"rule {number:03}") for number in reversed(range(MOST + 20))])
    record(database, [refusal(NOW - HOUR, rule="x" * 1000)])
    count(database, 7)
    found = by_hour(database)
    assert found[0] == Counted(NOW - HOUR, Cause("admission", "x" * 200), 1)
    own = {entry.cause.rule: entry.refusals for entry in found[1:]}
    assert len(own) == MOST + 1
    assert own[OTHERS] == 20
    assert sum(own.values()) == 2 * MOST + 19
    (row,) = database.rows("SELECT count(*) AS number FROM refusal_counts")
    assert row["number"] == MOST + 2


def test_few_causes_are_shown_and_the_others_are_one(database: Database) -> None:
    numbers = (2, 3, 4, 5)
    for hour in (0, 5):
        record(database, [refusal(NOW - hour * HOUR, rule=f"rule {number}", number=number) for number in numbers])
    assert refusal_counts.is_behind(database, NOW)
    count(database)
    found = refusal_counts.by_time(database, NOW - 5 * HOUR, 3 * HOUR, 2, 2)
    assert [(entry.at - NOW, entry.cause.rule, entry.refusals) for entry in found] == [
        (-5 * HOUR, "rule 4", 4), (-5 * HOUR, "rule 5", 5), (-5 * HOUR, OTHERS, 5),
        (-2 * HOUR, "rule 4", 4), (-2 * HOUR, "rule 5", 5), (-2 * HOUR, OTHERS, 5),
    ]  # fmt: skip
    assert found[2].cause == Cause(OTHERS, OTHERS)
    assert refusal_counts.by_time(database, NOW + HOUR, HOUR, 5, 2) == []


def test_a_store_of_before_is_counted_from_what_is_kept_on(database: Database) -> None:
    old = NOW - KEPT_SECONDS - 2 * DAY
    record(database, [refusal(old + number) for number in range(5)])
    batch = refusal_counts.next_batch(database, refusals.KINDS, NOW, 100)
    assert batch is None
    assert not refusal_counts.is_behind(database, NOW)
    record(database, [refusal(NOW - 80 * DAY), refusal(old), refusal(NOW)])
    batch = refusal_counts.next_batch(database, refusals.KINDS, NOW, 100)
    assert batch is not None
    assert (batch.after, batch.until, len(batch.events)) == (5, 8, 3)
    count(database)
    (row,) = database.rows("SELECT sum(refusals) AS number FROM refusal_counts")
    assert row["number"] == 2


def test_events_that_were_removed_are_passed_over(database: Database) -> None:
    record(database, [refusal(NOW) for _ in range(10)])
    count(database, 2)
    record(database, [refusal(NOW) for _ in range(10)])
    put(database, Statement("DELETE FROM events WHERE seq <= 15", {}))
    count(database, 2)
    assert [entry.refusals for entry in by_hour(database)] == [15]


def test_numbers_of_whole_days_are_forgotten_a_few_at_a_time(database: Database) -> None:
    day = (NOW - KEPT_SECONDS) // DAY * DAY
    record(database, [refusal(at, rule=rule) for at in range(day, day + 5 * HOUR, HOUR) for rule in RULES])
    count(database)
    assert refusal_counts.count_past(database, NOW) == 0
    assert refusal_counts.count_past(database, NOW + DAY) == 15
    put(database, refusal_counts.forget(NOW + DAY, 10))
    assert refusal_counts.count_past(database, NOW + DAY) == 5
