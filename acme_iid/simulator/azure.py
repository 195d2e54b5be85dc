"""Attested documents and managed identity tokens of a virtual machine, signed as Azure does with throw-away keys.

Source: Microsoft Learn, "Azure Instance Metadata Service" and "How managed identities for Azure resources work
with Azure virtual machines"; the bytes of the CMS are in the shape of documents that Azure signed.
"""

from __future__ import annotations

import json
import secrets
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from acme_iid.attestation import asn1, cms
from acme_iid.attestation.asn1 import tlv
from acme_iid.attestation.azure import Environment
from acme_iid.simulator.authority import Authority, Extension, key_usage, name
from acme_iid.simulator.cms import NULL, oid, sequence
from acme_iid.simulator.keyfiles import open_or_make
from acme_iid.simulator.tokens import TokenKey, key_set

DOCUMENT_LIFETIME = 6 * 3600
"""Seconds from a document's createdOn to its expiresOn."""
TOKEN_LIFETIME = 24 * 3600
"""Seconds that a managed identity's token lives, and for which the metadata service hands out the same one."""

_DOMAINS: dict[Environment, str] = {
    "public": "metadata.azure.com",
    "government": "metadata.azure.us",
    "china": "metadata.azure.cn",
}
_ORGANIZATION = "Simulated Microsoft"
_ALGORITHM = sequence(oid(cms.RSA_WITH_SHA256), NULL)


def _fresh_uuid() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Vm:
    """A virtual machine's facts.

    :ivar location: its region; its metadata service signs in the region's name.
    :ivar scale_set: the scale set that it is an instance of; ``name`` is then its number.
    :ivar user_identity: the name of the user-assigned identity that its tokens are for; None for its own.
    :ivar issuer_url: the URL of the issuer's certificate in its signer's certificate; None to leave it out.
    """

    subscription: str = "8a205152-b25a-417f-a676-80465535a6c9"
    vm_id: str = field(default_factory=_fresh_uuid)
    name: str = "vm-1"
    resource_group: str = "Servers"
    location: str = "eastus"
    environment: Environment = "public"
    tenant: str = "72f988bf-86f1-41af-91ab-2d7cd011db47"
    object_id: str = field(default_factory=_fresh_uuid)
    client_id: str = field(default_factory=_fresh_uuid)
    sku: str = "22_04-lts-gen2"
    size: str = "Standard_B2s"
    private_ip: str = "10.0.0.4"
    scale_set: str | None = None
    user_identity: str | None = None
    issuer_url: str | None = None

    @property
    def resource_id(self) -> str:
        """The VM's own resource id."""
        machine = f"virtualMachines/{self.name}"
        if self.scale_set is not None:
            machine = f"virtualMachineScaleSets/{self.scale_set}/{machine}"
        return self._resource(f"Microsoft.Compute/{machine}")

    @property
    def identity_id(self) -> str:
        """The resource id of the identity that its tokens are for."""
        if self.user_identity is None:
            return self.resource_id
        return self._resource(f"Microsoft.ManagedIdentity/userAssignedIdentities/{self.user_identity}")

    def document(self, nonce: str | None, now: int) -> bytes:
        """The attested document: Azure's members in Azure's order, without blanks.

        :param nonce: the caller's; without one Azure puts the time of expiry there.
        :param now: seconds.
        """
        created = datetime.fromtimestamp(now, UTC)
        expires = created + timedelta(seconds=DOCUMENT_LIFETIME)
        members = {
            "licenseType": "",
            "nonce": nonce or expires.strftime("%Y%m%d-%H%M%S"),
            "plan": {"name": "", "product": "", "publisher": ""},
            "sku": self.sku,
            "subscriptionId": self.subscription,
            "timeStamp": {
                "createdOn": created.strftime("%m/%d/%y %H:%M:%S -0000"),
                "expiresOn": expires.strftime("%m/%d/%y %H:%M:%S -0000"),
            },
            "vmId": self.vm_id,
        }
        return json.dumps(members, separators=(",", ":")).encode()

    def claims(self, resource: str, now: int) -> dict[str, object]:
        """The claims of a managed identity's token for ``resource``, issued at ``now`` (seconds)."""
        own = {} if self.user_identity is None else {"xms_az_rid": self.resource_id}
        return {
            "aud": resource,
            "iss": f"https://sts.windows.net/{self.tenant}/",
            # Entra issues tokens five minutes before it does, for clocks that are behind.
            "iat": now - 300,
            "nbf": now - 300,
            "exp": now + TOKEN_LIFETIME,
            "appid": self.client_id,
            "appidacr": "2",
            "idp": f"https://sts.windows.net/{self.tenant}/",
            "idtyp": "app",
            "oid": self.object_id,
            "sub": self.object_id,
            "tid": self.tenant,
            "ver": "1.0",
            "xms_mirid": self.identity_id.replace("/resourceGroups/", "/resourcegroups/"),
            **own,
        }

    def _resource(self, below: str) -> str:
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}/providers/{below}"


