"""Accounts, external account binding, terms, key change and lists of orders (RFC 8555 sections 7.1.2 and 7.3)."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from conformance.checks import is_https_url, refused, rule, said, succeeded
from conformance.client import (
    TIMEOUT,
    Account,
    Binding,
    Body,
    Key,
    NotOfferedError,
    Resource,
    Server,
    error_type,
    jws,
    links,
    mac_jws,
    rsa_key,
)

AREA = "Accounts"

CONTACT = "mailto:conformance@example.org"


# --- creation


@rule("RFC 8555 7.3", "a new account is 201, with the status valid")
def test_a_new_account_is_201(server: Server) -> None:
    assert succeeded(server.register(Key.new()), 201)["status"] == "valid"


@rule("RFC 8555 7.1.2", "an account has the URL of its list of orders")
def test_an_account_has_a_list_of_orders(account: Account) -> None:
    assert is_https_url(account.read(account.url).body.get("orders"))


@rule("RFC 8555 7.1.2", "an account shows its contacts")
def test_an_account_shows_its_contacts(server: Server) -> None:
    assert succeeded(server.register(Key.new(), contact=[CONTACT]), 201)["contact"] == [CONTACT]


@rule("RFC 8555 7.3", "an account without contacts is made")
@pytest.mark.parametrize("contact", [None, []], ids=["absent", "empty"])
def test_contacts_are_optional(server: Server, contact: object) -> None:
    succeeded(server.register(Key.new(), contact=contact), 201)


@rule("RFC 8555 7.3.1", "newAccount with an account's key is 200, with its `Location` and the account")
def test_an_existing_account_is_200(server: Server) -> None:
    key = Key.new()
    first, again = server.register(key, contact=[CONTACT]), server.register(key, contact=[CONTACT])
    succeeded(first, 201)
    assert succeeded(again)["status"] == "valid"
    assert again.headers["Location"] == first.headers["Location"]


@rule("RFC 8555 7.3.1", "what newAccount sends for an existing account is ignored", "practice")
def test_the_fields_for_an_existing_account_are_ignored(server: Server) -> None:
    key = Key.new()
    succeeded(server.register(key, contact=[CONTACT]), 201)
    succeeded(server.register(key, contact=["mailto:other@example.org"]))
    assert succeeded(server.register(key))["contact"] == [CONTACT]


@rule("RFC 8555 7.3.1", "`onlyReturnExisting` finds an account: 200 and its `Location`")
def test_only_return_existing_finds_an_account(account: Account) -> None:
    server = account.server
    response = server.post(server.directory["newAccount"], {"onlyReturnExisting": True}, account.key)
    succeeded(response)
    assert response.headers["Location"] == account.url


@rule("RFC 8555 7.3.1", "`onlyReturnExisting` for an unknown key is 400 `accountDoesNotExist`")
def test_only_return_existing_for_an_unknown_key(server: Server) -> None:
    response = server.post(server.directory["newAccount"], {"onlyReturnExisting": True}, Key.new())
    refused(response, "accountDoesNotExist", status=400)


@rule("RFC 8555 7.3.1", "`onlyReturnExisting` makes no account")
def test_only_return_existing_makes_no_account(server: Server) -> None:
    key = Key.new()
    refused(server.register(key, onlyReturnExisting=True))
    refused(server.register(key, onlyReturnExisting=True), "accountDoesNotExist")


@rule("RFC 8555 7.3", "`status` and `orders` that newAccount sends are ignored")
def test_a_status_that_new_account_sends_is_ignored(server: Server) -> None:
    body = succeeded(server.register(Key.new(), status="revoked", orders="https://conformance.invalid/"), 201)
    assert body["status"] == "valid"
    assert body.get("orders") != "https://conformance.invalid/"


@rule("RFC 8555 7.3.1", "two newAccount requests with one key at once make one account")
def test_two_requests_with_one_key_make_one_account(server: Server) -> None:
    key, url = Key.new(), server.directory["newAccount"]
    template: Body = {"termsOfServiceAgreed": True}
    if server.meta.get("externalAccountRequired") and server.settings.binding is not None:
        template["externalAccountBinding"] = server.settings.binding.object(key, url)
    bodies = [server.body(url, template, key, nonce=server.fresh_nonce()) for _ in range(6)]

    def once(body: Body) -> requests.Response:
        headers = {"Content-Type": "application/jose+json"}
        return server.session.post(url, json=body, headers=headers, timeout=TIMEOUT)

    with ThreadPoolExecutor(6) as pool:
        responses = list(pool.map(once, bodies))
    made = [response for response in responses if response.status_code in (200, 201)]
    assert len({response.headers["Location"] for response in made}) == 1, [said(response) for response in responses]
    assert [response.status_code for response in responses].count(201) == 1
    assert all(response.status_code in (200, 201, 409) for response in responses)


# --- contacts


@rule("RFC 8555 7.3", "a contact of an unknown scheme is 400 `unsupportedContact`")
@pytest.mark.parametrize("contact", ["tel:+12025551212", "xmpp:a@example.org"])
def test_an_unknown_scheme_is_an_unsupported_contact(server: Server, contact: str) -> None:
    refused(server.register(Key.new(), contact=[contact]), "unsupportedContact", status=400)


@rule("RFC 8555 7.3", "a mailto contact with header fields is 400 `invalidContact`", "SHOULD")
def test_header_fields_are_an_invalid_contact(server: Server) -> None:
    refused(server.register(Key.new(), contact=[f"{CONTACT}?subject=x"]), "invalidContact", status=400)


@rule("RFC 8555 7.3", "a mailto contact with two addresses is 400 `invalidContact`", "SHOULD")
def test_two_addresses_are_an_invalid_contact(server: Server) -> None:
    refused(server.register(Key.new(), contact=[f"{CONTACT},b@example.org"]), "invalidContact", status=400)


@rule("RFC 8555 7.3", "a contact that is no address is `invalidContact`", "practice")
@pytest.mark.parametrize(
    "contact", ["mailto:", "mailto:nobody", "mailto:a b@example.org", "mailto:a@", "mailto:@example.org"]
)
def test_nonsense_is_an_invalid_contact(server: Server, contact: str) -> None:
    refused(server.register(Key.new(), contact=[contact]), "invalidContact", status=400)


@rule("RFC 8555 7.3", "a contact that is no URL is refused", "practice")
@pytest.mark.parametrize("contact", ["", "a@example.org", "//"], ids=ascii)
def test_a_contact_that_is_no_url_is_refused(server: Server, contact: str) -> None:
    refused(server.register(Key.new(), contact=[contact]), "invalidContact", "unsupportedContact", "malformed")


@rule("RFC 8555 7.3", "one bad contact among good ones is refused, and no account is made")
def test_one_bad_contact_makes_no_account(server: Server) -> None:
    key = Key.new()
    refused(server.register(key, contact=[CONTACT, "tel:+1"]))
    refused(server.register(key, onlyReturnExisting=True), "accountDoesNotExist")


@rule("RFC 8555 7.3", "a `contact` that is no list of strings is `malformed`", "practice")
@pytest.mark.parametrize("contact", [CONTACT, {}, 7, [7], [[]]], ids=str)
def test_a_contact_that_is_no_list_of_strings_is_malformed(server: Server, contact: object) -> None:
    refused(server.register(Key.new(), contact=contact), "malformed", "invalidContact", status=400)


# --- reading, updating, deactivating


@rule("RFC 8555 7.3", "POST-as-GET on the account answers with it")
def test_an_account_is_read(account: Account) -> None:
    assert account.read(account.url).body["status"] == "valid"


@rule("RFC 8555 7.3.2", "an update with an empty object changes nothing", "practice")
def test_an_empty_update_changes_nothing(server: Server) -> None:
    account = server.account(contact=[CONTACT])
    assert succeeded(account.post(account.url, {}))["contact"] == [CONTACT]


@rule("RFC 8555 7.3.2", "contacts are updated: 200 and the account")
def test_contacts_are_updated(server: Server) -> None:
    account = server.account(contact=[CONTACT])
    new = ["mailto:other@example.org"]
    assert succeeded(account.post(account.url, {"contact": new}))["contact"] == new
    assert account.read(account.url).body["contact"] == new


@rule("RFC 8555 7.3.2", "contacts are taken away with an empty list", "practice")
def test_contacts_are_taken_away(server: Server) -> None:
    account = server.account(contact=[CONTACT])
    succeeded(account.post(account.url, {"contact": []}))
    assert not account.read(account.url).body.get("contact")


@rule("RFC 8555 7.3.2", "an update with a bad contact is refused and changes nothing")
@pytest.mark.parametrize("contact", ["tel:+1", f"{CONTACT}?subject=x"])
def test_a_bad_update_changes_nothing(server: Server, contact: str) -> None:
    account = server.account(contact=[CONTACT])
    refused(account.post(account.url, {"contact": [contact]}), "unsupportedContact", "invalidContact")
    assert account.read(account.url).body["contact"] == [CONTACT]


@rule(
    "RFC 8555 7.3.2",
    "`orders`, `termsOfServiceAgreed` and a status that is none of the client's are ignored in an update",
)
@pytest.mark.parametrize(
    "payload",
    [{"orders": "https://conformance.invalid/"}, {"termsOfServiceAgreed": False}, {"status": "valid"}],
    ids=["orders", "terms", "valid"],
)
def test_what_a_client_cannot_change_is_ignored(server: Server, payload: object) -> None:
    account = server.account()
    before = account.read(account.url).body
    succeeded(account.post(account.url, payload))
    after = account.read(account.url).body
    assert (after["status"], after.get("orders")) == ("valid", before.get("orders"))


@rule("RFC 8555 7.3.6", 'a client cannot set the status "revoked"')
def test_a_client_cannot_revoke_its_account(server: Server) -> None:
    account = server.account()
    response = account.post(account.url, {"status": "revoked"})
    assert response.status_code in (200, 400, 403), said(response)
    assert account.read(account.url).body["status"] == "valid"


@rule("RFC 8555 7.3.6", "deactivating answers with the account, deactivated")
def test_an_account_is_deactivated(server: Server) -> None:
    account = server.account()
    assert succeeded(account.post(account.url, {"status": "deactivated"}))["status"] == "deactivated"


# --- terms of service


def terms(server: Server) -> str:
    found = server.meta.get("termsOfService")
    if found is None:
        raise NotOfferedError("no termsOfService in the directory")
    return str(found)


@rule("RFC 8555 7.3", "where there are terms of service, newAccount without agreement is refused")
@pytest.mark.parametrize("agreed", [None, False, "true", 1], ids=str)
def test_terms_must_be_agreed_to(server: Server, agreed: object) -> None:
    terms(server)
    key = Key.new()
    refused(server.register(key, termsOfServiceAgreed=agreed))
    refused(server.register(key, onlyReturnExisting=True), "accountDoesNotExist")


@rule("RFC 8555 7.3.3", "newAccount without agreement is 403 `userActionRequired`", "SHOULD")
def test_a_missing_agreement_is_user_action_required(server: Server) -> None:
    terms(server)
    refused(server.register(Key.new(), termsOfServiceAgreed=None), "userActionRequired", status=403)


@rule(
    "RFC 8555 7.3.3",
    'the refusal links to the terms with `rel="terms-of-service"` where its type is `userActionRequired`',
)
def test_the_refusal_links_to_the_terms(server: Server) -> None:
    url = terms(server)
    response = server.register(Key.new(), termsOfServiceAgreed=None)
    refused(response)
    if error_type(response) != "userActionRequired":
        raise NotOfferedError("the refusal is not userActionRequired")
    assert links(response, "terms-of-service") == [url]


@rule("RFC 8555 7.3", "an account that agrees to the terms is made")
def test_an_account_that_agrees_is_made(server: Server) -> None:
    terms(server)
    succeeded(server.register(Key.new()), 201)


# --- external account binding


def binding(server: Server) -> Binding:
    found = server.settings.binding
    if found is None:
        if server.meta.get("externalAccountRequired"):
            raise AssertionError("the server demands external account binding; give the suite a key with --acme-eab")
        raise NotOfferedError("no key for external account binding was given")
    return found


@rule(
    "RFC 8555 7.3.4",
    "where external account binding is required, newAccount without it is 403 `externalAccountRequired`",
)
def test_external_account_binding_is_required(server: Server) -> None:
    if not server.meta.get("externalAccountRequired"):
        raise NotOfferedError("external account binding is not required")
    url = server.directory["newAccount"]
    refused(server.post(url, {"termsOfServiceAgreed": True}, Key.new()), "externalAccountRequired", status=403)


@rule("RFC 8555 7.3.4", "a good external account binding is accepted")
def test_a_good_binding_is_accepted(server: Server) -> None:
    key = Key.new()
    bound = binding(server).object(key, server.directory["newAccount"])
    succeeded(server.register(key, externalAccountBinding=bound), 201)


@rule("RFC 8555 7.3.4", "the binding is shown in the account", "practice")
def test_the_binding_is_shown(server: Server) -> None:
    key = Key.new()
    bound = binding(server).object(key, server.directory["newAccount"])
    body = succeeded(server.register(key, externalAccountBinding=bound), 201)
    assert body.get("externalAccountBinding") == bound


BAD_BINDINGS: dict[str, Callable[[Binding, Key, str], object]] = {
    "nonce": lambda eab, key, url: eab.object(key, url, nonce="AAAA"),
    "other url": lambda eab, key, url: eab.object(key, url + "/x"),
    "no url": lambda eab, key, url: eab.object(key, url, url=None),
    "other key": lambda eab, _, url: eab.object(Key.new(), url),
    "unknown kid": lambda eab, key, url: Binding("nobody", eab.secret).object(key, url),
    "no kid": lambda eab, key, url: eab.object(key, url, kid=None),
    "wrong secret": lambda eab, key, url: Binding(eab.kid, b"x" * 32).object(key, url),
    "cut signature": lambda eab, key, url: (whole := eab.object(key, url)) | {"signature": whole["signature"][:-22]},
    "no signature": lambda eab, key, url: eab.object(key, url) | {"signature": ""},
    "no alg": lambda eab, key, url: eab.object(key, url, alg=None),
    "alg none": lambda eab, key, url: eab.object(key, url, alg="none") | {"signature": ""},
    "signed by the account key": lambda eab, key, url: jws(key, {"alg": key.alg, "kid": eab.kid, "url": url}, key.jwk),
    "payload no key": lambda eab, _, url: mac_jws(eab.secret, {"alg": "HS256", "kid": eab.kid, "url": url}, {}),
    "no object": lambda *_: "binding",
    "empty": lambda *_: {},
}


@rule(
    "RFC 8555 7.3.4",
    "a binding with a nonce, another `url`, another key or without a MAC of its key is refused, and no account is made",
)
@pytest.mark.parametrize("fault", list(BAD_BINDINGS))
def test_a_bad_binding_is_refused(server: Server, fault: str) -> None:
    key = Key.new()
    bad = BAD_BINDINGS[fault](binding(server), key, server.directory["newAccount"])
    response = server.register(key, externalAccountBinding=bad)
    refused(response, "malformed", "unauthorized", "externalAccountRequired", "badSignatureAlgorithm")
    refused(server.register(key, onlyReturnExisting=True), "accountDoesNotExist")


# --- key change


def key_change(account: Account, new: Key, /, **changes: object) -> tuple[Body, Body]:
    """The inner JWS's header and payload of a key change; ``changes`` replaces members, None takes one out."""
    header: Body = {"alg": new.alg, "jwk": new.jwk, "url": account.server.directory["keyChange"]}
    payload: Body = {"account": account.url, "oldKey": account.key.jwk}
    for name, value in changes.items():
        (payload if name in payload else header)[name] = value
    return {name: value for name, value in header.items() if value is not None}, payload


