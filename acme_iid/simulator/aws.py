"""The contents of AWS's metadata service for an EC2 instance, and the throw-away keys that sign them.

Source: EC2 User Guide, "Instance identity documents" and "Instance metadata categories".
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.dsa import generate_private_key as generate_dsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from acme_iid.protocol import strict_json
from acme_iid.simulator import cms
from acme_iid.simulator.cms import Signer
from acme_iid.simulator.keyfiles import open_or_make

Tree = Mapping[str, Callable[[], bytes]]
"""The contents of a metadata service: path below ``/latest/`` -> the function that makes its value."""

IDENTITY = "dynamic/instance-identity/"
LINE = 76
"""Characters a line of the base64 that the metadata service serves."""

_PATHS = {
    "signature-rsa1024-sha256-pkcs1v15": "signature",
    "rsa2048-pkcs7-sha256": "rsa2048",
    "pkcs7-dsa-sha1": "pkcs7",
}
_NOT_BEFORE = datetime(2012, 1, 5, tzinfo=UTC)
_NOT_AFTER = datetime(2195, 1, 16, tzinfo=UTC)


def _fresh_instance_id() -> str:
    return f"i-{secrets.token_hex(9)[:17]}"


def _now() -> int:
    return int(time.time())


@dataclass(frozen=True, slots=True)
class Instance:
    """An EC2 instance's facts. ``pending_time`` is the time of its start, in seconds."""

    account: str = "123456789042"
    region: str = "us-west-2"
    instance_id: str = field(default_factory=_fresh_instance_id)
    image: str = "ami-0123456789abcdef0"
    instance_type: str = "t3.micro"
    architecture: str = "x86_64"
    private_ip: str = "172.31.65.180"
    pending_time: int = field(default_factory=_now)

    @property
    def zone(self) -> str:
        """The availability zone, the region's first."""
        return self.region + "a"

    @property
    def private_name(self) -> str:
        """The host name that EC2 makes from the private address."""
        domain = "ec2.internal" if self.region == "us-east-1" else f"{self.region}.compute.internal"
        return f"ip-{self.private_ip.replace('.', '-')}.{domain}"

    @property
    def document(self) -> bytes:
        """The instance identity document: AWS's members in AWS's order and spacing, no newline at the end."""
        members = {
            "accountId": self.account,
            "architecture": self.architecture,
            "availabilityZone": self.zone,
            "billingProducts": None,
            "devpayProductCodes": None,
            "marketplaceProductCodes": None,
            "imageId": self.image,
            "instanceId": self.instance_id,
            "instanceType": self.instance_type,
            "kernelId": None,
            "pendingTime": datetime.fromtimestamp(self.pending_time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "privateIp": self.private_ip,
            "ramdiskId": None,
            "region": self.region,
            "version": "2017-09-30",
        }
        return json.dumps(members, indent=2, separators=(",", " : ")).encode()


@dataclass(frozen=True, slots=True)
class Keys:
    """One throw-away key for each way in which AWS signs."""

    rsa2048: Signer
    rsa1024: Signer
    dsa: Signer

    @classmethod
    def generate(cls) -> Self:
        """Make keys that live in memory only."""
        return cls(**{name: _new_signer(name) for name in cls.__slots__})

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read the keys in ``directory``, or make those that are missing there (mode 0600).

        Simulators that share a directory sign with the same keys, also when they start at the same time.

        :raises OSError: if the directory or a file cannot be used.
        :raises ValueError: if a file holds something else, naming it.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(**{name: _open_signer(directory / f"{name}.pem", name) for name in cls.__slots__})

    @property
    def certificates(self) -> bytes:
        """The certificates in PEM: the file that a CA takes as ``iid_roots``."""
        return b"".join(getattr(self, name).certificate.public_bytes(Encoding.PEM) for name in self.__slots__)


def tree(instance: Instance, keys: Keys, clock: Callable[[], float] = time.time) -> Tree:
    """The contents of the metadata service of ``instance``. Documents are signed when they are asked for."""
    metadata = {
        "ami-id": instance.image,
        "hostname": instance.private_name,
        "instance-id": instance.instance_id,
        "instance-type": instance.instance_type,
        "local-hostname": instance.private_name,
        "local-ipv4": instance.private_ip,
        "placement/availability-zone": instance.zone,
        "placement/region": instance.region,
    }
    document = instance.document
    return {
        **{f"meta-data/{path}": _constant(value.encode()) for path, value in metadata.items()},
        IDENTITY + "document": _constant(document),
        IDENTITY + "signature": lambda: wrap(keys.rsa1024.sign(document)),
        IDENTITY + "rsa2048": lambda: wrap(cms.signed_data(document, keys.rsa2048, int(clock()))),
        IDENTITY + "pkcs7": lambda: wrap(cms.signed_data(document, keys.dsa, int(clock()))),
    }


def recorded(recording: bytes) -> Tree:
    """The contents of a metadata service that has a recorded document and its signature, and nothing else.

    :param recording: a JSON object: ``cloud`` is "aws", ``format`` names the kind of signature, ``document`` is the
        document's text and ``signature`` the base64 text that came with it.
    :raises ValueError: with a sentence, if it is not that.
    """
    match strict_json.loads(recording):
        case {"cloud": "aws", "format": str(kind), "document": str(document), "signature": str(signature)}:
            pass
        case _:
            raise ValueError("the recording is not one of an AWS document with 'format', 'document' and 'signature'")
    if kind not in _PATHS:
        raise ValueError(f"the recording's format is {kind[:64]!a}; it is one of {', '.join(_PATHS)}")
    try:
        served = wrap(base64.b64decode(signature, validate=True))
    except binascii.Error as error:
        raise ValueError("the recording's signature is not base64") from error
    return {IDENTITY + "document": _constant(document.encode()), IDENTITY + _PATHS[kind]: _constant(served)}


def wrap(data: bytes) -> bytes:
    """``data`` in base64 as the metadata service serves it: in lines, the last one without a newline."""
    text = base64.b64encode(data)
    return b"\n".join(text[start : start + LINE] for start in range(0, len(text), LINE))


def _constant(value: bytes) -> Callable[[], bytes]:
    return lambda: value


def _new_signer(name: str) -> Signer:
    key: RSAPrivateKey | DSAPrivateKey
    # AWS's own keys are this short; these are believed only where an operator says so.
    key = generate_dsa(1024) if name == "dsa" else generate_rsa(65537, int(name.removeprefix("rsa")))  # noqa: S505
    certificate = (
        x509.CertificateBuilder()
        .subject_name(cms.certificate_name())
        .issuer_name(cms.certificate_name())
        .serial_number(secrets.randbits(63) | 1 << 63)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .public_key(key.public_key())
        .sign(key, SHA256())
    )
    return Signer(key, certificate)


def _open_signer(path: Path, name: str) -> Signer:
    pem = open_or_make(path, lambda: _pem(_new_signer(name)))
    try:
        key = load_pem_private_key(pem, None)
        certificate = x509.load_pem_x509_certificate(pem)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path} does not hold a simulator's key and certificate; remove it to have it made anew"
        ) from error
    if not isinstance(key, (RSAPrivateKey, DSAPrivateKey)) or certificate.public_key() != key.public_key():
        raise ValueError(f"{path} does not hold a key with its own certificate; remove it to have it made anew")
    return Signer(key, certificate)


def _pem(signer: Signer) -> bytes:
    key = signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key + signer.certificate.public_bytes(Encoding.PEM)
