"""A managed identity's token names a VM resource and no vmId: the pair is believed once, and held (Azure)."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

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


BY_TENANT = PROVISIONER.replace('subscriptions = ["8a205152-b25a-417f-a676-80465535a6c9"]\n', "")


@pytest.fixture
def azure_ca(own_ca: CA, request: pytest.FixtureRequest) -> CA:
    """A CA that believes the forge's Azure, and its tenant's tokens."""
    keys = forge_azure.keys()
    (own_ca.home / "azure.pem").write_bytes(keys.roots)
    (own_ca.home / "tenant.json").write_bytes(keys.key_set)
    toml = own_ca.home / "ca.toml"
    toml.write_text(toml.read_text() + getattr(request, "param", PROVISIONER))
    own_ca.start()
    return own_ca


def prove(account: Account, document_of: Vm, token_of: Vm, resource: str | None = "") -> requests.Response:
    """Answer with one VM's attested document and the token of the same one, or of another.

    :param resource: what the token names in the VM's place; None for nothing.
    """
    challenge = account.challenge(account.order("foo.local").json())
    bound = binding(f"{challenge['token']}.{account.key.thumbprint}")
    return account.post(challenge["url"], evidence(document_of, token_of, resource, bound.nonce))


def evidence(document_of: Vm, token_of: Vm, resource: str | None, nonce: str) -> dict[str, str]:
    """An answer with the document of one VM and the token of another."""
    now = int(time.time())
    keys = forge_azure.keys()
    signer = Keys.signer(keys, document_of, now)
    document = json.dumps(json.loads(document_of.document(nonce, now))).encode()
    claims = token_of.claims("api://ca.example", now)
    if resource is None:
        del claims["xms_mirid"]
    elif resource:
        claims["xms_mirid"] = resource
    token = jwt.PyJWS().encode(
        json.dumps(claims).encode(),
        keys.tokens.key,
        "RS256",
        {"kid": keys.tokens.kid},
    )
    return {
        "format": "azure-managed-identity",
        "evidence": token,
        "attested": base64.b64encode(signed_data(document, signer)).decode(),
    }


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


SCALE_SET = (
    "/subscriptions/8a205152-b25a-417f-a676-80465535a6c9/resourcegroups/servers/providers/Microsoft.Compute/"
    "virtualMachineScaleSets/nodes"
)


@pytest.mark.parametrize("resource", [None, SCALE_SET])
def test_instances_whose_tokens_name_no_vm_are_admitted_each_by_itself(azure_ca: CA, resource: str | None) -> None:
    first, second = Vm(name="0"), Vm(name="1")
    owner, other = azure_ca.account(), azure_ca.account()
    assert prove(owner, first, first, resource).json()["status"] == "valid"
    assert prove(other, second, second, resource).json()["status"] == "valid"
    # The vmId is the first account's, whatever token comes with its document.
    assert "belongs to another account key" in prove(other, first, second, resource).json()["error"]["detail"]


@pytest.mark.parametrize("resource", [None, SCALE_SET])
def test_a_pair_is_held_after_a_token_that_names_no_vm(azure_ca: CA, resource: str | None) -> None:
    victim, thief = Vm(name="victim"), Vm(name="thief")
    owner, attacker = azure_ca.account(), azure_ca.account()
    assert prove(owner, victim, victim).json()["status"] == "valid"
    assert prove(owner, victim, victim, resource).json()["status"] == "valid"
    assert "has been used with another vmId" in prove(attacker, thief, victim).json()["error"]["detail"]
    assert prove(attacker, thief, victim, resource).json()["status"] == "valid"
    assert "has been used with another vmId" in prove(attacker, thief, victim).json()["error"]["detail"]
    assert "as another VM" in prove(owner, victim, Vm(name="third")).json()["error"]["detail"]


@pytest.mark.parametrize("azure_ca", [BY_TENANT], indirect=True)
def test_a_token_that_names_nothing_does_not_say_whose_vm_it_is(azure_ca: CA) -> None:
    account, vm = azure_ca.account(), Vm()
    elsewhere = Vm(subscription="99999999-b25a-417f-a676-80465535a6c9")
    for document_of in (vm, elsewhere):
        detail = prove(account, document_of, vm, None).json()["error"]["detail"]
        assert "does not list the owner of this instance" in detail
        assert "an operator adds the owner to subscriptions" in detail
    assert "another subscription" in prove(account, elsewhere, vm, SCALE_SET).json()["error"]["detail"]
    assert prove(account, vm, vm, SCALE_SET).json()["status"] == "valid"
    assert prove(account, vm, vm).json()["status"] == "valid"


def test_a_rule_with_a_vms_name_gives_nothing_to_a_token_that_names_none(azure_ca: CA) -> None:
    toml = azure_ca.home / "ca.toml"
    toml.write_text(toml.read_text().replace(PROVISIONER, PROVISIONER + 'allow = ["{vm_name}.local"]\n'))
    azure_ca.stop()
    azure_ca.start()
    account, vm = azure_ca.account(), Vm(name="foo")
    for resource in (None, SCALE_SET):
        assert prove(account, vm, vm, resource).json()["status"] == "invalid"
    assert prove(account, vm, vm).json()["status"] == "valid"


@pytest.mark.parametrize(("azure_ca", "met"), [(PROVISIONER, True), (BY_TENANT, False)], indirect=["azure_ca"])
def test_an_explanation_says_whether_owners_are_listed(azure_ca: CA, tmp_path: Path, *, met: bool) -> None:
    file = tmp_path / "evidence.json"
    file.write_text(json.dumps(evidence(Vm(), Vm(), None, "0" * 32)))
    said = azure_ca.try_cli("provisioner", "test", "--json", "--evidence", file)
    provisioner = next(entry for entry in json.loads(said.stdout)["provisioners"] if entry["name"] == "Azure")
    assert [rule["met"] for rule in provisioner["rules"] if rule["rule"] == "owner"] == [met]
