"""What is checked in many places: problem documents, times, URLs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NoReturn
from urllib.parse import urlsplit

import pytest
import requests
from conformance.answers import URN, NotOfferedError, Object, document, object_of, said
from conformance.client import Server
from conformance.jose import Key

TYPES = frozenset(
    {
        "accountDoesNotExist",
        "alreadyRevoked",
        "badCSR",
        "badNonce",
        "badPublicKey",
        "badRevocationReason",
        "badSignatureAlgorithm",
        "caa",
        "compound",
        "connection",
        "dns",
        "externalAccountRequired",
        "incorrectResponse",
        "invalidContact",
        "malformed",
        "orderNotReady",
        "rateLimited",
        "rejectedIdentifier",
        "serverInternal",
        "tls",
        "unauthorized",
        "unsupportedContact",
        "unsupportedIdentifier",
        "userActionRequired",
        "alreadyReplaced",
        "invalidProfile",
        "autoRenewalCanceled",
        "autoRenewalExpired",
        "autoRenewalCancellationInvalid",
        "autoRenewalRevocationNotSupported",
        "unknownDelegation",
        "onionCAARequired",
        "conflict",
    }
)
"""The error types of the IANA registry "ACME Error Types", and the profiles draft's."""

WITH_TOKEN = frozenset({"http-01", "dns-01", "tls-alpn-01", "dns-account-01", "device-attest-01", "tkauth-01"})
"""Challenges whose specifications give them a ``token`` (RFC 8555, 8737, 9447 and drafts). dns-persist-01 has none."""


def rule(section: str, text: str, level: str = "MUST") -> pytest.MarkDecorator:
    """The rule that a test checks.

    :param section: the document and section that sets it, such as "RFC 8555 6.2".
    :param text: what holds, as a clause.
    :param level: "MUST", "SHOULD", or "practice" for what no RFC demands and strict clients or careful servers do.
    """
    assert level in ("MUST", "SHOULD", "practice")
    return pytest.mark.rule(section=section, text=text, level=level)


def is_refused(response: requests.Response) -> bool:
    """Whether an answer refuses the request."""
    return 400 <= response.status_code < 500


def refused(response: requests.Response, *types: str, status: int | None = None) -> Object:
    """The problem document of an answer that refuses the request; empty if it has none, where no type is asked for.

    :param types: the short names of the types that are right; none for any.
    :param status: the HTTP status, any of 4xx unless given.
    """
    shown = said(response)
    assert is_refused(response), f"expected a refusal, got {shown}"
    body = document(response)
    kind = str(body.get("type", ""))
    if types:
        assert kind.removeprefix(URN) in types, f"expected {' or '.join(types)}, got {shown}"
    if status is not None:
        assert response.status_code == status, f"expected {status}, got {shown}"
    return body


def left_to(test: str, what: str) -> NoReturn:
    """End a test because of a deviation that another rule is for, so that it is counted once.

    :param test: the other rule's test, which fails for it.
    :param what: the deviation, as a clause.
    :raises NotOfferedError: always.
    """
    raise NotOfferedError(f"{what}, which {test} reports")


@contextmanager
def counted_by(test: str, what: str) -> Iterator[None]:
    """End a test, where what it begins with fails, because another rule is for that.

    :param test: the other rule's test.
    :param what: what fails then, as a clause.
    """
    try:
        yield
    except AssertionError as error:
        raise NotOfferedError(f"{what}, which {test} reports: {error}") from error


def no_account(server: Server, key: Key) -> None:
    """Check that nobody has made an account with a key.

    How a server refuses to find one is the rule of test_only_return_existing_for_an_unknown_key, and whether it makes
    one instead that of test_only_return_existing_makes_no_account.
    """
    response = server.register(key, onlyReturnExisting=True)
    assert response.status_code != 200, f"there is an account: {said(response)}"
    if response.status_code == 201:
        left_to("test_only_return_existing_makes_no_account", "onlyReturnExisting makes accounts")
    refused(response)


def succeeded(response: requests.Response, status: int = 200) -> Object:
    """The JSON object of an answer with this status."""
    assert response.status_code == status, f"expected {status}, got {said(response)}"
    return object_of(response)


def moment(text: object) -> datetime:
    """A time as RFC 3339 writes it."""
    assert isinstance(text, str), f"{text!r} is no time"
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise AssertionError(f"{text!r} is no time: {error}") from error
    assert found.tzinfo is not None, f"{text!r} has no offset from UTC"
    return found


def is_https_url(text: object) -> bool:
    """Whether it is an absolute https URL."""
    if not isinstance(text, str):
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname)
