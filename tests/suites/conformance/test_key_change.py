"""Key change (RFC 8555 section 7.3.5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conformance.answers import Body, header, said
from conformance.checks import left_to, no_account, refused, rule, succeeded
from conformance.client import Account, Server
from conformance.jose import Key, jws, rsa_key
from conformance.key_changes import change, key_change

AREA = "Accounts"


@rule("RFC 8555 7.3.5", "a key change is 200; the new key signs and the old one no longer")
@pytest.mark.parametrize("alg", ["ES256", "ES384", "RS256"])
def test_a_key_change_changes_the_key(server: Server, alg: str) -> None:
    account, new = server.account(), Key.new(alg)
    response = change(account, new)
    assert response.status_code == 200, said(response)
    assert Account(server, new, account.url).read(account.url).body["status"] == "valid"
    refused(account.post(account.url))


@rule("RFC 8555 7.3.5", "after a key change newAccount finds the account by the new key and not by the old one")
@pytest.mark.usefixtures("_key_changes")
def test_new_account_finds_the_new_key(server: Server) -> None:
    account, new = server.account(), Key.new()
    assert change(account, new).status_code == 200
    found = server.register(new, onlyReturnExisting=True)
    succeeded(found)
    assert header(found, "Location") == account.url
    no_account(server, account.key)


@rule("RFC 8555 7.3.5", "orders stay the account's after a key change")
@pytest.mark.usefixtures("_key_changes")
def test_orders_stay_the_accounts(server: Server) -> None:
    account, new = server.account(), Key.new()
    order = account.order()
    assert change(account, new).status_code == 200
    assert Account(server, new, account.url).post(order.url).status_code == 200


BAD_CHANGES: dict[str, Callable[[Account], Body]] = {
    "other url": lambda account: {"url": account.url},
    "no url": lambda _: {"url": None},
    "no jwk": lambda _: {"jwk": None},
    "kid": lambda account: {"jwk": None, "kid": account.url},
    "another account": lambda account: {"account": account.url + "x"},
    "no account": lambda _: {"account": None},
    "another old key": lambda _: {"oldKey": Key.new().jwk},
    "no old key": lambda _: {"oldKey": None},
    "old key no key": lambda _: {"oldKey": {}},
    "alg none": lambda _: {"alg": "none"},
    "alg HS256": lambda _: {"alg": "HS256"},
}


@rule(
    "RFC 8555 7.3.5",
    "an inner JWS with another `url`, without `jwk`, or for another account or old key is refused, and the key stays",
)
@pytest.mark.parametrize("fault", list(BAD_CHANGES))
@pytest.mark.usefixtures("_key_changes")
def test_a_bad_inner_jws_is_refused(server: Server, fault: str) -> None:
    account, new = server.account(), Key.new()
    refused(change(account, new, **BAD_CHANGES[fault](account)))
    assert account.read(account.url).body["status"] == "valid"
    no_account(server, new)


@rule("RFC 8555 7.3.5", "an inner JWS with a nonce is refused")
@pytest.mark.usefixtures("_key_changes")
def test_an_inner_jws_with_a_nonce_is_refused(server: Server) -> None:
    account = server.account()
    refused(change(account, Key.new(), nonce=server.fresh_nonce()))


@rule("RFC 8555 7.3.5", "an inner JWS that is not signed by the new key is refused")
@pytest.mark.usefixtures("_key_changes")
def test_an_inner_jws_by_another_key_is_refused(server: Server) -> None:
    account, new = server.account(), Key.new()
    inner = jws(account.key, *key_change(account, new))
    refused(account.post(server.directory["keyChange"], inner), "malformed", "unauthorized")


@rule("RFC 8555 7.3.5", "an outer JWS that the new key signs is refused")
@pytest.mark.usefixtures("_key_changes")
def test_an_outer_jws_by_the_new_key_is_refused(server: Server) -> None:
    account, new = server.account(), Key.new()
    inner = jws(new, *key_change(account, new))
    refused(Account(server, new, account.url).post(server.directory["keyChange"], inner), "malformed", "unauthorized")


@rule("RFC 8555 7.3.5", "a payload that is no JWS is refused")
@pytest.mark.parametrize("payload", [{}, {"protected": "", "payload": "", "signature": ""}, b"junk", None], ids=str)
@pytest.mark.usefixtures("_key_changes")
def test_a_key_change_without_a_jws_is_refused(account: Account, payload: object) -> None:
    refused(account.post(account.server.directory["keyChange"], payload))


@rule("RFC 8555 7.3.5", "another account's old key and URL in the inner JWS do not change that account")
@pytest.mark.usefixtures("_key_changes")
def test_another_accounts_key_is_not_changed(server: Server) -> None:
    attacker, victim, new = server.account(), server.account(), Key.new()
    inner = jws(new, *key_change(victim, new))
    refused(attacker.post(server.directory["keyChange"], inner))
    assert victim.read(victim.url).body["status"] == "valid"


@rule("RFC 8555 7.3.5", "a key that is another account's already is 409 with its `Location`")
@pytest.mark.usefixtures("_key_changes")
def test_a_taken_key_is_409(server: Server) -> None:
    account, holder = server.account(), server.account()
    response = change(account, holder.key)
    assert response.status_code == 409, said(response)
    assert response.headers.get("Location") == holder.url
    assert account.read(account.url).body["status"] == "valid"


@rule("RFC 8555 7.3.5", "a key change to a weak key is refused", "practice")
@pytest.mark.usefixtures("_key_changes")
def test_a_key_change_to_a_weak_key_is_refused(server: Server) -> None:
    # Keys of this test's own: one that another test has registered would be refused for that.
    weak, another = (Key(rsa_key(1024, index), "RS256") for index in (1, 2))
    response = change(server.account(), weak)
    if response.status_code < 300 and server.register(another).status_code < 300:
        left_to("test_a_weak_rsa_key_is_a_bad_public_key", "newAccount takes the key too")
    refused(response, "badPublicKey", "malformed", "badSignatureAlgorithm")
