"""External account binding (RFC 8555 section 7.3.4) and terms of service (section 7.3.3)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

import pytest
from running import CA
from wire import Account, Key, Wire, b64, problem

from acme_iid.authority import external_keys
from acme_iid.store.database import open_store

TERMS = "https://ca.local/terms/1"


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CA]:
    """A CA where an account takes an external key."""
    ca = CA(tmp_path_factory.mktemp("eab") / "ca")
    ca.init()
    configure(ca, "external_account_required = true")
    ca.start("--workers", "2")
    yield ca
    ca.stop()


def configure(ca: CA, line: str) -> None:
    """Add a line to [ca]."""
    toml = ca.home / "ca.toml"
    toml.write_text(toml.read_text().replace("[server]", f"{line}\n\n[server]", 1))


def new_key(ca: CA, *options: str) -> tuple[str, str]:
    """A new external key: its id and its MAC key."""
    made = json.loads(ca.cli("eab", "add", "--json", *options).stdout)
    return made["key_id"], made["hmac_key"]


def bind(
    wire: Wire,
    key: Key,
    key_id: str,
    secret: str,
    *,
    header: Mapping[str, object] | None = None,
    payload: object = None,
) -> dict[str, str]:
    """A binding of the external key to ``key``; ``header`` replaces members of its protected header."""
    protected = {"alg": "HS256", "kid": key_id, "url": wire.directory["newAccount"]} | dict(header or {})
    first, second = (b64(json.dumps(part).encode()) for part in (protected, payload or key.jwk))
    digest = hashlib.sha384 if protected["alg"] == "HS384" else hashlib.sha256
    mac = hmac.digest(base64.urlsafe_b64decode(secret + "="), f"{first}.{second}".encode(), digest)
    return {"protected": first, "payload": second, "signature": b64(mac)}


def test_a_bound_account_is_made_and_shows_its_binding(ca: CA) -> None:
    wire, key = ca.wire(), Key()
    assert wire.directory["meta"]["externalAccountRequired"] is True
    key_id, secret = new_key(ca, "--label", "caddy")
    binding = bind(wire, key, key_id, secret)
    made = wire.post(wire.directory["newAccount"], {"externalAccountBinding": binding}, key)
    assert made.status_code == 201, made.text
    assert made.json()["externalAccountBinding"] == binding
    again = Account(wire, key, made.headers["Location"]).post(made.headers["Location"])
    assert again.json()["externalAccountBinding"] == binding
    listed = json.loads(ca.cli("eab", "list", "--json").stdout)[0]
    assert (listed["key_id"], listed["label"]) == (key_id, "caddy")
    assert made.headers["Location"].endswith("/" + listed["account"])
    assert secret not in ca.cli("eab", "list", "--json").stdout


def test_an_account_with_an_external_key_counts_for_no_address(tmp_path: Path) -> None:
    ca = CA(tmp_path / "ca")
    ca.init(limits='accounts_per_address = "1/1h"')
    ca.start()
    try:
        for _ in range(2):
            wire, key = ca.wire(), Key()
            bound = {"externalAccountBinding": bind(wire, key, *new_key(ca))}
            assert wire.post(wire.directory["newAccount"], bound, key).status_code == 201
        ca.account()
        assert problem(wire.post(wire.directory["newAccount"], {}, Key())) == "rateLimited"
    finally:
        ca.stop()


def test_no_part_of_a_key_looks_like_a_command_line_option(store_url: str) -> None:
    opened = open_store(store_url)
    keys = [external_keys.add(opened, None, None, 1_800_000_000, reusable=False) for _ in range(300)]
    opened.close()
    assert not [key for key in keys if key.id.startswith("-") or key.secret.startswith("-")]


def test_an_account_without_an_external_key_is_refused(ca: CA) -> None:
    wire = ca.wire()
    refused = wire.post(wire.directory["newAccount"], {"contact": []}, Key())
    assert (refused.status_code, problem(refused)) == (403, "externalAccountRequired")


def test_a_key_makes_one_account_unless_it_is_reusable(ca: CA) -> None:
    wire = ca.wire()
    key_id, secret = new_key(ca)
    statuses = []
    for key in (Key(), Key()):
        payload = {"externalAccountBinding": bind(wire, key, key_id, secret)}
        statuses.append(wire.post(wire.directory["newAccount"], payload, key).status_code)
    assert statuses == [201, 403]
    key_id, secret = new_key(ca, "--reusable")
    for key in (Key(), Key()):
        payload = {"externalAccountBinding": bind(wire, key, key_id, secret, header={"alg": "HS384"})}
        assert wire.post(wire.directory["newAccount"], payload, key).status_code == 201


def test_a_key_that_was_revoked_or_has_run_out_makes_no_account(ca: CA) -> None:
    wire = ca.wire()
    revoked = new_key(ca)
    ca.cli("eab", "revoke", revoked[0])
    made = json.loads(ca.cli("eab", "add", "--json", "--expires", "1s").stdout)
    time.sleep(max(0.0, datetime.fromisoformat(made["expires"]).timestamp() - time.time()))
    for key_id, secret in (revoked, (made["key_id"], made["hmac_key"])):
        key = Key()
        payload = {"externalAccountBinding": bind(wire, key, key_id, secret)}
        refused = wire.post(wire.directory["newAccount"], payload, key)
        assert (refused.status_code, problem(refused)) == (403, "unauthorized")
        assert "run out or was revoked" in refused.json()["detail"]
    assert "was revoked before" in ca.try_cli("eab", "revoke", revoked[0]).stderr
    assert "no external account key" in ca.try_cli("eab", "revoke", "nothing").stderr


def test_a_wrong_secret_and_an_unknown_key_get_the_same_refusal(ca: CA) -> None:
    wire = ca.wire()
    key_id, _ = new_key(ca)
    told = []
    for named in (key_id, "nothing"):
        key = Key()
        payload = {"externalAccountBinding": bind(wire, key, named, b64(b"0" * 32))}
        refused = wire.post(wire.directory["newAccount"], payload, key)
        assert (refused.status_code, problem(refused)) == (403, "unauthorized")
        told.append(refused.json()["detail"])
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"alg": "ES256"}, "badSignatureAlgorithm"),
        ({"alg": "none"}, "badSignatureAlgorithm"),
        ({"nonce": "abc"}, "malformed"),
        ({"url": "https://other.local/acme/new-account"}, "malformed"),
        ({"kid": None}, "malformed"),
        ({"kid": 7}, "malformed"),
        ({"crit": ["b64"]}, "malformed"),
    ],
)
def test_a_binding_of_another_form_is_refused(ca: CA, header: dict[str, object], expected: str) -> None:
    wire, key = ca.wire(), Key()
    key_id, secret = new_key(ca)
    payload = {"externalAccountBinding": bind(wire, key, key_id, secret, header=header)}
    assert problem(wire.post(wire.directory["newAccount"], payload, key)) == expected


@pytest.mark.parametrize("value", ["text", 7, [], {"protected": "a"}])
def test_a_binding_that_is_none_is_malformed(ca: CA, value: object) -> None:
    wire = ca.wire()
    assert problem(wire.post(wire.directory["newAccount"], {"externalAccountBinding": value}, Key())) == "malformed"


def test_a_binding_of_another_key_is_malformed(ca: CA) -> None:
    wire, key = ca.wire(), Key()
    key_id, secret = new_key(ca)
    for payload in (Key().jwk, {"no": "key"}):
        binding = bind(wire, key, key_id, secret, payload=payload)
        refused = wire.post(wire.directory["newAccount"], {"externalAccountBinding": binding}, key)
        assert problem(refused) == "malformed"


def test_terms_are_agreed_to_first_and_again_when_they_change(own_ca: CA) -> None:
    configure(own_ca, f'terms_of_service = "{TERMS}"\nwebsite = "https://ca.local/"')
    own_ca.start("--workers", "1")
    wire, key = own_ca.wire(), Key()
    assert wire.directory["meta"] == {
        "externalAccountRequired": False,
        "termsOfService": TERMS,
        "website": "https://ca.local/",
        "iidEnrolment": f"{own_ca.url}/acme/iid-enrolment",
    }
    for payload in ({}, {"termsOfServiceAgreed": False}, {"termsOfServiceAgreed": "true"}):
        refused = wire.post(wire.directory["newAccount"], payload, key)
        assert (refused.status_code, problem(refused)) == (403, "userActionRequired")
        assert refused.links["terms-of-service"]["url"] == TERMS
    account = Account.new(wire, key)
    assert account.order("foo.local").status_code == 201
    own_ca.stop()
    toml = own_ca.home / "ca.toml"
    toml.write_text(toml.read_text().replace(TERMS, TERMS + "a"))
    own_ca.start("--workers", "1")
    authorize = {"identifier": {"type": "dns", "value": "foo.local"}}
    for refused in (account.order("foo.local"), account.post(wire.directory["newAuthz"], authorize)):
        assert (refused.status_code, problem(refused)) == (403, "userActionRequired")
        assert refused.json()["instance"] == TERMS + "a"
        assert refused.links["terms-of-service"]["url"] == TERMS + "a"
    assert account.post(account.url, {"termsOfServiceAgreed": True}).status_code == 200
    assert account.order("foo.local").status_code == 201
