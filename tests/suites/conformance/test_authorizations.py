"""Authorizations, their challenges and pre-authorization (RFC 8555 sections 7.1.4, 7.4.1 and 7.5)."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
import requests
from conformance.answers import Body, NotOfferedError, exactly, object_of, said
from conformance.certificates import csr
from conformance.checks import (
    WITH_TOKEN,
    counted_by,
    is_https_url,
    is_refused,
    left_to,
    moment,
    refused,
    rule,
    succeeded,
)
from conformance.client import Account, Resource, dns
from conformance.jose import private_key

AREA = "Orders"


# --- authorizations and challenges


@rule("RFC 8555 7.1.4", "an authorization has its identifier, status, challenges and `expires`")
def test_an_authorization_has_its_members(pending: Resource, authorization: Resource) -> None:
    body = authorization.body
    assert [body["identifier"]] == pending.body["identifiers"]
    assert body["status"] == "pending"
    assert moment(body.get("expires")) > datetime.now(UTC)
    assert body["challenges"]


@rule("RFC 8555 8", "a challenge has its type, URL and status, and no `validated` or `error` yet")
def test_a_challenge_has_its_members(authorization: Resource) -> None:
    for challenge in authorization.body["challenges"]:
        assert challenge["type"]
        assert is_https_url(challenge["url"]), challenge
        assert challenge["status"] == "pending"
        assert not challenge.keys() & {"validated", "error"}


def tokens(authorization: Resource) -> list[object]:
    """The tokens of an authorization's challenges, of those that have one by their specification."""
    found = [entry.get("token") for entry in authorization.body["challenges"] if entry["type"] in WITH_TOKEN]
    if not found:
        raise NotOfferedError("no challenge whose specification gives it a token")
    return found


@rule("RFC 8555 8.3", "a challenge's token, where its type has one, is base64url with at least 128 bits")
def test_a_token_is_long(authorization: Resource) -> None:
    for token in tokens(authorization):
        assert isinstance(token, str), f"expected tokens, got {authorization.body}"
        assert len(token) >= 22
        assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@rule("RFC 8555 8.3", "tokens are not used twice")
def test_tokens_differ_between_authorizations(account: Account, authorization: Resource) -> None:
    other = account.authorization()
    both = tokens(authorization), tokens(other)
    if None in both[0] + both[1]:
        left_to("test_a_token_is_long", "there are challenges without a token")
    assert not set(both[0]) & set(both[1])


@rule("RFC 8555 7.5.1", "POST-as-GET on a challenge answers with it and starts no validation")
def test_reading_a_challenge_starts_no_validation(account: Account) -> None:
    read_a_challenge(account)


def read_a_challenge(account: Account) -> None:
    """Read each challenge of a new authorization, and check that none is validated for that."""
    authorization = account.authorization()
    for challenge in authorization.body["challenges"]:
        body = account.read(challenge["url"]).body
        assert body["status"] == "pending"
        assert "error" not in body, f"reading a challenge has it validated: {body}"
    time.sleep(0.5)
    after = account.read(authorization.url).body
    assert (after["status"], {entry["status"] for entry in after["challenges"]}) == ("pending", {"pending"})


@rule("RFC 8555 7.5.1", "an answer that is no JSON object is `malformed` and the challenge stays pending")
@pytest.mark.parametrize("payload", [b"[]", b"junk", b'"text"'], ids=ascii)
def test_an_answer_that_is_no_object_is_malformed(account: Account, payload: bytes) -> None:
    authorization = account.authorization()
    response = account.post(authorization.challenge["url"], payload)
    if not is_refused(response):
        with counted_by("test_reading_a_challenge_starts_no_validation", "nobody looks at the payload"):
            read_a_challenge(account)
    refused(response, "malformed")
    assert account.read(authorization.url).body["status"] == "pending"


@rule("RFC 8555 7.5.1", "a good answer is 200 with the challenge")
def test_a_good_answer_is_200_with_the_challenge(account: Account) -> None:
    authorization = account.authorization()
    challenge, response = account.answer(authorization)
    body = succeeded(response)
    assert (body["url"], body["type"]) == (challenge["url"], challenge["type"])
    assert body["status"] in ("pending", "processing", "valid")


