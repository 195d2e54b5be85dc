"""What operators look for: each text stands for one thing, or is refused with what to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import issued
import pytest
from issued import vm
from writing import key, put

from acme_iid.errors import RequestError
from acme_iid.operations import criteria
from acme_iid.operations.descriptions.chain import Kept
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.listing import Filter, Position

NOW = 1_800_000_000
DAY = 1_795_824_000  # 2026-11-28T00:00:00Z
HASH = "0a" * 32


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    with issued.prepared(store_url, NOW) as opened:
        refused = Event("challenge.refused", NOW, "a", key(vm(1)), detail={"reason": "no", "remote": "192.0.2.7"})
        put(opened, events=[refused])
        yield opened


@pytest.mark.parametrize(
    ("text", "moment", "ahead"),
    [
        ("2h", NOW - 7200, NOW + 7200),
        ("2026-11-28", DAY, DAY),
        ("2026-11-28T01:00:00+01:00", DAY, DAY),
        ("2026-11-28T00:00:00Z", DAY, DAY),
    ],
)
def test_a_moment_is_a_day_a_time_or_a_distance_from_now(text: str, moment: int, ahead: int) -> None:
    assert criteria.moment(text, NOW) == moment
    assert criteria.moment_ahead(text, NOW) == ahead


@pytest.mark.parametrize("text", ["", "soon", "20261128", "2026-11-28T01:00:00", "-2h", "٢h", "2026-11-28 x"])
def test_a_moment_that_may_be_several_is_refused(text: str) -> None:
    for read in (criteria.moment, criteria.moment_ahead):
        with pytest.raises(ValueError, match="is no time; write for example 2h"):
            read(text, NOW)


@pytest.mark.parametrize(
    ("read", "text", "found"),
    [
        (criteria.name, "A.Internal", "a.internal"),
        (criteria.name, "*.A.internal", "*.a.internal"),
        (criteria.address, "2001:DB8:0::1", "2001:db8::1"),
        (criteria.owner, "123456789042", "123456789042"),
        (criteria.cloud, "acme", "acme"),
        (criteria.serial_number, "255", 255),
        (criteria.serial_number, "0xFF", 255),
        (criteria.serial_number, "0A:BB", 0xABB),
        (criteria.head, f"17:{HASH}", Kept(17, HASH)),
        (criteria.head, HASH, Kept(None, HASH)),
        (criteria.place, "17.abc.d", Position(17, "abc.d")),
        (criteria.reason, "INC-7: rebuilt", "INC-7: rebuilt"),
    ],
)
def test_a_text_is_read_in_its_one_spelling(read: Callable[[str], object], text: str, found: object) -> None:
    assert read(text) == found


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (criteria.name, "a b"),
        (criteria.address, "192.0.2.7/32"),
        (criteria.owner, "my project"),
        (criteria.owner, ""),
        (criteria.cloud, "AWS"),
        (criteria.serial_number, ""),
        (criteria.serial_number, "1_0"),
        (criteria.serial_number, "+1"),
        (criteria.serial_number, "٣"),
        (criteria.serial_number, str(1 << 160)),
        (criteria.serial_number, "9" * 10_000),
        (criteria.head, HASH.upper()),
        (criteria.head, f"{HASH}\n"),
        (criteria.head, f"{'1' * 19}:{HASH}"),
        (criteria.place, "17"),
        (criteria.place, "17."),
        (criteria.place, "1234567890123.a"),
        (criteria.place, "٣.a"),
        (criteria.reason, " "),
        (criteria.reason, "two\nlines"),
        (criteria.reason, "x" * 201),
    ],
)
def test_a_text_that_stands_for_nothing_is_refused(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match=r".{10}"):
        read(text)


def test_a_place_in_a_list_of_numbers_is_a_number() -> None:
    assert criteria.numbered(Filter(before=criteria.place("17.42"))).before == Position(17, 42)
    assert criteria.numbered(Filter()) == Filter()
    for key_ in ("x", "-1", "٣", "9" * 19):
        with pytest.raises(ValueError, match="is no number of this list"):
            criteria.numbered(Filter(before=Position(17, key_)))


def test_a_filter_has_ids_for_what_an_operator_calls_by_other_names(database: Database) -> None:
    word = vm(1).rpartition(":")[2]
    asked = criteria.filter_of(database, {"account": "t", "instance": word, "since": NOW, "limit": 5})
    assert asked == Filter(account="a", instance=vm(1), since=NOW, limit=5)
    for fields in ({"account": "nobody"}, {"instance": "i-nothing"}):
        with pytest.raises(RequestError):
            criteria.filter_of(database, fields)


def test_older_events_are_followed_again_only_where_they_may_be_missed(database: Database) -> None:
    asked: list[Database] = []
    criteria.filter_of(database, {"owner": "123456789042", "kind": None}, asked.append)
    criteria.filter_of(database, {"instance": vm(9)}, asked.append)
    assert asked == []
    criteria.filter_of(database, {"kind": "challenge.refused"}, asked.append)
    assert asked == [database]


def test_a_word_may_mean_an_instance_an_address_or_a_name(database: Database) -> None:
    criteria.filter_of(database, {})
    word = vm(1).rpartition(":")[2]
    assert criteria.meant_by(database, word) == [Filter(instance=vm(1)), Filter(name=word)]
    assert criteria.meant_by(database, vm(9)) == [Filter(instance=vm(9))]
    assert criteria.meant_by(database, "192.0.2.7")[0] == Filter(remote="192.0.2.7")
    assert criteria.meant_by(database, "A.internal") == [Filter(name="a.internal")]
    with pytest.raises(ValueError, match="neither an instance that was seen here, nor a name, nor an address"):
        criteria.meant_by(database, "not a name")


def test_an_act_on_many_is_on_some_or_on_all_that_were_asked_for() -> None:
    criteria.require_some(Filter(owner="123456789042"), every=False)
    criteria.require_some(Filter(since=NOW, limit=7), every=True)
    for asked, every, message in (
        (Filter(since=NOW, limit=7), False, "say which, by a filter such as owner"),
        (Filter(owner="123456789042"), True, "all is for all of them"),
        (Filter(image=" ", region=""), False, "image and region is empty; nothing was done"),
    ):
        with pytest.raises(ValueError, match=message):
            criteria.require_some(asked, every=every)
