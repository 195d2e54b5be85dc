"""A strict reader for signed data in the Cryptographic Message Syntax (RFC 5652), as AWS and Azure serve it.

It reads what they send, and refuses the rest of the standard: exactly one signer, named by issuer and
serial number; content of the type id-data, attached; nothing after the end. It checks no signature:
:func:`signed_bytes` gives the bytes that the signature covers, and verifiers know the keys that may verify it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from acme_iid.attestation import asn1
from acme_iid.attestation.asn1 import Node

ID_DATA = "1.2.840.113549.1.7.1"
ID_SIGNED_DATA = "1.2.840.113549.1.7.2"
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
SIGNING_TIME = "1.2.840.113549.1.9.5"
SHA1 = "1.3.14.3.2.26"
SHA256 = "2.16.840.1.101.3.4.2.1"
RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
RSA_WITH_SHA256 = "1.2.840.113549.1.1.11"
DSA_WITH_SHA1 = "1.2.840.10040.4.3"

Digest = Literal["sha1", "sha256"]

# Azure names the whole signature algorithm where the standard wants the digest's (RFC 5652 section 5.3).
_DIGESTS: dict[str, Digest] = {SHA1: "sha1", SHA256: "sha256", RSA_WITH_SHA256: "sha256"}


class DigestMismatchError(ValueError):
    """The content's digest is not the one that was signed."""


@dataclass(frozen=True, slots=True)
class SignedData:
    """Signed data that was read, and not yet verified.

    :ivar content: the attached content's exact bytes.
    :ivar digest: the signer's digest algorithm, by :mod:`hashlib`'s name.
    :ivar signature_algorithm: the signer's signature algorithm, an object identifier in dotted form.
    :ivar issuer: the issuer of the signer's certificate, a Name in DER.
    :ivar serial: the serial number of the signer's certificate.
    :ivar certificates: the attached certificates in DER; nothing vouches for them.
    :ivar signed_attributes: the signed attributes as a SET in DER, or None if the message has no such attributes.
    :ivar message_digest: the messageDigest attribute, or None without signed attributes.
    :ivar signing_time: the signingTime attribute in seconds, or None.
    """

    content: bytes
    digest: Digest
    signature_algorithm: str
    signature: bytes
    issuer: bytes
    serial: int
    certificates: tuple[bytes, ...] = ()
    signed_attributes: bytes | None = None
    message_digest: bytes | None = None
    signing_time: int | None = None


def parse(data: bytes) -> SignedData:
    """Read one ContentInfo that holds signed data.

    :param data: BER or DER.
    :raises ValueError: with a sentence that states the fault.
    """
    content_type, wrapped = _members(asn1.parse(data), "the ContentInfo", 2)
    if asn1.oid(content_type, "the content type") != ID_SIGNED_DATA:
        raise ValueError("the content type is not signed data")
    members = asn1.children(_only(wrapped, asn1.CONTEXT_0, "the content"), asn1.SEQUENCE, "the SignedData")
    if len(members) < 4:
        raise ValueError("the SignedData is incomplete")
    # RFC 5652 section 5.1: version 1 is the one for id-data and signers named by issuer and serial number.
    if asn1.integer(members[0], "the version") != 1:
        raise ValueError("the SignedData's version is not 1")
    digest = _algorithm(_only(members[1], asn1.SET, "the set of digest algorithms"), "the digest algorithm")
    content = _content(members[2])
    certificates: tuple[bytes, ...] = ()
    if len(members) == 5:
        certificates = _certificates(members[3])
    elif len(members) != 4:
        raise ValueError("the SignedData holds more than content, certificates and a signer")
    signer = _only(members[-1], asn1.SET, "the set of signers")
    return _signer(signer, digest, content, certificates)


def signed_bytes(signed: SignedData) -> bytes:
    """The bytes that the signature covers, once the content is known to be tied to them.

    Without signed attributes that is the content itself, with them it is their SET in DER, which holds
    the content's digest (RFC 5652 section 5.4).

    :raises DigestMismatchError: if the signed digest is not the content's.
    """
    if signed.signed_attributes is None:
        return signed.content
    actual = hashlib.new(signed.digest, signed.content).digest()
    if signed.message_digest is None or not hmac.compare_digest(actual, signed.message_digest):
        raise DigestMismatchError("the content is not the one that was signed: its digest differs from the signed one")
    return signed.signed_attributes


def _content(encapsulated: Node) -> bytes:
    members = asn1.children(encapsulated, asn1.SEQUENCE, "the encapsulated content")
    if not members or asn1.oid(members[0], "the encapsulated content's type") != ID_DATA:
        raise ValueError("the encapsulated content's type is not id-data")
    if len(members) != 2:
        raise ValueError("the content is detached; it must be inside")
    return asn1.octets(_only(members[1], asn1.CONTEXT_0, "the encapsulated content"), "the encapsulated content")


def _certificates(node: Node) -> tuple[bytes, ...]:
    certificates = asn1.children(node, asn1.CONTEXT_0, "the set of certificates")
    if any(asn1.expect(certificate, asn1.SEQUENCE, "a certificate").indefinite for certificate in certificates):
        raise ValueError("a certificate is not in DER")
    return tuple(certificate.encoding for certificate in certificates)


