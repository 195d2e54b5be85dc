"""Signed data in the byte shape that AWS's metadata service serves (RFC 5652 in BER).

The outer values and the content have indefinite lengths, the signer has definite ones, no certificate is
attached, and the signed attributes are contentType, signingTime and messageDigest, in this order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from acme_iid.attestation import asn1
from acme_iid.attestation.asn1 import tlv
from acme_iid.attestation.cms import (
    CONTENT_TYPE,
    DSA_WITH_SHA1,
    ID_DATA,
    ID_SIGNED_DATA,
    MESSAGE_DIGEST,
    RSA_ENCRYPTION,
    SIGNING_TIME,
    Digest,
)
from acme_iid.attestation.cms import SHA1 as SHA1_OID
from acme_iid.attestation.cms import SHA256 as SHA256_OID

_NAME = (
    ("2.5.4.6", "US"),
    ("2.5.4.8", "Washington State"),
    ("2.5.4.7", "Seattle"),
    ("2.5.4.10", "Amazon Web Services LLC"),
)
_PRINTABLE_STRING = 0x13
NULL = tlv(asn1.NULL, b"")


@dataclass(frozen=True, slots=True)
class Signer:
    """A throw-away key with the certificate that stands for it."""

    key: RSAPrivateKey | DSAPrivateKey
    certificate: x509.Certificate

    @property
    def digest(self) -> Digest:
        """The digest that AWS uses with a key of this algorithm, by :mod:`hashlib`'s name."""
        return "sha256" if isinstance(self.key, RSAPrivateKey) else "sha1"

    @property
    def digest_algorithm(self) -> bytes:
        """The AlgorithmIdentifier of the digest."""
        return sequence(oid(SHA256_OID if self.digest == "sha256" else SHA1_OID), NULL)

    @property
    def signature_algorithm(self) -> bytes:
        """The AlgorithmIdentifier of the signature, with the parameters that AWS gives it."""
        return sequence(oid(RSA_ENCRYPTION), NULL) if self.digest == "sha256" else sequence(oid(DSA_WITH_SHA1))

    def sign(self, data: bytes) -> bytes:
        """Sign as AWS does with a key of this algorithm."""
        if isinstance(self.key, RSAPrivateKey):
            return self.key.sign(data, PKCS1v15(), SHA256())
        return self.key.sign(data, SHA1())  # noqa: S303 - AWS signs pkcs7 with nothing else


def signed_data(content: bytes, signer: Signer, signing_time: int) -> bytes:
    """The CMS that AWS would serve for ``content``, signed at ``signing_time`` (seconds)."""
    attributes = signed_attributes(content, signer.digest, signing_time)
    return content_info(encapsulated(content), [signer_info(signer, attributes)], signer.digest_algorithm)


def content_info(content: bytes, signers: Sequence[bytes], digest_algorithm: bytes, certificates: bytes = b"") -> bytes:
    """Wrap encoded content and SignerInfos, all lengths indefinite as AWS's are."""
    inner = indefinite(
        asn1.SEQUENCE,
        tlv(asn1.INTEGER, b"\x01"),
        tlv(asn1.SET, digest_algorithm),
        content,
        certificates,
        tlv(asn1.SET, b"".join(signers)),
    )
    return indefinite(asn1.SEQUENCE, oid(ID_SIGNED_DATA), indefinite(asn1.CONTEXT_0, inner))


def encapsulated(content: bytes) -> bytes:
    """The EncapsulatedContentInfo: an OCTET STRING of one piece inside one of indefinite length."""
    constructed = indefinite(asn1.CONSTRUCTED_OCTET_STRING, tlv(asn1.OCTET_STRING, content))
    return indefinite(asn1.SEQUENCE, oid(ID_DATA), indefinite(asn1.CONTEXT_0, constructed))


def signed_attributes(content: bytes, digest: Digest, signing_time: int) -> list[bytes]:
    """The attributes that AWS signs, in its order, which is DER's."""
    when = datetime.fromtimestamp(signing_time, UTC).strftime("%y%m%d%H%M%SZ").encode()
    return [
        attribute(CONTENT_TYPE, oid(ID_DATA)),
        attribute(SIGNING_TIME, tlv(asn1.UTC_TIME, when)),
        attribute(MESSAGE_DIGEST, tlv(asn1.OCTET_STRING, hashlib.new(digest, content).digest())),
    ]


def signer_info(signer: Signer, attributes: Sequence[bytes], signature: bytes | None = None) -> bytes:
    """A SignerInfo that signs ``attributes``, or carries ``signature`` in its place."""
    encoded = b"".join(attributes)
    serial = signer.certificate.serial_number
    return sequence(
        tlv(asn1.INTEGER, b"\x01"),
        sequence(issuer(), tlv(asn1.INTEGER, serial.to_bytes(serial.bit_length() // 8 + 1))),
        signer.digest_algorithm,
        tlv(asn1.CONTEXT_0, encoded),
        signer.signature_algorithm,
        tlv(asn1.OCTET_STRING, signer.sign(tlv(asn1.SET, encoded)) if signature is None else signature),
    )


def issuer() -> bytes:
    """The name that stands in AWS's certificates, in DER."""
    return sequence(
        *(tlv(asn1.SET, sequence(oid(kind), tlv(_PRINTABLE_STRING, value.encode()))) for kind, value in _NAME)
    )


def certificate_name() -> x509.Name:
    """The same name, for the certificates of throw-away keys."""
    return x509.Name([x509.NameAttribute(x509.ObjectIdentifier(kind), value) for kind, value in _NAME])


def attribute(kind: str, *values: bytes) -> bytes:
    """An Attribute of a type with encoded values."""
    return sequence(oid(kind), tlv(asn1.SET, b"".join(values)))


def sequence(*members: bytes) -> bytes:
    """A SEQUENCE of encoded members, of definite length."""
    return tlv(asn1.SEQUENCE, b"".join(members))


def indefinite(tag: int, *members: bytes) -> bytes:
    """A constructed value of indefinite length (X.690 section 8.1.3.6)."""
    return bytes((tag, 0x80)) + b"".join(members) + b"\0\0"


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER (X.690 section 8.19)."""
    first, second, *rest = map(int, dotted.split("."))
    encoded = b""
    for arc in (40 * first + second, *rest):
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.insert(0, arc & 0x7F | 0x80)
        encoded += bytes(septets)
    return tlv(asn1.OID, encoded)
