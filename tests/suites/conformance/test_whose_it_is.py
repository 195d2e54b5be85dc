"""Objects of other accounts, and accounts that are no more (RFC 8555 sections 6.3 and 7.3.6)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import requests
from conformance.answers import said
from conformance.certificates import csr
from conformance.checks import counted_by, is_refused, left_to, refused, rule, succeeded
from conformance.client import Account, Issued, Resource, Server, dns
from conformance.jose import Key, b64, private_key

AREA = "The signed request"


# --- whose it is


@pytest.fixture
def foreign(
    request: pytest.FixtureRequest, what: str, account: Account, pending: Resource, authorization: Resource
) -> tuple[str, object]:
    """A resource of an account and what somebody else would send to it."""
    if what == "certificate":  # alone needs one, which some servers do not give
        issued: Issued = request.getfixturevalue("issued")
        return issued.order.body["certificate"], None
    return {
        "account": (account.url, None),
        "orders": (account.read(account.url).body.get("orders", account.url), None),
        "order": (pending.url, None),
        "finalize": (pending.body["finalize"], {"csr": b64(csr(private_key("ES256"), "x.conformance.test"))}),
        "authorization": (authorization.url, None),
        "challenge": (authorization.challenge["url"], None),
    }[what]


@rule("RFC 8555 6.3", "another account's object is `unauthorized`, every kind of it")
@pytest.mark.parametrize(
    "what", ["account", "orders", "order", "finalize", "authorization", "challenge", "certificate"]
)
def test_another_accounts_object_is_unauthorized(stranger: Account, foreign: tuple[str, object]) -> None:
    refused(stranger.post(*foreign), "unauthorized")


def contents(body: str) -> set[str]:
    """The strings in a JSON text that are long enough to be nobody else's; a text that is none is one itself."""
    try:
        found = json.loads(body)
    except ValueError:
        return {body}
    texts: set[str] = set()
    left: list[object] = [found]
    while left:
        value = left.pop()
        left += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        if isinstance(value, str) and len(value) >= 16:
            texts.add(value)
    return texts


@rule("RFC 8555 6.3", "another account's object is never shown, whatever is answered")
@pytest.mark.parametrize("what", ["account", "orders", "order", "authorization", "challenge", "certificate"])
def test_another_accounts_object_is_not_shown(
    account: Account, stranger: Account, pending: Resource, authorization: Resource, foreign: tuple[str, object]
) -> None:
    url, _ = foreign
    own = account.post(url)
    assert own.status_code == 200, said(own)
    response, strangers = stranger.post(url), stranger.post(stranger.url)
    shown = {text for text in contents(own.text) - contents(strangers.text) if text in response.text}
    # A refusal may name what it refuses, and an error's type is everybody's.
    assert not shown - ({url} if is_refused(response) else set()), said(response)
    secrets = [authorization.challenge.get("token"), *(entry["value"] for entry in pending.body["identifiers"])]
    assert [secret for secret in secrets if isinstance(secret, str) and secret in response.text] == []
    if not is_refused(response):
        left_to("test_another_accounts_object_is_unauthorized", "the request is not refused")


@rule("RFC 8555 7.5.1", "another account's challenge is not answered")
def test_another_accounts_challenge_cannot_be_answered(account: Account, stranger: Account) -> None:
    authorization = account.authorization()
    url = authorization.challenge["url"]
    refused(stranger.post(url, {}))
    assert account.read(authorization.url).body["status"] == "pending"


@rule("RFC 8555 7.5.2", "another account's authorization is not deactivated")
def test_another_accounts_authorization_cannot_be_deactivated(
    account: Account, stranger: Account, authorization: Resource
) -> None:
    refused(stranger.post(authorization.url, {"status": "deactivated"}))
    assert account.read(authorization.url).body["status"] == "pending"


@rule("RFC 8555 7.3.6", "another account is not deactivated or changed")
@pytest.mark.parametrize("payload", [{"status": "deactivated"}, {"contact": []}], ids=str)
def test_another_account_cannot_be_changed(server: Server, payload: object) -> None:
    victim, attacker = server.account(), server.account()
    response = attacker.post(victim.url, payload)
    assert victim.read(victim.url).body["status"] == "valid"
    if not is_refused(response):
        left_to("test_another_accounts_object_is_unauthorized", "the request is not refused")


