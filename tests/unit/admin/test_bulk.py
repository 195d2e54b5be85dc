"""Acts on many over the API: counted, confirmed by the number, done by tasks, stopped and gone on with."""

from __future__ import annotations

import threading
import time
from typing import Any

import issued
import pytest
from asking import Api
from issued import OWNER, issue, vm
from running import SECONDS
from writing import key, put

from acme_iid.admin.tasks import KEPT_SECONDS, MOST_AT_ONCE, Tasks
from acme_iid.authority.challenges import OF_ANOTHER_KEY
from acme_iid.operations import bulk
from acme_iid.operations.bulk import Step, Task
from acme_iid.protocol.resources import Instance
from acme_iid.store import instances, lookups
from acme_iid.store.chain import Event
from acme_iid.store.listing import Filter

OTHER = "999999999999"
OLD, NEW, STRANGE = "o" * 43, "n" * 43, "s" * 43
MANY = 150


@pytest.fixture
def fleet(api: Api) -> Api:
    """The API over a fleet of an owner, and a VM of another one."""
    der = issued.leaf()
    for number in range(MANY):
        use(api, vm(number))
        name, at = f"n{number}.local", api.now - 3600
        issue(api.database, name, at=at, instance=vm(number), image="ami-1", der=der, key_id=f"{number}")
    issue(api.database, "other.local", at=api.now - 3600, instance=vm(1, OTHER), der=der)
    return api


def use(api: Api, whole: str) -> None:
    """Have an instance belong to the account ``a`` and its old key."""
    word, owner, at = lookups.word_of(whole), key(whole).owner, api.now - 7200
    put(api.database, instances.use(Instance(whole, "aws", owner, word, "a", OLD, None, at, at)))


