"""Lists for operators: every filter finds what it should, and costs the same however long the list is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import postgresql
import pytest
from writing import add_order, put
from writing import key as whole

from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Certificate, Instance, Order
from acme_iid.store import (
    accounts,
    certificates,
    events,
    fleet_samples,
    instances,
    limits,
    lookups,
    orders,
    proofs,
    pruning,
    refusal_counts,
    refusals,
    revocation_lists,
)
from acme_iid.store.chain import Event
from acme_iid.store.database import Database, open_store
from acme_iid.store.listing import Filter, Position
from acme_iid.store.refusal_counts import Batch, Cause
from acme_iid.store.writes import Question, Reader, Row

NOW = 1_800_000_000
UUID = "5a3c9f0e-1111-2222-3333-444455556666"
INSTANCES = [
    "aws:aws:123456789042:us-west-2:i-00000001",
    "aws:aws-cn:999999999999:cn-north-1:i-00000002",
    "gcp:4711:90210",
    f"azure:{UUID}:{UUID.replace('5a', '6b')}",
]
ACCOUNTS = ["a0", "a1", "a2"]
COUNT = 120


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    opened = open_store(postgresql.new_store(tmp_path_factory.mktemp("lists")))
    fill(opened)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def in_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    opened = open_store(f"sqlite:{tmp_path_factory.mktemp('file')}/ca.db")
    fill(opened)
    yield opened
    opened.close()


def fill(opened: Database) -> None:
    """Many certificates, each of an instance and account and with two names, ten in each second."""
    for number, account in enumerate(ACCOUNTS):
        put(opened, accounts.add(Account(account, "{}", f"thumb-{account}", (), NOW + number)))
    for number in range(COUNT):
        at, instance, account = NOW + number // 10, INSTANCES[number % 4], ACCOUNTS[number % 3]
        _, cloud, owner = whole(instance)
        names = (Identifier("dns", f"n{number % 7}.local"), Identifier("dns", f"m{number % 5}.local"))
        entries = tuple(Authorization("", account, name, False, at, at + 60, ()) for name in names)
        order = add_order(opened, Order("", account, names, at, at + 60, authorizations=entries))
        certificate = Certificate(
            order.id,
            f"1{orders.number(order):016x}",
            account,
            names,
            at,
            at + number,
            at,
            b"",
            "issuer",
            "",
            f"P{number % 2}",
            instance,
        )
        if number % 2:
            certificate = replace(certificate, image=f"ami-{number % 4}")
        statements = [orders.finalize(order, at), certificates.add(certificate, whole(instance))]
        if number < 60:
            used = Instance(f"{instance}{number}", cloud, owner, f"i{number}", account, "t", None, at, at)
            statements.append(instances.use(used))
        recorded = [
            *(
                Event("challenge.valid", at, account_id=account, instance=whole(instance), name=name.value)
                for name in names
            ),
            Event(
                "certificate.issued",
                at,
                account_id=account,
                instance=whole(instance),
                detail={
                    "serial": certificate.serial,
                    "names": [name.value for name in names],
                    "image": certificate.image,
                    "provisioner": certificate.provisioner,
                },
            ),
        ]
        put(opened, *statements, events=recorded)
        if number % 20 == 3:
            put(opened, certificates.revoke(certificate, 1, "operator", at))
        if number % 30 == 1:
            put(opened, instances.block(whole(f"{instance}{number}"), 0, "blocked", "why", at))
    put(opened, instances.block(whole("gcp:4711:666"), 0, "blocked", None, NOW))
    put(opened, events=[Event("challenge.refused", NOW + 99, cloud="gcp", name="n0.local")])
    lookups.follow(opened)


List = Callable[[Reader, Filter], Sequence[tuple[Position, str]]]


def key(certificate: Certificate) -> str:
    """What a certificate is called here: orders are numbered from 1."""
    return f"c{certificates.number(certificate) - 1:03}"


def of_certificates(status: certificates.Status | None, image: str | None = None) -> List:
    def listed(reader: Reader, wanted: Filter) -> list[tuple[Position, str]]:
        page = certificates.page(reader, replace(wanted, image=image), status, NOW + 60)
        return [(certificates.position(entry), key(entry)) for entry in page]

    return listed


def of_events(reader: Reader, wanted: Filter) -> list[tuple[Position, str]]:
    return [(Position(event.at, seq), str(seq)) for seq, event in events.page(reader, wanted)]


def of_instances(reader: Reader, wanted: Filter) -> list[tuple[Position, str]]:
    return [(Position(entry.first_used_at or 0, entry.id), entry.id) for entry in instances.page(reader, wanted)]


def of_blocked(reader: Reader, wanted: Filter) -> list[tuple[Position, str]]:
    page = instances.page(reader, wanted, blocked=True)
    return [(Position(entry.blocked_at or 0, entry.id), entry.id) for entry in page]


def of_accounts(reader: Reader, wanted: Filter) -> list[tuple[Position, str]]:
    return [(Position(account.created_at, account.id), account.id) for account in accounts.page(reader, wanted)]


LISTS: dict[str, List] = {
    "certificates": of_certificates(None),
    "valid": of_certificates("valid"),
    "expired": of_certificates("expired"),
    "revoked": of_certificates("revoked"),
    "image": of_certificates("valid", "ami-1"),
    "events": of_events,
    "instances": of_instances,
    "blocked": of_blocked,
    "accounts": of_accounts,
}
FILTERS = {
    "all": Filter(),
    "cloud": Filter(cloud="aws"),
    "owner": Filter(owner="4711"),
    "account": Filter(account="a1"),
    "name": Filter(name="m2.local"),
    "time": Filter(since=NOW + 2, until=NOW + 5),
    "cloud and time": Filter(cloud="azure", since=NOW + 2, until=NOW + 9),
    "name and owner": Filter(name="n3.local", owner="123456789042"),
    "region": Filter(region="us-west-2"),
    "provisioner and region": Filter(provisioner="P1", region="us-west-2"),
}
PAIRS = [(kind, by) for kind in LISTS for by in FILTERS if kind != "accounts" or by in ("all", "time")]


@pytest.mark.parametrize(("kind", "by"), PAIRS)
def test_pages_one_after_the_other_are_the_whole_list(database: Database, kind: str, by: str) -> None:
    listed, wanted = LISTS[kind], FILTERS[by]
    whole = listed(database, replace(wanted, limit=10_000))
    assert [place for place, _ in whole] == sorted((place for place, _ in whole), reverse=True)
    walked: list[tuple[Position, str]] = []
    while page := listed(database, replace(wanted, limit=7, before=walked[-1][0] if walked else None)):
        assert len(page) <= 7
        walked.extend(page)
        assert len(walked) <= len(whole)
    assert walked == list(whole)


class Explaining:
    """A reader that keeps the plan of every statement that goes through it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.plan: list[str] = []

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        explained = self.database.rows(f"EXPLAIN QUERY PLAN {statement}", **parameters)
        self.plan.extend(row["detail"] for row in explained)
        return self.database.rows(statement, **parameters)

    def ahead(self, *_questions: Question) -> Reader:
        return self