def change(account: Account, new: Key, /, **changes: object) -> requests.Response:
    header, payload = key_change(account, new, **changes)
    return account.post(account.server.directory["keyChange"], jws(new, header, payload))


@rule("RFC 8555 7.3.5", "a key change is 200; the new key signs and the old one no longer")
@pytest.mark.parametrize("alg", ["ES256", "ES384", "RS256"])
def test_a_key_change_changes_the_key(server: Server, alg: str) -> None:
    account, new = server.account(), Key.new(alg)
    response = change(account, new)
    assert response.status_code == 200, said(response)
    assert Account(server, new, account.url).read(account.url).body["status"] == "valid"
    refused(account.post(account.url), "malformed", "unauthorized", "badPublicKey")


@rule("RFC 8555 7.3.5", "after a key change newAccount finds the account by the new key and not by the old one")
def test_new_account_finds_the_new_key(server: Server) -> None:
    account, new = server.account(), Key.new()
    assert change(account, new).status_code == 200
    found = server.register(new, onlyReturnExisting=True)
    succeeded(found)
    assert found.headers["Location"] == account.url
    refused(server.register(account.key, onlyReturnExisting=True), "accountDoesNotExist")


@rule("RFC 8555 7.3.5", "orders stay the account's after a key change")
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
def test_a_bad_inner_jws_is_refused(server: Server, fault: str) -> None:
    account, new = server.account(), Key.new()
    refused(change(account, new, **BAD_CHANGES[fault](account)))
    assert account.read(account.url).body["status"] == "valid"
    refused(server.register(new, onlyReturnExisting=True), "accountDoesNotExist")


