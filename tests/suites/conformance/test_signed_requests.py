"""What a request must be before a server looks at what it asks for (RFC 8555 section 6, RFC 7515)."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from conformance.checks import is_https_url, refused, rule, said, succeeded
from conformance.client import (
    TIMEOUT,
    Account,
    Body,
    Issued,
    Key,
    NotOfferedError,
    Resource,
    Server,
    b64,
    csr,
    error_type,
    jws,
    private_key,
    rsa_key,
    unb64,
)
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

AREA = "The signed request"

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
NOTHING_NEW = b'{"contact": []} '
"""An update that every server takes, 16 octets long."""
POST_ONLY = ("newAccount", "newOrder", "revokeCert", "keyChange")


def reading(account: Account, **members: object) -> Body:
    """A good POST-as-GET of the account, with members of the protected header replaced."""
    return account.server.body(account.url, None, account.key, account.url, **members)


def send(account: Account, body: object) -> requests.Response:
    return account.server.send(account.url, body)


def signed_over(key: Key, protected: str, payload: str) -> Body:
    """A JWS over the texts as they are, whatever they are."""
    return {"protected": protected, "payload": payload, "signature": b64(key.sign(f"{protected}.{payload}".encode()))}


# --- transport and methods


@rule("RFC 8555 6.1", "all URLs of the directory are absolute https URLs")
def test_every_url_of_the_directory_is_https(server: Server) -> None:
    urls = {name: url for name, url in server.directory.items() if isinstance(url, str)}
    assert all(is_https_url(urls[name]) for name in ("newNonce", *POST_ONLY)), urls


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
    refused(account.server.send(account.url, reading(account), None), status=415)


@rule("RFC 8555 6.3", "GET on a resource of the directory that takes POST is 405 `malformed`")
@pytest.mark.parametrize("name", POST_ONLY)
def test_get_on_a_resource_of_the_directory_is_405(server: Server, name: str) -> None:
    refused(server.get(server.directory[name]), "malformed", status=405)


@rule("RFC 8555 6.3", "GET on an account, order, authorization or challenge is 405 `malformed`")
@pytest.mark.parametrize("what", ["account", "order", "authorization", "challenge"])
def test_get_on_an_object_is_405(account: Account, pending: Resource, authorization: Resource, what: str) -> None:
    urls = {
        "account": account.url,
        "order": pending.url,
        "authorization": authorization.url,
        "challenge": authorization.body["challenges"][0]["url"],
    }
    refused(account.server.get(urls[what]), "malformed", status=405)


@rule("RFC 8555 6.3", "GET on finalize and on a certificate is 405 `malformed`")
@pytest.mark.parametrize("what", ["finalize", "certificate"])
def test_get_on_a_finalize_url_or_a_certificate_is_405(issued: Issued, what: str) -> None:
    refused(issued.account.server.get(issued.order.body[what]), "malformed", status=405)


@rule("RFC 9110 15.5.6", "a 405 lists the methods that are allowed")
def test_a_405_has_an_allow_header(server: Server) -> None:
    response = server.get(server.directory["newOrder"])
    assert response.status_code == 405, said(response)
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
    url = account.read(account.url).body["orders"] if what == "orders" else issued.order.url
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


@rule("RFC 8555 6.2", "members of the JWS that are no strings are `malformed`")
@pytest.mark.parametrize("member", ["protected", "payload", "signature"])
@pytest.mark.parametrize("value", [None, 7, {}, []], ids=str)
def test_members_that_are_no_strings_are_malformed(account: Account, member: str, value: object) -> None:
    refused(send(account, reading(account) | {member: value}), "malformed")


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


# --- algorithms and keys


@rule("RFC 8555 6.2", "ES256 is accepted")
def test_es256_is_accepted(server: Server) -> None:
    succeeded(server.register(Key.new("ES256")), 201)


@rule("RFC 8555 6.2", "EdDSA (Ed25519) is accepted", "SHOULD")
def test_eddsa_is_accepted(server: Server) -> None:
    succeeded(server.register(Key.new("EdDSA")), 201)


@rule("RFC 7518 3.1", "ES384, ES512 and RS256 are accepted", "practice")
@pytest.mark.parametrize("alg", ["ES384", "ES512", "RS256"])
def test_further_algorithms_are_accepted(server: Server, alg: str) -> None:
    succeeded(server.register(Key.new(alg)), 201)


@rule("RFC 8555 6.2", "requests signed with every accepted algorithm are answered by `kid`")
@pytest.mark.parametrize("alg", ["ES256", "ES384", "ES512", "EdDSA", "RS256"])
def test_every_accepted_algorithm_signs_by_kid(server: Server, alg: str) -> None:
    key = Key.new(alg)
    created = server.register(key)
    if created.status_code != 201:
        raise NotOfferedError(f"{alg} is not accepted, as another rule reports")
    account = Account(server, key, created.headers["Location"])
    assert account.read(account.url).body["status"] == "valid"


@rule("RFC 8555 6.2", '`alg` "none" is refused with `badSignatureAlgorithm`')
def test_alg_none_is_refused(account: Account) -> None:
    refused(send(account, reading(account, alg="none") | {"signature": ""}), "badSignatureAlgorithm", status=400)


@rule("RFC 8555 6.2", "an HMAC as `alg` is refused with `badSignatureAlgorithm`")
@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_an_hmac_is_refused(account: Account, alg: str) -> None:
    refused(send(account, reading(account, alg=alg)), "badSignatureAlgorithm", status=400)


@rule("RFC 8555 6.2", "an algorithm that the server does not know is 400 `badSignatureAlgorithm`")
@pytest.mark.parametrize("alg", ["RS1", "ES256K", "ECDH-ES", "XX256", ""])
def test_an_unknown_algorithm_is_refused(account: Account, alg: str) -> None:
    refused(send(account, reading(account, alg=alg)), "badSignatureAlgorithm", status=400)


@rule("RFC 8555 6.2", "a header without `alg`, or with one that is no string, is refused")
@pytest.mark.parametrize("alg", ["missing", None, 7, ["ES256"]], ids=str)
def test_an_alg_that_is_none_is_refused(account: Account, alg: object) -> None:
    server, url = account.server, account.url
    missing = alg == "missing"
    body = server.body(url, None, account.key, url, ("alg",)) if missing else reading(account, alg=alg)
    refused(send(account, body), "badSignatureAlgorithm", "malformed", status=400)


@rule("RFC 8555 6.2", "`badSignatureAlgorithm` lists the `algorithms` that are accepted, ES256 among them")
def test_the_accepted_algorithms_are_listed(account: Account) -> None:
    problem = refused(send(account, reading(account, alg="RS1")), "badSignatureAlgorithm")
    algorithms = problem.get("algorithms")
    assert isinstance(algorithms, list), problem
    assert "ES256" in algorithms


@rule("RFC 8555 6.2", "what `algorithms` lists is what is accepted")
def test_the_listed_algorithms_are_those_that_work(server: Server, account: Account) -> None:
    listed = refused(send(account, reading(account, alg="RS1")), "badSignatureAlgorithm").get("algorithms")
    assert isinstance(listed, list)
    known = ("ES256", "ES384", "ES512", "EdDSA", "RS256")
    works = [alg for alg in known if server.register(Key.new(alg)).status_code == 201]
    assert [alg for alg in known if alg in listed] == works


@rule("RFC 8555 6.7", "an RSA key below 2048 bits is `badPublicKey`", "practice")
@pytest.mark.parametrize("bits", [1024, 1536])
def test_a_weak_rsa_key_is_a_bad_public_key(server: Server, bits: int) -> None:
    refused(server.register(Key(rsa_key(bits), "RS256")), "badPublicKey", status=400)


@rule(
    "RFC 8555 6.2",
    "an `alg` that is not the key's is refused with `badPublicKey`, or as a signature that fails",
    "practice",
)
@pytest.mark.parametrize("alg", ["ES384", "ES512", "RS256"])
def test_an_algorithm_that_is_not_the_keys_is_refused(server: Server, alg: str) -> None:
    key = Key.new("ES256")
    url = server.directory["newAccount"]
    body = server.body(url, {"termsOfServiceAgreed": True}, key, alg=alg)
    refused(server.send(url, body), "badPublicKey", "badSignatureAlgorithm", "malformed", status=400)


@rule("RFC 7518 3.4", "a signature in DER instead of r and s is refused")
def test_an_ecdsa_signature_in_der_is_refused(account: Account) -> None:
    body = reading(account)
    assert isinstance(account.key.private, ec.EllipticCurvePrivateKey)
    signed = f"{body['protected']}.{body['payload']}".encode()
    body["signature"] = b64(account.key.private.sign(signed, ec.ECDSA(hashes.SHA256())))
    refused(send(account, body), "malformed", "unauthorized")


@rule("RFC 7518 3.4", "an ECDSA signature of zeros is refused")
def test_a_signature_of_zeros_is_refused(account: Account) -> None:
    refused(send(account, reading(account) | {"signature": b64(bytes(64))}), "malformed", "unauthorized")


@rule("RFC 7518 3.3", "an RS256 key's PSS signature is refused")
def test_a_pss_signature_is_not_rs256(server: Server) -> None:
    key, url = Key(rsa_key(2048), "RS256"), server.directory["newAccount"]
    body = server.body(url, {"termsOfServiceAgreed": True}, key)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    body["signature"] = b64(rsa_key(2048).sign(f"{body['protected']}.{body['payload']}".encode(), pss, hashes.SHA256()))
    refused(server.send(url, body), "malformed", "unauthorized")


def bad_keys() -> dict[str, Any]:
    good = Key.new().jwk
    return {
        "empty": {},
        "symmetric": {"kty": "oct", "k": "AAAA"},
        "off the curve": good | {"y": good["x"]},
        "point at infinity": good | {"x": b64(bytes(32)), "y": b64(bytes(32))},
        "numbers": {"kty": "EC", "crv": "P-256", "x": 7, "y": 7},
        "unknown curve": good | {"crv": "secp256k1"},
        "exponent 1": {"kty": "RSA", "n": Key(rsa_key(2048), "RS256").jwk["n"], "e": "AQ"},
        "text": "key",
    }


@rule("RFC 8555 6.7", "a `jwk` that is no good key is `badPublicKey` or `malformed`")
@pytest.mark.parametrize("what", list(bad_keys()))
def test_a_jwk_that_is_no_good_key_is_refused(server: Server, what: str) -> None:
    url, key = server.directory["newAccount"], Key.new()
    body = server.body(url, {"termsOfServiceAgreed": True}, key, jwk=bad_keys()[what])
    refused(server.send(url, body), "badPublicKey", "malformed", "badSignatureAlgorithm", status=400)


@rule("RFC 7517 9.2", "a `jwk` with the private key in it is refused", "practice")
def test_a_private_key_in_the_jwk_is_refused(server: Server) -> None:
    key, url = Key.new(), server.directory["newAccount"]
    assert isinstance(key.private, ec.EllipticCurvePrivateKey)
    secret = b64(key.private.private_numbers().private_value.to_bytes(32))
    body = server.body(url, {"termsOfServiceAgreed": True}, key, jwk=key.jwk | {"d": secret})
    refused(server.send(url, body), "badPublicKey", "malformed")


@rule("RFC 7638 3.2", "two spellings of one key are one account")
def test_two_spellings_of_one_key_are_one_account(server: Server) -> None:
    key, url = Key.new(), server.directory["newAccount"]
    first = server.register(key)
    padded = {"use": "sig", "kid": "x"} | dict(reversed(key.jwk.items()))
    again = server.send(url, server.body(url, {"onlyReturnExisting": True}, key, jwk=padded))
    succeeded(again)
    assert again.headers["Location"] == first.headers["Location"]


# --- jwk or kid


@rule("RFC 8555 6.2", "`jwk` and `kid` at once are `malformed`")
def test_both_jwk_and_kid_are_malformed(account: Account) -> None:
    refused(send(account, reading(account, jwk=account.key.jwk)), "malformed")


@rule("RFC 8555 6.2", "`jwk` and `kid` at once are `malformed` for newAccount")
def test_both_jwk_and_kid_are_malformed_for_new_account(account: Account) -> None:
    url = account.server.directory["newAccount"]
    body = account.server.body(url, {}, account.key, account.url, jwk=account.key.jwk)
    refused(account.server.send(url, body), "malformed")


@rule("RFC 8555 6.2", "neither `jwk` nor `kid` is `malformed`")
def test_neither_jwk_nor_kid_is_malformed(account: Account) -> None:
    refused(send(account, account.server.body(account.url, None, account.key, account.url, ("kid",))), "malformed")


@rule("RFC 8555 6.2", "newAccount with `kid` is `malformed`")
def test_new_account_with_a_kid_is_malformed(account: Account) -> None:
    refused(account.post(account.server.directory["newAccount"], {"termsOfServiceAgreed": True}), "malformed")


@rule("RFC 8555 6.2", "`jwk` where an account is needed is `malformed`")
@pytest.mark.parametrize(
    "what", ["newOrder", "keyChange", "account", "order", "authorization", "challenge", "finalize"]
)
def test_a_jwk_where_an_account_is_needed_is_malformed(
    account: Account, pending: Resource, authorization: Resource, what: str
) -> None:
    payloads: dict[str, tuple[str, object]] = {
        "newOrder": (account.server.directory["newOrder"], {"identifiers": []}),
        "keyChange": (account.server.directory["keyChange"], {}),
        "account": (account.url, None),
        "order": (pending.url, None),
        "authorization": (authorization.url, None),
        "challenge": (authorization.body["challenges"][0]["url"], None),
        "finalize": (pending.body["finalize"], {"csr": ""}),
    }
    url, payload = payloads[what]
    refused(account.server.post(url, payload, account.key), "malformed")


@rule("RFC 8555 6.2", "the whole `kid` is compared, not its last segment")
@pytest.mark.parametrize("change", ["host", "path", "scheme", "bare", "query"])
def test_the_whole_kid_is_compared(account: Account, change: str) -> None:
    start, _, name = account.url.rpartition("/")
    kid = {
        "host": f"https://conformance.invalid/{start.split('/', 3)[-1]}/{name}",
        "path": f"{start}/other/{name}",
        "scheme": account.url.replace("https:", "http:", 1),
        "bare": name,
        "query": account.url + "?x=1",
    }[change]
    refused(send(account, reading(account, kid=kid)), "malformed", "accountDoesNotExist", "unauthorized")


@rule("RFC 8555 6.2", "a `kid` that is no URL is `malformed`", "practice")
@pytest.mark.parametrize("kid", ["nonsense", "", 7, {}, None], ids=str)
def test_a_kid_that_is_no_url_is_malformed(account: Account, kid: object) -> None:
    refused(send(account, reading(account, kid=kid)), "malformed")


@rule("RFC 8555 6.7", "a well-formed `kid` that is nobody's is 400 `accountDoesNotExist`", "practice")
def test_an_unknown_kid_is_account_does_not_exist(account: Account) -> None:
    start, _, name = account.url.rpartition("/")
    unknown = f"{start}/{'9' * len(name) if name.isdigit() else secrets.token_urlsafe(len(name))[: len(name)]}"
    refused(send(account, reading(account, kid=unknown)), "accountDoesNotExist", status=400)


@rule("RFC 8555 6.2", "a signature by another key than the account's is refused")
def test_a_signature_by_another_key_is_refused(account: Account) -> None:
    body = account.server.body(account.url, None, Key.new(), account.url)
    refused(send(account, body), "malformed", "unauthorized")


@rule("RFC 8555 6.2", "a `kid` of one account with another's signature is refused")
def test_another_accounts_signature_is_refused(account: Account, stranger: Account) -> None:
    body = account.server.body(account.url, {"contact": []}, stranger.key, account.url)
    refused(send(account, body), "malformed", "unauthorized")


@rule("RFC 8555 6.2", "a payload that was changed after signing is refused")
def test_a_changed_payload_is_refused(account: Account) -> None:
    refused(send(account, reading(account) | {"payload": b64(b"{}")}), "malformed", "unauthorized")


@rule("RFC 8555 6.2", "a header that was changed after signing is refused")
def test_a_changed_header_is_refused(account: Account) -> None:
    body, other = reading(account), reading(account)
    refused(send(account, body | {"protected": other["protected"]}), "malformed", "unauthorized")


# --- url


@rule("RFC 8555 6.4", "a `url` that is another resource's is `unauthorized`")
def test_another_resources_url_is_unauthorized(account: Account, pending: Resource) -> None:
    refused(send(account, reading(account, url=pending.url)), "unauthorized")


@rule("RFC 8555 6.4", "a request made for one resource does not pass at another")
def test_a_request_for_one_resource_does_not_pass_at_another(account: Account) -> None:
    refused(account.server.send(account.server.directory["newOrder"], reading(account)), "unauthorized")


@rule("RFC 8555 6.4", "a `url` that is spelt otherwise than the request's is `unauthorized`")
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
def test_a_url_that_is_spelt_otherwise_is_unauthorized(account: Account, change: Callable[[str], str]) -> None:
    refused(send(account, reading(account, url=change(account.url))), "unauthorized")


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


@rule("RFC 8555 6.5", "a request that is sent again is 400 `badNonce`")
def test_a_replayed_request_is_a_bad_nonce(account: Account) -> None:
    body = reading(account)
    succeeded(send(account, body))
    refused(send(account, body), "badNonce", status=400)


@rule("RFC 8555 6.5", "a nonce that was used in another request is `badNonce`")
def test_a_used_nonce_is_a_bad_nonce(account: Account, stranger: Account) -> None:
    nonce = account.server.fresh_nonce()
    succeeded(send(account, reading(account, nonce=nonce)))
    refused(send(stranger, reading(stranger, nonce=nonce)), "badNonce", status=400)


@rule("RFC 8555 6.5", "a nonce that the server never gave out is 400 `badNonce`")
@pytest.mark.parametrize("nonce", ["AAAA", "A" * 22, "A" * 43, "A" * 500], ids=len)
def test_an_unknown_nonce_is_a_bad_nonce(account: Account, nonce: str) -> None:
    refused(send(account, reading(account, nonce=nonce)), "badNonce", status=400)


@rule("RFC 8555 6.5.2", "a nonce that is not base64url is refused")
@pytest.mark.parametrize("nonce", ["no nonce!", "AAA=", "a b", "é", ""], ids=ascii)
def test_a_nonce_that_is_not_base64url_is_refused(account: Account, nonce: str) -> None:
    refused(send(account, reading(account, nonce=nonce)), "malformed", "badNonce", status=400)


@rule("RFC 8555 6.5", "a missing nonce, or one that is no string, is refused")
@pytest.mark.parametrize("nonce", ["missing", None, 7, []], ids=str)
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
    refused(response, "badNonce")
    succeeded(send(account, reading(account, nonce=response.headers["Replay-Nonce"])))


@rule("RFC 8555 6.5", "a nonce of an answer works for another account and another resource")
def test_a_nonce_is_nobodys(account: Account, stranger: Account) -> None:
    nonce = account.post(account.url).headers["Replay-Nonce"]
    succeeded(send(stranger, reading(stranger, nonce=nonce)))


@rule("RFC 8555 6.5", "of one request sent many times at once, one passes")
def test_a_nonce_is_spent_atomically(account: Account) -> None:
    data = json.dumps(reading(account, nonce=account.server.fresh_nonce())).encode()

    def once(_: int) -> requests.Response:
        headers = {"Content-Type": "application/jose+json"}
        return account.server.session.post(account.url, data=data, headers=headers, timeout=TIMEOUT)

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(once, range(16)))
    assert [response.status_code for response in responses].count(200) == 1
    assert {error_type(response) for response in responses} == {None, "badNonce"}


@rule("RFC 8555 6.5", "a request whose signature fails does not spend the nonce", "practice")
def test_a_bad_signature_does_not_spend_the_nonce(account: Account) -> None:
    nonce = account.server.fresh_nonce()
    body = account.server.body(account.url, None, Key.new(), account.url, nonce=nonce)
    refused(send(account, body), "malformed", "unauthorized")
    succeeded(send(account, reading(account, nonce=nonce)))


@rule("RFC 8555 6.5", "a bad signature is reported before a bad nonce, so that nobody learns of nonces", "practice")
def test_the_signature_is_checked_before_the_nonce(account: Account) -> None:
    body = account.server.body(account.url, None, Key.new(), account.url, nonce="AAAA")
    refused(send(account, body), "malformed", "unauthorized")


# --- whose it is


def foreign(
    account: Account, pending: Resource, authorization: Resource, issued: Issued
) -> dict[str, tuple[str, object]]:
    """The resources of an account and what somebody else would send to them."""
    return {
        "account": (account.url, None),
        "orders": (account.read(account.url).body.get("orders", account.url), None),
        "order": (pending.url, None),
        "finalize": (pending.body["finalize"], {"csr": b64(csr(private_key("ES256"), "x.conformance.test"))}),
        "authorization": (authorization.url, None),
        "challenge": (authorization.body["challenges"][0]["url"], None),
        "certificate": (issued.order.body["certificate"], None),
    }


@rule("RFC 8555 6.3", "another account's object is `unauthorized`, every kind of it")
@pytest.mark.parametrize(
    "what", ["account", "orders", "order", "finalize", "authorization", "challenge", "certificate"]
)
def test_another_accounts_object_is_unauthorized(
    account: Account, stranger: Account, pending: Resource, authorization: Resource, issued: Issued, what: str
) -> None:
    url, payload = foreign(account, pending, authorization, issued)[what]
    refused(stranger.post(url, payload), "unauthorized")


@rule("RFC 8555 6.3", "another account's object is never shown, whatever the error")
@pytest.mark.parametrize("what", ["account", "orders", "order", "authorization", "challenge", "certificate"])
def test_another_accounts_object_is_not_shown(
    account: Account, stranger: Account, pending: Resource, authorization: Resource, issued: Issued, what: str
) -> None:
    url, _ = foreign(account, pending, authorization, issued)[what]
    own = account.post(url)
    assert own.status_code == 200, said(own)
    response = stranger.post(url)
    refused(response)
    for secret in (authorization.body["challenges"][0].get("token"), pending.body["identifiers"][0]["value"]):
        assert secret is None or secret not in response.text


@rule("RFC 8555 7.5.1", "another account's challenge is not answered")
def test_another_accounts_challenge_cannot_be_answered(account: Account, stranger: Account) -> None:
    authorization = account.authorizations(account.order())[0]
    url = authorization.body["challenges"][0]["url"]
    refused(stranger.post(url, {}), "unauthorized")
    assert account.read(authorization.url).body["status"] == "pending"


@rule("RFC 8555 7.5.2", "another account's authorization is not deactivated")
def test_another_accounts_authorization_cannot_be_deactivated(
    account: Account, stranger: Account, authorization: Resource
) -> None:
    refused(stranger.post(authorization.url, {"status": "deactivated"}), "unauthorized")
    assert account.read(authorization.url).body["status"] == "pending"


@rule("RFC 8555 7.3.6", "another account is not deactivated or changed")
@pytest.mark.parametrize("payload", [{"status": "deactivated"}, {"contact": []}], ids=str)
def test_another_account_cannot_be_changed(server: Server, payload: object) -> None:
    victim, attacker = server.account(), server.account()
    refused(attacker.post(victim.url, payload), "unauthorized")
    assert victim.read(victim.url).body["status"] == "valid"


@rule("RFC 8555 7.4", "another account's ready order is not finalized")
def test_another_accounts_ready_order_cannot_be_finalized(account: Account, stranger: Account) -> None:
    order = account.ready()
    refused(stranger.finalize(order, csr(private_key("ES256"), identifiers=order.body["identifiers"])), "unauthorized")
    assert account.read(order.url).body["status"] == "ready"


# --- accounts that are no more


@pytest.fixture(scope="module")
def gone(server: Server) -> dict[str, Any]:
    """An account that was deactivated, and what it had."""
    account = server.account()
    issued, revoked = account.obtain(), account.obtain()
    order = account.order()
    authorization = account.authorizations(order)[0]
    orders = account.read(account.url).body.get("orders", account.url)
    done = succeeded(account.post(account.url, {"status": "deactivated"}))
    assert done["status"] == "deactivated"
    directory = server.directory
    return {
        "self": account,
        "issued": issued,
        "newOrder": (directory["newOrder"], {"identifiers": [{"type": "dns", "value": server.name()}]}),
        "keyChange": (directory["keyChange"], {}),
        "account": (account.url, None),
        "orders": (orders, None),
        "order": (order.url, None),
        "authorization": (authorization.url, None),
        "challenge": (authorization.body["challenges"][0]["url"], {}),
        "finalize": (
            order.body["finalize"],
            {"csr": b64(csr(private_key("ES256"), identifiers=order.body["identifiers"]))},
        ),
        "certificate": (issued.order.body["certificate"], None),
        "revokeCert": (directory["revokeCert"], {"certificate": b64(revoked.der)}),
    }


@rule("RFC 8555 7.3.6", "a deactivated account gets nothing, whatever the error")
@pytest.mark.parametrize("what", ["newOrder", "account", "order", "challenge", "finalize", "certificate", "revokeCert"])
def test_a_deactivated_account_gets_nothing(gone: dict[str, Any], what: str) -> None:
    url, payload = gone[what]
    refused(gone["self"].post(url, payload))


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
def test_a_deactivated_account_is_401_for_everything(gone: dict[str, Any], what: str) -> None:
    url, payload = gone[what]
    refused(gone["self"].post(url, payload), "unauthorized", status=401)


@rule("RFC 8555 7.3.6", "a deactivated account is not activated again")
def test_a_deactivated_account_stays_deactivated(gone: dict[str, Any]) -> None:
    refused(gone["self"].post(gone["self"].url, {"status": "valid"}), "unauthorized")


@rule("RFC 8555 7.3.6", "newAccount with a deactivated account's key is `unauthorized`")
@pytest.mark.parametrize("only", [False, True], ids=["new", "onlyReturnExisting"])
def test_the_key_of_a_deactivated_account_makes_no_account(gone: dict[str, Any], only: bool) -> None:
    account: Account = gone["self"]
    refused(account.server.register(account.key, onlyReturnExisting=True if only else None), "unauthorized")


@rule("RFC 8555 7.6", "a certificate of a deactivated account is still revoked by its own key")
def test_a_deactivated_accounts_certificate_is_revoked_by_its_key(gone: dict[str, Any]) -> None:
    issued: Issued = gone["issued"]
    server = issued.account.server
    response = server.post(server.directory["revokeCert"], {"certificate": b64(issued.der)}, Key(issued.key, "ES256"))
    assert response.status_code == 200, said(response)
