"""What is ignored in a payload, and payloads that no server may fail at (RFC 8555 sections 6.7 and 7)."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from conformance.answers import Body, said
from conformance.certificates import csr
from conformance.checks import left_to, rule, succeeded
from conformance.client import Account, Issued, Server, dns
from conformance.jose import Key, b64, private_key
from cryptography.hazmat.primitives.serialization import Encoding

AREA = "Every response"

WEIRD: list[Any] = [None, 7, -1, 1e300, True, "", "\0", "\ud83d\ude00", [], [None], {}, {"a": {"b": []}}, "x" * 10_000]


def unknown() -> Body:
    return {"x-conformance": {"a": [1, None]}, "émoji": "\U0001f600"}


@rule("RFC 8555 7.3", "unknown members of newAccount are ignored")
def test_unknown_members_of_new_account_are_ignored(server: Server) -> None:
    succeeded(server.register(Key.new(), **unknown()), 201)


@rule("RFC 8555 7.4", "unknown members of newOrder are ignored")
def test_unknown_members_of_new_order_are_ignored(account: Account) -> None:
    body = succeeded(account.try_order(*dns(account.server.name()), **unknown()), 201)
    assert not unknown().keys() & body.keys()


@rule("RFC 8555 7.1.4", "unknown members of an identifier are ignored", "practice")
def test_unknown_members_of_an_identifier_are_ignored(account: Account) -> None:
    name = account.server.name()
    body = succeeded(account.try_order({"type": "dns", "value": name} | unknown()), 201)
    assert body["identifiers"] == dns(name)


@rule("RFC 8555 7.3.2", "unknown members of an account update are ignored")
def test_unknown_members_of_an_account_update_are_ignored(account: Account) -> None:
    # With a change that a client can make: whether there may be none is another rule's.
    succeeded(account.post(account.url, unknown() | {"contact": []}))


@rule("RFC 8555 7.4", "unknown members of finalize are ignored")
def test_unknown_members_of_finalize_are_ignored(account: Account) -> None:
    order = account.ready()
    request = csr(private_key("ES256"), identifiers=order.body["identifiers"])
    succeeded(account.post(order.body["finalize"], {"csr": b64(request)} | unknown()))


@rule("RFC 8555 7.5.1", "unknown members of an answer to a challenge are ignored")
def test_unknown_members_of_an_answer_are_ignored(account: Account) -> None:
    authorization = account.authorization()
    solver = account.server.settings.solver
    challenge = solver.choose(authorization.body)
    assert challenge is not None
    payload = solver.prepare(authorization.body, challenge, account.key)
    assert isinstance(payload, dict), f"the solver's payload is {payload!r}"
    succeeded(account.post(challenge["url"], payload | unknown() | {"keyAuthorization": "old clients send it"}))
    assert account.wait(authorization.url).body["status"] == "valid"


def never_fails(response: requests.Response, what: object) -> None:
    assert response.status_code < 500, f"{what!r:.80} fails: {said(response)}"


@rule("RFC 8555 6.7", "no payload of newAccount makes the server fail", "practice")
@pytest.mark.parametrize("member", ["contact", "onlyReturnExisting", "termsOfServiceAgreed", "externalAccountBinding"])
def test_no_payload_of_new_account_makes_the_server_fail(server: Server, member: str) -> None:
    for value in WEIRD:
        never_fails(server.register(Key.new(), **{member: value}), value)
    if member == "contact":
        for value in WEIRD:
            never_fails(server.register(Key.new(), contact=[value]), [value])


@rule("RFC 8555 6.7", "no payload of an account update makes the server fail", "practice")
@pytest.mark.parametrize("member", ["contact", "status", "orders"])
def test_no_payload_of_an_update_makes_the_server_fail(server: Server, member: str) -> None:
    account = server.account()
    for value in WEIRD:
        never_fails(account.post(account.url, {member: value}), value)


@rule("RFC 8555 6.7", "no payload of newOrder makes the server fail", "practice")
@pytest.mark.parametrize("member", ["identifiers", "notBefore", "notAfter", "profile", "replaces"])
def test_no_payload_of_new_order_makes_the_server_fail(account: Account, member: str) -> None:
    url = account.server.directory["newOrder"]
    for value in WEIRD:
        payload: Body = {"identifiers": dns(account.server.name()), member: value}
        never_fails(account.post(url, payload), value)


@rule("RFC 8555 6.7", "no identifier makes the server fail", "practice")
@pytest.mark.parametrize("kind", ["dns", "ip", "conformance", "weird"])
def test_no_identifier_makes_the_server_fail(account: Account, kind: str) -> None:
    url = account.server.directory["newOrder"]
    for value in [*WEIRD, ".", "..", "*", "*.", "-", "a..b", "xn--", "1.2.3", "::", "%", "ß.test"]:
        entry = value if kind == "weird" else {"type": kind, "value": value}
        never_fails(account.post(url, {"identifiers": [entry]}), entry)
        never_fails(account.post(url, {"identifiers": [{"type": value, "value": "x.test"}]}), value)


@rule("RFC 8555 6.7", "no payload of finalize makes the server fail", "practice")
def test_no_payload_of_finalize_makes_the_server_fail(account: Account) -> None:
    order = account.ready()
    for value in WEIRD:
        never_fails(account.post(order.body["finalize"], {"csr": value}), value)
        if isinstance(value, str):
            never_fails(account.post(order.body["finalize"], {"csr": b64(value.encode("utf-8", "replace"))}), value)


FAILURES: dict[str, tuple[str, object]] = {
    "certificate": ("test_a_certificate_that_is_none_is_refused", 7),
    "reason": ("test_a_reason_that_is_none_is_refused", []),
}
"""Of members of revokeCert: the test that tries such a value too, and the value."""


@rule("RFC 8555 6.7", "no payload of revokeCert makes the server fail", "practice")
@pytest.mark.parametrize("member", ["certificate", "reason"])
def test_no_payload_of_revoke_cert_makes_the_server_fail(account: Account, issued: Issued, member: str) -> None:
    url = account.server.directory["revokeCert"]
    # An intermediate is no certificate of the account's, so that nothing is revoked whatever the reason is taken for.
    certificate = issued.issuer.public_bytes(Encoding.DER)
    test, known = FAILURES[member]
    if account.post(url, {"certificate": b64(certificate), member: known}).status_code >= 500:
        left_to(test, f"the server fails at {known!r}")
    for value in WEIRD:
        never_fails(account.post(url, {"certificate": b64(certificate), member: value}), value)


@rule("RFC 8555 6.7", "no payload of keyChange makes the server fail", "practice")
@pytest.mark.usefixtures("_key_changes")
def test_no_payload_of_key_change_makes_the_server_fail(account: Account) -> None:
    url = account.server.directory["keyChange"]
    for value in WEIRD:
        never_fails(account.post(url, value if value is not None else {}), value)
        never_fails(account.post(url, {"protected": value, "payload": value, "signature": value}), value)


@rule("RFC 8555 6.7", "no answer to a challenge and no payload of an authorization makes the server fail", "practice")
@pytest.mark.parametrize("what", ["challenge", "authorization"])
def test_no_payload_of_a_challenge_makes_the_server_fail(account: Account, what: str) -> None:
    for value in WEIRD:
        authorization = account.authorization()
        url = authorization.url if what == "authorization" else authorization.challenge["url"]
        payload: Any = value if value is not None else b"null"
        never_fails(account.post(url, payload), value)
        if what == "authorization":
            never_fails(account.post(url, {"status": value}), value)