@rule("RFC 8555 7.3.5", "an inner JWS with a nonce is refused")
def test_an_inner_jws_with_a_nonce_is_refused(server: Server) -> None:
    account = server.account()
    refused(change(account, Key.new(), nonce=server.fresh_nonce()))


@rule("RFC 8555 7.3.5", "an inner JWS that is not signed by the new key is refused")
def test_an_inner_jws_by_another_key_is_refused(server: Server) -> None:
    account, new = server.account(), Key.new()
    inner = jws(account.key, *key_change(account, new))
    refused(account.post(server.directory["keyChange"], inner), "malformed", "unauthorized")


@rule("RFC 8555 7.3.5", "an outer JWS that the new key signs is refused")
def test_an_outer_jws_by_the_new_key_is_refused(server: Server) -> None:
    account, new = server.account(), Key.new()
    inner = jws(new, *key_change(account, new))
    refused(Account(server, new, account.url).post(server.directory["keyChange"], inner), "malformed", "unauthorized")


@rule("RFC 8555 7.3.5", "a payload that is no JWS is refused")
@pytest.mark.parametrize("payload", [{}, {"protected": "", "payload": "", "signature": ""}, b"junk", None], ids=str)
def test_a_key_change_without_a_jws_is_refused(account: Account, payload: object) -> None:
    refused(account.post(account.server.directory["keyChange"], payload), "malformed")


