"""What a page shows over time: bounded numbers that are those of a plain count, and fewer series than there are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import issued
import pytest
from acting import now
from issued import issue, vm
from serving import wait_until
from writing import key, put

from acme_iid.config import ca_toml
from acme_iid.config.settings import Config
from acme_iid.operations import fleet_sampling, over_time, pruning, refusal_counting
from acme_iid.operations.background import Background
from acme_iid.operations.descriptions import certificates, instances, refusals
from acme_iid.operations.descriptions.times import seconds_of, timestamp
from acme_iid.operations.fleet_sampling import Sampling
from acme_iid.operations.follower import Following
from acme_iid.store import fleet, fleet_samples
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.fleet import OTHERS, Owned
from acme_iid.store.fleet_samples import DAY, KEPT_SECONDS, Sample
from acme_iid.store.listing import Filter
from acme_iid.store.writes import Question, Reader, Row

HOUR = 3600
NOW = 1_800_000_000 // HOUR * HOUR + 1800
WEB = "provisioner 'Web' does not accept evidence of format aws-rsa2048"


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    with issued.prepared(store_url, NOW - 10 * DAY) as database:
        yield database


def sampled(database: Database, at: int, **owners: int) -> None:
    """A sample in which each owner of AWS has so many certificates, on half as many instances."""
    counted = tuple(Owned("aws", owner.removeprefix("o"), number // 2, number) for owner, number in owners.items())
    put(database, fleet_samples.add(Sample(at, counted, ())))


def test_the_fleet_is_counted_by_owner_once_an_hour(database: Database) -> None:
    for number in range(4):
        issue(database, f"{number}.local", at=NOW - 60, instance=vm(number))
    issue(database, "0.local", at=NOW - 30, instance=vm(0))
    issue(database, "host.local", at=NOW - 60)
    issue(database, "g.local", at=NOW - 60, instance="gcp:4711:1")
    assert fleet_sampling.sample_if_due(database, NOW) is not None
    assert fleet_sampling.sample_if_due(database, NOW) is None
    points = over_time.fleet(database, NOW)
    assert points == [
        {"at": timestamp(NOW), "cloud": "aws", "owner": issued.OWNER, "instances": 4, "certificates": 5},
        {"at": timestamp(NOW), "cloud": None, "owner": None, "instances": 0, "certificates": 1},
        {"at": timestamp(NOW), "cloud": "gcp", "owner": "4711", "instances": 1, "certificates": 1},
    ]
    assert sum(point["certificates"] for point in points) == fleet.count(database, NOW).valid


def test_few_owners_are_apart_and_the_same_ones_at_each_time(database: Database) -> None:
    sampled(database, NOW - 2 * HOUR, o1=8, o2=6, o3=4)
    sampled(database, NOW - HOUR, o3=40, o1=10)
    sampled(database, NOW)
    points = over_time.fleet(database, NOW, owners=2)
    assert [(seconds_of(point["at"]) - NOW, point["owner"], point["certificates"]) for point in points] == [
        (-2 * HOUR, "3", 4), (-2 * HOUR, "1", 8), (-2 * HOUR, None, 6),
        (-HOUR, "3", 40), (-HOUR, "1", 10), (-HOUR, None, 0),
        (0, "3", 0), (0, "1", 0), (0, None, 0),
    ]  # fmt: skip
    assert {point["cloud"] for point in points if point["owner"] is None} == {OTHERS}
    assert points[2]["instances"] == 3
    assert {point["owner"] for point in over_time.fleet(database, NOW)} == {"1", "2", "3"}


def test_many_samples_are_thinned_out_evenly_up_to_the_latest(database: Database) -> None:
    for number in range(100):
        sampled(database, NOW - number * HOUR, o1=number)
    found = [point["certificates"] for point in over_time.fleet(database, NOW, points=10)]
    assert found == list(range(90, -1, -10))
    assert len(over_time.fleet(database, NOW, seconds=5 * HOUR)) == 6
    assert len(over_time.fleet(database, NOW, seconds=1000 * DAY, points=10_000)) == 100
    assert over_time.fleet(database, NOW - 100 * HOUR) == []


def test_all_answers_have_a_bound_whatever_is_asked_for(database: Database) -> None:
    owners = tuple(Owned("aws", str(number), 1, 1) for number in range(fleet_sampling.MOST_OWNERS))
    put(
        database,
        *(fleet_samples.add(Sample(NOW - n * HOUR, (*owners, Owned(OTHERS, None, 1, 1)), ())) for n in range(400)),
    )
    points = over_time.fleet(database, NOW, 1000 * DAY, points=10**6, owners=10**6)
    assert len(points) <= over_time.MOST_POINTS * (over_time.MOST_SERIES + 1)
    assert {point["certificates"] for point in points if point["cloud"] == OTHERS} == {39}
    for hour in range(0, 1000, 5):
        put(database, events=[refused(NOW - hour * HOUR, f"{WEB} {n}", f"step {n}") for n in range(20)])
    database.seal()
    refusal_counting.catch_up(database, NOW)
    counts = over_time.refusals(database, NOW, 1000 * DAY, points=10**6, causes=10**6)
    assert len(counts) <= over_time.MOST_POINTS * (over_time.MOST_SERIES + 1)
    assert sum(count["refusals"] for count in counts) == 20 * 200


class Limited:
    """A reader that takes no statement but for one row, or some with a limit."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.asked = 0

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        self.asked += 1
        assert re.search(r"\bLIMIT [:\d]|WHERE id = ", statement), statement
        return self._database.rows(statement, **parameters)

    def ahead(self, *_questions: Question) -> Reader:
        return self


