"""Acts on the record over the API: lists, the stream a part at a time, and the chain proven a part at a time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asking import Api
from chain_reader import ChainReader
from issued import vm
from writing import key, put

from acme_iid.admin.table import events as acts
from acme_iid.store.chain import Event
from acme_iid.store.writes import Statement

MANY = 250


@pytest.fixture
def record(api: Api) -> Api:
    """The API over a record of many events."""
    for number in range(MANY):
        detail = {"number": number, "remote": "192.0.2.7"}
        put(api.database, events=[Event("challenge.refused", api.now, instance=key(vm(number % 3)), detail=detail)])
    api.database.seal()
    return api


def streamed(api: Api, **parameters: object) -> list[dict[str, Any]]:
    reply = api.ask("GET", "/events/stream", **parameters)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in reply.content.splitlines()]


def remove(api: Api, until: int) -> None:
    """Have the first events be gone, as their export leaves the store."""
    (row,) = api.database.rows("SELECT hash FROM events WHERE seq = :seq", seq=until)
    gone = "INSERT INTO events_removed (id, seq, hash) VALUES (1, :seq, :hash)"
    put(api.database, Statement(gone, {"seq": until, "hash": row["hash"]}),
        Statement("DELETE FROM events WHERE seq <= :seq", {"seq": until}))  # fmt: skip


def test_events_are_found_by_the_filters_of_the_command(record: Api) -> None:
    for wanted in ({"instance": vm(1)}, {"kind": "challenge.refused", "instance": vm(1)}, {"remote": "192.0.2.7"}):
        found = record.get("/events", limit=1000, **wanted)["items"]
        assert len(found) == (MANY if "remote" in wanted else len(range(1, MANY, 3)))
    assert record.get("/events", kind="challenge.valid")["items"] == []
    page = record.get("/events", limit=2)
    assert [row["seq"] for row in page["items"]] == [MANY, MANY - 1]
    assert record.get("/events", limit=1, before=page["next"])["items"][0]["seq"] == MANY - 2


def test_a_reader_follows_the_record_and_makes_its_hashes(record: Api) -> None:
    reader = ChainReader()
    after = 0
    while part := record.ask("GET", "/events/stream", after=after, limit=100).content:
        for line in part.splitlines():
            reader.read(line)
        after = json.loads(part.splitlines()[-1])["seq"]
    assert f"{after}:{reader.head}" == record.get("/events/head")["head"]
    assert after == MANY


def test_a_part_of_the_stream_is_bounded_by_number_and_octets(record: Api) -> None:
    assert [line["seq"] for line in streamed(record, after=0, limit=3)] == [1, 2, 3]
    assert record.ask("GET", "/events/stream", after=0, limit=1001).status == 400
    for _ in range(3):
        put(record.database, events=[Event("odd", record.now, detail={"long": "x" * (acts.MOST_OCTETS * 2 // 3)})])
    assert [line["seq"] for line in streamed(record, after=MANY, limit=9)] == [MANY + 1]
    assert [line["seq"] for line in streamed(record, after=MANY - 1, limit=9)] == [MANY, MANY + 1]
    put(record.database, events=[Event("odd", record.now, detail={"long": "x" * (acts.MOST_OCTETS + 1)})])
    assert [line["seq"] for line in streamed(record, after=MANY + 3, limit=9)] == [MANY + 4]


def test_a_place_that_is_not_there_is_told(record: Api) -> None:
    assert streamed(record, after=MANY) == []
    assert record.ask("GET", "/events/stream", after=MANY + 1).status == 409
    for path, after in (("/events/stream", 3), ("/events/check", f"3:{'f' * 64}")):
        assert record.ask("GET", path, after=after).status == 200
    remove(record, 7)
    for path, after in (("/events/stream", 3), ("/events/check", f"3:{'f' * 64}")):
        reply = record.ask("GET", path, after=after)
        assert reply.status == 409
        assert "events 1 to 7 were exported and removed" in reply.content["detail"]
    assert [line["seq"] for line in streamed(record, after=7, limit=1)] == [8]


def test_the_chain_is_proven_a_part_at_a_time(record: Api) -> None:
    part = record.get("/events/check", limit=100)
    assert (part["events"], part["more"], part["fault"]) == (100, True, None)
    while part["more"]:
        part = record.get("/events/check", after=part["until"], limit=100)
        assert part["fault"] is None
    assert part["events"] == MANY - 200
    assert part["until"] == part["head"] == record.get("/events/head")["head"]
    assert record.get("/events/check", after=part["until"])["events"] == 0


def test_an_empty_record_is_whole(api: Api) -> None:
    part = api.get("/events/check")
    assert (part["events"], part["more"], part["fault"], part["until"]) == (0, False, None, f"0:{'0' * 64}")


def test_an_event_that_was_edited_is_found(record: Api) -> None:
    put(record.database, Statement("UPDATE events SET name = 'x' WHERE seq = 120", {}))
    part = record.get("/events/check", limit=100)
    assert part["fault"] is None
    part = record.get("/events/check", after=part["until"])
    assert "event 120 was edited" in part["fault"]
    assert (part["events"], part["until"].partition(":")[0]) == (19, "119")


def test_a_place_that_was_written_anew_is_found(record: Api) -> None:
    fault = record.get("/events/check", after=f"5:{'f' * 64}")["fault"]
    assert "written anew" in fault
    fault = record.get("/events/check", after=f"{MANY + 5}:{'f' * 64}")["fault"]
    assert "cut off" in fault


@pytest.mark.parametrize("place", ["", "5", "5:", f"5:{'F' * 64}", f"-5:{'f' * 64}", f"{'9' * 19}:{'f' * 64}", ":"])
def test_what_is_no_place_is_told(api: Api, place: str) -> None:
    reply = api.ask("GET", "/events/check", after=place)
    assert (reply.status, reply.parameter) == (400, "after")
