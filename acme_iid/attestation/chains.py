"""Certificate chains from a signer to a pinned root: offline, bounded, at a given time (RFC 5280 section 6.1).

Certificates that come with evidence are helpers that nothing vouches for: they may stand between the signer
and a pinned root, and no more. The places that a certificate names for others (AIA) are never read, so that
no input chooses a fetch.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, SignatureAlgorithmOID

from acme_iid.protocol.der import contents, end
from acme_iid.protocol.public_keys import EVIDENCE

_INTEGER = 0x02
_VERSION = 0xA0  # the tag of a certificate's version, which one of version 1 lacks

_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
MAX_INTERMEDIATES = 4
"""Certificates between signer and root; Azure has had one or two, Nitro has three."""
MAX_SUPPLIED = 8
"""Certificates that may come with evidence."""
MAX_CERTIFICATE_BYTES = 3 * 1024
"""Real ones have some 2,400 bytes at most."""
MAX_ATTRIBUTES = 16
"""Attributes of a name; real ones have six at most."""
MAX_EXTENSIONS = 32
"""Real certificates have some ten."""
MAX_LINKS = 10
"""Signatures that are checked for one chain. A genuine one takes six at most, cross-signed issuers included."""

_SIGNATURES = frozenset(
    {
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
    }
)
# RFC 5280 section 4.2: a critical extension that is not processed here has the certificate refused.
_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)
_PEM_BLOCK = re.compile(r"\s*-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----\s*")


class NoChainError(ValueError):
    """No chain leads from a signer to a root: an issuer may be missing, or the root is not trusted here."""


@dataclass(frozen=True, slots=True)
class Root:
    """A certificate at which chains may end.

    :ivar scope: the provisioners that an operator gave it to; None for a pinned one, which all believe.
    """

    certificate: x509.Certificate
    scope: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Anchors:
    """The certificates that chains of one kind end with: roots, and intermediates that need not be sent along."""

    roots: tuple[Root, ...] = ()
    intermediates: tuple[x509.Certificate, ...] = ()


def read(der: bytes) -> x509.Certificate:
    """A certificate of which all the parts that are looked at here can be read.

    :raises ValueError: with a sentence that states its fault.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise ValueError(f"a certificate is {len(der)} bytes long; {MAX_CERTIFICATE_BYTES} is the limit")
    try:
        if not _has_positive_serial_number(der):
            raise ValueError("a certificate's serial number is not positive")
    except IndexError as error:
        raise ValueError("a certificate cannot be read") from error
    try:
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key()
        # The package reads these when they are first asked for; later on they shall not fail.
        _ = (certificate.extensions, certificate.subject, certificate.issuer, certificate.signature_algorithm_oid)
        _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    except _UNREADABLE as error:
        raise ValueError("a certificate cannot be read") from error
    # Names are compared with each other, and extensions looked at once a link.
    if max(len(certificate.subject), len(certificate.issuer)) > MAX_ATTRIBUTES:
        raise ValueError(f"a certificate has a name of more than {MAX_ATTRIBUTES} attributes")
    if len(certificate.extensions) > MAX_EXTENSIONS:
        raise ValueError(f"a certificate has more than {MAX_EXTENSIONS} extensions")
    if (refusal := EVIDENCE.refusal(key, certificate.public_key_algorithm_oid)) is not None:
        raise ValueError(f"a certificate's key is refused: {refusal}")
    return certificate


def _has_positive_serial_number(der: bytes) -> bool:
    """Whether a certificate's serial number is positive (RFC 5280 section 4.1.2.2). True if there is no serial number.

    The package reads others, and warns of them.

    :raises IndexError: if the bytes are not a certificate.
    """
    at = contents(der, contents(der, 0))
    if der[at] == _VERSION:
        at = end(der, at)
    if der[at] != _INTEGER:
        return True
    number = der[contents(der, at) : end(der, at)]
    return int.from_bytes(number, signed=True) > 0


def read_pem(text: str, most: int = MAX_SUPPLIED) -> tuple[x509.Certificate, ...]:
    """The certificates in a PEM text that holds nothing else (RFC 7468 section 5).

    :param most: the number that there may be.
    :raises ValueError: with a sentence, if it holds something else, no certificate, or too many.
    """
    certificates: list[x509.Certificate] = []
    position = 0
    while position < len(text):
        block = _PEM_BLOCK.match(text, position)
        if block is None:
            raise ValueError("there is something that is not a CERTIFICATE block of PEM")
        if len(certificates) == most:
            raise ValueError(f"there are more than {most} certificates")
        encoded = "".join(block.group(1).split())
        try:
            der = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise ValueError("a CERTIFICATE block is not base64") from error
        # Decoders let unused bits and superfluous padding pass.
        if base64.b64encode(der).decode() != encoded:
            raise ValueError("a CERTIFICATE block is not base64 in its one exact form")
        certificates.append(read(der))
        position = block.end()
    if not certificates:
        raise ValueError("there is no certificate")
    return tuple(certificates)


