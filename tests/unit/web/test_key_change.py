"""keyChange (RFC 8555 section 7.3.5): one JWS by the new key inside one by the old, and what follows for iid-01."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from running import CA, answer
from wire import Account, Key, b64, csr, problem

from acme_iid.simulator import aws


def url(account: Account) -> str:
    return str(account.wire.directory["keyChange"])


def change(of: Account, **members: object) -> dict[str, object]:
    """The payload of the inner JWS; what is None is left out."""
    whole = {"account": of.url, "oldKey": of.key.jwk, **members}
    return {name: value for name, value in whole.items() if value is not None}


def inner(
    account: Account,
    new: Key,
    header: dict[str, object] | None = None,
    payload: object = None,
    signer: Key | None = None,
) -> dict[str, Any]:
    """The inner JWS; ``header`` replaces members of its protected header, None leaves one out."""
    whole = {"alg": "ES256", "jwk": new.jwk, "url": url(account), **(header or {})}
    protected = {name: value for name, value in whole.items() if value is not None}
    first = b64(json.dumps(protected).encode())
    second = b64(json.dumps(change(account) if payload is None else payload).encode())
    return {
        "protected": first,
        "payload": second,
        "signature": b64((signer or new).sign(f"{first}.{second}".encode())),
    }


def roll(account: Account, new: Key | None = None) -> requests.Response:
    """Change the account's key, and sign with the new one if that went well."""
    new = new or Key()
    response = account.post(url(account), inner(account, new))
    if response.status_code == 200:
        account.key = new
    return response


def refused(account: Account, sent: object, named: str) -> str:
    """The detail of the refusal of a change, which has changed nothing."""
    response = account.post(url(account), sent)
    assert problem(response) == named, response.text
    assert response.status_code == 400
    assert account.post(account.url).status_code == 200
    return str(response.json()["detail"])


def test_after_a_key_change_the_new_key_signs_and_the_old_one_does_not(shared_ca: CA, account: Account) -> None:
    old, new = account.key, Key()
    response = roll(account, new)
    assert response.status_code == 200, response.text
    assert response.headers["Location"] == account.url
    assert response.json() == account.post(account.url).json()
    assert problem(account.wire.post(account.url, None, old, account.url)) == "malformed"
    found = account.wire.post(account.wire.directory["newAccount"], {"onlyReturnExisting": True}, new)
    assert (found.status_code, found.headers["Location"]) == (200, account.url)
    gone = account.wire.post(account.wire.directory["newAccount"], {"onlyReturnExisting": True}, old)
    assert problem(gone) == "accountDoesNotExist"
    listed = shared_ca.cli("events", "--account", account.url.rpartition("/")[2], "--json").stdout
    event = next(entry for entry in json.loads(listed) if entry["kind"] == "account.key_changed")
    assert (event["old_thumbprint"], event["thumbprint"]) == (old.thumbprint, new.thumbprint)
    assert (event["orders_ended"], event["remote"]) == (0, "127.0.0.1")


def test_an_rsa_key_can_follow_and_be_followed(account: Account) -> None:
    private = rsa.generate_private_key(65537, 2048)
    jwk = {"kty": "RSA", "n": b64(private.public_key().public_numbers().n.to_bytes(256, "big")), "e": "AQAB"}

    def sign(header: Mapping[str, object], payload: object) -> dict[str, str]:
        first, second = b64(json.dumps({"alg": "RS256", **header}).encode()), b64(json.dumps(payload).encode())
        signature = private.sign(f"{first}.{second}".encode(), padding.PKCS1v15(), hashes.SHA256())
        return {"protected": first, "payload": second, "signature": b64(signature)}

    to_rsa = sign({"jwk": jwk, "url": url(account)}, change(account))
    assert account.post(url(account), to_rsa).status_code == 200
    back = inner(account, account.key, payload=change(account, oldKey=jwk))
    header = {"kid": account.url, "url": url(account), "nonce": account.wire.nonce()}
    assert account.wire.send(url(account), sign(header, back)).status_code == 200
    assert account.post(account.url).status_code == 200


