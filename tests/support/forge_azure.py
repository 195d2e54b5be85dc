"""Azure's documents and tokens, signed by test keys: good ones, and ones with a single fault each."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import forge
import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from trusting import trusting

from acme_iid.attestation.azure import Environment
from acme_iid.attestation.azure_trust import AzureTenant
from acme_iid.attestation.chains import read_pem
from acme_iid.attestation.identity import Evidence
from acme_iid.attestation.trust import TrustStore
from acme_iid.binding import Binding
from acme_iid.simulator import azure
from acme_iid.simulator.authority import Authority, Extension, key_usage, name
from acme_iid.simulator.azure import Keys, Signer, Vm, content_info, signed_data, signer_info

NOW = forge.SIGNED_AT
BINDING = Binding(bytes(range(32)))
SUBSCRIPTION = "8a205152-b25a-417f-a676-80465535a6c9"
VM_ID = "b1310a36-d400-46f6-82cb-6217df846586"
TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
AUDIENCE = "api://ca.example"


@cache
def keys() -> Keys:
    """One set of throw-away keys for a whole test run."""
    return Keys.generate()


@cache
def other_keys() -> Keys:
    """Another set, which no test trusts."""
    return Keys.generate()


@cache
def signing_key() -> RSAPrivateKey:
    """The key of every signer here: it is certificates that differ."""
    return generate_private_key(65537, 2048)


@cache
def elliptic_key() -> EllipticCurvePrivateKey:
    """A key of another kind."""
    return generate_ec(SECP256R1())


@cache
def trust(provisioner: str = "test") -> TrustStore:
    """Believe Azure and, for one provisioner, the throw-away root and tenant."""
    tenant = AzureTenant.of(provisioner, TENANT, AUDIENCE, keys().key_set)
    return trusting(azure_roots={provisioner: keys().roots}, google=False, azure_tenants=[tenant])


def root_only() -> TrustStore:
    """Believe the throw-away root, without the authority below it that issues to signers."""
    root = keys().issuing.chain[-1].public_bytes(Encoding.PEM)
    return trusting(azure_roots={"test": root}, google=False)


def vm(**facts: Any) -> Vm:
    """One VM, the same at every call but for what is given."""
    given = {
        "subscription": SUBSCRIPTION,
        "vm_id": VM_ID,
        "tenant": TENANT,
        "object_id": "11111111-2222-3333-4444-555555555555",
        "client_id": "66666666-7777-8888-9999-000000000000",
    }
    return Vm(**{**given, **facts})


def document(nonce: str = BINDING.nonce, **members: object) -> bytes:
    """That VM's document with members changed, or removed where ``...`` is given."""
    return document_with({"nonce": nonce, **members})


def document_with(members: Mapping[str, object]) -> bytes:
    """The same, for members by any name."""
    changed = json.loads(vm().document(BINDING.nonce, NOW - 5)) | members
    return json.dumps({member: value for member, value in changed.items() if value is not ...}).encode()


def names(environment: Environment = "public") -> list[str]:
    """The names in a signer's certificate."""
    domain = {"public": "com", "government": "us", "china": "cn"}[environment]
    return [f"eastus.metadata.azure.{domain}", f"metadata.azure.{domain}"]


def signer(
    sans: Sequence[str | x509.GeneralName] | None = None,
    *,
    issuer: Authority | None = None,
    drop: type[x509.ExtensionType] | None = None,
    extra: Sequence[Extension] = (),
    around: int = NOW,
    common_name: str = "metadata.azure.com",
    key: RSAPrivateKey | EllipticCurvePrivateKey | None = None,
) -> Signer:
    """A signer as Azure's are, but for what is given.

    :param extra: extensions that replace those of the same kind, or come on top.
    :param around: the middle of its two days, in seconds.
    """
    given = [x509.DNSName(san) if isinstance(san, str) else san for san in (names() if sans is None else sans)]
    usual: list[Extension] = [
        (key_usage(signatures=True, certificates=False), True),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
    ]
    if given:
        usual.append((x509.SubjectAlternativeName(given), False))
    replaced = {type(extension) for extension, _ in extra} | {drop}
    kept = [entry for entry in usual if type(entry[0]) not in replaced]
    day, moment = timedelta(days=1), datetime.fromtimestamp(around, UTC)
    certificate = (issuer or keys().issuing).certify(
        name(common_name, "Test"), (key or signing_key()).public_key(), [*kept, *extra], moment - day, moment + day
    )
    return Signer(signing_key(), certificate)


@cache
def usual_signer() -> Signer:
    """A signer as Azure's are."""
    return signer()


def self_signed(common_name: str = "metadata.azure.com", serial: int = 1) -> Signer:
    """Anybody's own certificate in Azure's name, as in Microsoft's documentation."""
    own, moment = name(common_name, "Test"), datetime.fromtimestamp(NOW, UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own)
        .serial_number(serial)
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=1))
        .public_key(signing_key().public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(san) for san in names()]), critical=False)
        .sign(signing_key(), SHA256())
    )
    return Signer(signing_key(), certificate)


def attested(content: bytes | None = None, by: Signer | None = None, **fields: str) -> Evidence:
    """The evidence that ``azure-attested`` would be for any content."""
    return cms_evidence(signed_data(document() if content is None else content, by or usual_signer()), **fields)


def cms_evidence(data: bytes, **fields: str) -> Evidence:
    """Any bytes as the evidence of ``azure-attested``."""
    return Evidence("azure-attested", {"evidence": base64.b64encode(data).decode(), **fields})


def with_certificates(content: bytes, certificates: list[x509.Certificate], named: x509.Certificate) -> bytes:
    """A CMS with these certificates attached, whose SignerInfo names one of them, signed by the test key."""
    signature = signing_key().sign(content, PKCS1v15(), SHA256())
    return content_info(content, certificates, signer_info(named, signature))


def intermediates() -> str:
    """The authority between signers and root, as a client would send it."""
    return keys().issuing.chain[0].public_bytes(Encoding.PEM).decode()


def claims(members: Mapping[str, object] | None = None, **named: object) -> dict[str, object]:
    """That VM's token's claims with members changed, or removed where ``...`` is given."""
    changed = {**vm().claims(AUDIENCE, NOW - 30), **(members or {}), **named}
    return {member: value for member, value in changed.items() if value is not ...}


def managed_identity(
    members: Mapping[str, object] | None = None,
    *,
    content: bytes | None = None,
    by: Keys | None = None,
    **named: object,
) -> Evidence:
    """The evidence that ``azure-managed-identity`` would be for any claims and document."""
    key = (by or keys()).tokens
    # Not by jwt.encode, which refuses to write some of what it has to be refused.
    token = jwt.PyJWS().encode(json.dumps(claims(members, **named)).encode(), key.key, "RS256", {"kid": key.kid})
    return Evidence("azure-managed-identity", {"evidence": token, "attested": attested(content).fields["evidence"]})


def recorded_issuers(samples: Path) -> bytes:
    """The issuers of the recorded documents in PEM, the expired ones among them."""
    listed = json.loads((samples.parent / "azure_attested_issuers.json").read_bytes())
    return "".join(entry["pem"] for entry in listed).encode()


def certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates in PEM."""
    return read_pem(pem.decode(), 64)


def simulated(environment: Environment) -> Signer:
    """The signer of a VM in one of Azure's clouds, as the simulator makes it."""
    return azure.Keys.signer(keys(), vm(environment=environment), NOW)
