"""The roots of a CA, and the links between them: by a link, clients of an earlier root accept what is under the next.

A link is a certificate for the subject and the key of a new root, signed with the key of an earlier one. Whoever has
the key of an intermediate alone cannot make one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding


@dataclass(frozen=True, slots=True)
class Roots:
    """The roots that clients trust.

    :ivar certificates: the one in use first.
    :ivar links: by the subject of a root, in DER, the link to it.
    """

    certificates: tuple[x509.Certificate, ...]
    links: Mapping[bytes, x509.Certificate]

    def links_above(self, top: x509.Certificate, now: int) -> tuple[x509.Certificate, ...]:
        """The links that follow a chain: from its root back to the earliest one that is trusted still.

        :param top: the last certificate of the chain; the root has signed it.
        :param now: seconds; a link that has ended is left out, with those behind it.
        """
        found: list[x509.Certificate] = []
        trusted = {subject_of(root) for root in self.certificates}
        subject = issuer_of(top)
        while (link := self.links.get(subject)) is not None and len(found) < len(self.links):
            subject = issuer_of(link)
            if subject not in trusted or now >= link.not_valid_after_utc.timestamp():
                break
            found.append(link)
        return tuple(found)


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether a certificate has the issuer's subject as its issuer, and its signature."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate's DER, lower-case hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def subject_of(certificate: x509.Certificate) -> bytes:
    """The subject of a certificate, in DER."""
    return certificate.subject.public_bytes()


def issuer_of(certificate: x509.Certificate) -> bytes:
    """The issuer of a certificate, in DER."""
    return certificate.issuer.public_bytes()


def to_pem(*certificates: x509.Certificate) -> str:
    """Return certificates in PEM, one after the other."""
    return "".join(entry.public_bytes(Encoding.PEM).decode() for entry in certificates)