@pytest.mark.parametrize("extra", [{"nonce": "AAAA"}, {"nonce": ""}, {"nonce": True}], ids=str)
def test_an_inner_jws_with_a_nonce_is_malformed(account: Account, extra: dict[str, object]) -> None:
    assert "nonce" in refused(account, inner(account, Key(), extra), "malformed")


def test_an_inner_jws_with_a_good_nonce_is_malformed_and_spends_no_nonce(account: Account) -> None:
    nonce = account.wire.nonce()
    assert "nonce" in refused(account, inner(account, Key(), {"nonce": nonce}), "malformed")
    assert account.wire.post(account.url, None, account.key, account.url, nonce=nonce).status_code == 200


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"kid": "https://ca.local/acme/account/x"}, "'kid'"),
        ({"jwk": None}, "'jwk'"),
        ({"jwk": "text"}, "'jwk'"),
        ({"url": None}, "'url'"),
        ({"url": "https://ca.local/acme/key-change"}, "'url'"),
        ({"url": 7}, "'url'"),
        ({"b64": False}, "'b64'"),
        ({"crit": ["exp"]}, "'crit'"),
    ],
    ids=str,
)
def test_another_inner_header_is_malformed(account: Account, header: dict[str, object], words: str) -> None:
    assert words in refused(account, inner(account, Key(), header), "malformed")


def test_an_inner_url_of_another_resource_is_malformed(account: Account) -> None:
    sent = inner(account, Key(), {"url": account.wire.directory["newOrder"]})
    assert "'url'" in refused(account, sent, "malformed")


@pytest.mark.parametrize("algorithm", ["none", "HS256", None], ids=str)
def test_another_inner_algorithm_is_refused(account: Account, algorithm: object) -> None:
    refused(account, inner(account, Key(), {"alg": algorithm}), "badSignatureAlgorithm")


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "RSA", "n": b64((1 << 1023 | 1).to_bytes(128, "big")), "e": "AQAB"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        Key().jwk | {"d": "AAAA"},
    ],
    ids=["empty", "secret", "weak", "off the curve", "private"],
)
def test_a_new_key_that_is_no_good_is_a_bad_public_key(account: Account, jwk: dict[str, str]) -> None:
    refused(account, inner(account, Key(), {"jwk": jwk}), "badPublicKey")


def test_an_inner_algorithm_that_is_not_the_new_keys_is_a_bad_public_key(account: Account) -> None:
    refused(account, inner(account, Key(), {"alg": "ES384"}), "badPublicKey")


@pytest.mark.parametrize(
    "edit",
    [
        {"signatures": []},
        {"header": {}},
        {"payload": None},
        {"signature": 7},
        {"protected": "e30="},
        {"payload": "e 30"},
    ],
    ids=str,
)
def test_another_form_of_inner_jws_is_malformed(account: Account, edit: dict[str, object]) -> None:
    refused(account, inner(account, Key()) | edit, "malformed")


@pytest.mark.parametrize("payload", [None, b"[]", b"{", b'{"protected":"e30","protected":"e30"}', b"\xff", b'"a.b.c"'])
def test_a_payload_that_is_no_jws_is_malformed(account: Account, payload: bytes | None) -> None:
    refused(account, payload, "malformed")


@pytest.mark.parametrize("payload", [[], "text", 7, {}], ids=str)
def test_an_inner_payload_that_is_no_key_change_is_malformed(account: Account, payload: object) -> None:
    refused(account, inner(account, Key(), payload=payload), "malformed")


@pytest.mark.parametrize("named", [None, 7, "", "https://ca.local/acme/account/x"], ids=str)
def test_an_account_that_is_not_the_kid_is_malformed(account: Account, named: object) -> None:
    assert "'account'" in refused(account, inner(account, Key(), payload=change(account, account=named)), "malformed")


