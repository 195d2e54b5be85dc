"""Orders, authorizations and finalize (RFC 8555 sections 7.1.3, 7.1.4, 7.1.6, 7.4, 7.5; RFC 8738; profiles)."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from conformance.checks import is_https_url, moment, refused, rule, said, succeeded
from conformance.client import (
    TIMEOUT,
    Account,
    Body,
    NotOfferedError,
    PrivateKey,
    Resource,
    Server,
    b64,
    csr,
    dns,
    error_type,
    private_key,
    rsa_key,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

AREA = "Orders"

REFUSED_NAME = ("rejectedIdentifier", "malformed", "unsupportedIdentifier")


def optional(response: requests.Response, what: str) -> Body:
    """The order, if the server makes such orders.

    :raises NotOfferedError: if it refuses them in the way it should.
    """
    if error_type(response) in ("rejectedIdentifier", "unsupportedIdentifier"):
        refused(response)
        raise NotOfferedError(what)
    return succeeded(response, 201)


def ordered(account: Account, *names: str, **members: object) -> Resource:
    """An order for names that a server may refuse by its policy."""
    response = account.try_order(*dns(*names), **members)
    body = optional(response, f"orders for {names} are refused")
    return Resource(response.headers["Location"], body, response)


# --- newOrder


@rule("RFC 8555 7.4", "newOrder is 201 with a pending order")
def test_a_new_order_is_201_and_pending(account: Account) -> None:
    assert succeeded(account.try_order(*dns(account.server.name())), 201)["status"] == "pending"


@rule("RFC 8555 7.1.3", "an order has its identifiers, authorizations and finalize URL")
def test_an_order_has_its_members(account: Account) -> None:
    names = [account.server.name(), account.server.name()]
    order = account.order(*names)
    assert sorted(entry["value"] for entry in order.body["identifiers"]) == sorted(names)
    assert all(entry["type"] == "dns" for entry in order.body["identifiers"])
    assert len(set(order.body["authorizations"])) == 2
    assert all(map(is_https_url, (*order.body["authorizations"], order.body["finalize"])))


@rule("RFC 8555 7.1.3", "a pending order has `expires`, in the future")
def test_a_pending_order_expires(pending: Resource) -> None:
    assert moment(pending.body.get("expires")) > datetime.now(UTC)


@rule("RFC 8555 7.1.3", "an order that is not valid has no `certificate`")
def test_a_pending_order_has_no_certificate(pending: Resource) -> None:
    assert "certificate" not in pending.body


@rule("RFC 8555 7.4", "an order that is read is the one that was made")
def test_an_order_is_read(account: Account, pending: Resource) -> None:
    body = account.read(pending.url).body
    assert {name: body[name] for name in ("status", "identifiers", "authorizations", "finalize")} == {
        name: pending.body[name] for name in ("status", "identifiers", "authorizations", "finalize")
    }


@rule("RFC 8555 7.4", "a newOrder without identifiers, or with what is none, is `malformed`")
@pytest.mark.parametrize(
    "identifiers",
    [
        None,
        [],
        {},
        "a.test",
        [None],
        ["a.test"],
        [{}],
        [{"type": "dns"}],
        [{"value": "a.test"}],
        [{"type": "dns", "value": 7}],
        [{"type": 7, "value": "a.test"}],
        [{"type": "dns", "value": None}],
    ],
    ids=str,
)
def test_an_order_without_identifiers_is_malformed(account: Account, identifiers: object) -> None:
    payload = {} if identifiers is None else {"identifiers": identifiers}
    response = account.post(account.server.directory["newOrder"], payload)
    refused(response, "malformed", "unsupportedIdentifier", "rejectedIdentifier", status=400)


@rule("RFC 8555 7.4", "an identifier type that the server does not know is 400 `unsupportedIdentifier`")
def test_an_unknown_identifier_type_is_unsupported(account: Account) -> None:
    refused(account.try_order({"type": "conformance", "value": "x"}), "unsupportedIdentifier", status=400)


@rule("RFC 8555 7.4", "one bad identifier among good ones refuses the order")
def test_one_bad_identifier_refuses_the_order(account: Account) -> None:
    bad = {"type": "conformance", "value": "x"}
    refused(account.try_order(*dns(account.server.name()), bad), "unsupportedIdentifier", "malformed")


# --- dns identifiers


@rule(
    "RFC 4343 2",
    "names are taken without regard to case: the order has them in lower case, or they are refused",
    "practice",
)
def test_names_are_case_folded(account: Account) -> None:
    name = account.server.name()
    response = account.try_order(*dns(name.upper()))
    if response.status_code == 201:
        assert response.json()["identifiers"] == dns(name)
    else:
        refused(response, *REFUSED_NAME)


@rule("RFC 4343 2", "two spellings of a name in one order are one identifier, or refused", "practice")
def test_two_spellings_of_a_name_are_one(account: Account) -> None:
    name = account.server.name()
    response = account.try_order(*dns(name, name, name.upper()))
    if response.status_code == 201:
        assert response.json()["identifiers"] == dns(name)
        assert len(response.json()["authorizations"]) == 1
    else:
        refused(response, *REFUSED_NAME)


@rule("RFC 8555 7.1.4", "internationalized names are taken as A-labels")
def test_a_labels_are_taken(account: Account) -> None:
    name = account.server.name("xn--bcher-kva.")
    assert ordered(account, name).body["identifiers"] == dns(name)


@rule("RFC 8555 7.1.4", "names that are not A-labels are refused")
@pytest.mark.parametrize("label", ["b\u00fccher", "\u0441afe", "a\u200db"], ids=ascii)
def test_names_that_are_no_a_labels_are_refused(account: Account, label: str) -> None:
    refused(account.try_order(*dns(f"{label}.{account.server.name()}")), *REFUSED_NAME)


@rule("RFC 5891 4.2.3.1", "labels that are no valid A-labels are refused", "practice")
@pytest.mark.parametrize("label", ["xn--", "xn--a", "xn--0000000000", "ab--c"])
def test_invalid_a_labels_are_refused(account: Account, label: str) -> None:
    refused(account.try_order(*dns(f"{label}.{account.server.name()}")), *REFUSED_NAME)


@rule("RFC 8555 7.1.4", "names that are no host names are refused")
@pytest.mark.parametrize(
    "change",
    [
        lambda name: name + ".",
        lambda name: "." + name,
        lambda name: "a.." + name,
        lambda name: "-a." + name,
        lambda name: "a-." + name,
        lambda name: "a_b." + name,
        lambda name: "a b." + name,
        lambda name: "a/" + name,
        lambda name: name + ":80",
        lambda name: "a\0b." + name,
        lambda name: "x" * 64 + "." + name,
        lambda name: "a." * 120 + name,
        lambda _: "",
        lambda _: ".",
        lambda name: "https://" + name,
        lambda name: name + "\n",
    ],
    ids=[
        "trailing dot",
        "leading dot",
        "empty label",
        "leading hyphen",
        "trailing hyphen",
        "underscore",
        "space",
        "slash",
        "port",
        "NUL",
        "long label",
        "long name",
        "empty",
        "dot",
        "URL",
        "newline",
    ],
)
def test_names_that_are_no_host_names_are_refused(account: Account, change: Callable[[str], str]) -> None:
    refused(account.try_order(*dns(change(account.server.name()))), *REFUSED_NAME)


@rule("RFC 8738 3", "an address as a dns identifier is refused")
@pytest.mark.parametrize("value", ["192.0.2.1", "2001:db8::1", "[2001:db8::1]", "1.2.3.4.5"])
def test_an_address_is_no_dns_name(account: Account, value: str) -> None:
    refused(account.try_order(*dns(value)), *REFUSED_NAME)


@rule("RFC 8555 7.1.3", "a wildcard is taken in the leftmost label only")
@pytest.mark.parametrize("pattern", ["a.*.{}", "*a.{}", "a*.{}", "*.*.{}", "**.{}", "*", "*."])
def test_a_wildcard_is_the_whole_leftmost_label(account: Account, pattern: str) -> None:
    refused(account.try_order(*dns(pattern.format(account.server.name()))), *REFUSED_NAME)


@rule("RFC 8555 7.1.4", "a wildcard's authorization has the base name and `wildcard` true")
def test_a_wildcards_authorization_has_the_base_name(account: Account) -> None:
    name = account.server.name()
    order = ordered(account, f"*.{name}")
    assert order.body["identifiers"] == dns(f"*.{name}")
    (authorization,) = account.authorizations(order)
    assert authorization.body["identifier"] == {"type": "dns", "value": name}
    assert authorization.body.get("wildcard") is True


@rule("RFC 8555 7.1.4", "an authorization that is no wildcard's has no `wildcard`")
def test_another_authorization_has_no_wildcard(authorization: Resource) -> None:
    assert "wildcard" not in authorization.body


@rule("RFC 8555 7.1.4", "a wildcard and its base name in one order have an authorization each")
def test_a_wildcard_and_its_base_name_are_two(account: Account) -> None:
    name = account.server.name()
    authorizations = account.authorizations(ordered(account, name, f"*.{name}"))
    assert sorted(entry.body.get("wildcard", False) for entry in authorizations) == [False, True]


# --- ip identifiers


def ip_order(account: Account, value: str) -> Resource:
    response = account.try_order({"type": "ip", "value": value})
    body = optional(response, "no ip identifiers")
    return Resource(response.headers["Location"], body, response)


@rule("RFC 8738 3", "an ip identifier is ordered, or refused as unsupported")
def test_an_ip_identifier_is_ordered(account: Account) -> None:
    address = account.server.settings.address
    order = ip_order(account, address)
    assert order.body["identifiers"] == [{"type": "ip", "value": address}]
    (authorization,) = account.authorizations(order)
    assert authorization.body["identifier"] == {"type": "ip", "value": address}


@rule("RFC 8738 3", "what is no address is refused as an ip identifier")
@pytest.mark.parametrize(
    "value", ["127.0.0.1/32", "127.1", "0127.0.0.1", "::1%lo", "[::1]", "x.test", "", "127.0.0.1 ", "*"]
)
def test_what_is_no_address_is_refused(account: Account, value: str) -> None:
    refused(account.try_order({"type": "ip", "value": value}), *REFUSED_NAME)


@rule("RFC 8738 7", "an ip identifier is offered no dns-01")
def test_an_ip_identifier_is_offered_no_dns_01(account: Account) -> None:
    (authorization,) = account.authorizations(ip_order(account, account.server.settings.address))
    assert "dns-01" not in [challenge["type"] for challenge in authorization.body["challenges"]]


@rule("RFC 8738 3", "a certificate for an ip identifier has it as an iPAddress")
def test_a_certificate_for_an_address(account: Account) -> None:
    address = account.server.settings.address
    order = ip_order(account, address)
    for authorization in account.authorizations(order):
        account.prove(authorization)
    leaf = account.issue(account.wait(order.url, ("pending",))).leaf
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(entry) for entry in names.get_values_for_type(x509.IPAddress)] == [address]
    assert names.get_values_for_type(x509.DNSName) == []


# --- validity and profiles


def stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


@rule("RFC 8555 7.4", "`notBefore` and `notAfter` are honoured or refused, never dropped")
@pytest.mark.parametrize("members", [("notAfter",), ("notBefore",), ("notBefore", "notAfter")], ids=" and ".join)
def test_the_validity_asked_for_is_honoured_or_refused(account: Account, members: tuple[str, ...]) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    wanted = {"notBefore": now + timedelta(seconds=60), "notAfter": now + timedelta(hours=2)}
    asked = {name: stamp(wanted[name]) for name in members}
    response = account.try_order(*dns(account.server.name()), **asked)
    if response.status_code != 201:
        refused(response)
        return
    assert {name: moment(response.json().get(name)) for name in members} == {name: wanted[name] for name in members}
    order = Resource(response.headers["Location"], response.json(), response)
    for authorization in account.authorizations(order):
        account.prove(authorization)
    leaf = account.issue(account.wait(order.url, ("pending",))).leaf
    given = {"notBefore": leaf.not_valid_before_utc, "notAfter": leaf.not_valid_after_utc}
    assert {name: given[name] for name in members} == {name: wanted[name] for name in members}


@rule("RFC 8555 7.4", "a validity that is none is refused")
@pytest.mark.parametrize(
    "members",
    [{"notBefore": "tomorrow"}, {"notAfter": "2030-13-01T00:00:00Z"}, {"notAfter": "2030-01-01"}, {"notAfter": 7}],
    ids=str,
)
def test_a_validity_that_is_none_is_refused(account: Account, members: dict[str, object]) -> None:
    refused(account.try_order(*dns(account.server.name()), **members), "malformed")


@rule("RFC 8555 7.4", "a validity that ends before it begins, or in the past, or far in the future, is refused")
@pytest.mark.parametrize(
    ("not_before", "not_after"), [(2, 1), (None, -1), (None, 24 * 365 * 200)], ids=["backwards", "past", "far"]
)
def test_a_validity_that_cannot_be_is_refused(account: Account, not_before: int | None, not_after: int) -> None:
    now = datetime.now(UTC)
    members = {"notAfter": stamp(now + timedelta(hours=not_after))}
    if not_before is not None:
        members["notBefore"] = stamp(now + timedelta(hours=not_before))
    refused(account.try_order(*dns(account.server.name()), **members))


def profiles(server: Server) -> dict[str, str]:
    found = server.meta.get("profiles")
    if not found:
        raise NotOfferedError("no profiles in the directory")
    assert isinstance(found, dict)
    return found


@rule("draft-ietf-acme-profiles 4", "a profile that is not listed is 400 `invalidProfile`")
def test_an_unknown_profile_is_invalid(account: Account) -> None:
    profiles(account.server)
    response = account.try_order(*dns(account.server.name()), profile="conformance-unknown")
    refused(response, "invalidProfile", status=400)


@rule("draft-ietf-acme-profiles 4", "an order for a listed profile has it, and a certificate is issued")
def test_a_listed_profile_is_honoured(account: Account) -> None:
    for name in profiles(account.server):
        response = account.try_order(*dns(account.server.name()), profile=name)
        assert succeeded(response, 201).get("profile") == name
        order = Resource(response.headers["Location"], response.json(), response)
        for authorization in account.authorizations(order):
            account.prove(authorization)
        issued = account.issue(account.wait(order.url, ("pending",)))
        assert issued.order.body.get("profile") == name


@rule("draft-ietf-acme-profiles 3", "each listed profile has a description or a URL, a string")
def test_each_profile_has_a_description(server: Server) -> None:
    assert all(isinstance(text, str) for text in profiles(server).values())


# --- authorizations and challenges


@rule("RFC 8555 7.1.4", "an authorization has its identifier, status, challenges and `expires`")
def test_an_authorization_has_its_members(pending: Resource, authorization: Resource) -> None:
    body = authorization.body
    assert body["identifier"] == pending.body["identifiers"][0]
    assert body["status"] == "pending"
    assert moment(body.get("expires")) > datetime.now(UTC)
    assert body["challenges"]


@rule("RFC 8555 8", "a challenge has its type, URL and status, and no `validated` or `error` yet")
def test_a_challenge_has_its_members(authorization: Resource) -> None:
    for challenge in authorization.body["challenges"]:
        assert challenge["type"]
        assert is_https_url(challenge["url"])
        assert challenge["status"] == "pending"
        assert not challenge.keys() & {"validated", "error"}


@rule("RFC 8555 8.3", "a challenge's token is base64url with at least 128 bits")
def test_a_token_is_long(authorization: Resource) -> None:
    tokens = [challenge["token"] for challenge in authorization.body["challenges"] if "token" in challenge]
    assert tokens
    for token in tokens:
        assert len(token) >= 22
        assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@rule("RFC 8555 8.3", "tokens are not used twice")
def test_tokens_differ_between_authorizations(account: Account, authorization: Resource) -> None:
    other = account.authorizations(account.order())[0]
    first, second = ({entry.get("token") for entry in found.body["challenges"]} for found in (authorization, other))
    assert not first & second


@rule("RFC 8555 7.5.1", "POST-as-GET on a challenge answers with it and starts no validation")
def test_reading_a_challenge_starts_no_validation(account: Account) -> None:
    authorization = account.authorizations(account.order())[0]
    for challenge in authorization.body["challenges"]:
        assert account.read(challenge["url"]).body["status"] == "pending"
    time.sleep(0.5)
    after = account.read(authorization.url).body
    assert (after["status"], {entry["status"] for entry in after["challenges"]}) == ("pending", {"pending"})


@rule("RFC 8555 7.5.1", "an answer that is no JSON object is `malformed` and the challenge stays pending")
@pytest.mark.parametrize("payload", [b"[]", b"junk", b'"text"'], ids=ascii)
def test_an_answer_that_is_no_object_is_malformed(account: Account, payload: bytes) -> None:
    authorization = account.authorizations(account.order())[0]
    refused(account.post(authorization.body["challenges"][0]["url"], payload), "malformed")
    assert account.read(authorization.url).body["status"] == "pending"


@rule("RFC 8555 7.5.1", "a good answer is 200 with the challenge")
def test_a_good_answer_is_200_with_the_challenge(account: Account) -> None:
    authorization = account.authorizations(account.order())[0]
    challenge, response = account.answer(authorization)
    body = succeeded(response)
    assert (body["url"], body["type"]) == (challenge["url"], challenge["type"])
    assert body["status"] in ("pending", "processing", "valid")


@pytest.fixture(scope="module")
def proven(account: Account) -> Resource:
    """A valid authorization."""
    return account.prove(account.authorizations(account.order())[0])


@rule("RFC 8555 7.1.6", "a valid authorization has a valid challenge with `validated` and no `error`")
def test_a_valid_challenge_says_when(proven: Resource) -> None:
    (challenge,) = [entry for entry in proven.body["challenges"] if entry["status"] == "valid"]
    assert abs((moment(challenge.get("validated")) - datetime.now(UTC)).total_seconds()) < 600
    assert "error" not in challenge


@rule("RFC 8555 7.1.4", "a valid authorization lists the challenge that was validated, and no pending one", "SHOULD")
def test_a_valid_authorization_lists_no_pending_challenge(proven: Resource) -> None:
    assert [entry["status"] for entry in proven.body["challenges"]] == ["valid"]


@rule("RFC 8555 7.1.4", "a valid authorization has `expires`, in the future")
def test_a_valid_authorization_expires(proven: Resource) -> None:
    assert moment(proven.body.get("expires")) > datetime.now(UTC)


@rule("RFC 8555 7.5.1", "a challenge that is answered again stays valid")
def test_a_valid_challenge_is_answered_again(account: Account, proven: Resource) -> None:
    (challenge,) = [entry for entry in proven.body["challenges"] if entry["status"] == "valid"]
    response = account.post(challenge["url"], {})
    assert response.status_code < 500, said(response)
    assert account.read(proven.url).body["status"] == "valid"


@rule("RFC 8555 8.2", "`Retry-After` is sent while a challenge is processing", "SHOULD")
def test_retry_after_is_sent_while_processing(account: Account) -> None:
    waited: list[requests.Response] = []

    def see(resource: Resource) -> None:
        statuses = [resource.body["status"], *(entry["status"] for entry in resource.body["challenges"])]
        if "processing" in statuses:
            waited.append(resource.response)

    for _ in range(3):
        authorization = account.authorizations(account.order())[0]
        _, response = account.answer(authorization)
        if response.json()["status"] == "processing":
            waited.append(response)
        account.wait(authorization.url, seen=see)
    if not waited:
        raise NotOfferedError("nothing was seen processing")
    assert all(response.headers.get("Retry-After") for response in waited)


@rule("RFC 8555 7.5.2", "an authorization is deactivated: 200 with it")
def test_an_authorization_is_deactivated(account: Account) -> None:
    authorization = account.authorizations(account.order())[0]
    assert succeeded(account.post(authorization.url, {"status": "deactivated"}))["status"] == "deactivated"
    assert account.read(authorization.url).body["status"] == "deactivated"


@rule("RFC 8555 7.5.2", "a valid authorization is deactivated")
def test_a_valid_authorization_is_deactivated(account: Account) -> None:
    authorization = account.prove(account.authorizations(account.order())[0])
    assert succeeded(account.post(authorization.url, {"status": "deactivated"}))["status"] == "deactivated"


@rule("RFC 8555 7.5.2", "a deactivated authorization's order is not finalized")
def test_a_deactivated_authorization_ends_its_order(account: Account) -> None:
    order = account.ready()
    assert account.post(order.body["authorizations"][0], {"status": "deactivated"}).status_code == 200
    request = csr(private_key("ES256"), identifiers=order.body["identifiers"])
    refused(account.finalize(order, request), "orderNotReady", status=403)
    assert account.read(order.url).body["status"] == "invalid"


@rule("RFC 8555 7.1.6", "the order of a deactivated authorization is invalid")
def test_the_order_of_a_deactivated_authorization_is_invalid(account: Account) -> None:
    order = account.order()
    assert account.post(order.body["authorizations"][0], {"status": "deactivated"}).status_code == 200
    assert account.read(order.url).body["status"] == "invalid"


@rule("RFC 8555 7.5.2", "a challenge of a deactivated authorization is not validated")
@pytest.mark.last  # Pebble 2.4 never lets go of a lock then
def test_a_deactivated_authorizations_challenge_is_not_validated(account: Account) -> None:
    authorization = account.authorizations(account.order())[0]
    assert account.post(authorization.url, {"status": "deactivated"}).status_code == 200
    _, response = account.answer(authorization)
    assert response.status_code < 500, said(response)
    assert account.wait(authorization.url).body["status"] == "deactivated"


@rule("RFC 8555 7.5.2", "a status of an authorization that is none of the client's is refused or ignored")
@pytest.mark.parametrize("status", ["valid", "invalid", "revoked", "x"])
def test_a_client_cannot_set_another_status(account: Account, authorization: Resource, status: str) -> None:
    response = account.post(authorization.url, {"status": status})
    assert response.status_code in (200, 400, 403), said(response)
    assert account.read(authorization.url).body["status"] == "pending"


# --- pre-authorization


def new_authorization(account: Account, identifier: Body) -> requests.Response:
    return account.post(account.server.offered("newAuthz"), {"identifier": identifier})


@rule("RFC 8555 7.4.1", "newAuthz is 201 with a pending authorization and its `Location`")
def test_new_authz_makes_an_authorization(account: Account) -> None:
    name = account.server.name()
    response = new_authorization(account, *dns(name))
    body = succeeded(response, 201)
    assert (body["identifier"], body["status"]) == (*dns(name), "pending")
    assert account.read(response.headers["Location"]).body["challenges"]


@rule("RFC 8555 7.4.1", "newAuthz for a wildcard is refused")
def test_new_authz_for_a_wildcard_is_refused(account: Account) -> None:
    refused(new_authorization(account, *dns(f"*.{account.server.name()}")), "malformed", "rejectedIdentifier")


@rule("RFC 8555 7.4.1", "newAuthz for an unknown identifier type is `unsupportedIdentifier`")
def test_new_authz_for_an_unknown_type_is_unsupported(account: Account) -> None:
    refused(new_authorization(account, {"type": "conformance", "value": "x"}), "unsupportedIdentifier")


@rule("RFC 8555 7.4.1", "newAuthz without an identifier is `malformed`")
@pytest.mark.parametrize("payload", [{}, {"identifier": None}, {"identifier": "a.test"}, {"identifier": []}], ids=str)
def test_new_authz_without_an_identifier_is_malformed(account: Account, payload: object) -> None:
    refused(account.post(account.server.offered("newAuthz"), payload), "malformed")


@rule("RFC 8555 7.4.1", "a pre-authorized name's order is ready at once", "practice")
def test_a_pre_authorized_names_order_is_ready(account: Account) -> None:
    name = account.server.name()
    response = new_authorization(account, *dns(name))
    succeeded(response, 201)
    account.prove(account.read(response.headers["Location"]))
    order = account.order(name)
    assert order.body["status"] == "ready"
    assert account.issue(order).leaf


@rule("RFC 8555 7.4.1", "another account's pre-authorization is not used")
def test_another_accounts_pre_authorization_is_not_used(account: Account, stranger: Account) -> None:
    name = account.server.name()
    response = new_authorization(account, *dns(name))
    succeeded(response, 201)
    account.prove(account.read(response.headers["Location"]))
    assert stranger.order(name).body["status"] == "pending"
    refused(stranger.post(response.headers["Location"]), "unauthorized")


# --- states


@rule("RFC 8555 7.1.6", "an order becomes ready when all its authorizations are valid, and not before")
def test_an_order_becomes_ready_when_all_are_valid(account: Account) -> None:
    order = account.order(account.server.name(), account.server.name())
    first, second = account.authorizations(order)
    account.prove(first)
    assert account.read(order.url).body["status"] == "pending"
    account.prove(second)
    assert account.wait(order.url, ("pending",)).body["status"] == "ready"


@rule("RFC 8555 7.4", "finalize of a pending order is 403 `orderNotReady`, and the order stays pending")
def test_a_pending_order_is_not_finalized(account: Account, pending: Resource) -> None:
    request = csr(private_key("ES256"), identifiers=pending.body["identifiers"])
    refused(account.finalize(pending, request), "orderNotReady", status=403)
    assert account.read(pending.url).body["status"] == "pending"


@rule("RFC 8555 7.4", "finalize of an order with one name proven of two is `orderNotReady`")
def test_a_half_proven_order_is_not_finalized(account: Account) -> None:
    order = account.order(account.server.name(), account.server.name())
    proven = account.prove(account.authorizations(order)[0])
    for identifiers in (order.body["identifiers"], [proven.body["identifier"]]):
        refused(account.finalize(order, csr(private_key("ES256"), identifiers=identifiers)), "orderNotReady")


@rule("RFC 8555 7.1.3", "an order that is invalid lists no authorization that was not completed", "practice")
def test_an_invalid_order_lists_completed_authorizations(account: Account) -> None:
    order = account.order(account.server.name(), account.server.name(), account.server.name())
    first, second, _ = account.authorizations(order)
    account.prove(first)
    assert account.post(second.url, {"status": "deactivated"}).status_code == 200
    body = account.read(order.url).body
    assert body["status"] == "invalid"
    assert sorted(body["authorizations"]) == sorted([first.url, second.url])


@rule("RFC 8555 7.1.3", "an order that is valid lists its valid authorizations and its certificate")
def test_a_valid_order_lists_its_certificate(issued: Any) -> None:
    body = issued.order.body
    assert is_https_url(body["certificate"])
    account: Account = issued.account
    assert [account.read(url).body["status"] for url in body["authorizations"]] == ["valid"]


# --- the CSR


@pytest.fixture(scope="module")
def open_orders() -> Iterator[list[Resource]]:
    """The ready order that bad CSRs are tried on: it must stay ready, so one is enough for all."""
    orders: list[Resource] = []
    yield orders
    orders.clear()


def ready_order(account: Account, orders: list[Resource]) -> Resource:
    if orders and account.read(orders[-1].url).body["status"] == "ready":
        return orders[-1]
    orders.append(account.ready(account.server.name(), account.server.name()))
    return orders[-1]


def broken_signature(key: PrivateKey, names: list[str]) -> bytes:
    whole = bytearray(csr(key, *names))
    whole[-1] ^= 1
    return bytes(whole)


BAD_CSRS: dict[str, Callable[[Account, list[str]], bytes]] = {
    "empty": lambda *_: b"",
    "junk": lambda *_: b"junk",
    "PEM": lambda _, names: x509.load_der_x509_csr(csr(private_key("ES256"), *names)).public_bytes(Encoding.PEM),
    "cut": lambda _, names: csr(private_key("ES256"), *names)[:-10],
    "trailing octets": lambda _, names: csr(private_key("ES256"), *names) + b"\0",
    "signature": lambda _, names: broken_signature(private_key("ES256"), names),
    "no names": lambda *_: csr(private_key("ES256")),
    "a name too few": lambda _, names: csr(private_key("ES256"), *names[:1]),
    "a name too many": lambda account, names: csr(private_key("ES256"), *names, account.server.name()),
    "another name": lambda account, names: csr(private_key("ES256"), names[0], account.server.name()),
    "a wildcard": lambda _, names: csr(private_key("ES256"), *names, f"*.{names[0]}"),
    "another common name": lambda account, names: csr(private_key("ES256"), *names, common_name=account.server.name()),
    "an address": lambda _, names: csr(
        private_key("ES256"), *names, identifiers=[{"type": "ip", "value": "192.0.2.1"}]
    ),
    "an e-mail address": lambda _, names: csr(private_key("ES256"), *names, further=[x509.RFC822Name("a@example.org")]),
    "a URI": lambda _, names: csr(
        private_key("ES256"), *names, further=[x509.UniformResourceIdentifier("spiffe://x/y")]
    ),
    "RSA 1024": lambda _, names: csr(rsa_key(1024), *names),
    "the account's key": lambda account, names: csr(account.key.private, *names),
}


@rule("RFC 8555 7.4", "a CSR that is none, or not for the order's names exactly, or with a weak key, is refused")
@pytest.mark.parametrize("fault", list(BAD_CSRS))
def test_a_bad_csr_is_refused(account: Account, open_orders: list[Resource], fault: str) -> None:
    order = ready_order(account, open_orders)
    names = [entry["value"] for entry in order.body["identifiers"]]
    refused(account.finalize(order, BAD_CSRS[fault](account, names)))


@rule("RFC 8555 7.4", "the refusal of a CSR is 400 `badCSR`", "SHOULD")
@pytest.mark.parametrize("fault", list(BAD_CSRS))
def test_a_bad_csr_is_bad_csr(account: Account, open_orders: list[Resource], fault: str) -> None:
    order = ready_order(account, open_orders)
    names = [entry["value"] for entry in order.body["identifiers"]]
    kinds = ("badCSR", "malformed") if fault in ("empty", "junk", "PEM", "cut", "trailing octets") else ("badCSR",)
    if fault == "the account's key":
        kinds = ("badCSR", "badPublicKey")
    refused(account.finalize(order, BAD_CSRS[fault](account, names)), *kinds, status=400)


@rule("RFC 8555 7.4", "after a bad CSR the order is still ready, and a good one is issued")
@pytest.mark.parametrize("fault", ["junk", "signature", "a name too many", "a name too few", "RSA 1024"])
def test_the_order_stays_ready_after_a_bad_csr(account: Account, open_orders: list[Resource], fault: str) -> None:
    order = ready_order(account, open_orders)
    names = [entry["value"] for entry in order.body["identifiers"]]
    account.finalize(order, BAD_CSRS[fault](account, names))
    assert account.read(order.url).body["status"] == "ready"


@rule("RFC 8555 7.4", "an order that stayed ready is finalized")
def test_an_order_that_stayed_ready_is_finalized(account: Account) -> None:
    order = account.ready()
    refused(account.finalize(order, b"junk"))
    assert account.issue(order).leaf


@rule("RFC 8555 11.1", "a CSR with another account's key is refused", "practice")
def test_a_csr_with_another_accounts_key_is_refused(
    account: Account, stranger: Account, open_orders: list[Resource]
) -> None:
    order = ready_order(account, open_orders)
    request = csr(stranger.key.private, identifiers=order.body["identifiers"])
    refused(account.finalize(order, request), "badCSR", "badPublicKey")


@rule("RFC 8555 7.4", "a CSR that asks to be a CA is refused, or the certificate is none", "practice")
def test_a_csr_that_asks_to_be_a_ca_gets_no_ca(account: Account) -> None:
    order = account.ready()
    wish = x509.BasicConstraints(ca=True, path_length=None)
    key = private_key("ES256")
    response = account.finalize(order, csr(key, identifiers=order.body["identifiers"], extension=wish))
    if response.status_code != 200:
        refused(response, "badCSR")
        return
    done = account.wait(order.url, ("ready", "processing"))
    leaf = x509.load_pem_x509_certificates(account.post(done.body["certificate"]).content)[0]
    try:
        assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        assert leaf.public_key() == key.public_key()


@rule("RFC 8555 7.4", "a finalize without `csr`, or with one that is no base64url, is refused")
@pytest.mark.parametrize("payload", [{}, {"csr": None}, {"csr": 7}, {"csr": "!"}, {"csr": ""}], ids=str)
def test_a_finalize_without_a_csr_is_refused(account: Account, open_orders: list[Resource], payload: object) -> None:
    order = ready_order(account, open_orders)
    refused(account.post(order.body["finalize"], payload), "malformed", "badCSR", status=400)


@rule("RFC 8555 7.4", "a CSR in base64url with padding is refused", "practice")
def test_a_csr_with_padding_is_refused(account: Account, open_orders: list[Resource]) -> None:
    order = ready_order(account, open_orders)
    for _ in range(50):
        text = base64.urlsafe_b64encode(csr(private_key("ES256"), identifiers=order.body["identifiers"])).decode()
        if text.endswith("="):
            break
    assert text.endswith("=")
    refused(account.post(order.body["finalize"], {"csr": text}), "malformed", "badCSR")


@rule("RFC 8555 7.4", "a CSR whose name stands in its common name only is accepted")
def test_a_csr_with_a_common_name_only_is_accepted(account: Account) -> None:
    name = account.server.name()
    order = account.ready(name)
    succeeded(account.finalize(order, csr(private_key("ES256"), common_name=name)))
    done = account.wait(order.url, ("ready", "processing"))
    leaf = x509.load_pem_x509_certificates(account.post(done.body["certificate"]).content)[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [name]


@rule("RFC 8555 7.4", "a CSR with one of the names as its common name too is accepted")
def test_a_csr_with_a_common_name_too_is_accepted(account: Account) -> None:
    order = account.ready()
    (identifier,) = order.body["identifiers"]
    request = csr(private_key("ES256"), identifiers=[identifier], common_name=identifier["value"])
    succeeded(account.finalize(order, request))


@rule("RFC 4343 2", "names in a CSR are compared without regard to case", "practice")
def test_names_in_a_csr_are_compared_without_case(account: Account) -> None:
    order = account.ready()
    succeeded(account.finalize(order, csr(private_key("ES256"), order.body["identifiers"][0]["value"].upper())))


@rule("RFC 8555 7.4", "a good CSR is 200 with the order, processing or valid")
def test_a_good_csr_is_200_with_the_order(account: Account) -> None:
    order = account.ready()
    response = account.finalize(order, csr(private_key("ES256"), identifiers=order.body["identifiers"]))
    body = succeeded(response)
    assert body["status"] in ("processing", "valid")
    assert body["identifiers"] == order.body["identifiers"]


@rule("RFC 8555 7.4", "`Retry-After` is sent while an order is processing", "SHOULD")
def test_retry_after_is_sent_while_an_order_is_processing(account: Account) -> None:
    order = account.ready()
    waited: list[requests.Response] = []
    response = account.finalize(order, csr(private_key("ES256"), identifiers=order.body["identifiers"]))
    succeeded(response)

    def see(resource: Resource) -> None:
        if resource.body["status"] == "processing":
            waited.append(resource.response)

    see(Resource(order.url, response.json(), response))
    account.wait(order.url, ("ready", "processing"), see)
    if not waited:
        raise NotOfferedError("no order was seen processing")
    assert all(entry.headers.get("Retry-After") for entry in waited)


@rule("RFC 8555 7.4", "finalize of a valid order issues nothing more")
def test_a_valid_order_is_not_finalized_again(account: Account) -> None:
    order = account.ready()
    request = csr(private_key("ES256"), identifiers=order.body["identifiers"])
    succeeded(account.finalize(order, request))
    before = account.wait(order.url, ("ready", "processing")).body["certificate"]
    chain = account.post(before).content
    for again in (request, csr(private_key("ES256"), identifiers=order.body["identifiers"])):
        response = account.finalize(order, again)
        if response.status_code != 200:
            refused(response, "orderNotReady", status=403)
    after = account.read(order.url).body
    assert (after["status"], after["certificate"]) == ("valid", before)
    assert account.post(before).content == chain


@rule("RFC 8555 7.4", "finalize of an order raced by several requests issues one certificate")
def test_a_raced_finalize_issues_one_certificate(account: Account) -> None:
    order = account.ready()
    server = account.server
    url = order.body["finalize"]
    keys = [private_key("ES256") for _ in range(6)]
    bodies = [
        server.body(
            url,
            {"csr": b64(csr(key, identifiers=order.body["identifiers"]))},
            account.key,
            account.url,
            nonce=server.fresh_nonce(),
        )
        for key in keys
    ]

    def once(body: Body) -> requests.Response:
        headers = {"Content-Type": "application/jose+json"}
        return server.session.post(url, json=body, headers=headers, timeout=TIMEOUT)

    with ThreadPoolExecutor(len(bodies)) as pool:
        responses = list(pool.map(once, bodies))
    assert all(response.status_code in (200, 400, 403, 409) for response in responses), [
        said(response) for response in responses
    ]
    done = account.wait(order.url, ("ready", "processing")).body
    assert done["status"] == "valid", done
    shown = {response.json().get("certificate") for response in responses if response.status_code == 200}
    assert shown - {None} <= {done["certificate"]}
    leaf = x509.load_pem_x509_certificates(account.post(done["certificate"]).content)[0]
    assert leaf.public_key() in [key.public_key() for key in keys]
