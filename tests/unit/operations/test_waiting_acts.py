"""Acts that wait in a home for its store: each is recorded once, and first."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from meanwhile import Meanwhile

from acme_iid.operations import configuration_record, waiting_acts
from acme_iid.operations.waiting_acts import Act
from acme_iid.store import configurations, events
from acme_iid.store.actor import Actor
from acme_iid.store.chain import Event
from acme_iid.store.database import Database, open_store
from acme_iid.store.listing import Filter

NOW = 1_800_000_000
ANNA = Actor("direct", "anna", 1000, reason="new")
BEFORE, AFTER = b'[ca]\nname = "A"\n', b'[ca]\nname = "B"\n'


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    opened = open_store(store_url)
    yield opened
    opened.close()


def recorded(database: Database) -> list[Event]:
    database.seal()
    return [event for _, event in reversed(events.page(database, Filter()))]


def act(kind: str = "ca.made", **detail: object) -> Act:
    return Act.new(ANNA.sign(Event(kind, NOW, detail=detail)))


def test_acts_are_recorded_in_their_order_with_their_actors(tmp_path: Path, database: Database) -> None:
    for number in range(3):
        waiting_acts.keep(tmp_path, act(n=number))
    (first, *_) = waiting_acts.waiting(tmp_path)
    assert (first.stat().st_mode & 0o777, first.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    waiting_acts.take_up(tmp_path, database)
    actor = {"via": "direct", "user": "anna", "uid": 1000, "reason": "new"}
    assert [event.detail for event in recorded(database)] == [{"n": number, "actor": actor} for number in range(3)]
    assert waiting_acts.waiting(tmp_path) == []


def test_copies_of_a_home_record_an_act_once(tmp_path: Path, database: Database) -> None:
    (tmp_path / "0").mkdir()
    waiting_acts.keep(tmp_path / "0", act())
    for number in range(1, 8):
        shutil.copytree(tmp_path / "0", tmp_path / str(number))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: waiting_acts.take_up(tmp_path / str(number), database), range(8)))
    assert len(recorded(database)) == 1


def test_who_comes_second_records_nothing(database: Database) -> None:
    kept = act()
    waiting_acts.record(Meanwhile(database, lambda store: waiting_acts.record(store, kept)), kept)
    assert len(recorded(database)) == 1


def test_what_cannot_be_read_keeps_nobody_waiting(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / waiting_acts.FOLDER).mkdir()
    for name, content in (("1", b"\xff"), ("2", b"{}"), ("3", b"[]"), ("4", b'{"event": 1, "configuration": null}')):
        (tmp_path / waiting_acts.FOLDER / f"{name}.json").write_bytes(content)
    waiting_acts.keep(tmp_path, act())
    waiting_acts.take_up(tmp_path, database)
    assert len(recorded(database)) == 1
    assert len(waiting_acts.waiting(tmp_path)) == 4
    assert len(caplog.records) == 4


def test_a_change_of_ca_toml_is_what_the_next_difference_is_made_of(tmp_path: Path, database: Database) -> None:
    before, after = configuration_record.recorded(BEFORE), configuration_record.recorded(AFTER)
    waiting_acts.keep(tmp_path, Act.new(ANNA.sign(configuration_record.changed(before, after, NOW)), after))
    waiting_acts.take_up(tmp_path, database)
    assert configurations.latest(database) == after
    assert not configuration_record.note(database, AFTER, NOW)
    (only,) = recorded(database)
    assert only.detail["difference"] == ['- ca.name = "A"', '+ ca.name = "B"']


def test_a_change_that_others_went_on_from_meanwhile_stays_behind_theirs(tmp_path: Path, database: Database) -> None:
    before, after = configuration_record.recorded(BEFORE), configuration_record.recorded(AFTER)
    configuration_record.note(database, b'[ca]\nname = "C"\n', NOW)
    waiting_acts.keep(tmp_path, Act.new(ANNA.sign(configuration_record.changed(before, after, NOW)), after))
    waiting_acts.take_up(tmp_path, database)
    assert configurations.latest(database) == configuration_record.recorded(b'[ca]\nname = "C"\n')
    assert len(recorded(database)) == 2
