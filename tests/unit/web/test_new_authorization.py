"""Authorizations that an account makes ahead of an order (RFC 8555 section 7.4.1)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running import CA, answer
from wire import Account, b64, csr, problem

from acme_iid.authority.limits import MAX_WAITING
from acme_iid.simulator import aws


def ahead(account: Account, name: str, kind: str = "dns") -> tuple[str, str]:
    """Make an authorization; its URL and that of its iid-01 challenge."""
    made = account.post(account.wire.directory["newAuthz"], {"identifier": {"type": kind, "value": name}})
    assert made.status_code == 201, made.text
    body = made.json()
    assert body["status"] == "pending"
    assert body["identifier"] == {"type": kind, "value": name}
    return made.headers["Location"], body["challenges"][0]["url"]


def test_the_next_order_takes_what_was_proven_ahead_and_is_ready_at_once(
    account: Account, instance: aws.Instance
) -> None:
    url, challenge = ahead(account, "ahead.local")
    assert account.post(challenge, answer(instance)).json()["status"] == "valid"
    order = account.order("ahead.local").json()
    assert (order["status"], order["authorizations"]) == ("ready", [url])
    done = account.post(order["finalize"], {"csr": b64(csr("ahead.local")[1])}).json()
    assert done["status"] == "valid"


def test_an_authorization_serves_one_order(account: Account, instance: aws.Instance) -> None:
    url, challenge = ahead(account, "once.local")
    account.post(challenge, answer(instance))
    first, second = account.order("once.local").json(), account.order("once.local").json()
    assert first["authorizations"] == [url]
    assert second["status"] == "pending"
    assert second["authorizations"] != [url]


def test_one_that_is_pending_is_taken_once_it_is_valid(account: Account, instance: aws.Instance) -> None:
    url, challenge = ahead(account, "later.local")
    assert account.order("later.local", "other.local").json()["authorizations"][0] != url
    assert account.post(challenge, answer(instance)).json()["status"] == "valid"
    order = account.order("later.local", "other.local").json()
    assert (order["status"], order["authorizations"][0]) == ("pending", url)


def test_another_accounts_order_takes_none(account: Account, shared_ca: CA, instance: aws.Instance) -> None:
    _, challenge = ahead(account, "mine.local")
    account.post(challenge, answer(instance))
    other = shared_ca.account().order("mine.local").json()
    assert other["status"] == "pending"


def test_a_deactivated_one_serves_no_order(account: Account, instance: aws.Instance) -> None:
    url, challenge = ahead(account, "gone.local")
    account.post(challenge, answer(instance))
    assert account.post(url, {"status": "deactivated"}).json()["status"] == "deactivated"
    assert account.order("gone.local").json()["status"] == "pending"


def test_one_that_failed_serves_no_order(account: Account, instance: aws.Instance) -> None:
    url, challenge = ahead(account, "failed.local")
    wrong = answer(instance) | {"provisioner": "another"}
    assert account.post(challenge, wrong).json()["status"] == "invalid"
    assert account.post(url).json()["status"] == "invalid"
    assert account.order("failed.local").json()["status"] == "pending"


def test_a_wildcards_order_takes_none_that_waits_for_the_plain_name(tmp_path: Path, instance: aws.Instance) -> None:
    ca = CA(tmp_path / "ca")
    ca.init("--allow-wildcard", "*.apps.local")
    ca.start()
    try:
        account = ca.account()
        url, challenge = ahead(account, "apps.local")
        assert account.post(challenge, answer(instance)).json()["status"] == "valid"
        wildcard = account.order("*.apps.local").json()
        assert wildcard["status"] == "pending"
        assert url not in wildcard["authorizations"]
        authorization = account.post(wildcard["authorizations"][0]).json()
        assert (authorization["identifier"]["value"], authorization["wildcard"]) == ("apps.local", True)
        # The plain name's order takes it still.
        assert account.order("apps.local").json()["authorizations"] == [url]
    finally:
        ca.stop()


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        (None, "malformed"),
        ({"type": "dns"}, "malformed"),
        ({"type": "dns", "value": "*.foo.local"}, "malformed"),
        ({"type": "email", "value": "a@foo.local"}, "unsupportedIdentifier"),
        ({"type": "dns", "value": "foo.example"}, "rejectedIdentifier"),
    ],
)
def test_what_cannot_be_authorized_ahead_is_refused(
    account: Account, identifier: dict[str, str] | None, expected: str
) -> None:
    refused = account.post(account.wire.directory["newAuthz"], {"identifier": identifier})
    assert problem(refused) == expected


def test_so_many_wait_for_an_order_and_no_more_until_some_are_used(
    account: Account, shared_ca: CA, instance: aws.Instance
) -> None:
    both = [ahead(account, f"w{number}.local") for number in range(MAX_WAITING)]
    made = [url for url, _ in both]
    wanted = {"identifier": {"type": "dns", "value": "more.local"}}
    refused = account.post(account.wire.directory["newAuthz"], wanted)
    assert (refused.status_code, problem(refused)) == (429, "rateLimited")
    assert "prove and order their names" in refused.json()["detail"]
    assert int(refused.headers["Retry-After"]) >= 1
    recorded = json.loads(shared_ca.cli("events", "--account", account.url.rpartition("/")[2], "--json").stdout)
    assert "authorization.refused" not in {entry["kind"] for entry in recorded}
    assert account.post(both[0][1], answer(instance)).json()["status"] == "valid"
    assert account.order("w0.local").json()["authorizations"] == [made[0]]
    ahead(account, "more.local")
    refused = account.post(account.wire.directory["newAuthz"], wanted)
    assert problem(refused) == "rateLimited"
    account.post(made[1], {"status": "deactivated"})
    ahead(account, "more.local")
    assert ahead(shared_ca.account(), "w0.local")
