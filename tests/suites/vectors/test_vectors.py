"""The committed test vectors of iid-01: they are what the script makes, and what this implementation does with them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from josepy.jwk import JWK
from trusting import judged, trusting
from vectors import make

from acme_iid import iid01
from acme_iid.attestation.aws_trust import AwsKey, AwsTrust, WebIdentityIssuer
from acme_iid.attestation.azure_trust import AzureTenant, AzureTrust
from acme_iid.attestation.chains import Anchors, Root, read_pem
from acme_iid.attestation.gcp_trust import GcpTrust
from acme_iid.attestation.identity import Evidence, InstanceIdentity
from acme_iid.attestation.keysets import PinnedKeySet, ScopedKeySet, parse
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.attestation.trust import TrustStore
from acme_iid.authority import answers
from acme_iid.binding import Binding, binding
from acme_iid.errors import AcmeError, AttestationError, MalformedEvidenceError
from acme_iid.protocol import jwk
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Challenge
from acme_iid.store.chain import GENESIS, Entry
from acme_iid.web import render
from acme_iid.web.links import Links

FILE: dict[str, Any] = json.loads(make.FILE.read_bytes())
NOW: int = FILE["now"]
PROVEN = [case for case in FILE["evidence"] if case["outcome"] == "proven"]
MALFORMED = [case for case in FILE["evidence"] if case["outcome"] == "malformed"]
REFUSED = [case for case in FILE["evidence"] if case["outcome"] not in ("proven", "malformed")]
WITHOUT_VECTORS = {"aws-pkcs7"}
"""DSA signatures are random."""


def case_id(case: Any) -> str:
    return f"{case['format']}: {case['name']}"


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def keys(members: list[Any]) -> PinnedKeySet:
    return PinnedKeySet(parse(json.dumps({"keys": members}).encode()))


def trust() -> TrustStore:
    """What the file says is believed, and nothing else."""
    given = FILE["trust"]
    aws = []
    for entry in given["aws"]:
        key = load_der_public_key(unpadded(entry["spki"]))
        assert isinstance(key, RSAPublicKey)
        key_id = "sha256:" + hashlib.sha256(unpadded(entry["spki"])).hexdigest()
        aws.append(AwsKey(entry["kind"], key, key_id, frozenset(entry["regions"])))
    issuer, tenant = given["web_identity"], given["azure_tenant"]
    return TrustStore(
        (
            AwsTrust(
                tuple(aws),
                Anchors(tuple(map(Root, read_pem(given["nitro_root"])))),
                (WebIdentityIssuer(issuer["issuer"], issuer["account"], keys(issuer["keys"])),),
            ),
            GcpTrust((ScopedKeySet(keys(given["gcp"]["keys"])),)),
            AzureTrust(
                Anchors(tuple(map(Root, read_pem(given["azure_root"])))),
                (AzureTenant(tenant["tenant"], tenant["audience"], keys(tenant["keys"])),),
            ),
        )
    )


def bound() -> Binding:
    """What the file's evidence is for."""
    entry = FILE["bindings"][0]
    assert entry["name"] == "example"
    return binding(entry["key_authorization"], unpadded(entry["spki"]))


def verify(case: Mapping[str, Any], believed: TrustStore | None = None) -> InstanceIdentity:
    verifier = VERIFIERS[case["format"]]
    claims = verifier.authenticate(Evidence(case["format"], case["fields"]), believed or trust(), NOW)
    return judged(verifier, claims, bound(), NOW)


def test_the_committed_file_is_what_the_script_makes() -> None:
    assert make.FILE.read_text("utf-8") == make.text(), "run: cd tests && python -m vectors.make"


@pytest.mark.parametrize("entry", FILE["bindings"], ids=lambda entry: entry["name"])
def test_a_binding_follows_from_token_and_account_key(entry: dict[str, Any]) -> None:
    key = jwk.load(json.dumps(entry["jwk"]))
    assert jwk.thumbprint(key) == entry["thumbprint"]
    assert base64.urlsafe_b64encode(jwk.spki(key)).rstrip(b"=").decode() == entry["spki"]
    found = binding(entry["key_authorization"], jwk.spki(key))
    assert (found.digest.hex(), found.audience, found.nonce) == (entry["k"], entry["audience"], entry["nonce"])
    assert found.public_key == unpadded(entry["spki"])


@pytest.mark.parametrize("entry", FILE["bindings"], ids=lambda entry: entry["name"])
def test_a_binding_is_computed_as_the_draft_says(entry: dict[str, Any]) -> None:
    canonical = json.dumps(entry["jwk"], sort_keys=True, separators=(",", ":")).encode()
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()
    assert entry["key_authorization"] == f"{entry['token']}.{thumbprint}"
    digest = hashlib.sha256(entry["key_authorization"].encode("ascii")).digest()
    assert entry["k"] == digest.hex()
    assert entry["audience"] == "acme-iid-01:" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert entry["nonce"] == base64.b32encode(digest[:20]).decode().lower()
    assert len(entry["nonce"]) == 32


