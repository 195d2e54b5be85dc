"""Accounts and orders as a strict client sees them (RFC 8555 section 7)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from running import CA, answer
from wire import Account, Key, b64, csr, problem

from acme_iid.simulator import aws


def when(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_the_directory_lists_what_there_is(shared_ca: CA) -> None:
    directory = shared_ca.wire().directory
    assert set(directory) == {
        "newNonce",
        "newAccount",
        "newOrder",
        "newAuthz",
        "revokeCert",
        "keyChange",
        "renewalInfo",
        "meta",
    }
    assert all(url.startswith(shared_ca.url + "/acme/") for name, url in directory.items() if name != "meta")


def test_a_new_account_is_201_and_the_same_key_again_200(shared_ca: CA) -> None:
    wire, key = shared_ca.wire(), Key()
    url = wire.directory["newAccount"]
    first = wire.post(url, {"contact": ["mailto:a@example.org"]}, key)
    again = wire.post(url, {"contact": ["mailto:b@example.org"]}, key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.headers["Location"] == again.headers["Location"]
    assert again.json()["contact"] == ["mailto:a@example.org"]
    assert first.json()["status"] == "valid"


@pytest.mark.parametrize(
    "fields", [{"contact": ["tel:+12025551212"]}, {"contact": 7}, {"externalAccountBinding": {"protected": "e30"}}]
)
def test_with_a_known_key_whatever_else_is_sent_is_ignored(shared_ca: CA, fields: dict[str, object]) -> None:
    wire, key = shared_ca.wire(), Key()
    made = Account.new(wire, key)
    again = wire.post(wire.directory["newAccount"], fields, key)
    assert (again.status_code, again.headers["Location"]) == (200, made.url)


def test_only_return_existing_makes_no_account(shared_ca: CA) -> None:
    wire, key = shared_ca.wire(), Key()
    url = wire.directory["newAccount"]
    assert problem(wire.post(url, {"onlyReturnExisting": True}, key)) == "accountDoesNotExist"
    made = Account.new(wire, key)
    found = wire.post(url, {"onlyReturnExisting": True}, key)
    assert (found.status_code, found.headers["Location"]) == (200, made.url)


@pytest.mark.parametrize(
    ("contact", "expected"),
    [
        ("mailto:a@example.org", "malformed"),
        ([7], "malformed"),
        (["tel:+12025551212"], "unsupportedContact"),
        (["nonsense"], "invalidContact"),
        (["mailto:a@example.org?subject=x"], "invalidContact"),
        (["mailto:a@example.org,b@example.org"], "invalidContact"),
        (["mailto:nobody"], "invalidContact"),
        (["mailto:a@example.org"] * 11, "invalidContact"),
    ],
    ids=str,
)
def test_a_contact_that_is_none_is_refused(shared_ca: CA, contact: object, expected: str) -> None:
    wire = shared_ca.wire()
    assert problem(wire.post(wire.directory["newAccount"], {"contact": contact}, Key())) == expected


def test_contacts_are_updated_and_unknown_members_ignored(account: Account) -> None:
    response = account.post(account.url, {"contact": ["mailto:new@example.org"], "color": "blue"})
    assert response.json()["contact"] == ["mailto:new@example.org"]
    assert account.post(account.url).json()["contact"] == ["mailto:new@example.org"]


def test_what_an_update_cannot_change_is_ignored(account: Account) -> None:
    response = account.post(account.url, {"status": "valid", "contact": ["mailto:a@example.org"], "orders": 7})
    assert response.status_code == 200
    assert response.json()["contact"] == ["mailto:a@example.org"]
    assert response.json()["status"] == "valid"


def test_an_order_with_the_shortest_validity_can_be_finalized_later(account: Account, instance: aws.Instance) -> None:
    order = account.order("foo.local", notAfter=when(time.time() + 302)).json()
    account.post(account.challenge(order)["url"], answer(instance))
    time.sleep(3)
    done = account.post(order["finalize"], {"csr": b64(csr("foo.local")[1])})
    assert done.json()["status"] == "valid"


def test_requests_without_a_route_are_answered_with_a_nonce_and_the_index(account: Account) -> None:
    base = account.wire.directory_url.removesuffix("/directory")
    for response in (
        account.post(base + "/nothing"),
        account.wire.session.put(account.url, timeout=10),
        account.wire.session.options(account.url, timeout=10),
    ):
        assert response.status_code in (404, 405)
        assert 'rel="index"' in response.headers["Link"]
    assert account.post(base + "/nothing").headers["Replay-Nonce"]


def test_a_deactivated_account_is_401_for_everything_and_its_orders_end(account: Account) -> None:
    order = account.order("foo.local")
    gone = account.post(account.url, {"status": "deactivated"})
    assert gone.json()["status"] == "deactivated"
    for url, payload in ((account.url, None), (order.headers["Location"], None), (order.json()["finalize"], {})):
        response = account.post(url, payload)
        assert response.status_code == 401
        assert problem(response) == "unauthorized"
    again = account.wire.post(account.wire.directory["newAccount"], {}, account.key)
    assert again.status_code == 401


def test_another_accounts_resources_are_unauthorized_every_one(shared_ca: CA, instance: aws.Instance) -> None:
    owner, stranger = shared_ca.account(), shared_ca.account()
    issued = owner.obtain("foo.local", answer=answer(instance))
    pending = owner.order("bar.local").json()
    order = owner.post(issued.order).json()
    urls = [
        (owner.url, None),
        (owner.url + "/orders", None),
        (issued.order, None),
        (order["certificate"], None),
        (order["authorizations"][0], None),
        (owner.challenge(pending)["url"], None),
        (owner.challenge(pending)["url"], answer(instance)),
        (pending["finalize"], {"csr": b64(csr("bar.local")[1])}),
        (pending["authorizations"][0], {"status": "deactivated"}),
    ]
    for url, payload in urls:
        response = stranger.post(url, payload)
        assert response.status_code == 403, url
        assert problem(response) == "unauthorized"
    assert owner.challenge(pending)["status"] == "pending"


@pytest.mark.parametrize("kind", ["order", "authorization", "challenge", "certificate"])
def test_a_resource_that_is_not_there_is_404(account: Account, kind: str) -> None:
    directory = account.wire.directory_url.removesuffix("/directory")
    response = account.post(f"{directory}/{kind}/AAAAAAAAAAAAAAAAAAAAAA")
    assert response.status_code == 404
    assert problem(response) == "malformed"


def test_a_new_order_is_pending_with_everything_a_client_needs(account: Account) -> None:
    response = account.order("Foo.Local", "bar.local", "foo.local")
    assert response.status_code == 201
    order = response.json()
    assert order["status"] == "pending"
    assert order["identifiers"] == [{"type": "dns", "value": "foo.local"}, {"type": "dns", "value": "bar.local"}]
    assert len(order["authorizations"]) == 2
    assert datetime.fromisoformat(order["expires"]) > datetime.now(UTC)
    read = account.post(response.headers["Location"])
    assert read.json() == order
    assert read.headers["Location"] == response.headers["Location"]
    authorization = account.post(order["authorizations"][0]).json()
    assert authorization["identifier"] == {"type": "dns", "value": "foo.local"}
    assert authorization["status"] == "pending"
    assert "wildcard" not in authorization


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({}, "malformed"),
        ({"identifiers": []}, "malformed"),
        ({"identifiers": "foo.local"}, "malformed"),
        ({"identifiers": [{"type": "dns", "value": "a.local"}] * 101}, "malformed"),
        ({"identifiers": [{"type": "email", "value": "a@local"}]}, "unsupportedIdentifier"),
        ({"identifiers": [{"type": "dns", "value": "foo.example"}]}, "rejectedIdentifier"),
        ({"identifiers": [{"type": "dns", "value": "*.foo.local"}]}, "rejectedIdentifier"),
        ({"identifiers": [{"type": "dns", "value": "foo.local"}], "profile": "x"}, "invalidProfile"),
        ({"identifiers": [{"type": "dns", "value": "foo.local"}], "notAfter": "tomorrow"}, "malformed"),
        ({"identifiers": [{"type": "dns", "value": "foo.local"}], "notAfter": "2030-01-01T00:00:00"}, "malformed"),
    ],
    ids=str,
)
def test_an_order_that_cannot_be_is_refused(account: Account, payload: dict[str, Any], expected: str) -> None:
    assert problem(account.post(account.wire.directory["newOrder"], payload)) == expected


def test_several_faults_come_as_subproblems_that_name_their_identifiers(account: Account) -> None:
    response = account.order("foo.local", "foo.example", "bar.example")
    assert problem(response) == "rejectedIdentifier"
    assert [entry["identifier"]["value"] for entry in response.json()["subproblems"]] == ["foo.example", "bar.example"]


@pytest.mark.parametrize(("ahead", "fine"), [(200, False), (3600, True), (86400, True), (86400 + 300, False)])
def test_not_after_is_honoured_or_refused(account: Account, instance: aws.Instance, ahead: int, *, fine: bool) -> None:
    ends = when(time.time() + ahead)
    response = account.order("foo.local", notAfter=ends)
    if not fine:
        assert problem(response) == "malformed"
        return
    order = response.json()
    assert order["notAfter"] == ends
    account.post(account.challenge(order)["url"], answer(instance))
    done = account.post(order["finalize"], {"csr": b64(csr("foo.local")[1])}).json()
    leaf = x509.load_pem_x509_certificate(account.post(done["certificate"]).content)
    assert when(leaf.not_valid_after_utc.timestamp()) == ends


@pytest.mark.parametrize(("ahead", "lifetime"), [(86400 + 55, 86400), (300 - 10, 300)], ids=["longest", "shortest"])
@pytest.mark.parametrize("starts", [None, 3600], ids=["now", "later"])
def test_the_longest_and_shortest_life_by_a_clock_that_is_off(
    account: Account, instance: aws.Instance, ahead: int, lifetime: int, starts: int | None
) -> None:
    before = time.time()
    wanted = {"notAfter": when(before + (starts or 0) + ahead)}
    if starts is not None:
        wanted["notBefore"] = when(before + starts)
    order = account.order("foo.local", **wanted).json()
    after = time.time()
    # As they were asked for; it is the certificate that lives no longer and no shorter than this CA's do.
    assert {name: order[name] for name in wanted} == wanted
    account.post(account.challenge(order)["url"], answer(instance))
    done = account.post(order["finalize"], {"csr": b64(csr("foo.local")[1])}).json()
    assert {name: done[name] for name in wanted} == wanted
    leaf = x509.load_pem_x509_certificate(account.post(done["certificate"]).content)
    ends = leaf.not_valid_after_utc.timestamp() - (starts or 0)
    assert int(before) + lifetime <= ends <= after + lifetime
    assert when(leaf.not_valid_after_utc.timestamp()) != wanted["notAfter"]


def test_the_list_of_orders_is_newest_first_and_paginated(account: Account) -> None:
    made = [account.order(f"n{number}.local").headers["Location"] for number in range(101)]
    url = account.post(account.url).json()["orders"]
    first = account.post(url)
    assert len(first.json()["orders"]) == 100
    rest = account.post(first.links["next"]["url"])
    assert "next" not in rest.links
    listed = first.json()["orders"] + rest.json()["orders"]
    assert sorted(listed) == sorted(made)
    assert listed[-1] in made[:100]


def test_a_deactivated_authorization_ends_its_order(account: Account, instance: aws.Instance) -> None:
    ordered, _ = account.prove("foo.local", answer=answer(instance))
    order = ordered.json()
    response = account.post(order["authorizations"][0], {"status": "deactivated"})
    assert response.json()["status"] == "deactivated"
    assert account.post(ordered.headers["Location"]).json()["status"] == "invalid"
    assert problem(account.post(order["finalize"], {"csr": b64(csr("foo.local")[1])})) == "orderNotReady"


def test_a_final_order_lists_completed_authorizations_only(account: Account, instance: aws.Instance) -> None:
    ordered = account.order("foo.local", "bar.local")
    order = ordered.json()
    wrong = answer(instance) | {"provisioner": "nobody"}
    assert account.post(account.challenge(order)["url"], wrong).json()["status"] == "invalid"
    final = account.post(ordered.headers["Location"]).json()
    assert final["status"] == "invalid"
    assert final["authorizations"] == order["authorizations"][:1]
    assert final["error"]["type"].endswith(":unauthorized")


def test_anybody_may_fetch_the_root_and_the_health(shared_ca: CA) -> None:
    session = shared_ca.wire().session
    pem = shared_ca.root.read_text()
    assert session.get(shared_ca.url + "/roots.pem", timeout=10).text == pem
    assert session.get(f"{shared_ca.url}/root/{shared_ca.fingerprint}", timeout=10).text == pem
    assert session.get(f"{shared_ca.url}/root/{'0' * 64}", timeout=10).status_code == 404
    assert session.get(shared_ca.url + "/health", timeout=10).text == "ok\n"
