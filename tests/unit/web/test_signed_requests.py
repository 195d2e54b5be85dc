"""What a request must be before anybody looks at what it asks for (RFC 8555 section 6)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from running import CA
from wire import Account, Key, Wire, b64, problem


def body(account: Account, **header: object) -> dict[str, Any]:
    return account.wire.body(account.url, None, account.key, account.url, header)


def send(account: Account, sent: object) -> requests.Response:
    return account.wire.send(account.url, sent)


def test_a_good_request_is_answered_with_a_fresh_nonce_and_the_index(account: Account) -> None:
    response = send(account, body(account))
    assert response.status_code == 200
    assert response.headers["Replay-Nonce"]
    assert f'<{account.wire.directory_url}>;rel="index"' in response.headers["Link"]


def test_another_content_type_is_415(account: Account) -> None:
    response = account.wire.send(account.url, body(account), "application/json")
    assert response.status_code == 415
    assert problem(response) == "malformed"


def test_the_directory_and_new_nonce_take_post_as_get_too(account: Account) -> None:
    wire = account.wire
    found = account.post(wire.directory_url)
    assert (found.status_code, found.json()) == (200, wire.directory)
    assert "index" not in found.links
    nonce = account.post(wire.directory["newNonce"])
    assert (nonce.status_code, bool(nonce.headers["Replay-Nonce"])) == (204, True)
    assert problem(account.post(wire.directory_url, {})) == "malformed"


@pytest.mark.parametrize("path", ["newAccount", "newOrder", "revokeCert"])
def test_get_on_a_resource_that_takes_post_is_405(shared_ca: CA, path: str) -> None:
    wire = shared_ca.wire()
    response = wire.session.get(wire.directory[path], timeout=10)
    assert response.status_code == 405
    assert problem(response) == "malformed"
    assert "POST" in response.headers["Allow"]


@pytest.mark.parametrize(
    "change",
    [
        {"signatures": []},
        {"header": {"kid": "x"}},
        {"payload": None},
        {"signature": 7},
        {"protected": "e30="},
        {"protected": "e30\n"},
        {"payload": "e 30"},
    ],
    ids=str,
)
def test_another_form_of_jws_is_malformed(account: Account, change: dict[str, object]) -> None:
    assert problem(send(account, body(account) | change)) == "malformed"


def test_a_detached_payload_is_malformed(account: Account) -> None:
    sent = body(account)
    del sent["payload"]
    assert problem(send(account, sent)) == "malformed"


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"a":1}{"b":2}', b"\xef\xbb\xbf{}", b"\xff", b"[" * 5000])
def test_a_body_that_is_no_json_object_is_malformed(account: Account, text: bytes) -> None:
    assert problem(send(account, text)) == "malformed"


def test_duplicate_members_are_malformed(account: Account) -> None:
    sent = body(account)
    text = json.dumps(sent)[:-1] + f', "payload": "{sent["payload"]}"}}'
    assert problem(send(account, text.encode())) == "malformed"


def test_duplicate_members_of_the_protected_header_are_malformed(account: Account) -> None:
    header = f'{{"alg":"ES256","alg":"ES256","kid":"{account.url}","url":"{account.url}","nonce":"x"}}'
    first = b64(header.encode())
    signature = b64(account.key.sign(f"{first}.".encode()))
    response = send(account, {"protected": first, "payload": "", "signature": signature})
    assert problem(response) == "malformed"
    assert "twice" in response.json()["detail"]


def test_stray_bits_in_base64url_are_malformed(account: Account) -> None:
    sent = body(account)
    signature = str(sent["signature"])
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    stray = signature[:-1] + alphabet[alphabet.index(signature[-1]) + 1]
    assert base64.urlsafe_b64decode(stray + "==") == base64.urlsafe_b64decode(signature + "==")
    assert problem(send(account, sent | {"signature": stray})) == "malformed"


@pytest.mark.parametrize("extra", [{"b64": False}, {"crit": ["exp"]}, {"b64": True, "crit": ["b64"]}], ids=str)
def test_header_parameters_that_change_the_meaning_are_malformed(account: Account, extra: dict[str, object]) -> None:
    assert problem(send(account, body(account, **extra))) == "malformed"


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS1", "PS256", "ES256K", "", 7, None], ids=str)
def test_another_algorithm_is_refused_with_those_that_are_accepted(account: Account, algorithm: object) -> None:
    response = send(account, body(account, alg=algorithm))
    assert response.status_code == 400
    assert problem(response) == "badSignatureAlgorithm"
    assert response.json()["algorithms"] == ["ES256", "ES384", "ES512", "EdDSA", "RS256"]


@pytest.mark.parametrize("algorithm", ["ES384", "RS256", "EdDSA"])
def test_an_algorithm_that_is_not_the_keys_is_a_bad_public_key(account: Account, algorithm: str) -> None:
    assert problem(send(account, body(account, alg=algorithm))) == "badPublicKey"


def test_both_kid_and_jwk_is_malformed(account: Account) -> None:
    assert problem(send(account, body(account, jwk=account.key.jwk))) == "malformed"


def test_neither_kid_nor_jwk_is_malformed(account: Account) -> None:
    sent = account.wire.body(account.url, None, account.key, account.url, drop=("kid",))
    assert problem(send(account, sent)) == "malformed"


def test_a_jwk_where_an_account_is_needed_is_malformed(account: Account) -> None:
    response = account.wire.post(account.wire.directory["newOrder"], {"identifiers": []}, account.key)
    assert problem(response) == "malformed"


def test_a_kid_where_the_key_is_needed_is_malformed(account: Account) -> None:
    assert problem(account.post(account.wire.directory["newAccount"], {})) == "malformed"


@pytest.mark.parametrize("kid", ["nonsense", "https://other.local/acme/account/x", 7], ids=str)
def test_a_kid_that_is_no_account_url_of_ours_is_malformed(account: Account, kid: object) -> None:
    assert problem(send(account, body(account, kid=kid))) == "malformed"


def test_the_whole_kid_is_compared_not_its_last_segment(account: Account) -> None:
    name = account.url.rsplit("/", 1)[1]
    elsewhere = account.url.replace(f"/account/{name}", f"/account/other/{name}")
    assert problem(send(account, body(account, kid=elsewhere))) == "malformed"


def test_a_well_formed_kid_that_is_unknown_is_account_does_not_exist(account: Account) -> None:
    response = send(account, body(account, kid=account.url[:-4] + "AAAA"))
    assert response.status_code == 400
    assert problem(response) == "accountDoesNotExist"


@pytest.mark.parametrize("change", [lambda url: url + "/", lambda url: url.upper(), lambda _: None, lambda _: 7])
def test_the_url_must_be_the_resources_own(account: Account, change: Any) -> None:
    response = send(account, body(account, url=change(account.url)))
    assert response.status_code == 403
    assert problem(response) == "unauthorized"


def test_a_request_for_one_resource_does_not_pass_at_another(account: Account) -> None:
    sent = account.wire.body(account.url, None, account.key, account.url)
    response = account.wire.send(account.wire.directory["newOrder"], sent)
    assert problem(response) == "unauthorized"


def test_a_signature_by_another_key_is_malformed(account: Account) -> None:
    sent = account.wire.body(account.url, None, Key(), account.url)
    response = send(account, sent)
    assert problem(response) == "malformed"
    assert "signature" in response.json()["detail"]


def test_a_bad_signature_does_not_spend_the_nonce(account: Account) -> None:
    nonce = account.wire.nonce()
    wrong = account.wire.body(account.url, None, Key(), account.url, {"nonce": nonce})
    assert problem(send(account, wrong)) == "malformed"
    assert send(account, body(account, nonce=nonce)).status_code == 200


def test_a_replayed_request_is_a_bad_nonce_with_a_fresh_one(account: Account) -> None:
    sent = body(account)
    assert send(account, sent).status_code == 200
    response = send(account, sent)
    assert response.status_code == 400
    assert problem(response) == "badNonce"
    fresh = response.headers["Replay-Nonce"]
    assert send(account, body(account, nonce=fresh)).status_code == 200


@pytest.mark.parametrize("nonce", ["", "AAAA", "nonsense!", "A" * 50, 7, None], ids=str)
def test_a_nonce_that_is_none_of_ours_is_a_bad_nonce(account: Account, nonce: object) -> None:
    assert problem(send(account, body(account, nonce=nonce))) == "badNonce"


def test_a_missing_nonce_is_a_bad_nonce(account: Account) -> None:
    sent = account.wire.body(account.url, None, account.key, account.url, drop=("nonce",))
    assert problem(send(account, sent)) == "badNonce"


def test_another_spelling_of_a_spent_nonce_is_a_bad_nonce(account: Account) -> None:
    nonce = account.wire.nonce()
    assert send(account, body(account, nonce=nonce)).status_code == 200
    for last in "ABCDEFGHIJKLMNOP":
        assert problem(send(account, body(account, nonce=nonce[:-1] + last))) == "badNonce"


def test_new_nonce_answers_head_and_get(shared_ca: CA) -> None:
    wire = shared_ca.wire()
    url = wire.directory["newNonce"]
    head, got = wire.session.head(url, timeout=10), wire.session.get(url, timeout=10)
    assert (head.status_code, got.status_code) == (200, 204)
    for response in (head, got):
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Replay-Nonce"]
        assert 'rel="index"' in response.headers["Link"]


@pytest.mark.parametrize("size", [128 * 1024 + 1, 700_000])
def test_a_request_that_is_too_large_is_refused(account: Account, size: int) -> None:
    response = send(account, b"x" * size)
    assert response.status_code == 413
    assert problem(response) == "malformed"
    assert response.headers["Replay-Nonce"]


def test_an_unknown_path_is_a_problem_document_too(shared_ca: CA) -> None:
    response = shared_ca.wire().session.get(shared_ca.url + "/acme/nothing", timeout=10)
    assert response.status_code == 404
    assert problem(response) == "malformed"


def new_account(wire: Wire, algorithm: str, jwk: dict[str, str], sign: Any) -> requests.Response:
    url = wire.directory["newAccount"]
    header = {"alg": algorithm, "nonce": wire.nonce(), "url": url, "jwk": jwk}
    first, second = b64(json.dumps(header).encode()), b64(b"{}")
    signature = b64(sign(f"{first}.{second}".encode()))
    return wire.send(url, {"protected": first, "payload": second, "signature": signature})


@pytest.mark.parametrize(
    ("algorithm", "curve", "name", "digest"),
    [("ES384", ec.SECP384R1(), "P-384", hashes.SHA384()), ("ES512", ec.SECP521R1(), "P-521", hashes.SHA512())],
)
def test_larger_curves_sign_accounts_too(
    shared_ca: CA, algorithm: str, curve: ec.EllipticCurve, name: str, digest: hashes.HashAlgorithm
) -> None:
    key, size = ec.generate_private_key(curve), (curve.key_size + 7) // 8

    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    point = key.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": name, "x": b64(point.x.to_bytes(size, "big")), "y": b64(point.y.to_bytes(size, "big"))}
    assert new_account(shared_ca.wire(), algorithm, jwk, sign).status_code == 201


def test_ed25519_signs_accounts_too(shared_ca: CA) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
    assert new_account(shared_ca.wire(), "EdDSA", jwk, key.sign).status_code == 201


@pytest.mark.parametrize(("bits", "status"), [(2048, 201), (1024, 400)])
def test_rsa_keys_of_2048_bits_sign_accounts_and_shorter_ones_are_bad(shared_ca: CA, bits: int, status: int) -> None:
    key = rsa.generate_private_key(65537, bits)
    numbers = key.public_key().public_numbers()
    jwk = {"kty": "RSA", "n": b64(numbers.n.to_bytes(bits // 8, "big")), "e": "AQAB"}
    response = new_account(
        shared_ca.wire(), "RS256", jwk, lambda data: key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    )
    assert response.status_code == status
    if status == 400:
        assert problem(response) == "badPublicKey"


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": 7, "y": []},
        {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"},
        {"kty": "RSA", "n": "AA", "e": "AA"},
        {"kty": ["EC"]},
    ],
    ids=str,
)
def test_a_jwk_that_is_no_good_key_is_a_bad_public_key(shared_ca: CA, jwk: dict[str, Any]) -> None:
    assert problem(new_account(shared_ca.wire(), "ES256", jwk, Key().sign)) == "badPublicKey"


def test_further_members_of_a_jwk_are_not_kept(shared_ca: CA) -> None:
    key = Key()
    padded = new_account(shared_ca.wire(), "ES256", key.jwk | {"kid": "x" * 1000, "use": "sig"}, key.sign)
    plain = new_account(shared_ca.wire(), "ES256", key.jwk, key.sign)
    assert (padded.status_code, plain.status_code) == (201, 200)
    assert padded.headers["Location"] == plain.headers["Location"]


def test_a_private_jwk_is_refused(shared_ca: CA) -> None:
    key = Key()
    response = new_account(shared_ca.wire(), "ES256", key.jwk | {"d": "AAAA"}, key.sign)
    assert problem(response) == "badPublicKey"
