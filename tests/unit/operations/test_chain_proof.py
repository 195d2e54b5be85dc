"""What a page says of the chain of events: proven as far as it was read, and never more than that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from acting import now
from writing import put

from acme_iid.authority import Authority
from acme_iid.operations import event_retention
from acme_iid.operations.chain_proof import ChainProof, prove
from acme_iid.operations.descriptions.times import timestamp
from acme_iid.store import checkpoints, events, lookups
from acme_iid.store.chain import Event
from acme_iid.store.writes import Statement

OLD = 1_700_000_000
DAY = 86400


def fill(authority: Authority, count: int, at: int = OLD) -> None:
    put(authority.database, events=[Event("thing.done", at + number, name="a.local") for number in range(count)])
    lookups.follow(authority.database)


def edit(authority: Authority, change: str, seq: int) -> None:
    put(authority.database, Statement(f"UPDATE events SET {change} WHERE seq = :seq", {"seq": seq}))  # noqa: S608


def proven(home: Path, authority: Authority, most: int = 1000) -> ChainProof:
    return prove(home, authority.database, most)


@pytest.fixture
def shortened(home: Path, authority: Authority) -> int:
    """A record of which old events went, and one was left; the number of the last that went."""
    fill(authority, 20)
    fill(authority, 10, now() - DAY)
    retention = replace(authority.config.retention, events=400 * DAY, events_export=home)
    config = replace(authority.config, retention=retention)
    went = event_retention.remove_old(config, authority.database, authority.ca.current, now())
    authority.database.seal()
    assert went >= 20
    return went


def test_a_record_that_is_read_to_its_beginning_is_whole(home: Path, authority: Authority) -> None:
    empty = proven(home, authority)
    fill(authority, 20)
    head = events.head(authority.database)
    proof = proven(home, authority)
    assert proof == {
        "head": str(head), "events": head.seq, "first": 1, "since": proof["since"], "whole": True, "unsealed": 0,
        "removed": 0, "checkpoint": None, "fault": None,
    }  # fmt: skip
    assert empty["whole"]
    assert empty["events"] == head.seq - 20


def test_of_a_long_record_the_latest_events_are_proven(home: Path, authority: Authority) -> None:
    fill(authority, 20)
    head = events.head(authority.database)
    proof = proven(home, authority, 7)
    assert (proof["events"], proof["first"], proof["since"]) == (7, head.seq - 6, timestamp(OLD + 13))
    assert (proof["head"], proof["whole"], proof["fault"]) == (str(head), False, None)
    # What was read cannot show it; nobody is told that it is whole.
    edit(authority, "name = 'b.local'", head.seq - 10)
    assert proven(home, authority, 7) == proof
    fault = proven(home, authority, 15)["fault"]
    assert fault is not None
    assert fault.startswith(f"event {head.seq - 10} was edited or inserted")


@pytest.mark.parametrize("change", ["name = 'b.local'", "at = at - 1", "hash = 'x'", "seq = seq + 1000"])
def test_an_event_that_was_edited_is_named(home: Path, authority: Authority, change: str) -> None:
    fill(authority, 20)
    seq = events.head(authority.database).seq
    edit(authority, change, seq - 2)
    proof = proven(home, authority, 2000)
    assert proof["fault"] is not None
    assert (proof["whole"], proof["events"]) == (False, seq - 3)
    assert proof["head"].startswith(f"{seq - 3}:")


def test_events_behind_a_signed_place_are_whole(home: Path, authority: Authority, shortened: int) -> None:
    signed = checkpoints.latest(authority.database)
    assert signed is not None
    proof = proven(home, authority)
    assert (proof["first"], proof["removed"], proof["checkpoint"]) == (shortened + 1, shortened, str(signed.place))
    assert (proof["whole"], proof["fault"]) == (True, None)
    few = proven(home, authority, 3)
    assert (few["events"], few["whole"], few["checkpoint"]) == (3, False, str(signed.place))


def test_a_place_that_no_issuer_signed_is_a_fault(home: Path, authority: Authority, shortened: int) -> None:
    put(authority.database, Statement("UPDATE event_checkpoints SET statement = statement || ' '", {}))
    for most in (3, 1000):
        proof = proven(home, authority, most)
        assert proof["fault"] == f"the checkpoint at event {shortened} was not signed by the issuer that it names"
        assert (proof["events"], proof["whole"]) == (0, False)


def test_events_that_went_without_a_checkpoint_are_a_fault(home: Path, authority: Authority, shortened: int) -> None:
    put(authority.database, Statement("DELETE FROM event_checkpoints", {}))
    assert proven(home, authority)["fault"] == f"events up to {shortened} were removed without a checkpoint"


def test_a_walk_that_meets_a_signed_place_proves_what_follows(home: Path, authority: Authority) -> None:
    """Of events that are about to go, the last ones lead to the place that was signed."""
    fill(authority, 20)
    fill(authority, 10, now() - DAY)
    retention = replace(authority.config.retention, events=400 * DAY, events_export=home)
    config = replace(authority.config, retention=retention)
    event_retention.remove_old(config, authority.database, authority.ca.current, now(), goes_on=Once())
    authority.database.seal()
    signed, head = checkpoints.latest(authority.database), events.head(authority.database)
    assert signed is not None
    assert events.removed(authority.database).seq == 0
    behind = head.seq - signed.place.seq
    assert [proven(home, authority, behind + more)["whole"] for more in (0, 1, 2)] == [False, True, True]
    edit(authority, "hash = 'x'", signed.place.seq)
    assert [proven(home, authority, behind + more)["whole"] for more in (0, 1, 2)] == [False, False, False]


class Once:
    """Says that a job goes on, once: it ends when it has signed, before anything goes."""

    def __init__(self) -> None:
        self._left = 1

    def __call__(self) -> bool:
        self._left -= 1
        return self._left >= 0