def _signer(signer: Node, digest: str, content: bytes, certificates: tuple[bytes, ...]) -> SignedData:
    members = asn1.children(signer, asn1.SEQUENCE, "the SignerInfo")
    if len(members) < 5:
        raise ValueError("the SignerInfo is incomplete")
    if asn1.integer(members[0], "the SignerInfo's version") != 1:
        raise ValueError("the SignerInfo's version is not 1")
    name, serial = _members(members[1], "the signer's issuer and serial number", 2)
    if _algorithm(members[2], "the signer's digest algorithm") != digest:
        raise ValueError("the signer's digest algorithm is not the one that the SignedData announces")
    if digest not in _DIGESTS:
        raise ValueError(f"the digest algorithm {digest} is not supported")
    # Unsigned attributes would be one more optional member; nothing vouches for them and no cloud sends them.
    attributes = members[3] if len(members) == 6 else None
    if len(members) > 6:
        raise ValueError("the SignerInfo has unsigned attributes")
    encoded, message_digest, signing_time = None, None, None
    if attributes is not None:
        encoded, message_digest, signing_time = _signed_attributes(attributes)
    return SignedData(
        content=content,
        digest=_DIGESTS[digest],
        signature_algorithm=_algorithm(members[-2], "the signature algorithm"),
        signature=asn1.expect(members[-1], asn1.OCTET_STRING, "the signature").value,
        issuer=asn1.der(asn1.expect(name, asn1.SEQUENCE, "the signer's issuer")),
        serial=asn1.integer(serial, "the signer's serial number"),
        certificates=certificates,
        signed_attributes=encoded,
        message_digest=message_digest,
        signing_time=signing_time,
    )


def _signed_attributes(node: Node) -> tuple[bytes, bytes, int | None]:
    """The attributes as a SET in DER, the messageDigest and the signingTime (RFC 5652 sections 5.4 and 11)."""
    attributes: dict[str, Node] = {}
    for attribute in asn1.children(node, asn1.CONTEXT_0, "the signed attributes"):
        kind, values = _members(attribute, "a signed attribute", 2)
        name = asn1.oid(kind, "a signed attribute's type")
        if name in attributes:
            raise ValueError(f"the signed attribute {name} is there twice")
        attributes[name] = _only(values, asn1.SET, f"the signed attribute {name}")
    encoded = asn1.der(node, asn1.SET)
    # The signature covers the DER encoding, also of attributes that were sent in BER. No cloud sends BER here, and
    # the values that were read above must be those that the signer's own encoder wrote.
    if encoded[1:] != node.encoding[1:]:
        raise ValueError("the signed attributes are not in DER")
    if CONTENT_TYPE not in attributes or asn1.oid(attributes[CONTENT_TYPE], "the signed content type") != ID_DATA:
        raise ValueError("the signed attributes do not name id-data as the content's type")
    if MESSAGE_DIGEST not in attributes:
        raise ValueError("the signed attributes hold no messageDigest")
    digest = asn1.expect(attributes[MESSAGE_DIGEST], asn1.OCTET_STRING, "the messageDigest").value
    return encoded, digest, _time(attributes[SIGNING_TIME]) if SIGNING_TIME in attributes else None


def _time(node: Node) -> int:
    """A Time in seconds (RFC 5652 section 11.3: UTCTime counts from 1950, GeneralizedTime has no fraction)."""
    text = node.value.decode("latin-1")
    if node.tag == asn1.UTC_TIME and len(text) == 13:
        text = ("19" if text[:2] >= "50" else "20") + text
    elif node.tag != asn1.GENERALIZED_TIME or len(text) != 15:
        raise ValueError("the signingTime is not a time")
    if not (text[:14].isascii() and text[:14].isdigit() and text[14] == "Z"):
        raise ValueError("the signingTime is not a time in UTC with seconds")
    try:
        return int(datetime.fromisoformat(f"{text[:8]}T{text[8:14]}+00:00").timestamp())
    except ValueError as error:
        raise ValueError("the signingTime is not a time that exists") from error


def _algorithm(node: Node, what: str) -> str:
    """An AlgorithmIdentifier's algorithm; the parameters are absent or NULL for all that are used here."""
    members = asn1.children(node, asn1.SEQUENCE, what)
    if not members or len(members) > 2:
        raise ValueError(f"{what} is not an AlgorithmIdentifier")
    if len(members) == 2 and asn1.expect(members[1], asn1.NULL, f"the parameter of {what}").value:
        raise ValueError(f"the parameter of {what} is not NULL")
    return asn1.oid(members[0], what)


def _members(node: Node, what: str, count: int) -> Sequence[Node]:
    members = asn1.children(node, asn1.SEQUENCE, what)
    if len(members) != count:
        raise ValueError(f"{what} has {len(members)} members instead of {count}")
    return members


def _only(node: Node, tag: int, what: str) -> Node:
    members = asn1.children(node, tag, what)
    if len(members) != 1:
        raise ValueError(f"{what} has {len(members)} values instead of one")
    return members[0]