OLDEST = "SCAN certificates USING COVERING INDEX certificates_by_issue"
"""The oldest certificate is looked up as the first entry of that index."""


# What people block by hand is never many, and a name's instances are as many as hold it; those of a region are looked
# for among all, the latest first; an image alone finds what it should.
@pytest.mark.parametrize(
    ("kind", "by"),
    [
        pair
        for pair in PAIRS
        if pair[0] not in ("blocked", "image") and not (pair[0] == "instances" and re.search("name|region", pair[1]))
    ],
)
@pytest.mark.parametrize("before", [None, Position(NOW + 4, "5")])
def test_every_page_is_read_from_an_index_in_its_own_order(
    in_file: Database, kind: str, by: str, before: Position | None
) -> None:
    if kind not in ("instances", "accounts") and before is not None:
        before = Position(before.time, 5)
    reader = Explaining(in_file)
    LISTS[kind](reader, replace(FILTERS[by], before=before))
    reads = [line for line in reader.plan if line.startswith(("SCAN", "SEARCH")) and line != OLDEST]
    assert reads
    for line in reads:
        assert " INDEX " in line or " PRIMARY KEY " in line, reader.plan
        assert by == "all" or line.startswith("SEARCH"), reader.plan
    # Rows that the filter would throw away are not read: the index begins with one of its columns, or what it looks up.
    if by not in ("all", "time"):
        columns = ("cloud=?", "owner=?", "account_id=?", "field=? AND value=?")
        assert any(column in reads[0] for column in columns), reader.plan
    for line in reader.plan:
        # Within one second a key may decide that stands in no index; a whole list is never sorted.
        assert "TEMP B-TREE" not in line or "FOR RIGHT PART" in line or "FOR LAST TERM" in line, reader.plan


