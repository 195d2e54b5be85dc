"""Algorithms, keys, and how a request names its key (RFC 8555 section 6.2, RFC 7517, RFC 7518)."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
import requests
from conformance.answers import Body, NotOfferedError, error_type, header
from conformance.checks import is_refused, left_to, refused, rule, succeeded
from conformance.client import Account, Resource, Server
from conformance.jose import Key, b64, rsa_key
from conformance.signing import reading, send
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

AREA = "The signed request"

UNKNOWN_ALGORITHMS = ("RS1", "ES256K", "ECDH-ES", "XX256", "")


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
    account = Account(server, key, header(created, "Location"))
    assert account.read(account.url).body["status"] == "valid"


@rule("RFC 8555 6.2", '`alg` "none" is refused')
def test_alg_none_is_refused(account: Account) -> None:
    refused(send(account, reading(account, alg="none") | {"signature": ""}))


@rule("RFC 8555 6.2", "an HMAC as `alg` is refused")
@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_an_hmac_is_refused(account: Account, alg: str) -> None:
    refused(send(account, reading(account, alg=alg)))


@rule("RFC 8555 6.2", "an algorithm that the server does not know is refused")
@pytest.mark.parametrize("alg", UNKNOWN_ALGORITHMS)
def test_an_unknown_algorithm_is_refused(account: Account, alg: str) -> None:
    refused(send(account, reading(account, alg=alg)))


@rule("RFC 8555 6.2", "the refusal of an algorithm is 400 `badSignatureAlgorithm`")
@pytest.mark.parametrize("alg", ["none", "HS256", *UNKNOWN_ALGORITHMS])
def test_the_refusal_of_an_algorithm_has_its_type(account: Account, alg: str) -> None:
    response = send(account, reading(account, alg=alg))
    if not is_refused(response):
        others = {"none": "test_alg_none_is_refused", "HS256": "test_an_hmac_is_refused"}
        left_to(others.get(alg, "test_an_unknown_algorithm_is_refused"), "the algorithm is taken")
    refused(response, "badSignatureAlgorithm", status=400)


def refusal_of_an_algorithm(account: Account) -> Body:
    """The problem document of such a refusal, if it is one."""
    response = send(account, reading(account, alg="RS1"))
    if error_type(response) != "badSignatureAlgorithm":
        left_to("test_the_refusal_of_an_algorithm_has_its_type", "the refusal of an algorithm has another type")
    return refused(response)


@rule("RFC 8555 6.2", "a header without `alg`, or with one that is no string, is refused")
@pytest.mark.parametrize("alg", ["missing", None, 7, ["ES256"]], ids=str)
def test_an_alg_that_is_none_is_refused(account: Account, alg: object) -> None:
    server, url = account.server, account.url
    missing = alg == "missing"
    body = server.body(url, None, account.key, url, ("alg",)) if missing else reading(account, alg=alg)
    refused(send(account, body), "badSignatureAlgorithm", "malformed", status=400)


@rule("RFC 8555 6.2", "`badSignatureAlgorithm` lists the `algorithms` that are accepted, ES256 among them")
def test_the_accepted_algorithms_are_listed(account: Account) -> None:
    problem = refusal_of_an_algorithm(account)
    algorithms = problem.get("algorithms")
    assert isinstance(algorithms, list), f"expected a list of `algorithms`, got {problem}"
    assert "ES256" in algorithms


@rule("RFC 8555 6.2", "what `algorithms` lists is what is accepted")
def test_the_listed_algorithms_are_those_that_work(server: Server, account: Account) -> None:
    listed = refusal_of_an_algorithm(account).get("algorithms")
    if not isinstance(listed, list):
        left_to("test_the_accepted_algorithms_are_listed", "there is no list of them")
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
    assert header(again, "Location") == header(first, "Location")


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
    if what in ("newOrder", "keyChange"):
        url = account.server.directory[what]
    else:
        url = {
            "account": account.url,
            "order": pending.url,
            "authorization": authorization.url,
            "challenge": authorization.challenge["url"],
            "finalize": pending.body["finalize"],
        }[what]
    payload = {"newOrder": {"identifiers": []}, "keyChange": {}, "finalize": {"csr": ""}}.get(what)
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
    response = send(account, reading(account, kid=kid))
    if response.status_code >= 500 and by_nobody(account).status_code >= 500:
        left_to("test_an_unknown_kid_is_account_does_not_exist", "the server fails at what is nobody's")
    refused(response, "malformed", "accountDoesNotExist", "unauthorized")


def by_nobody(account: Account) -> requests.Response:
    """The answer to a request whose `kid` is well formed and nobody's."""
    start, _, name = account.url.rpartition("/")
    unknown = f"{start}/{'9' * len(name) if name.isdigit() else secrets.token_urlsafe(len(name))[: len(name)]}"
    return send(account, reading(account, kid=unknown))


@rule("RFC 8555 6.2", "a `kid` that is no URL is `malformed`, or a string that is nobody's", "practice")
@pytest.mark.parametrize("kid", ["nonsense", "", 7, {}, None], ids=str)
def test_a_kid_that_is_no_url_is_malformed(account: Account, kid: object) -> None:
    nobodys = ("accountDoesNotExist",) if isinstance(kid, str) else ()
    refused(send(account, reading(account, kid=kid)), "malformed", *nobodys)


@rule("RFC 8555 6.7", "a well-formed `kid` that is nobody's is 400 `accountDoesNotExist`", "practice")
def test_an_unknown_kid_is_account_does_not_exist(account: Account) -> None:
    refused(by_nobody(account), "accountDoesNotExist", status=400)


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
