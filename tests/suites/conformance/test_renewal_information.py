"""Renewal information and orders that replace (RFC 9773)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import requests
from conformance.answers import NotOfferedError, header, media_type, said
from conformance.checks import moment, refused, rule, succeeded
from conformance.client import Account, Issued, Resource, Server, dns
from conformance.jose import b64

AREA = "Renewal information"


def information(server: Server, certificate_id: str) -> requests.Response:
    return server.get(f"{server.offered('renewalInfo').rstrip('/')}/{certificate_id}")


def window(issued: Issued) -> tuple[datetime, datetime]:
    body = succeeded(information(issued.account.server, issued.certificate_id))
    return moment(body["suggestedWindow"]["start"]), moment(body["suggestedWindow"]["end"])


@rule("RFC 9773 4.1", "renewal information is read with GET, without a signature, as `application/json`")
def test_renewal_information_is_read_with_get(issued: Issued) -> None:
    response = information(issued.account.server, issued.certificate_id)
    succeeded(response)
    assert media_type(response) == "application/json"


@rule("RFC 9773 4.2", "the suggested window's end is after its start")
def test_the_windows_end_is_after_its_start(issued: Issued) -> None:
    start, end = window(issued)
    assert start < end


@rule("RFC 9773 4.2", "the suggested window is inside the certificate's lifetime", "practice")
def test_the_window_is_inside_the_lifetime(issued: Issued) -> None:
    start, end = window(issued)
    assert issued.leaf.not_valid_before_utc <= start
    assert end <= issued.leaf.not_valid_after_utc


@rule("RFC 9773 4.3", "`Retry-After` is sent, a number of seconds or a date")
def test_renewal_information_has_retry_after(issued: Issued) -> None:
    after = information(issued.account.server, issued.certificate_id).headers.get("Retry-After")
    assert after
    assert after.isdigit() or after.endswith("GMT"), after


@rule("RFC 9773 4.2", "an `explanationURL` is a URL", "practice")
def test_an_explanation_is_a_url(issued: Issued) -> None:
    url = succeeded(information(issued.account.server, issued.certificate_id)).get("explanationURL")
    if url is None:
        raise NotOfferedError("no explanationURL")
    assert str(url).startswith(("https://", "http://")), url


@rule("RFC 9773 4.1", "an unknown certificate is 404, and what is no identifier is refused")
@pytest.mark.parametrize("text", ["", "x", "AAAA.AAAA", "AAAA.AA.AA", "AAAA=.AAAA=", ".", "%00.%00"])
def test_an_unknown_certificate_has_no_information(server: Server, text: str) -> None:
    refused(information(server, text))


@rule("RFC 9773 4.1", "an identifier with the right serial and another issuer's key is unknown")
def test_another_issuers_identifier_is_unknown(issued: Issued) -> None:
    serial = issued.certificate_id.split(".")[1]
    refused(information(issued.account.server, f"{b64(bytes(20))}.{serial}"))


@rule("RFC 9773 4.2", "a revoked certificate's window is in the past", "practice")
def test_a_revoked_certificates_window_is_in_the_past(account: Account) -> None:
    account.server.offered("renewalInfo")
    issued = account.obtain()
    response = account.revoke(issued.der)
    assert response.status_code == 200, said(response)
    start, end = window(issued)
    assert start < end <= datetime.now(UTC) + timedelta(seconds=1)


# --- replaces


def replacing(issued: Issued, account: Account | None = None, *names: str) -> requests.Response:
    account = account or issued.account
    account.server.offered("renewalInfo")
    wanted = dns(*names) if names else issued.order.body["identifiers"]
    return account.try_order(*wanted, replaces=issued.certificate_id)


@rule("RFC 9773 5", "an order that replaces a certificate is 201 and says which")
def test_an_order_says_what_it_replaces(account: Account) -> None:
    account.server.offered("renewalInfo")
    issued = account.obtain()
    response = replacing(issued)
    assert succeeded(response, 201).get("replaces") == issued.certificate_id
    assert account.read(header(response, "Location")).body.get("replaces") == issued.certificate_id


@rule("RFC 9773 5", "a certificate that another order replaces is 409 `alreadyReplaced`")
def test_a_certificate_is_replaced_once(account: Account) -> None:
    account.server.offered("renewalInfo")
    issued = account.obtain()
    response = replacing(issued)
    succeeded(response, 201)
    order = Resource.made(response)
    for authorization in account.authorizations(order):
        account.prove(authorization)
    account.issue(account.wait(order.url, ("pending",)))
    refused(replacing(issued), "alreadyReplaced", status=409)


@rule("RFC 9773 5", "a certificate whose replacing order became invalid is replaced by another order")
@pytest.mark.usefixtures("_deactivations")
def test_an_invalid_order_replaces_nothing(account: Account) -> None:
    account.server.offered("renewalInfo")
    issued = account.obtain()
    response = replacing(issued)
    succeeded(response, 201)
    succeeded(account.deactivate(account.authorization(Resource.made(response))))
    succeeded(replacing(issued), 201)


@rule("RFC 9773 5", "another account's certificate is not replaced", "SHOULD")
def test_another_accounts_certificate_is_not_replaced(issued: Issued, stranger: Account) -> None:
    refused(replacing(issued, stranger), "malformed", "unauthorized")


@rule("RFC 9773 5", "a certificate that shares no name with the order is not replaced", "SHOULD")
def test_a_certificate_for_other_names_is_not_replaced(issued: Issued) -> None:
    refused(replacing(issued, None, issued.account.server.name()), "malformed", "unauthorized")


@rule("RFC 9773 5", "a `replaces` that names no certificate is refused", "SHOULD")
@pytest.mark.parametrize("text", ["", "x", "AAAA.AAAA", 7, []], ids=str)
def test_a_replaces_that_names_no_certificate_is_refused(account: Account, text: object) -> None:
    account.server.offered("renewalInfo")
    response = account.try_order(*dns(account.server.name()), replaces=text)
    refused(response)
    assert response.status_code in (400, 403, 404, 409), said(response)