class ExplainingMany(Explaining):
    """The same for PostgreSQL, which plans as it would for more rows than could all be read or sorted."""

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        with self.database.transaction() as transaction:
            for way in ("seqscan", "bitmapscan", "sort"):
                transaction.run(f"SET LOCAL enable_{way} = off")
            self.plan.extend(row["QUERY PLAN"] for row in transaction.rows(f"EXPLAIN {statement}", **parameters))
        return self.database.rows(statement, **parameters)


REFUSED = Batch(0, 1, [Event("challenge.refused", NOW)])
ENDS = pruning.Ends(NOW, NOW, NOW, NOW)
RECURRING: dict[str, Callable[[Reader], object]] = {
    "certificates to prune": lambda reader: pruning.expired(reader, ENDS, (NOW - 9, 0), 10),
    **{f"{kind} to prune": partial(pruning.count, kind=kind, ends=ENDS) for kind in pruning.KINDS},
    "limits to prune": lambda reader: limits.count_past(reader, NOW),
    "refusals to prune": lambda reader: refusals.count_past(reader, NOW),
    "samples to prune": lambda reader: fleet_samples.count_past(reader, NOW),
    "numbers of refusals to prune": lambda reader: refusal_counts.count_past(reader, NOW),
    "times of samples": lambda reader: fleet_samples.times(reader, NOW - 9, NOW, 10),
    "samples": lambda reader: fleet_samples.taken_at(reader, [NOW, NOW - 9]),
    "refusals to count": lambda reader: refusal_counts.is_behind(reader, NOW),
    "causes of some hours": lambda reader: refusal_counts.count(reader, REFUSED, [Cause("admission", "rule")], NOW),
    "open replacements": lambda reader: pruning.open_replacements(reader, NOW),
    "revocations": lambda reader: revocation_lists.revoked(reader, "issuer", NOW),
    "revocations, counted": lambda reader: revocation_lists.count(reader, "issuer", NOW),
    "earlier proofs": lambda reader: proofs.earlier(reader, "a", (Identifier("dns", "foo.local"),), NOW - 9),
}
"""What the server asks again and again, whatever the store holds."""


@pytest.mark.parametrize("what", RECURRING)
def test_pruning_and_revocation_lists_read_ranges_of_indexes(in_file: Database, what: str) -> None:
    reader = Explaining(in_file)
    RECURRING[what](reader)
    reads = [line for line in reader.plan if line.startswith(("SCAN", "SEARCH"))]
    assert reads
    for line in reads:
        assert line.startswith("SEARCH"), reader.plan
        assert " INDEX " in line or " PRIMARY KEY " in line, reader.plan
    assert not [line for line in reader.plan if "TEMP B-TREE" in line]