@pytest.fixture(scope="module")
def proven(account: Account) -> Resource:
    """A valid authorization."""
    return account.prove(account.authorization())


def valid_challenge(authorization: Resource) -> Body:
    challenges: list[Body] = authorization.body["challenges"]
    return exactly(1, "valid challenge", [entry for entry in challenges if entry["status"] == "valid"])[0]


@rule("RFC 8555 7.1.6", "a valid authorization has a valid challenge with `validated` and no `error`")
def test_a_valid_challenge_says_when(proven: Resource) -> None:
    challenge = valid_challenge(proven)
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
    challenge = valid_challenge(proven)
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
        authorization = account.authorization()
        _, response = account.answer(authorization)
        if object_of(response)["status"] == "processing":
            waited.append(response)
        account.wait(authorization.url, seen=see)
    if not waited:
        raise NotOfferedError("nothing was seen processing")
    assert [said(response) for response in waited if not response.headers.get("Retry-After")] == []


@rule("RFC 8555 7.5.2", "an authorization is deactivated: 200 with it")
def test_an_authorization_is_deactivated(account: Account) -> None:
    authorization = account.authorization()
    assert succeeded(account.deactivate(authorization))["status"] == "deactivated"
    assert account.read(authorization.url).body["status"] == "deactivated"


@rule("RFC 8555 7.5.2", "a valid authorization is deactivated")
@pytest.mark.usefixtures("_deactivations")
def test_a_valid_authorization_is_deactivated(account: Account) -> None:
    authorization = account.prove(account.authorization())
    assert succeeded(account.deactivate(authorization))["status"] == "deactivated"


@rule("RFC 8555 7.5.2", "a deactivated authorization's order is not finalized")
@pytest.mark.usefixtures("_valid_deactivations")
def test_a_deactivated_authorization_ends_its_order(account: Account) -> None:
    order = account.ready()
    succeeded(account.deactivate(account.authorization(order)))
    request = csr(private_key("ES256"), identifiers=order.body["identifiers"])
    refused(account.finalize(order, request))


@rule("RFC 8555 7.1.6", "the order of a deactivated authorization is invalid, if it was pending or ready")
@pytest.mark.usefixtures("_valid_deactivations")
@pytest.mark.parametrize("before", ["pending", "ready"])
def test_the_order_of_a_deactivated_authorization_is_invalid(account: Account, before: str) -> None:
    order = account.ready() if before == "ready" else account.order()
    succeeded(account.deactivate(account.authorization(order)))
    assert account.read(order.url).body["status"] == "invalid"


@rule("RFC 8555 7.5.2", "a challenge of a deactivated authorization is not validated")
@pytest.mark.usefixtures("_deactivations")
@pytest.mark.last  # Pebble 2.4 never lets go of a lock then
def test_a_deactivated_authorizations_challenge_is_not_validated(account: Account) -> None:
    authorization = account.authorization()
    succeeded(account.deactivate(authorization))
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


def pre_authorized(account: Account, name: str) -> Resource:
    response = new_authorization(account, *dns(name))
    succeeded(response, 201)
    return Resource.made(response)


@rule("RFC 8555 7.4.1", "newAuthz is 201 with a pending authorization and its `Location`")
def test_new_authz_makes_an_authorization(account: Account) -> None:
    name = account.server.name()
    made = pre_authorized(account, name)
    assert (made.body["identifier"], made.body["status"]) == (*dns(name), "pending")
    assert account.read(made.url).body["challenges"]


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
    account.prove(account.read(pre_authorized(account, name).url))
    order = account.order(name)
    assert order.body["status"] == "ready"
    assert account.issue(order).leaf


@rule("RFC 8555 7.4.1", "another account's pre-authorization is not used")
def test_another_accounts_pre_authorization_is_not_used(account: Account, stranger: Account) -> None:
    name = account.server.name()
    proven = account.prove(account.read(pre_authorized(account, name).url))
    assert stranger.order(name).body["status"] == "pending"
    refused(stranger.post(proven.url), "unauthorized")
