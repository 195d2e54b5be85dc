"""A managed identity's token names a VM resource and no vmId: the pair is believed once, and held (Azure)."""

from __future__ import annotations

import base64
import json
import time

import forge_azure
import jwt
import pytest
import requests
from running import CA
from wire import Account

from acme_iid.binding import binding
from acme_iid.simulator.azure import Keys, Vm, signed_data

PROVISIONER = """
[[provisioner]]
name = "Azure"
type = "AZURE"
tenants = ["72f988bf-86f1-41af-91ab-2d7cd011db47"]
subscriptions = ["8a205152-b25a-417f-a676-80465535a6c9"]
audience = "api://ca.example"
iid_roots = "azure.pem"
jwks = "tenant.json"
"""


@pytest.fixture
def azure_ca(own_ca: CA) -> CA:
    """A CA that believes the forge's Azure, and its tenant's tokens."""
    keys = forge_azure.keys()
    (own_ca.home / "azure.pem").write_bytes(keys.roots)
    (own_ca.home / "tenant.json").write_bytes(keys.key_set)
    toml = own_ca.home / "ca.toml"
    toml.write_text(toml.read_text() + PROVISIONER)
    own_ca.start()
    return own_ca


def prove(account: Account, document_of: Vm, token_of: Vm) -> requests.Response:
    """Answer with one VM's attested document and the token of the same one, or of another."""
    challenge = account.challenge(account.order("foo.local").json())
    bound = binding(f"{challenge['token']}.{account.key.thumbprint}")
    now = int(time.time())
    keys = forge_azure.keys()
    signer = Keys.signer(keys, document_of, now)
    document = json.dumps(json.loads(document_of.document(bound.nonce, now))).encode()
    token = jwt.PyJWS().encode(
        json.dumps(token_of.claims("api://ca.example", now)).encode(),
        keys.tokens.key,
        "RS256",
        {"kid": keys.tokens.kid},
    )
    answer = {
        "format": "azure-managed-identity",
        "evidence": token,
        "attested": base64.b64encode(signed_data(document, signer)).decode(),
    }
    return account.post(challenge["url"], answer)


def test_a_stolen_token_does_not_speak_for_a_vm_that_was_used_before(azure_ca: CA) -> None:
    victim, thief = Vm(name="victim"), Vm(name="thief")
    owner, attacker = azure_ca.account(), azure_ca.account()
    assert prove(owner, victim, victim).json()["status"] == "valid"
    detail = prove(attacker, thief, victim).json()["error"]["detail"]
    assert "has been used with another vmId" in detail
    assert victim.vm_id not in detail
    assert prove(attacker, thief, thief).json()["status"] == "valid"
    assert "as another VM" in prove(attacker, thief, Vm(name="third")).json()["error"]["detail"]
    assert prove(owner, victim, victim).json()["status"] == "valid"


def test_a_vm_that_was_made_anew_is_let_in_when_the_old_one_is_released(azure_ca: CA) -> None:
    old, new = Vm(name="web"), Vm(name="web")
    account = azure_ca.account()
    assert prove(account, old, old).json()["status"] == "valid"
    assert prove(account, new, new).json()["status"] == "invalid"
    azure_ca.cli("instance", "release", old.vm_id, "--to", account.key.thumbprint)
    assert prove(account, new, new).json()["status"] == "valid"
