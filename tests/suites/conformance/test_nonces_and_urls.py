"""A request's `url` and nonce (RFC 8555 sections 6.4 and 6.5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests
from conformance.answers import error_type, said
from conformance.checks import is_refused, left_to, refused, rule, succeeded
from conformance.client import Account, Resource
from conformance.jose import Key
from conformance.signing import reading, send

AREA = "The signed request"


# --- url


@rule("RFC 8555 6.4", "a `url` that is another resource's is refused")
def test_another_resources_url_is_refused(account: Account, pending: Resource) -> None:
    refused(send(account, reading(account, url=pending.url)))


@rule("RFC 8555 6.4", "the refusal of a `url` that is not the request's is `unauthorized`")
def test_the_refusal_of_another_url_is_unauthorized(account: Account, pending: Resource) -> None:
    response = send(account, reading(account, url=pending.url))
    if not is_refused(response):
        left_to("test_another_resources_url_is_refused", "the request is taken")
    refused(response, "unauthorized")


@rule("RFC 8555 6.4", "a request made for one resource does not pass at another")
def test_a_request_for_one_resource_does_not_pass_at_another(account: Account) -> None:
    refused(account.server.send(account.server.directory["newOrder"], reading(account)))


@rule("RFC 8555 6.4", "a `url` that is spelt otherwise than the request's is refused")
@pytest.mark.parametrize(
    "change",
    [
        lambda url: url + "/",
        lambda url: url + "?",
        lambda url: url.replace("https", "http", 1),
        lambda url: url.upper(),
        lambda url: "/" + url.split("/", 3)[3],
        lambda _: "",
    ],
    ids=["slash", "query", "http", "upper case", "path", "empty"],
)
def test_a_url_that_is_spelt_otherwise_is_refused(account: Account, change: Callable[[str], str]) -> None:
    refused(send(account, reading(account, url=change(account.url))))


@rule("RFC 8555 6.2", "a request without `url`, or with one that is no string, is refused")
@pytest.mark.parametrize("url", ["missing", None, 7, []], ids=str)
def test_a_missing_url_is_refused(account: Account, url: object) -> None:
    missing = url == "missing"
    body = (
        account.server.body(account.url, None, account.key, account.url, ("url",))
        if missing
        else reading(account, url=url)
    )
    refused(send(account, body), "malformed", "unauthorized")


# --- nonces


@rule("RFC 8555 6.5", "a request that is sent again is `badNonce`")
def test_a_replayed_request_is_a_bad_nonce(account: Account) -> None:
    body = reading(account)
    succeeded(send(account, body))
    refused(send(account, body), "badNonce")


@rule("RFC 8555 6.5", "a nonce that was used in another request is `badNonce`")
def test_a_used_nonce_is_a_bad_nonce(account: Account, stranger: Account) -> None:
    nonce = account.server.fresh_nonce()
    succeeded(send(account, reading(account, nonce=nonce)))
    refused(send(stranger, reading(stranger, nonce=nonce)), "badNonce")


@rule("RFC 8555 6.5", "a nonce that the server never gave out is 400 `badNonce`")
@pytest.mark.parametrize("nonce", ["AAAA", "A" * 22, "A" * 43, "A" * 500], ids=len)
def test_an_unknown_nonce_is_a_bad_nonce(account: Account, nonce: str) -> None:
    refused(send(account, reading(account, nonce=nonce)), "badNonce", status=400)


@rule("RFC 8555 6.5.2", "a nonce that is not base64url is refused")
@pytest.mark.parametrize("nonce", ["no nonce!", "AAA=", "a b", "é"], ids=ascii)
def test_a_nonce_that_is_not_base64url_is_refused(account: Account, nonce: str) -> None:
    refused(send(account, reading(account, nonce=nonce)), "malformed", "badNonce", status=400)


@rule("RFC 8555 6.5", "a missing nonce, an empty one, or one that is no string, is refused")
@pytest.mark.parametrize("nonce", ["missing", "", None, 7, []], ids=str)
def test_a_missing_nonce_is_refused(account: Account, nonce: object) -> None:
    missing = nonce == "missing"
    body = (
        account.server.body(account.url, None, account.key, account.url, ("nonce",))
        if missing
        else reading(account, nonce=nonce)
    )
    refused(send(account, body), "malformed", "badNonce", status=400)


@rule("RFC 8555 6.5", "`badNonce` brings a fresh nonce that works")
def test_a_bad_nonce_brings_a_fresh_one(account: Account) -> None:
    response = send(account, reading(account, nonce="AAAA"))
    if error_type(response) != "badNonce":
        left_to("test_an_unknown_nonce_is_a_bad_nonce", "the nonce is taken, or refused otherwise")
    nonce = response.headers.get("Replay-Nonce")
    assert nonce, said(response)
    succeeded(send(account, reading(account, nonce=nonce)))


@rule("RFC 8555 6.5", "a nonce of an answer works for another account and another resource")
def test_a_nonce_is_nobodys(account: Account, stranger: Account) -> None:
    nonce = account.post(account.url).headers.get("Replay-Nonce")
    if nonce is None:
        left_to("test_every_good_answer_has_a_nonce", "the answer has no nonce")
    succeeded(send(stranger, reading(stranger, nonce=nonce)))


@rule("RFC 8555 6.5", "of one request sent many times at once, one passes")
def test_a_nonce_is_spent_atomically(account: Account) -> None:
    body = reading(account, nonce=account.server.fresh_nonce())
    responses = account.server.at_once(account.url, [body] * 16)
    assert [response.status_code for response in responses].count(200) == 1
    assert {error_type(response) for response in responses} == {None, "badNonce"}


@rule("RFC 8555 6.5", "a request whose signature fails does not spend the nonce", "practice")
def test_a_bad_signature_does_not_spend_the_nonce(account: Account) -> None:
    nonce = account.server.fresh_nonce()
    body = account.server.body(account.url, None, Key.new(), account.url, nonce=nonce)
    refused(send(account, body), "malformed", "unauthorized")
    response = send(account, reading(account, nonce=nonce))
    if error_type(response) == "badNonce" and error_type(with_two_faults(account)) == "badNonce":
        left_to("test_the_signature_is_checked_before_the_nonce", "the nonce is looked at first")
    succeeded(response)


def with_two_faults(account: Account) -> requests.Response:
    """The answer to a request whose signature and nonce are bad."""
    return send(account, account.server.body(account.url, None, Key.new(), account.url, nonce="AAAA"))


@rule("RFC 8555 6.5", "a bad signature is reported before a bad nonce, so that nobody learns of nonces", "practice")
def test_the_signature_is_checked_before_the_nonce(account: Account) -> None:
    refused(with_two_faults(account), "malformed", "unauthorized")
