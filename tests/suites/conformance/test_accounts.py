"""Accounts, external account binding and terms (RFC 8555 sections 7.1.2 and 7.3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests
from conformance.answers import Body, NotOfferedError, error_type, header, links, said
from conformance.checks import is_https_url, left_to, no_account, refused, rule, succeeded
from conformance.client import Account, Server
from conformance.jose import Binding, Key, jws, mac_jws

AREA = "Accounts"

CONTACT = "mailto:conformance@example.org"


# --- creation


@rule("RFC 8555 7.3", "a new account is 201, with the status valid")
def test_a_new_account_is_201(server: Server) -> None:
    assert succeeded(server.register(Key.new()), 201)["status"] == "valid"


@rule("RFC 8555 7.1.2", "an account has the URL of its list of orders")
def test_an_account_has_a_list_of_orders(account: Account) -> None:
    body = account.read(account.url).body
    assert is_https_url(body.get("orders")), f"expected `orders` with a URL, got {body}"


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
    assert header(again, "Location") == header(first, "Location")


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
    assert header(response, "Location") == account.url


@rule("RFC 8555 7.3.1", "`onlyReturnExisting` for an unknown key is 400 `accountDoesNotExist`")
def test_only_return_existing_for_an_unknown_key(server: Server) -> None:
    response = server.post(server.directory["newAccount"], {"onlyReturnExisting": True}, Key.new())
    refused(response, "accountDoesNotExist", status=400)


@rule("RFC 8555 7.3.1", "`onlyReturnExisting` makes no account")
def test_only_return_existing_makes_no_account(server: Server) -> None:
    key = Key.new()
    refused(server.register(key, onlyReturnExisting=True))
    refused(server.register(key, onlyReturnExisting=True))


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
    responses = server.at_once(url, bodies)
    made = [response for response in responses if response.status_code in (200, 201)]
    assert len({header(response, "Location") for response in made}) == 1, [said(response) for response in responses]
    statuses = [response.status_code for response in responses]
    assert statuses.count(201) == 1, f"expected one 201, got {statuses}"
    assert not set(statuses) - {200, 201, 409}, f"expected 200, 201 or 409, got {statuses}"


# --- contacts


def taken(response: requests.Response, contact: str) -> requests.Response:
    """The answer, unless the server takes contacts of this scheme: which schemes it takes is its choice.

    :raises NotOfferedError: if it does.
    """
    if response.status_code < 300:
        raise NotOfferedError(f"contacts such as {contact} are taken")
    return response


@rule("RFC 8555 7.3", "a contact whose scheme the server does not take is 400 `unsupportedContact`")
@pytest.mark.parametrize("contact", ["tel:+12025551212", "xmpp:a@example.org", "conformance:x"])
def test_an_unknown_scheme_is_an_unsupported_contact(server: Server, contact: str) -> None:
    response = taken(server.register(Key.new(), contact=[contact]), contact)
    refused(response, "unsupportedContact", status=400)


def looked_at(server: Server, response: requests.Response) -> requests.Response:
    """The answer to a contact that is spoilt, unless the server takes whatever it is given for a contact."""
    if response.status_code < 300 and server.register(Key.new(), contact=["a@example.org"]).status_code < 300:
        left_to("test_a_contact_that_is_no_url_is_refused", "nobody looks at contacts")
    return response


@rule("RFC 8555 7.3", "a mailto contact with header fields is 400 `invalidContact`", "SHOULD")
def test_header_fields_are_an_invalid_contact(server: Server) -> None:
    response = server.register(Key.new(), contact=[f"{CONTACT}?subject=x"])
    refused(looked_at(server, response), "invalidContact", status=400)


@rule("RFC 8555 7.3", "a mailto contact with two addresses is 400 `invalidContact`", "SHOULD")
def test_two_addresses_are_an_invalid_contact(server: Server) -> None:
    response = server.register(Key.new(), contact=[f"{CONTACT},b@example.org"])
    refused(looked_at(server, response), "invalidContact", status=400)


@rule("RFC 8555 7.3", "a contact that is no address is `invalidContact`", "practice")
@pytest.mark.parametrize(
    "contact", ["mailto:", "mailto:nobody", "mailto:a b@example.org", "mailto:a@", "mailto:@example.org"]
)
def test_nonsense_is_an_invalid_contact(server: Server, contact: str) -> None:
    refused(looked_at(server, server.register(Key.new(), contact=[contact])), "invalidContact", status=400)


@rule("RFC 8555 7.3", "a contact that is no URL is refused", "SHOULD")
@pytest.mark.parametrize("contact", ["", "a@example.org", "//"], ids=ascii)
def test_a_contact_that_is_no_url_is_refused(server: Server, contact: str) -> None:
    refused(server.register(Key.new(), contact=[contact]), "invalidContact", "unsupportedContact", "malformed")


@rule("RFC 8555 7.3", "one bad contact among good ones is refused, and no account is made")
def test_one_bad_contact_makes_no_account(server: Server) -> None:
    key, contact = Key.new(), "tel:+12025551212"
    refused(taken(server.register(key, contact=[CONTACT, contact]), contact))
    no_account(server, key)


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
@pytest.mark.parametrize("contact", ["tel:+12025551212", f"{CONTACT}?subject=x"])
def test_a_bad_update_changes_nothing(server: Server, contact: str) -> None:
    if server.register(Key.new(), contact=[contact]).status_code < 300:
        if contact.startswith("tel:"):
            raise NotOfferedError(f"contacts such as {contact} are taken")
        looked_at(server, server.register(Key.new(), contact=[contact]))
        left_to("test_header_fields_are_an_invalid_contact", "the contact is taken in newAccount too")
    account = server.account(contact=[CONTACT])
    refused(account.post(account.url, {"contact": [contact]}))
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
def test_what_a_client_cannot_change_is_ignored(server: Server, payload: Body) -> None:
    account = server.account()
    before = account.read(account.url).body
    # With a change that a client can make: whether there may be none is another rule's.
    succeeded(account.post(account.url, payload | {"contact": [CONTACT]}))
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
    no_account(server, key)


@rule("RFC 8555 7.3.3", "newAccount without agreement is 403 `userActionRequired`", "SHOULD")
def test_a_missing_agreement_is_user_action_required(server: Server) -> None:
    terms(server)
    response = server.register(Key.new(), termsOfServiceAgreed=None)
    if response.status_code < 300:
        left_to("test_terms_must_be_agreed_to", "accounts that agree to nothing are made")
    refused(response, "userActionRequired", status=403)


@rule(
    "RFC 8555 7.3.3",
    'the refusal links to the terms with `rel="terms-of-service"` where its type is `userActionRequired`',
)
def test_the_refusal_links_to_the_terms(server: Server) -> None:
    url = terms(server)
    response = server.register(Key.new(), termsOfServiceAgreed=None)
    if response.status_code < 300:
        left_to("test_terms_must_be_agreed_to", "accounts that agree to nothing are made")
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
    refused(server.register(key, externalAccountBinding=bad))
    no_account(server, key)
