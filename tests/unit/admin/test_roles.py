"""Each act with each role: it is allowed, or refused with the role that it takes, and then nothing is looked at."""

from __future__ import annotations

from typing import Any

import pytest
from asking import Api, request
from issued import vm

from acme_iid.admin.acts import Act
from acme_iid.admin.roles import Role
from acme_iid.admin.table import ACTS
from acme_iid.store import events

VIEWER, HELPDESK, OPERATOR, ADMINISTRATOR = Role
TAKES = {
    "instance.list": VIEWER,
    "instance.show": VIEWER,
    "instance.release": HELPDESK,
    "instance.block": HELPDESK,
    "instance.unblock": OPERATOR,
    "instance.reopen": HELPDESK,
    "certificate.list": VIEWER,
    "certificate.show": VIEWER,
    "certificate.pem": VIEWER,
    "certificate.revoke": OPERATOR,
    "certificate.renew_now": OPERATOR,
    "account.list": VIEWER,
    "account.show": VIEWER,
    "account.deactivate": OPERATOR,
    "eab.list": VIEWER,
    "eab.add": OPERATOR,
    "eab.revoke": OPERATOR,
    "events.list": VIEWER,
    "events.stream": VIEWER,
    "events.head": VIEWER,
    "events.check": VIEWER,
    "refusal.list": VIEWER,
    "refusal.why": VIEWER,
    "status.show": VIEWER,
    "issuer.status": VIEWER,
    "policy.show": VIEWER,
    "server.list": VIEWER,
    "sink.list": VIEWER,
    "bulk.revoke": OPERATOR,
    "bulk.renew_now": OPERATOR,
    "bulk.block": OPERATOR,
    "bulk.release": OPERATOR,
    "task.list": VIEWER,
    "task.show": VIEWER,
    "task.stop": OPERATOR,
    "check.findings": ADMINISTRATOR,
    "check.reload": ADMINISTRATOR,
    "server.reload": ADMINISTRATOR,
    "api.document": VIEWER,
}
"""The acts, with the least role of each."""
NOBODY = None


def test_each_act_is_here_with_its_role() -> None:
    assert {act.name: act.role for act in ACTS} == TAKES


@pytest.mark.parametrize("role", [NOBODY, *Role], ids=lambda role: "nobody" if role is None else role.word)
@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.name)
def test_an_act_is_allowed_or_names_its_role(api: Api, act: Act[Any], role: Role | None) -> None:
    path = act.path.replace("{id}", "nothing").replace("{serial}", "1")
    before = events.head(api.database)
    reply = api.ask(act.method, path, role)
    if role is not None and role >= act.role:
        assert reply.status != 403
        return
    assert (reply.status, reply.content["type"]) == (403, "urn:acme-iid:admin:forbidden")
    assert reply.content["role"] == TAKES[act.name].word
    assert events.head(api.database) == before
    # Nothing of the request was looked at.
    unreadable = request("POST", path, body=b"{") if act.is_change else request("GET", path, "&")
    assert api.send(unreadable, role).status == 403


@pytest.mark.parametrize("role", [VIEWER, HELPDESK], ids=lambda role: role.word)
@pytest.mark.parametrize(("verb", "more"), [("block", {}), ("release", {"to": "k" * 43})])
def test_revoking_with_an_act_takes_an_operator(api: Api, verb: str, more: dict[str, object], role: Role) -> None:
    path = f"/instances/{vm(1)}/{verb}"
    reply = api.ask("POST", path, role, revoke=True, **more)
    assert (reply.status, reply.content["role"]) == (403, "operator" if role is HELPDESK else "helpdesk")
    assert api.get("/events")["items"] == []
    assert api.ask("POST", path, HELPDESK, revoke=False, **more).status == 200
    assert api.ask("POST", f"/instances/{vm(2)}/{verb}", OPERATOR, revoke=True, **more).status == 200


def test_who_is_not_listed_learns_no_more_than_the_role(api: Api) -> None:
    reply = api.ask("GET", f"/instances/{vm(1)}", NOBODY)
    assert reply.content["detail"] == "instance.show takes the role viewer, and you have none"