@pytest.mark.parametrize(
    "old",
    [None, "text", {}, {"kty": "oct", "k": "AAAA"}, {"kty": ["EC"]}, Key().jwk],
    ids=["none", "text", "empty", "secret", "of no kind", "another"],
)
def test_an_old_key_that_is_not_the_accounts_is_malformed(account: Account, old: object) -> None:
    assert "'oldKey'" in refused(account, inner(account, Key(), payload=change(account, oldKey=old)), "malformed")


def test_an_old_key_is_the_accounts_with_other_members_too(account: Account) -> None:
    sent = inner(account, Key(), payload=change(account, oldKey={"use": "sig", **account.key.jwk}))
    assert account.post(url(account), sent).status_code == 200


def test_a_change_that_the_new_key_did_not_sign_is_malformed(account: Account) -> None:
    for signer in (account.key, Key()):
        assert "signature" in refused(account, inner(account, Key(), signer=signer), "malformed")


def test_a_change_that_the_old_key_did_not_sign_is_malformed(account: Account) -> None:
    new = Key()
    response = account.wire.post(url(account), inner(account, new), new, account.url)
    assert problem(response) == "malformed"
    assert account.post(account.url).status_code == 200


def test_the_outer_jws_names_the_account_and_not_a_key(account: Account) -> None:
    response = account.wire.post(url(account), inner(account, Key()), account.key)
    assert problem(response) == "malformed"
    assert "'kid'" in response.json()["detail"]


def test_an_inner_jws_of_another_account_is_no_use(shared_ca: CA, account: Account) -> None:
    """Else whoever sees a change could give another account the key, or take it for an account of theirs."""
    new, other = Key(), shared_ca.account()
    mixed = inner(account, new, payload=change(other, account=account.url))
    assert "'account'" in refused(other, mixed, "malformed")
    refused(other, inner(account, new), "malformed")
    assert roll(account, new).status_code == 200


def test_an_inner_jws_is_no_use_once_the_key_has_changed(account: Account) -> None:
    again = inner(account, Key())
    assert roll(account).status_code == 200
    assert "'oldKey'" in refused(account, again, "malformed")


def test_a_key_that_an_account_has_is_a_conflict_that_says_whose(shared_ca: CA, account: Account) -> None:
    other = shared_ca.account()
    for holder in (other, account):  # one's own key is an account's too
        response = roll(account, holder.key)
        assert response.status_code == 409
        assert problem(response) == "malformed"
        assert response.headers["Location"] == holder.url
    assert other.post(other.url, {"status": "deactivated"}).status_code == 200
    assert roll(account, other.key).headers["Location"] == other.url
    assert account.post(account.url).status_code == 200


def test_a_deactivated_account_keeps_its_key(account: Account) -> None:
    assert account.post(account.url, {"status": "deactivated"}).status_code == 200
    response = roll(account)
    assert response.status_code == 401
    assert problem(response) == "unauthorized"


def test_get_on_key_change_is_405(account: Account) -> None:
    assert account.wire.session.get(url(account), timeout=10).status_code == 405


def test_of_key_changes_that_race_one_wins(shared_ca: CA, account: Account) -> None:
    keys = [Key() for _ in range(4)]
    bodies = [account.wire.body(url(account), inner(account, key), account.key, account.url) for key in keys]
    wires = [shared_ca.wire() for _ in keys]
    with ThreadPoolExecutor(len(keys)) as pool:
        responses = list(pool.map(lambda wire, body: wire.send(url(account), body), wires, bodies))
    won = [key for key, response in zip(keys, responses, strict=True) if response.status_code == 200]
    assert len(won) == 1, [response.text for response in responses]
    assert {problem(response) for response in responses if response.status_code != 200} <= {"unauthorized", "malformed"}
    for key in keys:
        read = account.wire.post(account.url, None, key, account.url)
        assert (read.status_code == 200) is (key is won[0])


def test_of_accounts_that_race_for_a_key_one_wins(shared_ca: CA) -> None:
    new, racers = Key(), [shared_ca.account() for _ in range(4)]
    bodies = [racer.wire.body(url(racer), inner(racer, new), racer.key, racer.url) for racer in racers]
    with ThreadPoolExecutor(len(racers)) as pool:
        responses = list(pool.map(lambda racer, body: racer.wire.send(url(racer), body), racers, bodies))
    assert sorted(response.status_code for response in responses) == [200, 409, 409, 409]
    assert len({response.headers["Location"] for response in responses}) == 1


