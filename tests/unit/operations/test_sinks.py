"""Events reach other places in order and at least once, whatever their receivers do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from chain_reader import ChainReader
from event_receivers import Receiver, receiving
from serving import wait_until
from writing import put

from acme_iid.config import ca_toml
from acme_iid.config.sink_settings import SinkSettings
from acme_iid.operations import sinks
from acme_iid.operations.sinks import Sending
from acme_iid.store import events, stream
from acme_iid.store import sinks as rows
from acme_iid.store.chain import Event
from acme_iid.store.database import Database, open_store
from acme_iid.store.writes import Statement, perform
from acme_iid.telemetry import hook, syslog

NOW = 1_800_000_000
SCHEMES = ("syslog+tls", "https")
KINDS = pytest.mark.parametrize("scheme", SCHEMES)


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    opened = open_store(store_url)
    yield opened
    opened.close()


@pytest.fixture
def receiver(tmp_path: Path, scheme: str) -> Iterator[Receiver]:
    with receiving(tmp_path / "receiver", scheme) as made:
        yield made


def settings(receiver: Receiver, name: str = "siem") -> SinkSettings:
    text = f'[ca]\nname = "CA"\n[server]\nurl = "https://ca.local"\n{receiver.settings(name)}'
    (sink,) = ca_toml.parse(text.encode(), receiver.folder).sinks
    return sink


def fill(database: Database, count: int, octets: int = 0) -> None:
    put(database, events=[Event("thing.done", NOW, detail={"number": n, "é": "x" * octets}) for n in range(count)])
    database.seal()


def sender(stack: ExitStack, database: Database, receiver: Receiver, seconds: float = 2.0) -> Sending:
    """A thread that sends, until the end of the block."""
    made = Sending(database, sinks.Receiver(settings(receiver), seconds))
    made.start()
    stack.callback(made.stop)
    return made


@KINDS
@pytest.mark.parametrize("mode", ["take", "abrupt"])
def test_a_receiver_gets_all_and_recomputes_the_chain(database: Database, receiver: Receiver, mode: str) -> None:
    receiver.mode = mode
    fill(database, 250)
    with ExitStack() as stack:
        sender(stack, database, receiver)
        wait_until(lambda: len(receiver.lines) >= 250)
        fill(database, 3)
        wait_until(lambda: len(receiver.lines) >= 253)
    reader = ChainReader()
    for line in receiver.lines:
        reader.read(line)
    assert f"{reader.seq}:{reader.head}" == str(events.head(database))
    (cursor,) = rows.cursors(database)
    assert (cursor.name, cursor.last) == ("siem", 253)


@KINDS
@pytest.mark.parametrize("trouble", ["hang", "cut", "reset", "leave", 500, 302, 401])
def test_events_wait_for_a_receiver_in_trouble(database: Database, receiver: Receiver, trouble: str | int) -> None:
    if isinstance(trouble, int) and receiver.scheme != "https":
        return
    if isinstance(trouble, int):
        receiver.answer = lambda _body: trouble
    else:
        receiver.mode = trouble
    fill(database, 5)
    with ExitStack() as stack:
        sender(stack, database, receiver)
        wait_until(lambda: receiver.connections >= 2)
        assert rows.cursors(database)[0].last == 0
        receiver.mode, receiver.answer = "take", lambda _body: 200
        fill(database, 2)
        wait_until(lambda: 7 in receiver.numbers)
    assert list(dict.fromkeys(receiver.numbers)) == [1, 2, 3, 4, 5, 6, 7]


@KINDS
def test_an_event_of_64_kilobytes_and_those_behind_it_arrive(database: Database, receiver: Receiver) -> None:
    fill(database, 1)
    fill(database, 1, octets=64 * 1024)
    fill(database, 1, octets=300 * 1024)
    fill(database, 2)
    with ExitStack() as stack:
        sender(stack, database, receiver)
        wait_until(lambda: len(receiver.lines) >= 5)
    assert receiver.numbers == [1, 2, 3, 4, 5]
    most = syslog.MAX_LINE if receiver.scheme == "syslog+tls" else hook.MAX_LINE
    assert all(len(line) <= most for line in receiver.lines)
    _, middle, long, *_ = receiver.events
    assert ("detail_begins" in middle) == (receiver.scheme == "syslog+tls")
    assert (long["hash"], long["detail_octets"] > 300 * 1024) == (stream.after(database, 2)[0].hash, True)
    assert long["detail_begins"].startswith('{"number": 0')


@pytest.mark.parametrize("scheme", ["https"])
def test_a_rejected_event_is_sent_in_short_and_those_behind_it_arrive(database: Database, receiver: Receiver) -> None:
    receiver.answer = lambda body: 413 if len(body) > 40_000 else 200
    fill(database, 2)
    fill(database, 1, octets=64 * 1024)
    fill(database, 2)
    with ExitStack() as stack:
        sender(stack, database, receiver)
        wait_until(lambda: len(receiver.lines) >= 5)
    assert receiver.numbers == [1, 2, 3, 4, 5]
    assert len(receiver.lines[2]) <= sinks.SHORT_LINE


@KINDS
def test_of_several_senders_one_sends_and_another_takes_over(database: Database, receiver: Receiver) -> None:
    with ExitStack() as stack:
        several = [sender(stack, database, receiver) for _ in range(4)]
        fill(database, 150)
        wait_until(lambda: len(receiver.lines) >= 150)
        (sending,) = [one for one in several if one.is_sender]
        sending.stop()
        fill(database, 5)
        wait_until(lambda: len(receiver.lines) >= 155)
    assert receiver.numbers == list(range(1, 156))


@pytest.mark.parametrize("scheme", ["https"])
def test_who_has_lost_a_sink_sends_nothing(database: Database, receiver: Receiver) -> None:
    mine = Sending(database, sinks.Receiver(settings(receiver)))
    mine.turn()
    put(database, Statement("UPDATE sinks SET lease = lease + 17", {}))
    fill(database, 3)
    mine.turn()
    assert not mine.is_sender
    assert receiver.connections == 0


@pytest.mark.parametrize("scheme", ["https"])
def test_who_says_yes_before_all_was_sent_has_not_taken_it(database: Database, receiver: Receiver) -> None:
    receiver.mode = "early"
    fill(database, 4, octets=120 * 1024)
    with ExitStack() as stack:
        sender(stack, database, receiver)
        wait_until(lambda: receiver.connections >= 2)
        assert rows.cursors(database)[0].last == 0
        receiver.mode = "take"
        wait_until(lambda: 4 in receiver.numbers)
    assert list(dict.fromkeys(receiver.numbers)) == [1, 2, 3, 4]


@pytest.mark.parametrize("scheme", ["https"])
def test_an_answer_leads_nowhere_else(database: Database, receiver: Receiver, tmp_path: Path) -> None:
    with receiving(tmp_path / "other", "https") as other, ExitStack() as stack:
        receiver.location, receiver.answer = other.url, lambda _body: 307
        fill(database, 1)
        sender(stack, database, receiver)
        wait_until(lambda: receiver.connections >= 2)
        assert (other.connections, rows.cursors(database)[0].last) == (0, 0)


@KINDS
def test_a_receiver_under_another_root_gets_nothing(database: Database, receiver: Receiver, tmp_path: Path) -> None:
    with receiving(tmp_path / "other", receiver.scheme) as other, ExitStack() as stack:
        receiver.roots = other.roots
        fill(database, 1)
        sender(stack, database, receiver)
        wait_until(lambda: receiver.connections >= 2)
    assert receiver.lines == []


@pytest.mark.parametrize("scheme", ["syslog+tls"])
def test_a_message_has_the_form_of_rfc_5424(database: Database, receiver: Receiver) -> None:
    kinds = ("challenge.refused", "a kind with blanks, and longer than thirty-two", "server.started")
    put(database, events=[Event(kind, NOW, name="é\n") for kind in kinds])
    database.seal()
    with ExitStack() as stack:
        sender(stack, database, receiver)
        wait_until(lambda: len(receiver.lines) >= 3)
    assert receiver.messages == [
        (13 * 8 + 4, "challenge.refused", "2027-01-15T08:00:00Z"),
        (13 * 8 + 6, "akindwithblanks,andlongerthanthi", "2027-01-15T08:00:00Z"),
        (13 * 8 + 6, "server.started", "2027-01-15T08:00:00Z"),
    ]
    assert json.loads(receiver.lines[0])["name"] == "é\n"


def test_of_two_that_take_a_sink_one_has_it(database: Database) -> None:
    mine = perform(database, lambda _reader: rows.take("siem", NOW, 60))
    assert mine is not None
    assert perform(database, lambda _reader: rows.take("siem", NOW, 60)) is None
    kept = perform(database, lambda _reader: rows.move_on("siem", mine, 4, NOW, 90))
    assert kept is not None
    assert perform(database, lambda _reader: rows.move_on("siem", mine, 3, NOW, 60)) is None
    assert [cursor.last for cursor in rows.cursors(database)] == [4]


def test_it_is_known_since_when_a_sink_has_not_taken_an_event(database: Database) -> None:
    assert rows.waiting_since(database, ["siem"]) == {"siem": None}
    put(database, events=[Event("thing.done", NOW + number) for number in range(3)])
    database.seal()
    assert rows.waiting_since(database, ["siem"]) == {"siem": NOW}
    turn = perform(database, lambda _reader: rows.take("siem", NOW, 60))
    assert turn is not None
    moved = perform(database, lambda _reader: rows.move_on("siem", turn, 2, NOW, 60))
    assert rows.waiting_since(database, ["siem", "archive"]) == {"siem": NOW + 2, "archive": NOW}
    assert moved is not None
    perform(database, lambda _reader: rows.move_on("siem", moved, 3, NOW, 60))
    assert rows.waiting_since(database, ["siem"]) == {"siem": None}