@pytest.mark.parametrize("entry", FILE["bindings"][:-1], ids=lambda entry: entry["name"])  # josepy has no OKP
def test_a_client_computes_the_binding_and_refuses_the_copies_of_another(entry: dict[str, Any]) -> None:
    body = {"type": "iid-01", "token": entry["token"], "formats": ["gcp-identity"]}
    key = JWK.from_json(entry["jwk"])
    assert isinstance(key, JWK)
    own = iid01.IID01.from_json({**body, "audience": entry["audience"], "nonce": entry["nonce"]})
    found = own.binding(key)
    assert (found.digest.hex(), found.public_key) == (entry["k"], unpadded(entry["spki"]))
    other = next(each for each in FILE["bindings"] if each is not entry)
    for copy in ("audience", "nonce"):
        with pytest.raises(ValueError, match=copy):
            iid01.IID01.from_json({**body, copy: other[copy]}).binding(key)


def test_no_two_bindings_are_the_same() -> None:
    for member in ("k", "audience", "nonce", "key_authorization"):
        assert len({entry[member] for entry in FILE["bindings"]}) == len(FILE["bindings"])


@pytest.mark.parametrize("case", PROVEN, ids=case_id)
def test_evidence_proves_what_its_vector_says(case: dict[str, Any]) -> None:
    found, expected = verify(case), case["identity"]
    assert {
        "id": found.id,
        "owner": found.owner,
        "instance_id": found.instance_id,
        "credential_id": found.credential_id,
        "binding": found.binding,
        "facts": dict(found.facts),
        "names": [{"type": name.type, "value": name.value} for name in found.names],
        "times": dict(found.times),
        "started_at": found.started_at,
    } == expected
    assert (found.format, found.scope) == (case["format"], None)


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_evidence_is_refused_at_the_step_that_its_vector_names(case: dict[str, Any]) -> None:
    with pytest.raises(AttestationError) as caught:
        verify(case)
    assert not isinstance(caught.value, MalformedEvidenceError)
    assert caught.value.step.value == case["outcome"], caught.value.detail


@pytest.mark.parametrize("case", MALFORMED, ids=case_id)
def test_what_is_no_evidence_at_all_is_malformed(case: dict[str, Any]) -> None:
    with pytest.raises(MalformedEvidenceError):
        verify(case)


@pytest.mark.parametrize("case", PROVEN, ids=case_id)
def test_the_test_keys_are_believed_nowhere_else(case: dict[str, Any]) -> None:
    with pytest.raises(AttestationError) as caught:
        verify(case, trusting(google=False))
    assert caught.value.step.value == "signature"


@pytest.mark.parametrize("case", FILE["evidence"], ids=case_id)
def test_the_answer_is_read_and_its_digest_is_the_recorded_one(case: dict[str, Any]) -> None:
    payload = {"format": case["format"], **case["fields"], "provisioner": "any"}
    answer = answers.parse(payload, json.dumps(payload).encode())
    assert (answer.evidence.format, dict(answer.evidence.fields)) == (case["format"], case["fields"])
    assert answer.digest == case["evidence_sha256"]


@pytest.mark.parametrize("name", sorted(set(VERIFIERS) - WITHOUT_VECTORS))
def test_each_format_has_vectors_for_each_step_that_can_refuse_it(name: str) -> None:
    outcomes = {case["outcome"] for case in FILE["evidence"] if case["format"] == name}
    expected = {"proven", "malformed", "decoding", "signature", "freshness", "binding"}
    # AWS's bare documents can be bound to nothing.
    if name in ("aws-rsa2048", "aws-signature"):
        expected.remove("binding")
    assert outcomes == expected


def test_every_format_is_there_and_no_other() -> None:
    assert {case["format"] for case in FILE["evidence"]} == set(VERIFIERS) - WITHOUT_VECTORS


def test_the_challenge_is_shown_as_the_server_shows_it() -> None:
    example = FILE["challenge"]
    entry = FILE["bindings"][0]
    owner = Account("A1", json.dumps(entry["jwk"]), entry["thumbprint"], (), NOW)
    pending = Challenge("Rg5dV14Gh1Q", "iid-01", entry["token"])
    names = tuple(Identifier(name["type"], name["value"]) for name in example["valid"]["names"])
    for challenge, expected in (
        (pending, example["pending"]),
        (replace(pending, validated_at=NOW, names=names), example["valid"]),
    ):
        assert render.challenge(Links(make.URL), challenge, owner, tuple(expected["formats"]), None) == expected


def test_the_answer_of_the_example_is_the_first_of_gcps_vectors() -> None:
    answer = FILE["challenge"]["answer"]
    first = next(case for case in FILE["evidence"] if case["format"] == "gcp-identity")
    assert answer == {"format": "gcp-identity", **first["fields"]}
    assert json.loads(unpadded(answer["evidence"].split(".")[1])) == FILE["challenge"]["claims"]


def test_an_answer_without_a_known_format_is_malformed() -> None:
    for payload in ({}, {"format": "oracle-identity"}, {"format": 1}):
        with pytest.raises(AcmeError):
            answers.parse(payload, json.dumps(payload).encode())


def test_events_are_chained_as_the_file_says() -> None:
    previous = GENESIS
    for event in FILE["events"]:
        previous = Entry(*event["columns"]).hash_after(previous)
        assert previous == event["hash"]
