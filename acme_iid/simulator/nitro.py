"""NitroTPM attestation documents as the Nitro hypervisor makes them, signed under a throw-away root.

On an instance a program makes them (``nitro-tpm-attest`` of aws-nitro-tpm-tools) over the TPM's device; there
is no HTTP for it, so that this is a function and not a service. Source: Amazon EC2 User Guide, "Validate a
NitroTPM Attestation Document".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.attestation import cose
from acme_iid.simulator.authority import Authority, key_usage, name
from acme_iid.simulator.keyfiles import open_or_make

LIFETIME = timedelta(hours=3)
"""The lifetime of the hypervisor's own certificates."""

_ORGANIZATION = "Simulated Amazon"


@dataclass(frozen=True, slots=True)
class Keys:
    """A throw-away root, and the authorities of a region, a zone and a host below it."""

    host: Authority

    @classmethod
    def generate(cls) -> Self:
        """Make a root that lives in memory only."""
        return cls._below(_new_root())

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read the root in ``directory``, or make it there (mode 0600); what is below it is made anew each time.

        :raises OSError: if the directory or the file cannot be used.
        :raises ValueError: if the file holds something else, naming it.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / "nitro.pem"
        return cls._below(Authority.from_pem(open_or_make(path, lambda: _new_root().to_pem()), path))

    @classmethod
    def _below(cls, root: Authority) -> Self:
        authority = root
        for path_length, place in ((2, "region"), (1, "zone"), (0, "host")):
            key = generate_private_key(SECP384R1())
            authority = authority.below(name(f"{place}.aws.nitro-enclaves", _ORGANIZATION), key, path_length)
        return cls(authority)

    @property
    def roots(self) -> bytes:
        """The root in PEM: the file that a CA takes as ``nitro_roots``."""
        return self.host.chain[-1].public_bytes(Encoding.PEM)


def document(
    instance_id: str, keys: Keys, now: float, *, nonce: bytes | None = None, public_key: bytes | None = None
) -> bytes:
    """The attestation document that the hypervisor makes for an instance: a COSE_Sign1, untagged.

    :param now: seconds.
    :param nonce: the caller's.
    :param public_key: the caller's, a SubjectPublicKeyInfo in DER.
    """
    key = generate_private_key(SECP384R1())
    leaf = signer(keys, key, instance_id, now)
    return sign(payload(instance_id, [leaf, *keys.host.chain], now, nonce=nonce, public_key=public_key), key)


def signer(keys: Keys, key: EllipticCurvePrivateKey, instance_id: str, now: float) -> x509.Certificate:
    """The certificate of a hypervisor's key."""
    moment = datetime.fromtimestamp(int(now), UTC)
    extensions = (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (key_usage(signatures=True, certificates=False), True),
    )
    subject = name(f"{instance_id}.aws.nitro-enclaves", _ORGANIZATION)
    return keys.host.certify(subject, key.public_key(), extensions, moment - timedelta(seconds=1), moment + LIFETIME)


def payload(
    instance_id: str,
    chain: list[x509.Certificate],
    now: float,
    *,
    nonce: bytes | None = None,
    public_key: bytes | None = None,
    **members: object,
) -> dict[str, object]:
    """The payload of a document. ``members`` replace an instance's own or add to them; ``...`` removes one.

    :param chain: the signer's certificate first, the root last.
    """
    leaf, *above = (certificate.public_bytes(Encoding.DER) for certificate in chain)
    whole: dict[str, object] = {
        "module_id": f"{instance_id}-tpm0000000000000000",
        "digest": "SHA384",
        "timestamp": int(now * 1000),
        "nitrotpm_pcrs": {index: hashlib.sha384(bytes((index,))).digest() for index in range(24)},
        "certificate": leaf,
        "cabundle": above[::-1],
        "public_key": public_key,
        "user_data": None,
        "nonce": nonce,
        **members,
    }
    return {name: value for name, value in whole.items() if value is not ...}


def sign(content: Mapping[str, object], key: EllipticCurvePrivateKey) -> bytes:
    """The COSE_Sign1 of a payload, whose outermost map has an indefinite length as Nitro's has."""
    encoded = b"\xbf" + b"".join(cbor(name) + cbor(value) for name, value in content.items()) + b"\xff"
    return sign_bytes(encoded, key)


def sign_bytes(encoded: bytes, key: EllipticCurvePrivateKey) -> bytes:
    """The COSE_Sign1 of any bytes."""
    protected = cbor({1: cose.ES384})
    r, s = decode_dss_signature(key.sign(cose.signed_bytes(cose.Sign1(protected, encoded, b"")), ECDSA(SHA384())))
    return cbor([protected, {}, encoded, r.to_bytes(48) + s.to_bytes(48)])


def cbor(value: object) -> bytes:
    """A value in CBOR, numbers and lengths in their shortest form (RFC 8949 section 4.2.1)."""
    match value:
        case None | bool():
            return bytes(({False: 0xF4, True: 0xF5, None: 0xF6}[value],))
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            return _head(3, len(value.encode())) + value.encode()
        case list():
            return _head(4, len(value)) + b"".join(map(cbor, value))
        case dict():
            return _head(5, len(value)) + b"".join(cbor(key) + cbor(member) for key, member in value.items())
        case _:
            raise TypeError(f"a {type(value).__name__} has no place in these documents")


def _head(kind: int, argument: int) -> bytes:
    if argument < 24:
        return bytes((kind << 5 | argument,))
    size = next(size for size in (1, 2, 4, 8) if argument < 1 << (8 * size))
    return bytes((kind << 5 | 23 + size.bit_length(),)) + argument.to_bytes(size)


def _new_root() -> Authority:
    return Authority.root(name("aws.nitro-enclaves", _ORGANIZATION), generate_private_key(SECP384R1()))
