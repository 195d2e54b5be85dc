"""Acts on accounts and on external account keys over the API."""

from __future__ import annotations

import json

import pytest
from asking import Api
from issued import vm
from writing import key, put

from acme_iid.authority.external_keys import MAX_LABEL_LENGTH
from acme_iid.protocol.resources import Account, Instance
from acme_iid.store import accounts, instances, lookups


def test_accounts_are_listed_and_shown(api: Api) -> None:
    put(api.database, accounts.add(Account("b", "{}", "u", ("mailto:a@b.local",), api.now - 60)))
    page = api.get("/accounts", limit=1)
    assert [row["account"] for row in page["items"]] == ["b"]
    assert [row["account"] for row in api.get("/accounts", before=page["next"])["items"]] == ["a"]
    assert [row["account"] for row in api.get("/accounts", since="1h")["items"]] == ["b"]
    shown = api.get("/accounts/u")
    assert shown == api.get("/accounts/b")
    assert (shown["contact"], shown["instances"]) == (["mailto:a@b.local"], [])


def test_an_account_is_shown_with_its_instances(api: Api) -> None:
    whole = vm(1)
    used = Instance(whole, "aws", key(whole).owner, lookups.word_of(whole), "a", "t", None, api.now, api.now)
    put(api.database, instances.use(used))
    assert api.get("/accounts/a")["instances"] == [whole]


def test_an_account_is_ended_once_by_its_id_or_its_key(api: Api) -> None:
    done = api.post("/accounts/t/deactivate", reason="INC-7: laptop stolen")
    assert (done["account"], done["deactivated"]) == ("a", api.get("/accounts/a")["deactivated"])
    event = api.get("/events", limit=1)["items"][0]
    assert (event["kind"], event["account"], event["detail"]["by"]) == ("account.deactivated", "a", "operator")
    assert event["detail"]["actor"]["reason"] == "INC-7: laptop stolen"
    assert api.ask("POST", "/accounts/a/deactivate").status == 409


def test_an_unknown_account_is_not_found(api: Api) -> None:
    for method, path in (("GET", "/accounts/none"), ("POST", "/accounts/none/deactivate")):
        reply = api.ask(method, path)
        assert (reply.status, reply.content["type"]) == (404, "urn:acme-iid:admin:notFound")
    assert api.ask("GET", "/certificates", account="none").status == 404


def test_a_key_is_shown_once_with_its_secret(api: Api) -> None:
    made = api.post("/eab", label="for bob", expires="7d", reason="INC-7")
    assert len(made["hmac_key"]) == 43
    page = api.get("/eab")
    assert [(row["key_id"], row["label"], row["reusable"]) for row in page["items"]] == [
        (made["key_id"], "for bob", "no")
    ]
    everything = json.dumps([page, api.get("/events")])
    assert made["hmac_key"] not in everything
    assert "INC-7" in everything


def test_a_key_is_revoked_once(api: Api) -> None:
    made = api.post("/eab", reusable=True)
    path = f"/eab/{made['key_id']}/revoke"
    assert api.post(path)["revoked"] is not None
    assert api.ask("POST", path).status == 409
    assert api.ask("POST", "/eab/none/revoke").status == 404


@pytest.mark.parametrize("label", ["", "x" * (MAX_LABEL_LENGTH + 1), "a\nb", 7])
def test_a_label_is_one_bounded_line(api: Api, label: object) -> None:
    reply = api.ask("POST", "/eab", label=label)
    assert (reply.status, reply.parameter) == (400, "label")
    assert api.get("/eab")["items"] == []


def test_keys_are_listed_page_by_page(api: Api) -> None:
    made = {api.post("/eab")["key_id"] for _ in range(3)}
    page = api.get("/eab", limit=2)
    found = [*page["items"], *api.get("/eab", before=page["next"])["items"]]
    assert {row["key_id"] for row in found} == made
    assert len(found) == 3