@rule("RFC 8555 7.4", "another account's ready order is not finalized")
def test_another_accounts_ready_order_cannot_be_finalized(account: Account, stranger: Account) -> None:
    order = account.ready()
    refused(stranger.finalize(order, csr(private_key("ES256"), identifiers=order.body["identifiers"])))
    assert account.read(order.url).body["status"] == "ready"


# --- accounts that are no more


@dataclass
class Gone:
    """An account that was deactivated, what it had, and what it asks for all the same."""

    account: Account
    issued: Issued
    wishes: dict[str, Callable[[], tuple[str, object]]]

    def ask(self, what: str) -> requests.Response:
        """The answer to one of its requests."""
        url, payload = self.wishes[what]()
        return self.account.post(url, payload)


@pytest.fixture(scope="module")
def gone(server: Server) -> Gone:
    """An account that was deactivated."""
    account = server.account()
    with counted_by("test_common_keys_get_certificates", "there is no certificate"):
        issued, revoked = account.obtain(), account.obtain()
    order = account.order()
    authorization = account.authorization(order)
    orders = account.read(account.url).body.get("orders", account.url)
    with counted_by("test_an_account_is_deactivated", "the account cannot be deactivated"):
        assert succeeded(account.post(account.url, {"status": "deactivated"}))["status"] == "deactivated"
    directory = server.directory
    request = csr(private_key("ES256"), identifiers=order.body["identifiers"])
    return Gone(
        account,
        issued,
        {
            "newOrder": lambda: (directory["newOrder"], {"identifiers": dns(server.name())}),
            "keyChange": lambda: (directory["keyChange"], {}),
            "account": lambda: (account.url, None),
            "orders": lambda: (orders, None),
            "order": lambda: (order.url, None),
            "authorization": lambda: (authorization.url, None),
            "challenge": lambda: (authorization.challenge["url"], {}),
            "finalize": lambda: (order.body["finalize"], {"csr": b64(request)}),
            "certificate": lambda: (issued.order.body["certificate"], None),
            "revokeCert": lambda: (directory["revokeCert"], {"certificate": b64(revoked.der)}),
        },
    )


@rule("RFC 8555 7.3.6", "a deactivated account gets nothing, whatever the error")
@pytest.mark.parametrize("what", ["newOrder", "account", "order", "challenge", "finalize", "certificate", "revokeCert"])
def test_a_deactivated_account_gets_nothing(gone: Gone, what: str) -> None:
    refused(gone.ask(what))


@rule("RFC 8555 7.3.6", "a deactivated account is 401 `unauthorized` for everything")
@pytest.mark.parametrize(
    "what",
    [
        "newOrder",
        "keyChange",
        "account",
        "orders",
        "order",
        "authorization",
        "challenge",
        "finalize",
        "certificate",
        "revokeCert",
    ],
)
def test_a_deactivated_account_is_401_for_everything(gone: Gone, what: str) -> None:
    response = gone.ask(what)
    if response.status_code < 300:
        left_to("test_a_deactivated_account_gets_nothing", "the request is not refused")
    refused(response, "unauthorized", status=401)


@rule("RFC 8555 7.3.6", "a deactivated account is not activated again")
def test_a_deactivated_account_stays_deactivated(gone: Gone) -> None:
    refused(gone.account.post(gone.account.url, {"status": "valid"}))


@rule("RFC 8555 7.3.6", "newAccount with a deactivated account's key is `unauthorized`")
@pytest.mark.parametrize("only", [False, True], ids=["new", "onlyReturnExisting"])
def test_the_key_of_a_deactivated_account_makes_no_account(gone: Gone, only: bool) -> None:
    account = gone.account
    refused(account.server.register(account.key, onlyReturnExisting=True if only else None), "unauthorized")


@rule("RFC 8555 7.6", "a certificate of a deactivated account is still revoked by its own key")
def test_a_deactivated_accounts_certificate_is_revoked_by_its_key(gone: Gone) -> None:
    issued = gone.issued
    server = issued.account.server
    response = server.post(server.directory["revokeCert"], {"certificate": b64(issued.der)}, Key(issued.key, "ES256"))
    assert response.status_code == 200, said(response)
