"""What a request must be before a server looks at what it asks for (RFC 8555 section 6, RFC 7515)."""

from __future__ import annotations

import base64
import json

import pytest
from conformance.answers import Body, error_type, said
from conformance.checks import is_https_url, is_refused, left_to, refused, rule, succeeded
from conformance.client import Account, Issued, Resource, Server
from conformance.jose import Key, b64, jws, unb64
from conformance.signing import reading, send, signed_over

AREA = "The signed request"

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
NOTHING_NEW = b'{"contact": []} '
"""An update that every server takes, 16 octets long."""
POST_ONLY = ("newAccount", "newOrder", "revokeCert", "keyChange")


# --- transport and methods


@rule("RFC 8555 6.1", "all URLs of the directory are absolute https URLs")
def test_every_url_of_the_directory_is_https(server: Server) -> None:
    listed = [name for name in ("newNonce", *POST_ONLY) if name in server.directory]
    assert [name for name in listed if not is_https_url(server.directory.get(name))] == [], server.directory


@rule("RFC 8555 6.1", "all URLs of objects are absolute https URLs")
def test_every_url_of_an_object_is_https(account: Account, pending: Resource, authorization: Resource) -> None:
    urls = [account.url, pending.url, pending.body["finalize"], *pending.body["authorizations"]]
    urls += [challenge["url"] for challenge in authorization.body["challenges"]]
    assert [url for url in urls if not is_https_url(url)] == []


@rule("RFC 8555 6.2", "a request whose content type is another than application/jose+json is 415")
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/jose"])
def test_another_content_type_is_415(account: Account, content_type: str) -> None:
    refused(account.server.send(account.url, reading(account), content_type), status=415)


@rule("RFC 8555 6.2", "a request without a content type is 415")
def test_no_content_type_is_415(account: Account) -> None:
    other = account.server.send(account.url, reading(account), "application/json")
    response = account.server.send(account.url, reading(account), None)
    if is_refused(response) and other.status_code != 415:
        left_to("test_another_content_type_is_415", "such requests are refused otherwise")
    refused(response, status=415)


@rule("RFC 8555 6.3", "GET on a resource of the directory that takes POST is 405 `malformed`")
@pytest.mark.parametrize("name", POST_ONLY)
def test_get_on_a_resource_of_the_directory_is_405(server: Server, name: str) -> None:
    refused(server.get(server.directory[name]), "malformed", status=405)


def not_read_with_get(server: Server, url: str) -> None:
    """Check that GET is refused as it should be; that all are refused otherwise is the rule above."""
    response, known = server.get(url), server.get(server.directory["newOrder"])
    as_known = (response.status_code, error_type(response)) == (known.status_code, error_type(known))
    if is_refused(response) and as_known and (known.status_code, error_type(known)) != (405, "malformed"):
        left_to("test_get_on_a_resource_of_the_directory_is_405", "GET is refused otherwise")
    refused(response, "malformed", status=405)


@rule("RFC 8555 6.3", "GET on an account, order, authorization or challenge is 405 `malformed`")
@pytest.mark.parametrize("what", ["account", "order", "authorization", "challenge"])
def test_get_on_an_object_is_405(account: Account, pending: Resource, authorization: Resource, what: str) -> None:
    urls = {
        "account": account.url,
        "order": pending.url,
        "authorization": authorization.url,
        "challenge": authorization.challenge["url"],
    }
    not_read_with_get(account.server, urls[what])


@rule("RFC 8555 6.3", "GET on finalize and on a certificate is 405 `malformed`")
@pytest.mark.parametrize("what", ["finalize", "certificate"])
def test_get_on_a_finalize_url_or_a_certificate_is_405(issued: Issued, what: str) -> None:
    not_read_with_get(issued.account.server, issued.order.body[what])


@rule("RFC 9110 15.5.6", "a 405 lists the methods that are allowed")
def test_a_405_has_an_allow_header(server: Server) -> None:
    response = server.get(server.directory["newOrder"])
    if response.status_code != 405:
        left_to("test_get_on_a_resource_of_the_directory_is_405", f"GET is answered with {response.status_code}")
    assert "POST" in response.headers.get("Allow", "")


@rule("RFC 8555 6.3", "the directory takes POST-as-GET as well as GET")
def test_the_directory_takes_post_as_get(account: Account) -> None:
    assert succeeded(account.post(account.server.url))["newNonce"] == account.server.directory["newNonce"]


@rule("RFC 8555 6.3", "newNonce takes POST-as-GET as well as GET")
def test_new_nonce_takes_post_as_get(account: Account) -> None:
    response = account.post(account.server.directory["newNonce"])
    assert response.status_code in (200, 204), said(response)


@rule("RFC 8555 6.3", "a payload where a resource is only read is `malformed`", "practice")
@pytest.mark.parametrize("what", ["order", "orders", "certificate"])
def test_a_payload_where_a_resource_is_only_read_is_malformed(issued: Issued, what: str) -> None:
    account = issued.account
    url = account.read(account.url).body.get("orders") if what == "orders" else issued.order.url
    if url is None:
        left_to("test_an_account_has_a_list_of_orders", "the account has no list of orders")
    refused(account.post(issued.order.body["certificate"] if what == "certificate" else url, {"a": 1}), "malformed")