@dataclass(frozen=True, slots=True)
class Signer:
    """A metadata service's key with the certificate that Azure attaches."""

    key: RSAPrivateKey
    certificate: x509.Certificate


@dataclass(frozen=True, slots=True)
class Keys:
    """A throw-away authority below a throw-away root, and a tenant's key for tokens."""

    issuing: Authority
    tokens: TokenKey

    @classmethod
    def generate(cls) -> Self:
        """Make keys that live in memory only."""
        return cls(_new_authority(), TokenKey.generate())

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read the keys in ``directory``, or make those that are missing there (mode 0600).

        :raises OSError: if the directory or a file cannot be used.
        :raises ValueError: if a file holds something else, naming it.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / "azure.pem"
        issuing = Authority.from_pem(open_or_make(path, lambda: _new_authority().to_pem()), path)
        return cls(issuing, TokenKey.open(directory / "azure-tenant.pem"))

    @property
    def roots(self) -> bytes:
        """Root and issuing authority in PEM: the file that a CA takes as an Azure provisioner's ``iid_roots``."""
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.issuing.chain)

    @property
    def key_set(self) -> bytes:
        """The tenant's key set (RFC 7517), as Entra serves it."""
        return key_set([self.tokens.jwk])

    def signer(self, vm: Vm, now: int) -> Signer:
        """The signer of a VM's region, whose certificate is valid for half a year round ``now`` (seconds)."""
        domain = _DOMAINS[vm.environment]
        key, moment = _new_key(), datetime.fromtimestamp(now, UTC)
        names = [x509.DNSName(f"{vm.location}.{domain}"), x509.DNSName(domain)]
        extensions: list[Extension] = [
            (key_usage(signatures=True, certificates=False), True),
            (x509.SubjectAlternativeName(names), False),
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        ]
        if vm.issuer_url is not None:
            location = x509.UniformResourceIdentifier(vm.issuer_url)
            issuer = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, location)
            extensions.append((x509.AuthorityInformationAccess([issuer]), False))
        days = timedelta(days=90)
        subject = name(domain, _ORGANIZATION)
        return Signer(key, self.issuing.certify(subject, key.public_key(), extensions, moment - days, moment + days))


def signed_data(content: bytes, signer: Signer) -> bytes:
    """The CMS that Azure would serve for ``content``: DER, the signer attached, no signed attributes."""
    signature = signer.key.sign(content, PKCS1v15(), SHA256())
    return content_info(content, [signer.certificate], signer_info(signer.certificate, signature))


def signer_info(certificate: x509.Certificate, signature: bytes) -> bytes:
    """A SignerInfo that names ``certificate``. Azure has a signature's algorithm where a digest's belongs."""
    return sequence(
        tlv(asn1.INTEGER, b"\x01"),
        sequence(certificate.issuer.public_bytes(), _integer(certificate.serial_number)),
        _ALGORITHM,
        sequence(oid(cms.RSA_ENCRYPTION), NULL),
        tlv(asn1.OCTET_STRING, signature),
    )


def content_info(content: bytes, certificates: list[x509.Certificate], info: bytes) -> bytes:
    """Wrap content, attached certificates and a SignerInfo."""
    signed = sequence(
        tlv(asn1.INTEGER, b"\x01"),
        tlv(asn1.SET, _ALGORITHM),
        sequence(oid(cms.ID_DATA), tlv(asn1.CONTEXT_0, tlv(asn1.OCTET_STRING, content))),
        tlv(asn1.CONTEXT_0, b"".join(certificate.public_bytes(Encoding.DER) for certificate in certificates)),
        tlv(asn1.SET, info),
    )
    return sequence(oid(cms.ID_SIGNED_DATA), tlv(asn1.CONTEXT_0, signed))


def _integer(value: int) -> bytes:
    return tlv(asn1.INTEGER, value.to_bytes(value.bit_length() // 8 + 1))


def _new_key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


def _new_authority() -> Authority:
    # Each pair has a name of its own, so that the files of several simulators can stand in one.
    mark = secrets.token_hex(4)
    root = Authority.root(name(f"Simulated Microsoft TLS RSA Root {mark}", _ORGANIZATION), _new_key())
    return root.below(name(f"Simulated Microsoft TLS Issuing CA {mark}", _ORGANIZATION), _new_key())