def ended(api: Api, task: str) -> dict[str, Any]:
    """A task once it has ended."""
    deadline = time.monotonic() + SECONDS
    while (row := api.get(f"/tasks/{task}"))["state"] in ("running", "stopping"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    found: dict[str, Any] = row
    return found


def valid(api: Api, **wanted: object) -> int:
    return len(api.get("/certificates", status="valid", limit=1000, **wanted)["items"])


def test_a_dry_run_only_counts(fleet: Api) -> None:
    for verb in ("revoke", "renew-now", "block"):
        assert fleet.post(f"/bulk/{verb}", owner=OWNER, dry_run=True) == {"count": MANY, "done": 0}
    assert fleet.post("/bulk/revoke", all=True, dry_run=True) == {"count": MANY + 1, "done": 0}
    assert (valid(fleet), fleet.get("/tasks")["items"]) == (MANY + 1, [])


@pytest.mark.parametrize("verb", ["revoke", "renew-now", "block", "release"])
def test_an_act_on_many_is_confirmed_by_its_number(fleet: Api, verb: str) -> None:
    count = 0 if verb == "release" else MANY
    reply = fleet.ask("POST", f"/bulk/{verb}", owner=OWNER)
    assert (reply.status, reply.parameter, reply.content["count"]) == (400, "confirm", count)
    reply = fleet.ask("POST", f"/bulk/{verb}", owner=OWNER, confirm=count + 1)
    assert (reply.status, reply.content["count"]) == (409, count)
    assert (valid(fleet), fleet.get("/tasks")["items"]) == (MANY + 1, [])
    assert fleet.get("/events", kind="instance.blocked")["items"] == []


@pytest.mark.parametrize("verb", ["revoke", "renew-now", "block", "release"])
def test_an_act_on_everything_says_so(fleet: Api, verb: str) -> None:
    reply = fleet.ask("POST", f"/bulk/{verb}", dry_run=True)
    assert (reply.status, reply.parameter) == (400, "all")
    reply = fleet.ask("POST", f"/bulk/{verb}", dry_run=True, all=True, owner=OWNER)
    assert (reply.status, reply.parameter) == (400, "all")
    reply = fleet.ask("POST", f"/bulk/{verb}", dry_run=True, owner="")
    assert (reply.status, reply.parameter) == (400, "owner")


def test_certificates_are_revoked_and_each_event_names_the_act(fleet: Api) -> None:
    row = fleet.post(
        "/bulk/revoke", status=202, owner=OWNER, confirm=MANY, reason="superseded", note="stolen", ticket="INC-7"
    )
    assert (row["act"], row["count"]) == ("bulk.revoke", MANY)
    done = ended(fleet, row["task"])
    assert (done["state"], done["done"], done["left_out"], done["problem"]) == ("done", MANY, 0, None)
    assert done["ended"] is not None
    events = fleet.get("/events", bulk=row["task"], limit=1000)["items"]
    assert len(events) == MANY
    assert {event["detail"]["ticket"] for event in events} == {"INC-7"}
    assert {event["detail"]["actor"]["reason"] for event in events} == {"stolen"}
    assert {event["detail"]["actor"]["role"] for event in events} == {"administrator"}
    assert valid(fleet) == 1


def test_instances_are_blocked_with_their_certificates(fleet: Api) -> None:
    row = fleet.post("/bulk/block", status=202, image="ami-1", revoke=True, confirm=MANY, reason="stolen image")
    assert ended(fleet, row["task"])["done"] == MANY
    blocked = fleet.get("/instances", blocked=True, limit=1000)["items"]
    assert len(blocked) == MANY
    assert fleet.get(f"/instances/{vm(3)}")["block_reason"] == "stolen image"
    assert valid(fleet) == 1


def test_renewals_are_spread_over_a_time(fleet: Api) -> None:
    row = fleet.post("/bulk/renew-now", status=202, owner=OWNER, over="10m", confirm=MANY)
    assert ended(fleet, row["task"])["done"] == MANY
    events = fleet.get("/events", bulk=row["task"], limit=1000)["items"]
    assert {event["kind"] for event in events} == {"certificate.renewal_asked"}


def refuse(api: Api, number: int, *keys: str) -> str:
    """An instance of account ``a`` that other keys were refused for."""
    whole = vm(number)
    use(api, whole)
    for thumbprint in keys:
        detail = {"step": "first use", "reason": f"{OF_ANOTHER_KEY}.", "proven": True, "thumbprint": thumbprint}
        put(api.database, events=[Event("challenge.refused", api.now - 60, instance=key(whole), detail=detail)])
    return whole


def test_rebuilt_instances_are_released_to_the_key_that_was_refused(api: Api) -> None:
    good, doubtful = refuse(api, 1, NEW), refuse(api, 2, NEW, STRANGE)
    dry = api.post("/bulk/release", owner=OWNER, dry_run=True)
    assert dry["count"] == 1
    assert [(row["instance"], row["key"]) for row in dry["instances"]] == [(good, NEW), (doubtful, None)]
    assert "2 different keys" in dry["instances"][1]["left_out"]
    row = api.post("/bulk/release", status=202, owner=OWNER, confirm=1)
    assert ended(api, row["task"])["done"] == 1
    released = {whole: api.get(f"/instances/{whole}")["released_to"] for whole in (good, doubtful)}
    assert released == {good: NEW, doubtful: None}


def test_an_act_that_was_stopped_is_gone_on_with(fleet: Api) -> None:
    """Stopped by its task, which the first transaction is held for until that is said."""
    first = Task.new()
    held, going = threading.Event(), threading.Event()

    def steps() -> Any:
        for step in bulk.revoke(fleet.database, Filter(owner=OWNER), 0, first, fleet.now):
            going.set()
            assert held.wait(SECONDS)
            yield step

    fleet.dispatcher._tasks.begin("bulk.revoke", first, MANY, steps())
    assert going.wait(SECONDS)
    assert fleet.ask("POST", "/bulk/revoke", owner=OWNER, confirm=150, go_on=first.id).status == 409
    fleet.post(f"/tasks/{first.id}/stop")
    held.set()
    stopped = ended(fleet, first.id)
    assert (stopped["state"], stopped["done"]) == ("stopped", 100)
    row = fleet.post("/bulk/revoke", status=202, owner=OWNER, confirm=MANY - 100, go_on=first.id)
    assert row["task"] == first.id
    assert ended(fleet, first.id)["done"] == MANY - 100
    assert len(fleet.get("/events", bulk=first.id, limit=1000)["items"]) == MANY


def test_what_has_done_nothing_is_not_gone_on_with(fleet: Api) -> None:
    assert fleet.ask("POST", "/bulk/revoke", owner=OWNER, confirm=MANY, go_on="b-0123").status == 404
    for path, method in (("/tasks/b-0123", "GET"), ("/tasks/b-0123/stop", "POST")):
        assert fleet.ask(method, path).status == 404


def test_few_acts_on_many_go_on_at_once(api: Api) -> None:
    held = threading.Event()

    def steps() -> Any:
        assert held.wait(SECONDS)
        yield Step(1, 0)

    for number in range(MOST_AT_ONCE):
        api.dispatcher._tasks.begin("bulk.block", Task(f"b-{number}"), 1, steps())
    use(api, vm(1))
    reply = api.ask("POST", "/bulk/block", all=True, confirm=1)
    assert (reply.status, reply.content["type"]) == (429, "urn:acme-iid:admin:tooMany")
    assert api.get("/instances", blocked=True)["items"] == []
    held.set()
    ended(api, "b-0")
    assert ended(api, api.post("/bulk/block", status=202, all=True, confirm=1)["task"])["done"] == 1


def failing(error: Exception) -> Any:
    yield Step(100, 0)
    raise error


def test_an_act_that_failed_says_so_and_no_more(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    api.dispatcher._tasks.begin("bulk.block", Task("b-1"), 300, failing(ZeroDivisionError("of the secret")))
    row = ended(api, "b-1")
    assert (row["state"], row["done"]) == ("failed", 100)
    assert "secret" not in row["problem"]
    assert any("of the secret" in str(record.exc_info) for record in caplog.records)


def test_how_an_act_ended_is_known_for_an_hour() -> None:
    now = 1_800_000_000
    tasks = Tasks(clock=lambda: now)
    tasks.begin("bulk.block", Task("b-1"), 1, iter([Step(1, 0)]))
    tasks.close()
    now += KEPT_SECONDS - 1
    assert [row["state"] for row in tasks.every()] == ["done"]
    now += 1
    assert tasks.every() == []


def test_acts_stop_when_the_process_ends(api: Api) -> None:
    going = threading.Event()

    def steps() -> Any:
        while True:
            going.set()
            yield Step(1, 0)

    api.dispatcher._tasks.begin("bulk.block", Task("b-1"), 1_000_000_000, steps())
    assert going.wait(SECONDS)
    api.dispatcher.close()
    assert api.get("/tasks")["items"][0]["state"] == "stopped"