@rule("RFC 8555 7.3.5", "another account's old key and URL in the inner JWS do not change that account")
def test_another_accounts_key_is_not_changed(server: Server) -> None:
    attacker, victim, new = server.account(), server.account(), Key.new()
    inner = jws(new, *key_change(victim, new))
    refused(attacker.post(server.directory["keyChange"], inner))
    assert victim.read(victim.url).body["status"] == "valid"


@rule("RFC 8555 7.3.5", "a key that is another account's already is 409 with its `Location`")
def test_a_taken_key_is_409(server: Server) -> None:
    account, holder = server.account(), server.account()
    response = change(account, holder.key)
    assert response.status_code == 409, said(response)
    assert response.headers.get("Location") == holder.url
    assert account.read(account.url).body["status"] == "valid"


@rule("RFC 8555 7.3.5", "a key change to a weak key is refused", "practice")
def test_a_key_change_to_a_weak_key_is_refused(server: Server) -> None:
    account = server.account()
    refused(change(account, Key(rsa_key(1024), "RS256")), "badPublicKey", "malformed", "badSignatureAlgorithm")


# --- the list of orders


def pages(account: Account, most: int = 200) -> list[tuple[list[str], requests.Response]]:
    """The pages of an account's list of orders, each with its answer."""
    url = account.read(account.url).body.get("orders")
    if url is None:
        raise NotOfferedError("the account has no list of orders, which another rule reports")
    found: list[tuple[list[str], requests.Response]] = []
    following = [url]
    while following and len(found) < most:
        page = account.read(following[0])
        found.append((page.body["orders"], page.response))
        following = links(page.response, "next")
    return found


