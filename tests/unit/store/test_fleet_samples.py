"""The fleet's numbers of an hour: by owner and by end, as a plain count has them, kept and forgotten by whole days."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator

import issued
import pytest
from issued import DAY, issue, vm
from writing import key, put

from acme_iid.protocol.resources import Certificate
from acme_iid.store import certificates, fleet, fleet_samples
from acme_iid.store.database import Database
from acme_iid.store.fleet import OTHERS, Ending, Owned
from acme_iid.store.fleet_samples import KEPT_SECONDS, Sample

NOW = 1_800_000_000
HOUR = 3600
HOLDERS = (None, vm(1), vm(2), vm(3, "999999999999"), "gcp:4711:1", "gcp:4711:2", "gcp:4712:1")


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    with issued.prepared(store_url, NOW) as database:
        yield database


def filled(database: Database, seed: int) -> list[Certificate]:
    """Certificates of all kinds of holders; those that were not revoked."""
    chance = random.Random(seed)
    made: list[Certificate] = []
    for _ in range(60):
        names = chance.choice([("a.local",), ("b.local",), ("a.local", "b.local")])
        at, life = NOW + chance.randrange(2 * DAY), chance.choice([HOUR, DAY, 2 * DAY])
        made.append(issue(database, *names, at=at, instance=chance.choice(HOLDERS), life=life))
        if chance.random() < 0.2:
            put(database, certificates.revoke(made.pop(), 0, "operator", NOW))
    return made


def plainly(made: list[Certificate], now: int) -> list[Owned]:
    """The numbers by owner, counted one by one."""
    numbers: Counter[tuple[str | None, str | None]] = Counter()
    holders: dict[tuple[str | None, str | None], set[str]] = defaultdict(set)
    for one in made:
        if one.not_after > now:
            _, cloud, owner = (None, None, None) if one.instance is None else key(one.instance)
            numbers[cloud, owner] += 1
            holders[cloud, owner] |= set() if one.instance is None else {one.instance}
    found = [Owned(*owner, len(holders[owner]), number) for owner, number in numbers.items()]
    return sorted(found, key=lambda entry: (-entry.certificates, entry.cloud or "", entry.owner or ""))


@pytest.mark.parametrize("seed", [1, 2])
def test_numbers_by_owner_are_those_of_a_plain_count(database: Database, seed: int) -> None:
    made = filled(database, seed)
    for now in range(NOW, NOW + 4 * DAY, 5 * HOUR + 7):
        counted = plainly(made, now)
        assert fleet.owned(database, now, 50) == counted
        assert sum(entry.certificates for entry in counted) == fleet.count(database, now).valid


def test_owners_beyond_the_largest_are_counted_as_one(database: Database) -> None:
    made = filled(database, 3)
    now = NOW + DAY
    counted = plainly(made, now)
    assert len(counted) == 5
    left = counted[2:]
    others = Owned(OTHERS, None, sum(one.instances for one in left), sum(one.certificates for one in left))
    assert fleet.owned(database, now, 2) == [*counted[:2], others]
    assert fleet.owned(database, now, 5) == counted
    assert fleet.owned(database, NOW + 40 * DAY, 5) == []


@pytest.mark.parametrize("seed", [4, 5])
def test_numbers_by_end_are_those_of_a_plain_count(database: Database, seed: int) -> None:
    made = filled(database, seed)
    for now in range(NOW, NOW + 4 * DAY, 5 * HOUR + 7):
        ends: Counter[int] = Counter()
        replaced: Counter[int] = Counter()
        for one in made:
            hour = one.not_after // HOUR
            if one.not_after > now and hour < now // HOUR + 30:
                ends[hour] += 1
                replaced[hour] += any(
                    (other.instance, other.names) == (one.instance, one.names)
                    and (other.issued_at, certificates.number(other)) > (one.issued_at, certificates.number(one))
                    and other.not_after > now - DAY
                    for other in made
                )
        expected = [Ending(hour * HOUR, ends[hour], replaced[hour]) for hour in sorted(ends)]
        assert fleet.ending(database, now, 30) == expected


def test_a_certificate_counts_up_to_its_last_second(database: Database) -> None:
    at = NOW // HOUR * HOUR
    issue(database, "a.local", at=at, instance=vm(1), life=HOUR)
    assert fleet.ending(database, at + HOUR - 1, 2) == [Ending(at + HOUR, 1, 0)]
    assert fleet.ending(database, at + HOUR - 1, 1) == fleet.ending(database, at + HOUR, 2) == []
    assert [entry.certificates for entry in fleet.owned(database, at + HOUR - 1, 1)] == [1]
    assert fleet.owned(database, at + HOUR, 1) == []


def sample(at: int) -> Sample:
    owners = (Owned("aws", "123456789042", 2, 3), Owned(None, None, 0, 1), Owned(OTHERS, None, 1, 1))
    return Sample(at, owners, (Ending(at // HOUR * HOUR, 3, 1),))


def test_a_sample_is_read_as_it_was_taken(database: Database) -> None:
    taken = [sample(NOW + number * HOUR) for number in range(5)]
    put(database, *(fleet_samples.add(one) for one in taken))
    put(database, fleet_samples.add(Sample(NOW, (), ())))
    moments = fleet_samples.times(database, NOW, NOW + DAY, 100)
    assert fleet_samples.taken_at(database, moments) == taken
    assert fleet_samples.times(database, NOW + 1, NOW + 4 * HOUR, 2) == [NOW + 2 * HOUR, NOW + 3 * HOUR]
    assert fleet_samples.taken_at(database, [NOW, NOW + 1]) == taken[:1]
    assert fleet_samples.taken_at(database, []) == []
    assert fleet_samples.latest(database, NOW + 2 * HOUR) == taken[2]
    assert fleet_samples.latest(database, NOW - 1) is None


def test_samples_of_whole_days_are_forgotten_a_few_at_a_time(database: Database) -> None:
    day = (NOW - KEPT_SECONDS) // DAY * DAY
    put(database, *(fleet_samples.add(sample(at)) for at in range(day - 5 * HOUR, day + 5 * HOUR, HOUR)))
    assert fleet_samples.count_past(database, NOW) == 5
    put(database, fleet_samples.forget(NOW, 3))
    assert fleet_samples.times(database, 0, NOW, 100)[0] == day - 2 * HOUR
    put(database, fleet_samples.forget(NOW, 3))
    assert fleet_samples.times(database, 0, NOW, 100) == list(range(day, day + 5 * HOUR, HOUR))
    assert fleet_samples.count_past(database, NOW) == 0