def test_a_pending_iid01_challenge_ends_with_its_order_and_says_why(account: Account, instance: aws.Instance) -> None:
    ordered = account.order("foo.local")
    challenge = account.challenge(ordered.json())
    assert roll(account).status_code == 200
    shown = account.post(challenge["url"]).json()
    assert shown["status"] == "invalid"
    assert "key was changed" in shown["error"]["detail"]
    order = account.post(ordered.headers["Location"]).json()
    assert (order["status"], order["error"]["detail"]) == ("invalid", shown["error"]["detail"])
    assert account.post(challenge["url"], answer(instance)).json()["status"] == "invalid"
    account.obtain("foo.local", answer=answer(instance))


def test_a_valid_challenge_keeps_its_result_and_its_order_is_issued(account: Account, instance: aws.Instance) -> None:
    ordered, (answered,) = account.prove("foo.local", answer=answer(instance))
    assert roll(account).status_code == 200
    assert account.post(answered.json()["url"]).json()["status"] == "valid"
    done = account.post(ordered.json()["finalize"], {"csr": b64(csr("foo.local")[1])})
    assert (done.status_code, done.json()["status"]) == (200, "valid")


def test_a_change_leaves_what_has_ended_as_it_was(account: Account) -> None:
    ordered = account.order("foo.local")
    authorization = ordered.json()["authorizations"][0]
    account.post(authorization, {"status": "deactivated"})
    before = account.post(ordered.headers["Location"]).json()
    assert roll(account).status_code == 200
    assert account.post(authorization).json()["status"] == "deactivated"
    assert account.post(ordered.headers["Location"]).json() == before


def test_a_change_ends_nothing_of_another_accounts(shared_ca: CA, account: Account) -> None:
    other = shared_ca.account()
    order = other.order("foo.local").json()
    assert roll(account).status_code == 200
    assert other.challenge(order)["status"] == "pending"


def test_the_instance_stays_the_accounts_and_is_shown_with_its_key(
    shared_ca: CA, account: Account, instance: aws.Instance
) -> None:
    def show() -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(shared_ca.cli("instance", "show", instance.instance_id, "--json").stdout)
        return shown

    account.obtain("foo.local", answer=answer(instance))
    old = account.key
    assert roll(account).status_code == 200
    assert show()["account"] == account.url.rpartition("/")[2]
    assert (show()["key_thumbprint"], show()["last_used_with"]) == (account.key.thumbprint, old.thumbprint)
    # The old key can be an account's again, but the instance is not that account's.
    _, (refusal,) = Account.new(shared_ca.wire(), old).prove("foo.local", answer=answer(instance))
    assert "belongs to another account key" in refusal.json()["error"]["detail"]
    account.obtain("foo.local", answer=answer(instance))
    assert show()["last_used_with"] == account.key.thumbprint


def test_a_release_is_for_the_key_that_the_operator_named(
    shared_ca: CA, account: Account, instance: aws.Instance
) -> None:
    account.obtain("foo.local", answer=answer(instance))
    second = shared_ca.account()
    first_key, named = second.key, Key()
    shared_ca.cli("instance", "release", instance.instance_id, "--to", named.thumbprint)
    _, (refusal,) = second.prove("foo.local", answer=answer(instance))
    assert f"--to {first_key.thumbprint}" in refusal.json()["error"]["detail"]
    assert roll(second, named).status_code == 200
    second.obtain("foo.local", answer=answer(instance))
    # And one that waits for a key which its account has left waits in vain.
    third = shared_ca.account()
    shared_ca.cli("instance", "release", instance.instance_id, "--to", third.key.thumbprint)
    assert roll(third).status_code == 200
    _, (late,) = third.prove("foo.local", answer=answer(instance))
    assert f"--to {third.key.thumbprint}" in late.json()["error"]["detail"]
