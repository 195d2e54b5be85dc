"""What the record says of ca.toml: each change once, with its difference and without secrets."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from acme_iid.operations import configuration_record as record
from acme_iid.store import events
from acme_iid.store.actor import Actor, OperatorStore
from acme_iid.store.chain import Event
from acme_iid.store.database import Database, open_store
from acme_iid.store.listing import Filter

NOW = 1_800_000_000
FIRST = b"""
[ca]
name = "CA" # see the safe, number 1234
domains = ["local"]
[store]
url = "postgresql://u:hush@db/acme"
"""


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    opened = open_store(store_url)
    yield opened
    opened.close()


def recorded(database: Database) -> list[Event]:
    database.seal()
    return [event for _, event in reversed(events.page(database, Filter()))]


def test_a_change_is_recorded_once_with_its_difference(database: Database) -> None:
    assert record.note(database, FIRST, NOW)
    assert not record.note(database, FIRST, NOW)
    after = FIRST.replace(b'["local"]', b'["local", "lan"]')
    assert record.note(database, after, NOW + 1)
    first, second = recorded(database)
    assert (first.kind, first.detail.get("before"), first.detail.get("difference")) == (
        "configuration.changed", None, None,
    )  # fmt: skip
    assert (second.detail["before"], second.detail["after"]) == (record.sha256(FIRST), record.sha256(after))
    assert second.detail["difference"] == ['- ca.domains = ["local"]', '+ ca.domains = ["local", "lan"]']


def test_neither_secrets_nor_comments_are_recorded(database: Database) -> None:
    record.note(database, FIRST, NOW)
    record.note(database, FIRST.replace(b"hush", b"quiet").replace(b"1234", b"4321"), NOW)
    _, second = recorded(database)
    assert second.detail["difference"] == []
    tables = database.rows("SELECT content FROM recorded_configuration")
    assert not any(word in f"{tables[0]['content']}{recorded(database)}" for word in ("hush", "quiet", "1234", "4321"))


def test_a_long_difference_ends_with_a_count(database: Database) -> None:
    record.note(database, b"", NOW)
    record.note(database, b"[limits]\n" + b"".join(b"a%d = 1\n" % number for number in range(250)), NOW)
    difference = recorded(database)[1].detail["difference"]
    assert isinstance(difference, list)
    assert (len(difference), difference[-1]) == (record.MAX_LINES + 1, "… and 150 more")


def test_servers_that_see_a_change_at_once_record_it_once(database: Database) -> None:
    with ThreadPoolExecutor(8) as threads:
        noted = list(threads.map(lambda _: record.note(database, FIRST, NOW), range(8)))
    assert sorted(noted) == [False] * 7 + [True]
    assert len(recorded(database)) == 1


def test_an_operators_change_names_the_operator(database: Database) -> None:
    record.note(database, FIRST, NOW)
    record.note(OperatorStore(database, Actor("direct", "anna", 1000)), FIRST + b"\n", NOW)
    assert [event.detail.get("actor") for event in recorded(database)] == [
        None, {"via": "direct", "user": "anna", "uid": 1000},
    ]  # fmt: skip
