"""Acts on instances over the API, each against a store; what is changed names who changed it, and why."""

from __future__ import annotations

from typing import Any

import issued
import pytest
from asking import Api
from issued import OWNER, issue, vm
from writing import key, put

from acme_iid.admin.roles import Role
from acme_iid.protocol.resources import Instance
from acme_iid.store import instances, lookups
from acme_iid.store.chain import Event

OLD, NEW = "o" * 43, "n" * 43


@pytest.fixture
def used(api: Api) -> str:
    """An instance of the account ``a``, with a certificate."""
    return use(api, 1)


def use(api: Api, number: int, at: int = 3600) -> str:
    whole, when = vm(number), api.now - at
    word = lookups.word_of(whole)
    put(api.database, instances.use(Instance(whole, "aws", key(whole).owner, word, "a", OLD, None, when, when)))
    der = issued.leaf()
    issue(api.database, f"n{number}.local", at=when, instance=whole, image="ami-1", region="us-west-2", der=der)
    return whole


def last_event(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api.get("/events", limit=1)["items"][0]
    return found


def test_instances_are_listed_page_by_page(api: Api) -> None:
    made = [use(api, number, 3600 - number) for number in range(5)]
    first = api.get("/instances", limit=2)
    assert [row["instance"] for row in first["items"]] == [made[4], made[3]]
    second = api.get("/instances", limit=2, before=first["next"])
    assert [row["instance"] for row in second["items"]] == [made[2], made[1]]
    last = api.get("/instances", limit=2, before=second["next"])
    assert ([row["instance"] for row in last["items"]], last["next"]) == ([made[0]], None)


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        ({"owner": OWNER}, 1), ({"owner": "999999999999"}, 0), ({"name": "n1.local"}, 1), ({"name": "n2.local"}, 0),
        ({"image": "ami-1"}, 1), ({"image": "ami-2"}, 0), ({"region": "us-west-2"}, 1), ({"cloud": "aws"}, 1),
        ({"cloud": "gcp"}, 0), ({"account": "a"}, 1), ({"account": "t"}, 1), ({"since": "2h"}, 1), ({"until": "2h"}, 0),
        ({"blocked": False}, 1), ({"blocked": True}, 0),
    ],
)  # fmt: skip
def test_a_list_has_the_filters_of_the_command(api: Api, used: str, wanted: dict[str, str], number: int) -> None:
    assert [row["instance"] for row in api.get("/instances", **wanted)["items"]] == [used] * number


def test_an_instance_is_shown_by_its_id_or_the_clouds_own(api: Api, used: str) -> None:
    whole = api.get(f"/instances/{used}")
    assert (whole["account"], whole["owner"], whole["image"]) == ("a", OWNER, "ami-1")
    assert api.get(f"/instances/{used.rpartition(':')[2]}") == whole


def test_an_unknown_instance_is_not_found(api: Api) -> None:
    for word in ("i-0123", vm(7)):
        reply = api.ask("GET", f"/instances/{word}")
        assert (reply.status, reply.content["type"]) == (404, "urn:acme-iid:admin:notFound")
    assert api.ask("POST", "/instances/i-0123/block").status == 404
    assert api.ask("POST", "/instances/i-0123/reopen", name="a.local").status == 404


def test_a_helpdesk_releases_an_instance_and_the_event_says_who(api: Api, used: str) -> None:
    path = f"/instances/{used}/release"
    reply = api.ask("POST", path, Role.HELPDESK, to=NEW, for_="2h", reason="INC-7: rebuilt")
    assert reply.status == 200
    assert (reply.content["instance"], reply.content["released_to"]) == (used, NEW)
    event = last_event(api)
    assert (event["kind"], event["instance"]) == ("instance.released", used)
    assert event["detail"]["actor"] == {
        "via": "socket", "user": "hannah", "uid": 1234, "host": "desk", "role": "helpdesk", "reason": "INC-7: rebuilt",
    }  # fmt: skip
    assert event["detail"]["until"] == reply.content["release_ends"]
    known = instances.get(api.database, used)
    assert known is not None
    assert (known.release_to, known.release_until) == (NEW, api.now + 7200)
    assert api.get("/certificates")["items"][0]["status"] == "valid"


def test_a_release_that_revokes_says_how_many(api: Api, used: str) -> None:
    done = api.post(f"/instances/{used}/release", to=NEW, revoke=True)
    assert done["certificates_revoked"] == 1
    assert api.get("/certificates")["items"][0]["status"] == "revoked"


@pytest.mark.parametrize("thumbprint", ["", "short", "n" * 44, "!" * 43, None, 7])
def test_a_release_needs_a_thumbprint(api: Api, used: str, thumbprint: object) -> None:
    assert api.ask("POST", f"/instances/{used}/release", to=thumbprint).status == 400
    reply = api.ask("POST", f"/instances/{used}/release")
    assert (reply.status, reply.parameter) == (400, "to")
    known = instances.get(api.database, used)
    assert known is not None
    assert known.release_to is None


def test_an_instance_is_blocked_once_and_let_in_again(api: Api, used: str) -> None:
    path = f"/instances/{used}"
    assert api.post(f"{path}/block", reason="stolen")["instance"] == used
    assert api.get(path)["block_reason"] == "stolen"
    assert [row["instance"] for row in api.get("/instances", blocked=True)["items"]] == [used]
    again = api.ask("POST", f"{path}/block")
    assert (again.status, again.content["type"]) == (409, "urn:acme-iid:admin:conflict")
    assert api.post(f"{path}/unblock")["closed_names"] == []
    assert api.ask("POST", f"{path}/unblock").status == 409
    assert [entry["kind"] for entry in api.get("/events", limit=2)["items"]] == [
        "instance.unblocked",
        "instance.blocked",
    ]


def test_a_name_that_revocation_closed_is_opened_again(api: Api, used: str) -> None:
    path = f"/instances/{used}"
    assert api.ask("POST", f"{path}/reopen", name="n1.local").status == 409
    api.post(f"{path}/block", revoke=True)
    assert api.post(f"{path}/unblock")["closed_names"] == ["n1.local"]
    assert api.post(f"{path}/reopen", name="N1.local") == {"instance": used, "name": "n1.local"}
    assert api.get(path)["closed_names"] == []


@pytest.mark.parametrize("reason", ["", " ", "x" * 201, "two\nlines", "\u202egnidliub", 7, None])
def test_a_reason_is_one_bounded_line(api: Api, used: str, reason: object) -> None:
    reply = api.ask("POST", f"/instances/{used}/block", reason=reason)
    assert (reply.status, reply.parameter) == (400, "reason")
    assert api.get("/instances", blocked=True)["items"] == []


def test_facts_that_are_called_as_what_each_event_has_are_apart(api: Api, used: str) -> None:
    removed = Event("events.removed", api.now, detail={"seq": 7, "at": "never", "kind": "odd"})
    put(api.database, events=[removed])
    event = last_event(api)
    assert (event["kind"], event["detail"]) == ("events.removed", {"seq": 7, "at": "never", "kind": "odd"})
    assert event["seq"] > 0
    del used
