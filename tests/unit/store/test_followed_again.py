"""A store that an earlier version followed: lists stay up to date, and older events are followed again beside that."""

from __future__ import annotations

from collections.abc import Iterator

import issued
import pytest
from issued import issue
from writing import key, put

from acme_iid.store import certificates, events, instances, lookups, searches
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.listing import Filter
from acme_iid.store.lookups import Following
from acme_iid.store.writes import Statement

NOW = 1_800_000_000
VM = "aws:aws:123456789042:us-west-2:i-05e360db6e50b5eda"
REFUSED = "aws:aws:999999999999:eu-west-1:i-0aaaaaaaaaaaaaaaa"


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    with issued.prepared(store_url, NOW) as database:
        yield database


def refuse(database: Database, instance: str | None = REFUSED, at: int = NOW, **facts: object) -> None:
    detail = {"step": "admission", "reason": "no", **facts}
    holder = None if instance is None else key(instance)
    put(database, events=[Event("challenge.refused", at, account_id="a", instance=holder, detail=detail)])


def forget_version(database: Database) -> None:
    """Make the store one that the version before this one has followed up to its end."""
    later = ("kind", "remote", "region", "provisioner", "profile", "refused")
    put(
        database,
        *(Statement("DELETE FROM lookups WHERE field IN (:a, :b)", {"a": f, "b": f"issued {f}"}) for f in later),
        Statement("DELETE FROM lookups WHERE field = 'image'", {}),
        Statement("DELETE FROM traits", {}),
        Statement("UPDATE followings SET version = 1", {}),
    )


def kinds(database: Database, **wanted: str) -> list[str]:
    return [event.kind for _, event in events.page(database, Filter(**wanted))]  # type: ignore[arg-type]


def test_each_fact_of_an_event_finds_it(database: Database) -> None:
    refuse(database, remote="2001:DB8::1", provisioner="Web", image="ami-2", region="eu-west-1")
    one = issue(database, "a.local", at=NOW, instance=VM, provisioner="Web", profile="short", image="ami-1")
    issue(database, "b.local", at=NOW)
    lookups.follow(database)
    refused, granted = ["challenge.refused"], ["certificate.issued"]
    assert kinds(database, kind="challenge.refused") == kinds(database, remote="2001:db8::1") == refused
    assert kinds(database, refused=REFUSED) == kinds(database, refused=REFUSED, provisioner="Web") == refused
    assert kinds(database, refused=VM) == []
    assert kinds(database, image="ami-2") == kinds(database, region="eu-west-1") == refused
    assert kinds(database, profile="short") == kinds(database, image="ami-1") == granted
    assert kinds(database, provisioner="Web") == granted + refused
    assert kinds(database, provisioner="Web", kind="challenge.refused") == refused
    assert kinds(database, account="a", remote="2001:db8::1", kind="certificate.issued") == []
    assert kinds(database, account="a", region="us-west-2", provisioner="Web") == granted
    for wanted in (
        Filter(region="us-west-2"),
        Filter(provisioner="Web"),
        Filter(profile="short"),
        Filter(owner="123456789042", region="us-west-2", provisioner="Web"),
        Filter(image="ami-1", profile="short"),
    ):
        assert [entry.id for entry in certificates.page(database, wanted, None, NOW)] == [one.id]
    assert certificates.page(database, Filter(image="ami-1", region="eu-west-1"), None, NOW) == []


def test_an_instance_that_was_only_refused_is_found_by_its_short_id(database: Database) -> None:
    refuse(database)
    lookups.follow(database)
    assert searches.instances_called(database, "i-0aaaaaaaaaaaaaaaa") == [REFUSED]
    assert searches.instances_called(database, "i-0aaaaaaaaaaaaaaa") == []


def test_an_instance_is_found_by_what_it_has_proven_alone(database: Database) -> None:
    put(database, instances.block(key(VM), 0, "blocked", None, NOW))
    put(database, instances.block(key(REFUSED), 0, "blocked", None, NOW))
    refuse(database, provisioner="Web", image="ami-1")
    issue(database, "a.local", at=NOW, instance=VM, provisioner="Web", image="ami-1")
    lookups.follow(database)

    def found(**wanted: str) -> list[str]:
        return [entry.id for entry in instances.page(database, Filter(**wanted), blocked=True)]  # type: ignore[arg-type]

    assert found() == [REFUSED, VM] or found() == [VM, REFUSED]
    assert found(provisioner="Web") == found(image="ami-1") == found(region="us-west-2", image="ami-1") == [VM]
    assert found(image="ami-1", region="eu-west-1") == []
    assert found(name="a.local", provisioner="Web") == [VM]


def test_a_store_of_before_is_up_to_date_at_once_and_complete_later(database: Database) -> None:
    for number in range(7):
        refuse(database, at=NOW + number, remote="192.0.2.1")
    issue(database, "a.local", at=NOW + 8, instance=VM, provisioner="Web")
    lookups.follow(database)
    forget_version(database)
    assert lookups.following(database) == Following(8, 0, 8)
    refuse(database, at=NOW + 9, remote="192.0.2.1")
    database.seal()
    assert lookups.is_behind(database)
    lookups.follow(database)
    # What is new is found by all, and what is old by what it was found by.
    assert lookups.following(database) == Following(9, 0, 8)
    assert len(kinds(database, remote="192.0.2.1")) == 1
    assert len(kinds(database, account="a")) == 9
    assert not lookups.follow_again(database, most=3, seconds=0)
    assert lookups.following(database) == Following(9, 3, 8)
    assert len(kinds(database, remote="192.0.2.1")) == 4
    told: list[int] = []
    assert lookups.follow_again(database, most=3, progress=told.append)
    assert told == [3, 2]
    assert lookups.following(database) == Following(9, 8, 8)
    assert len(kinds(database, remote="192.0.2.1")) == len(kinds(database, refused=REFUSED)) == 8
    assert kinds(database, provisioner="Web") == ["certificate.issued"]
    assert searches.instances_called(database, "i-05e360db6e50b5eda") == [VM]
    assert lookups.follow_again(database)
    assert not lookups.is_behind(database)


def test_what_is_followed_again_is_written_once(database: Database) -> None:
    issue(database, "a.local", at=NOW, instance=VM, provisioner="Web", image="ami-1")
    refuse(database, remote="192.0.2.1")
    lookups.follow(database)
    before = database.rows("SELECT * FROM lookups ORDER BY field, value, at, seq")
    put(database, Statement("UPDATE followings SET version = 1", {}))
    assert lookups.follow_again(database)
    assert database.rows("SELECT * FROM lookups ORDER BY field, value, at, seq") == before


def test_older_events_that_were_removed_are_no_obstacle(database: Database) -> None:
    for number in range(6):
        refuse(database, at=NOW + number, remote="192.0.2.1")
    lookups.follow(database)
    forget_version(database)
    put(database, Statement("DELETE FROM events WHERE seq <= 4", {}))
    assert lookups.follow_again(database, most=3)
    assert lookups.following(database) == Following(6, 6, 6)
    assert len(kinds(database, remote="192.0.2.1")) == 2