@rule("RFC 8555 7.1.2.1", "the list of orders has the account's pending orders", "SHOULD")
def test_the_list_has_pending_orders(account: Account, pending: Resource) -> None:
    assert pending.url in [url for page, _ in pages(account) for url in page]


@rule("RFC 8555 7.1.2.1", "a new account's list of orders is empty, and no other account's")
def test_the_list_of_a_new_account_is_empty(server: Server) -> None:
    assert [page for page, _ in pages(server.account())] == [[]]


@rule("RFC 8555 7.1.2.1", "the list of orders is newest first", "practice")
def test_the_list_is_newest_first(server: Server) -> None:
    account = server.account()
    made = [account.order().url for _ in range(3)]
    listed = [url for page, _ in pages(account) for url in page]
    assert sorted(listed) == sorted(made)
    # Orders of one second have no order among themselves that everybody agrees on.
    time.sleep(1.1)
    newest = account.order().url
    assert next(url for page, _ in pages(account) for url in page) == newest


@rule("RFC 8555 7.1.2.1", 'a long list of orders comes in pages with `rel="next"`, each order once')
def test_a_long_list_comes_in_pages(server: Server) -> None:
    account = server.account()
    made: list[str] = []
    while len(made) < 120:
        response = account.try_order({"type": "dns", "value": server.name()})
        if error_type(response) == "rateLimited":
            break
        succeeded(response, 201)
        made.append(response.headers["Location"])
        if len(made) in (5, 25, 105) and len(pages(account)) > 1:
            break
    found = pages(account)
    listed = [url for page, _ in found for url in page]
    assert len(listed) == len(set(listed))
    assert sorted(listed) == sorted(made)
    if len(found) == 1:
        raise NotOfferedError(f"{len(made)} orders are one page")
    assert all(page for page, _ in found[:-1])