def test_each_read_of_a_page_is_limited(database: Database) -> None:
    fleet_sampling.sample(database, NOW)
    reader = Limited(database)
    assert len(over_time.ending(reader, NOW)) == 48
    over_time.fleet(reader, NOW)
    over_time.refusals(reader, NOW)
    refusals.listed(reader, Filter())
    refusals.listed(reader, Filter(instance=vm(1)))
    instances.listed(reader, Filter())
    certificates.listed(reader, Filter(instance=vm(1)), NOW)
    assert reader.asked > 10


def test_what_ends_in_two_days_is_said_by_hour(database: Database) -> None:
    issue(database, "a.local", at=NOW - HOUR, instance=vm(1), life=HOUR + 1)
    issue(database, "a.local", at=NOW - 60, instance=vm(1), life=DAY)
    issue(database, "b.local", at=NOW - 60, instance=vm(1), life=DAY)
    issue(database, "c.local", at=NOW - 60, instance=vm(1), life=50 * HOUR)
    assert over_time.ending(database, NOW) == []
    fleet_sampling.sample(database, NOW)
    rows = over_time.ending(database, NOW)
    assert len(rows) == 48
    assert rows[0] == {
        "from": timestamp(NOW - 1800), "until": timestamp(NOW + 1800), "certificates": 1, "replaced": 1,
        "at": timestamp(NOW),
    }  # fmt: skip
    assert [(place, row["certificates"], row["replaced"]) for place, row in enumerate(rows) if row["certificates"]] == [
        (0, 1, 1), (24, 2, 0),
    ]  # fmt: skip
    later = over_time.ending(database, NOW + 3 * HOUR)
    assert [place for place, row in enumerate(later) if row["certificates"]] == [21, 47]
    assert later[0]["from"] == rows[3]["from"]
    assert over_time.ending(database, NOW + 4 * HOUR) == []


def refused(
    at: int, reason: str, step: str | None = "admission", kind: str = "challenge.refused", number: int = 1
) -> Event:
    detail = {"step": step, "reason": reason, "refused": number if number > 1 else None}
    return Event(kind, at, account_id="a", instance=key(vm(1)), detail=detail)


def test_refusals_are_counted_by_step_and_rule(database: Database) -> None:
    put(database, events=[
        refused(NOW - 2 * HOUR, WEB),
        refused(NOW - HOUR, WEB, number=5),
        refused(NOW - HOUR, "an operator blocked this instance"),
        refused(NOW, "example.com is outside this CA's domains", None, "order.refused"),
        refused(NOW, "the signature is wrong", "signature"),
        Event("challenge.valid", NOW, detail={"step": "admission", "reason": WEB}),
    ])  # fmt: skip
    database.seal()
    assert refusal_counting.catch_up(database, NOW, most=2)
    counts = over_time.refusals(database, NOW)
    assert [(seconds_of(row["at"]) - NOW + 1800, row["step"], row["rule"], row["refusals"]) for row in counts] == [
        (-2 * HOUR, "admission", "formats of Web", 1),
        (-HOUR, "admission", "blocked instance", 1),
        (-HOUR, "admission", "formats of Web", 5),
        (0, "order", "domains", 1),
        (0, "signature", "signature", 1),
    ]
    plain: Counter[str] = Counter()
    for row in over_time.refusals(database, NOW, seconds=DAY, points=2, causes=1):
        plain[row["rule"]] += row["refusals"]
    assert plain == {"formats of Web": 6, OTHERS: 3}
    assert over_time.refusals(database, NOW + 8 * DAY) == []


def test_a_server_counts_the_fleet_and_refusals_by_itself(database: Database) -> None:
    at = now()
    issue(database, "a.local", at=at - 60, instance=vm(1))
    threads: list[Background] = [Following(database), Sampling(database)]
    for thread in threads:
        thread.start()
    put(database, events=[refused(at, WEB)])
    try:
        wait_until(lambda: bool(over_time.refusals(database, now()) and over_time.fleet(database, now())))
    finally:
        for thread in threads:
            thread.stop()
    assert [row["rule"] for row in over_time.refusals(database, now())] == ["formats of Web"]
    assert [point["certificates"] for point in over_time.fleet(database, now())] == [1]
    assert sum(row["certificates"] for row in over_time.ending(database, now())) == 1


def test_a_turn_ends_after_its_time_and_goes_on_in_the_next(database: Database) -> None:
    put(database, events=[refused(NOW, WEB) for _ in range(20)])
    database.seal()
    assert not refusal_counting.catch_up(database, NOW, seconds=0.0, most=5)
    assert [row["refusals"] for row in over_time.refusals(database, NOW)] == [5]
    assert refusal_counting.catch_up(database, NOW)
    assert [row["refusals"] for row in over_time.refusals(database, NOW)] == [20]


def test_samples_and_counts_are_kept_for_ninety_days(config: Config, database: Database) -> None:
    begin = (NOW - KEPT_SECONDS) // DAY * DAY
    for at in (begin - HOUR, begin, NOW):
        fleet_sampling.sample(database, at)
        put(database, events=[refused(at, WEB)])
    database.seal()
    refusal_counting.catch_up(database, begin)
    assert pruning.count(config, database, NOW).counts == pruning.prune(config, database, "server", NOW).counts
    assert fleet_samples.times(database, 0, NOW + 1, 10) == [begin, NOW]
    assert pruning.count(config, database, NOW + DAY).fleet_samples == 1
    counted = database.rows("SELECT hour FROM refusal_counts ORDER BY hour")
    assert [row["hour"] for row in counted] == [begin, NOW // HOUR * HOUR]


@pytest.fixture
def config(home: object) -> Config:
    return ca_toml.load(home)  # type: ignore[arg-type]