# --- the form of the JWS


@rule("RFC 8555 6.2", "a good request in the flattened form is answered")
def test_a_good_request_is_answered(account: Account) -> None:
    assert succeeded(account.post(account.url))["status"] == "valid"


@rule("RFC 8555 6.2", "the general JWS form (`signatures`) is `malformed`")
def test_the_general_form_is_malformed(account: Account) -> None:
    body = reading(account)
    signature = {"protected": body["protected"], "signature": body["signature"]}
    refused(send(account, {"payload": body["payload"], "signatures": [signature]}), "malformed")


@rule("RFC 8555 6.2", "a JWS with several signatures is `malformed`")
def test_several_signatures_are_malformed(account: Account) -> None:
    body = reading(account)
    signature = {"protected": body["protected"], "signature": body["signature"]}
    refused(send(account, {"payload": body["payload"], "signatures": [signature, signature]}), "malformed")


@rule("RFC 7515 7.2.2", "`signatures` beside a flattened signature is `malformed`")
def test_both_forms_at_once_are_malformed(account: Account) -> None:
    body = reading(account)
    both = [{"protected": body["protected"], "signature": body["signature"]}]
    refused(send(account, body | {"signatures": both}), "malformed")


@rule("RFC 8555 6.2", "the compact JWS form is `malformed`")
def test_the_compact_form_is_malformed(account: Account) -> None:
    body = reading(account)
    compact = f"{body['protected']}.{body['payload']}.{body['signature']}"
    refused(send(account, compact.encode()), "malformed")


@rule("RFC 8555 6.2", "an unprotected header is `malformed`")
@pytest.mark.parametrize("header", [{"kid": "x"}, {"alg": "ES256"}], ids=str)
def test_an_unprotected_header_is_malformed(account: Account, header: object) -> None:
    refused(send(account, reading(account) | {"header": header}), "malformed")


@rule("RFC 8555 6.2", "a header parameter that stands in the unprotected header does not count")
@pytest.mark.parametrize("name", ["url", "nonce", "kid"])
def test_an_unprotected_parameter_does_not_count(account: Account, name: str) -> None:
    whole = account.server.header(account.url, account.key, account.url)
    without = {member: value for member, value in whole.items() if member != name}
    refused(send(account, jws(account.key, without, None) | {"header": {name: whole[name]}}))


@rule("RFC 8555 6.2", "a detached payload is `malformed`")
def test_a_detached_payload_is_malformed(account: Account) -> None:
    body = reading(account)
    del body["payload"]
    refused(send(account, body), "malformed")


@rule("RFC 8555 6.2", "the unencoded payload option (`b64`) is refused")
@pytest.mark.parametrize("extra", [{"b64": False}, {"b64": False, "crit": ["b64"]}], ids=["b64", "b64 and crit"])
def test_the_unencoded_payload_option_is_refused(account: Account, extra: dict[str, object]) -> None:
    refused(send(account, reading(account, **extra)), "malformed", "badSignatureAlgorithm")


@rule("RFC 7515 4.1.11", "a `crit` that names what the server does not know is refused")
def test_an_unknown_critical_header_is_refused(account: Account) -> None:
    refused(send(account, reading(account, crit=["x-conformance"], **{"x-conformance": 1})), "malformed")


@rule("RFC 7515 4.1.11", "an empty `crit` is refused", "practice")
def test_an_empty_crit_is_refused(account: Account) -> None:
    refused(send(account, reading(account, crit=[])), "malformed")


@rule("RFC 7515 4", "header parameters that are not understood are ignored")
def test_unknown_header_parameters_are_ignored(account: Account) -> None:
    succeeded(send(account, reading(account, typ="JWT", **{"x-conformance": 1})))


@rule("RFC 7515 7.2.1", "members of the JWS that are not understood are ignored")
def test_unknown_members_of_the_jws_are_ignored(account: Account) -> None:
    succeeded(send(account, reading(account) | {"x-conformance": 1}))


@rule("RFC 8555 7.3.2", "a good update in base64url is taken: what the tests after this one spoil")
def test_a_good_update_is_taken(account: Account) -> None:
    succeeded(account.post(account.url, NOTHING_NEW))


@rule("RFC 8555 6.1", "base64url with padding is refused")
@pytest.mark.parametrize("member", ["protected", "payload", "signature"])
def test_base64_padding_is_malformed(account: Account, member: str) -> None:
    key, url = account.key, account.url
    header = json.dumps(account.server.header(url, key, url)).encode()
    header += b" " * ((1 - len(header)) % 3)  # so that it has padding
    protected, payload = b64(header), b64(NOTHING_NEW)
    if member == "protected":
        protected = base64.urlsafe_b64encode(header).decode()
    if member == "payload":
        payload = base64.urlsafe_b64encode(NOTHING_NEW).decode()
    body = signed_over(key, protected, payload)
    if member == "signature":
        body["signature"] = base64.urlsafe_b64encode(unb64(body["signature"])).decode()
    assert body[member].endswith("=")
    refused(send(account, body), "malformed")


