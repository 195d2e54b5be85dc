"""What operators are shown: the fields that are promised, whole lists page by page, and what events say in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import issued
import pytest
from issued import issue, vm
from writing import key, put

from acme_iid.authority import Authority
from acme_iid.authority import external_keys as eab
from acme_iid.errors import RequestError
from acme_iid.operations import bulk as acts
from acme_iid.operations import criteria
from acme_iid.operations import instances as use_cases
from acme_iid.operations.descriptions import (
    accounts,
    bulk,
    certificates,
    chain,
    events,
    external_keys,
    findings,
    instances,
    issuers,
    policy,
    refusals,
    servers,
    status,
    times,
)
from acme_iid.operations.descriptions.pages import Page
from acme_iid.operations.status import collect
from acme_iid.protocol.resources import Account, Instance
from acme_iid.store import accounts as stored_accounts
from acme_iid.store import certificates as stored_certificates
from acme_iid.store import instances as stored_instances
from acme_iid.store import lookups
from acme_iid.store import servers as stored_servers
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.listing import Filter
from acme_iid.store.servers import Server

NOW, HOUR = 1_800_000_000, 3600
RELEASE = f"acme-iid-ca instance release {vm(1)} --to {'n' * 43}"
OF_ANOTHER = f"this instance belongs to another account key since its first use; an operator lets it in with: {RELEASE}"


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    with issued.prepared(store_url, NOW) as opened:
        for number in range(5):
            at = NOW + number // 2
            word = f"i-{number:017x}"
            instance = Instance(vm(number), "aws", issued.OWNER, word, "a", "o" * 43, None, at, at)
            put(
                opened,
                stored_instances.use(instance),
                stored_accounts.add(Account(f"b{number}", "{}", f"t{number}", (), at)),
            )
            issue(opened, f"n{number}.internal", at=at, instance=vm(number), der=issued.leaf())
            eab.add(opened, None, None, at, reusable=False)
        lookups.follow(opened)
        yield opened


def refuse(database: Database, reason: str, at: int = NOW, **detail: object) -> Event:
    event = Event("challenge.refused", at, "a", key(vm(1)), name="a.internal", detail={"reason": reason, **detail})
    put(database, events=[event])
    lookups.follow(database)
    return event


LISTS: Mapping[str, tuple[Callable[[Database, Filter], Page[Any]], str, int]] = {
    "accounts": (accounts.listed, "account", 6),
    "instances": (instances.listed, "instance", 5),
    "keys": (external_keys.listed, "key_id", 5),
    "certificates": (lambda reader, asked: certificates.listed(reader, criteria.numbered(asked), NOW), "serial", 5),
    "events": (lambda reader, asked: events.listed(reader, criteria.numbered(asked)), "seq", 10),
}


@pytest.mark.parametrize("name", LISTS)
def test_pages_give_a_whole_list_and_say_where_it_ends(database: Database, name: str) -> None:
    listed, field, number = LISTS[name]
    every = listed(database, Filter())
    assert every["next"] is None
    rows, asked = [], Filter(limit=2)
    for _ in range(number):
        page = listed(database, asked)
        rows += page["items"]
        if page["next"] is None:
            break
        assert len(page["items"]) == 2
        asked = replace(asked, before=criteria.place(page["next"]))
    assert rows == every["items"]
    assert len({row[field] for row in rows}) == number


def fields(promised: type) -> list[str]:
    return sorted(get_type_hints(promised))


def test_each_row_has_the_fields_that_are_promised(database: Database) -> None:
    serial = int(certificates.listed(database, Filter(), NOW)["items"][0]["serial"])
    certificate = criteria.certificate(database, serial)
    event = refuse(database, "no")
    made: list[tuple[Mapping[str, object], type]] = [
        (accounts.listed(database, Filter())["items"][0], accounts.AccountRow),
        (accounts.whole(database, "t"), accounts.AccountDescription),
        (instances.listed(database, Filter())["items"][0], instances.InstanceRow),
        (instances.whole(database, vm(1), NOW), instances.InstanceDescription),
        (certificates.row(certificate, NOW), certificates.CertificateRow),
        (certificates.whole(certificate, NOW), certificates.CertificateDescription),
        (external_keys.listed(database, Filter())["items"][0], external_keys.ExternalKeyRow),
        (external_keys.new(eab.add(database, "x", 60, NOW, reusable=True)), external_keys.NewExternalKey),
        (events.recorded(1, Event("ca.made", NOW)), events.RecordedEvent),
        (events.flat(events.recorded(1, Event("ca.made", NOW))), events.EventRow),
        (refusals.row(1, event), refusals.RefusalRow),
        (refusals.by_rule([event])[0], refusals.RuleRow),
        (bulk.done(acts.Task("b"), 2, 1, 1, stopped=False), bulk.DoneAct),
        (bulk.counted(2), bulk.CountedAct),
    ]
    for row, promised in made:
        assert sorted(row) == fields(promised), promised


def test_what_the_home_says_has_the_fields_that_are_promised(authority: Authority, home: Path) -> None:
    database, now = authority.database, int(time.time())
    put(database, *stored_servers.write(Server("p", "0.1.0", "s", "aa" * 32, ("ff" * 32,), now + 3, now)))
    put(database, events=[Event("challenge.refused", now, "a", key(vm(1)), detail={"reason": "no", "step": "names"})])
    lookups.follow(database)
    state = status.describe(collect(home, database, (), now), now)
    made: list[tuple[Mapping[str, object], type]] = [
        (state, status.StatusDescription),
        (state["troubles"][0], status.TroubleRow),
        (state["ca"][0], issuers.CARow),
        (state["fleet"], status.FleetCounts),
        (state["refused"][0], refusals.RuleRow),
        (state["servers"][0], status.RunningServer),
        (servers.running(database, now)[0], servers.ServerRow),
        (issuers.listed(home)[0], issuers.IssuerRow),
        (issuers.statuses(home, database, now)[0], issuers.IssuerStatusRow),
        (next(policy.rows(authority.config)), policy.PolicyRow),
        (findings.reload(authority.config, None).outlook, findings.ReloadOutlook),
    ]
    for row, promised in made:
        assert sorted(row) == fields(promised), promised
    assert servers.running(database, now)[0]["clock_ahead"] == 3
    found = findings.check(authority.config, None, now)
    assert found.unasked is None
    assert all(sorted(row) == fields(findings.FindingRow) for row in found.findings)


def test_what_an_act_on_an_instance_ended_is_told(database: Database) -> None:
    whole, ended = use_cases.release(database, vm(1), "k" * 43, 60, revoke=True, now=NOW + 10)
    assert instances.released(whole, "k" * 43, NOW + 70, ended) == {
        "instance": vm(1),
        "released_to": "k" * 43,
        "release_ends": "2027-01-15T08:01:10Z",
        "orders_ended": 0,
        "certificates_revoked": 1,
    }
    whole, ended = use_cases.block(database, vm(1), "stolen", revoke=False, now=NOW + 10)
    assert instances.blocked(whole, ended) == {"instance": vm(1), "orders_ended": 0, "certificates_revoked": 0}
    described = instances.whole(database, vm(1), NOW + 10)
    assert (described["blocked"], described["block_reason"]) == ("2027-01-15T08:00:10Z", "stolen")
    assert described["certificates"][0].endswith(" (revoked)")
    assert instances.unblocked(vm(1), {"b", "a"})["closed_names"] == ["a", "b"]


def test_an_instance_that_was_only_refused_is_what_its_id_says(database: Database) -> None:
    put(database, events=[Event("challenge.refused", NOW, "a", key(vm(77)), detail={"reason": "no"})])
    lookups.follow(database)
    described = instances.whole(database, vm(77), NOW)
    assert (described["owner"], described["first_used"], described["account"]) == (issued.OWNER, None, None)
    assert described["last_event"] == "challenge.refused at 2027-01-15T08:00:00Z"
    with pytest.raises(RequestError, match="neither used nor refused"):
        instances.whole(database, vm(78), NOW)


def test_an_account_is_shown_with_some_of_its_instances(database: Database) -> None:
    assert accounts.whole(database, "a")["instances"] == [vm(number) for number in (4, 3, 2, 1, 0)]
    assert not accounts.has_further_instances(database, "a")
    for number in range(5, accounts.MOST_INSTANCES + 1):
        instance = Instance(vm(number), "aws", issued.OWNER, "w", "a", "o" * 43, None, NOW + 9, NOW + 9)
        put(database, stored_instances.use(instance))
    assert accounts.has_further_instances(database, "a")
    assert len(accounts.whole(database, "a")["instances"]) == accounts.MOST_INSTANCES


def test_certificates_that_end_soon_are_never_others_than_valid_ones(database: Database) -> None:
    first = next(iter(stored_certificates.of_instance(database, vm(0))))
    put(database, stored_certificates.revoke(first, 0, "operator", NOW))
    at = NOW + 20 * HOUR
    assert len(certificates.listed(database, Filter(), at)["items"]) == 5
    assert len(certificates.listed(database, Filter(), at, ends_before=at + 5 * HOUR)["items"]) == 4
    assert len(certificates.listed(database, Filter(), at, overdue=True)["items"]) == 4
    assert certificates.listed(database, Filter(), at, ends_before=at)["items"] == []
    for asked in ({"overdue": True}, {"ends_before": at}):
        with pytest.raises(ValueError, match="is valid, and not revoked"):
            certificates.listed(database, Filter(), at, of_status="revoked", **asked)


def test_a_row_of_an_event_has_its_own_number_whatever_its_facts_are() -> None:
    event = events.recorded(9, Event("events.removed", NOW, detail={"first": 1, "seq": 5, "until": NOW}))
    until = "2027-01-15T08:00:00Z"
    assert (event["seq"], event["detail"]) == (9, {"first": 1, "seq": 5, "until": until})
    row: Mapping[str, object] = events.flat(event)
    assert (row["seq"], row["first"], row["last"], row["until"]) == (9, 1, 5, until)


def test_an_event_in_words_says_who_acted_and_what_is_not_proven() -> None:
    actor = {"via": "direct", "uid": 7, "host": "ca1", "claimed": "eve", "reason": "stolen"}
    blocked = events.recorded(1, Event("instance.blocked", NOW, detail={"reason": "stolen", "actor": actor}))
    assert events.in_words(blocked) == "reason stolen; actor uid 7 claiming to be eve on ca1"
    refused = events.recorded(2, Event("order.refused", NOW, detail={"identifiers": ["a.b", "c.d"], "proven": False}))
    assert events.in_words(refused) == "name a.b, c.d; the instance is not proven"


def test_a_refusal_is_told_with_its_rule_and_what_came_after(database: Database) -> None:
    refuse(database, OF_ANOTHER, step="first use", refused=4, remote="192.0.2.7", proven=True)
    meant = criteria.meant_by(database, vm(1))
    found = refusals.latest(database, meant, 3)
    (row,) = found["items"]
    assert (row["rule"], row["times"], row["lifted_by"], row["names"]) == ("first use", 4, RELEASE, ["a.internal"])
    assert found["certificate_since"] is None
    issue(database, "a.internal", at=NOW + 1, instance=vm(1))
    lookups.follow(database)
    assert refusals.latest(database, meant, 3)["certificate_since"] == "2027-01-15T08:00:01Z"
    refuse(database, "the signature is wrong", NOW + 2, step="signature")
    assert refusals.latest(database, meant, 1)["items"][0]["rule"] == "signature"
    assert refusals.latest(database, meant, 1)["certificate_since"] is None
    by_name = refusals.latest(database, criteria.meant_by(database, "a.internal"), 9)
    assert [entry["rule"] for entry in by_name["items"]] == ["signature", "first use"]


def test_a_chain_is_checked_up_to_a_place_that_was_kept(database: Database, tmp_path: Path) -> None:
    checked = chain.check(tmp_path, database)
    assert (checked["events"], checked["removed"], checked["checkpoint"]) == (10, 0, None)
    kept = criteria.head(checked["head"])
    refuse(database, "no")
    assert chain.check(tmp_path, database, kept=kept)["events"] == 11
    assert chain.check(tmp_path, database, first=11)["events"] == 1
    with pytest.raises(RequestError, match="were cut off: the chain ends at event 11"):
        chain.check(tmp_path, database, kept=kept._replace(seq=12))


def test_a_time_in_words_stands_for_its_seconds() -> None:
    assert times.timestamp(None) is None
    assert times.seconds_of(times.timestamp(NOW)) == NOW