@pytest.mark.parametrize(("kind", "number"), [("certificate.issued", COUNT // 4), ("challenge.valid", COUNT // 2)])
def test_events_of_a_kind_are_looked_for_in_one_list(in_file: Database, kind: str, number: int) -> None:
    reader = Explaining(in_file)
    found = events.page(reader, Filter(instance=INSTANCES[0], kind=kind, limit=1000))
    assert [event.kind for _, event in found] == [kind] * number
    assert len([line for line in reader.plan if line.startswith("SEARCH l ")]) == 1, reader.plan


def test_refusals_over_time_read_their_hours_and_few_events(in_file: Database) -> None:
    reader = Explaining(in_file)
    refusal_counts.by_time(reader, NOW, 3600, 10, 5)
    batch = refusal_counts.next_batch(reader, refusals.KINDS, NOW, 10)
    assert batch is not None
    assert batch.until == 10
    reads = [
        line for line in reader.plan if re.match(r"(SCAN|SEARCH) (refusal_counts|refusals_counted|events)\b", line)
    ]
    assert len(reads) == 5, reader.plan
    for line in reads:
        assert line.startswith("SEARCH"), reader.plan


if postgresql.is_wanted():

    @pytest.mark.parametrize("what", RECURRING)
    def test_postgresql_prunes_and_lists_revocations_by_indexes(database: Database, what: str) -> None:
        reader = ExplainingMany(database)
        RECURRING[what](reader)
        steps = [line.lstrip(" ->") for line in reader.plan]
        assert steps
        assert not [step for step in steps if step.startswith(("Seq Scan", "Sort  ("))], reader.plan

    @pytest.mark.parametrize(("kind", "by"), PAIRS)
    def test_postgresql_sorts_no_list_whole(database: Database, kind: str, by: str) -> None:
        reader = ExplainingMany(database)
        LISTS[kind](reader, FILTERS[by])
        assert reader.plan
        steps = [line.lstrip(" ->") for line in reader.plan]
        # A temporary table of a name's instances is read whole.
        assert not [step for step in steps if step.startswith(("Seq Scan", "Sort  ("))], reader.plan


def values(database: Database, kind: str, wanted: Filter) -> list[str]:
    return [key for _, key in LISTS[kind](database, replace(wanted, limit=10_000))]


def test_each_filter_finds_what_it_says(database: Database) -> None:
    def numbers(condition: Callable[[int], bool]) -> list[str]:
        return [f"c{number:03}" for number in reversed(range(COUNT)) if condition(number)]

    assert values(database, "certificates", FILTERS["cloud"]) == numbers(lambda number: number % 4 < 2)
    assert values(database, "certificates", FILTERS["owner"]) == numbers(lambda number: number % 4 == 2)
    assert values(database, "certificates", FILTERS["account"]) == numbers(lambda number: number % 3 == 1)
    assert values(database, "certificates", FILTERS["name"]) == numbers(lambda number: number % 5 == 2)
    assert values(database, "certificates", FILTERS["time"]) == numbers(lambda number: 20 <= number < 50)
    assert values(database, "revoked", Filter()) == numbers(lambda number: number % 20 == 3)
    assert len(values(database, "events", FILTERS["name"])) == 2 * COUNT // 5
    assert len(values(database, "events", FILTERS["cloud"])) == 3 * COUNT // 2
    assert len(values(database, "events", Filter(instance=INSTANCES[0]))) == 3 * COUNT // 4
    assert values(database, "certificates", FILTERS["region"]) == numbers(lambda number: number % 4 == 0)
    assert values(database, "certificates", FILTERS["provisioner and region"]) == []
    assert len(values(database, "events", FILTERS["region"])) == 3 * COUNT // 4
    assert len(values(database, "instances", FILTERS["account"])) == 20
    assert values(database, "blocked", FILTERS["owner"]) == ["gcp:4711:666"]


def test_a_certificate_is_valid_expired_or_revoked(database: Database) -> None:
    found: dict[certificates.Status, set[str]] = {}
    for status in ("valid", "expired", "revoked"):
        page = certificates.page(database, Filter(limit=1000), status, NOW + 60)
        found[status] = {key(entry) for entry in page}
    assert sum(map(len, found.values())) == len(set.union(*found.values())) == COUNT
    assert found["valid"] == {
        f"c{number:03}" for number in range(COUNT) if number // 10 + number > 60 and number % 20 != 3
    }


def test_instances_of_a_name_are_those_that_got_a_certificate_for_it(database: Database) -> None:
    for instance in INSTANCES:
        _, cloud, owner = whole(instance)
        put(database, instances.use(Instance(instance, cloud, owner, "x", "late", "t", None, NOW, NOW)))
    held = values(database, "instances", Filter(name="n0.local", account="late"))
    assert sorted(held) == sorted(INSTANCES)
    assert values(database, "instances", Filter(name="none.local")) == []