def spoilt(account: Account, member: str, junk: str) -> Body:
    """A good update with junk in one member's base64url; the signature is over the text as it is sent."""
    header = json.dumps(account.server.header(account.url, account.key, account.url)).encode()
    parts = {"protected": b64(header), "payload": b64(NOTHING_NEW)}
    if member != "signature":
        parts[member] = parts[member][:2] + junk + parts[member][2:]
    body = signed_over(account.key, parts["protected"], parts["payload"])
    if member == "signature":
        body["signature"] = body["signature"][:2] + junk + body["signature"][2:]
    return body


@rule("RFC 7515 2", "characters outside the base64url alphabet are refused")
@pytest.mark.parametrize("junk", ["!", "+", "é"], ids=ascii)
@pytest.mark.parametrize("member", ["protected", "payload", "signature"])
def test_junk_in_base64url_is_malformed(account: Account, member: str, junk: str) -> None:
    refused(send(account, spoilt(account, member, junk)), "malformed")


@rule("RFC 7515 2", "white space and line breaks in base64url are refused")
@pytest.mark.parametrize("junk", [" ", "\n", "\r\n"], ids=ascii)
@pytest.mark.parametrize("member", ["protected", "payload", "signature"])
def test_white_space_in_base64url_is_malformed(account: Account, member: str, junk: str) -> None:
    refused(send(account, spoilt(account, member, junk)), "malformed")


@rule("RFC 4648 3.5", "stray bits at the end of base64url are refused", "practice")
def test_stray_bits_in_base64url_are_malformed(account: Account) -> None:
    body = reading(account)
    text = body["signature"]
    body["signature"] = text[:-1] + ALPHABET[ALPHABET.index(text[-1]) + 1]
    assert unb64(body["signature"]) == unb64(text)
    refused(send(account, body), "malformed")


@rule("RFC 7515 4", "a header parameter that stands twice is refused", "practice")
def test_a_header_parameter_that_stands_twice_is_malformed(account: Account) -> None:
    text = json.dumps(account.server.header(account.url, account.key, account.url))
    twice = text[:-1] + f', "url": {json.dumps(account.url)}}}'
    refused(send(account, jws(account.key, twice.encode(), None)), "malformed")


@rule("RFC 7515 4", "of a header parameter that stands twice, the first is not the one that counts")
def test_the_first_of_two_header_parameters_does_not_count(account: Account) -> None:
    text = json.dumps(account.server.header(account.url, account.key, account.url))
    twice = text[:-1] + ', "url": "https://conformance.invalid/"}'
    refused(send(account, jws(account.key, twice.encode(), None)))


@rule("RFC 7515 10.12", "a member of the JWS that stands twice is refused", "practice")
def test_a_member_of_the_jws_that_stands_twice_is_malformed(account: Account) -> None:
    body = reading(account)
    text = json.dumps(body)[:-1] + f', "payload": {json.dumps(body["payload"])}}}'
    refused(send(account, text.encode()), "malformed")


@rule("RFC 8555 6.2", "a body that is no JSON object is `malformed`")
@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{", b"null", b'"text"', b'{"a":1}{"b":2}', b"\xff\xfe", b"[" * 5000],
    ids=lambda text: ascii(text[:12]),
)
def test_a_body_that_is_no_json_object_is_malformed(account: Account, text: bytes) -> None:
    refused(send(account, text), "malformed")


@rule("RFC 8555 6.2", "members of the JWS that are no strings are `malformed`, or leave no algorithm")
@pytest.mark.parametrize("member", ["protected", "payload", "signature"])
@pytest.mark.parametrize("value", [None, 7, {}, []], ids=str)
def test_members_that_are_no_strings_are_malformed(account: Account, member: str, value: object) -> None:
    # Without a protected header there is no algorithm either.
    refused(send(account, reading(account) | {member: value}), "malformed", "badSignatureAlgorithm")


@rule("RFC 8555 6.2", "a payload that is no JSON object is `malformed` where an object is needed")
@pytest.mark.parametrize("payload", [b"[]", b'"text"', b"7", b"{", b"junk", b"\xff"], ids=ascii)
def test_a_payload_that_is_no_json_object_is_malformed(account: Account, payload: bytes) -> None:
    refused(account.post(account.server.directory["newOrder"], payload), "malformed")


@rule("RFC 8555 6.2", "a payload that is no JSON object is `malformed` for newAccount")
@pytest.mark.parametrize("payload", [None, b"[]", b"{", b"junk"], ids=ascii)
def test_a_payload_of_new_account_that_is_no_json_object_is_malformed(server: Server, payload: bytes | None) -> None:
    refused(server.post(server.directory["newAccount"], payload, Key.new()), "malformed")


@rule("RFC 8555 6", "a request that is far too large is refused without a failure", "practice")
def test_a_request_that_is_too_large_is_refused(account: Account) -> None:
    response = send(account, reading(account) | {"x": "x" * 700_000})
    assert response.status_code in (400, 413), said(response)