def key_id(certificate: x509.Certificate) -> str:
    """The name of a certificate's key in records: ``sha256:`` and the hex SHA-256 of its SubjectPublicKeyInfo."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "sha256:" + hashlib.sha256(spki).hexdigest()


def verify(
    leaf: x509.Certificate,
    supplied: Sequence[x509.Certificate],
    anchors: Anchors,
    now: int,
    purpose: x509.ObjectIdentifier | None = None,
) -> tuple[Root, ...]:
    """Find the roots that ``leaf`` leads to, each certificate valid at ``now`` and made by the next one.

    :param supplied: certificates that came along, in any order.
    :param now: seconds.
    :param purpose: the extended key usage that every certificate must allow that restricts its usage.
    :returns: the roots reached.
    :raises NoChainError: with a sentence, if no root is reached.
    :raises ValueError: likewise, if the signer or the supplied certificates are refused.
    """
    if len(supplied) > MAX_SUPPLIED:
        raise ValueError(f"there are more than {MAX_SUPPLIED} certificates")
    moment = datetime.fromtimestamp(now, UTC)
    refusal = _refusal(leaf, moment, purpose) or _refusal_to_sign(leaf)
    if refusal is not None:
        raise ValueError(f"the signer's certificate {refusal}")
    search = _Search(anchors, tuple(dict.fromkeys((*supplied, *anchors.intermediates))), moment, purpose)
    reached = search.roots(leaf)
    if not reached:
        raise NoChainError(
            f"no chain leads from the signer's certificate, issued by {_name(leaf.issuer)}, to a trusted root"
            + "".join(f"; {reason}" for reason in search.reasons)
        )
    return tuple(dict.fromkeys(reached))


def scope(roots: Sequence[Root]) -> frozenset[str] | None:
    """The provisioners that believe a chain to any of these roots; None for all, if one root is pinned."""
    if any(root.scope is None for root in roots):
        return None
    return frozenset[str]().union(*(root.scope for root in roots if root.scope is not None))


@dataclass(slots=True)
class _Search:
    """One search for issuers, level by level, in which no certificate is looked at twice as an issuer found."""

    anchors: Anchors
    intermediates: Sequence[x509.Certificate]
    moment: datetime
    purpose: x509.ObjectIdentifier | None
    links: int = 0
    reasons: dict[str, None] = field(default_factory=dict)

    def roots(self, leaf: x509.Certificate) -> list[Root]:
        """The roots that ``leaf`` leads to through at most so many intermediates as are allowed."""
        reached: list[Root] = []
        seen, level = {leaf}, [leaf]
        for below in range(MAX_INTERMEDIATES + 1):
            above: list[x509.Certificate] = []
            for certificate in level:
                reached += [
                    root for root in self.anchors.roots if self._issued(certificate, root.certificate, below, root=True)
                ]
                for candidate in self.intermediates:
                    # The first visit is the one with the fewest certificates below, so the one that a
                    # pathLenConstraint lets pass if it lets any.
                    if candidate not in seen and self._issued(certificate, candidate, below):
                        seen.add(candidate)
                        above.append(candidate)
            level = above
        return reached

    def _issued(self, certificate: x509.Certificate, issuer: x509.Certificate, below: int, root: bool = False) -> bool:
        """Whether ``issuer``, with so many intermediates below it, was allowed to issue ``certificate``, and did."""
        if certificate.issuer != issuer.subject:
            return False
        # The signature that a root made over itself does not count, and that of old roots is with SHA-1.
        refusal = _refusal(issuer, self.moment, self.purpose, signed=not root) or _refusal_to_issue(issuer, below)
        if refusal is not None:
            self.reasons[f"the certificate of {_name(issuer.subject)} {refusal}"] = None
            return False
        self.links += 1
        if self.links > MAX_LINKS:
            raise ValueError("the certificates that came along are too entangled")
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return False
        return True


def _refusal(
    certificate: x509.Certificate, moment: datetime, purpose: x509.ObjectIdentifier | None, *, signed: bool = True
) -> str | None:
    """The fault of a certificate at any place in a chain, as the rest of a sentence; None if it has no fault."""
    if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        return f"is not valid at {moment:%Y-%m-%dT%H:%M:%SZ}"
    if signed and certificate.signature_algorithm_oid not in _SIGNATURES:
        return "is signed with an algorithm that is not accepted"
    for extension in certificate.extensions:
        # An issuer with name constraints may issue for some names only. The clouds' issuers have none, so that
        # constraints are not weighed here: a chain with them is refused.
        if extension.oid == ExtensionOID.NAME_CONSTRAINTS:
            return "has name constraints, which are not accepted here"
        if extension.critical and extension.oid not in _UNDERSTOOD:
            return f"has a critical extension that is not understood ({extension.oid.dotted_string[:64]})"
        # Not standard in RFC 5280, but everywhere in the Web's certificates: an issuer for mail or code alone
        # vouches for no server.
        if isinstance(extension.value, x509.ExtendedKeyUsage) and purpose is not None:
            usages = set(extension.value)
            if not usages & {purpose, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}:
                return "is for another purpose (extendedKeyUsage)"
    return None


def _refusal_to_issue(certificate: x509.Certificate, below: int) -> str | None:
    """The reason why a certificate may not have issued another, with ``below`` intermediates down to the signer."""
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    if constraints is None or not constraints.ca:
        return "is not an authority's (basicConstraints)"
    if usage is None or not usage.key_cert_sign:
        return "is not for signing certificates (keyUsage)"
    if constraints.path_length is not None and below > constraints.path_length:
        return "allows fewer certificates below it (pathLenConstraint)"
    return None


def _refusal_to_sign(certificate: x509.Certificate) -> str | None:
    """The reason why a certificate may not have signed a document."""
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    if constraints is not None and constraints.ca:
        return "is an authority's (basicConstraints)"
    if usage is not None and not usage.digital_signature:
        return "is not for signatures (keyUsage)"
    return None


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _name(name: x509.Name) -> str:
    """A name for a sentence. Its author is unknown, so it is short and in ASCII."""
    return ascii(name.rfc4514_string()[:100])
