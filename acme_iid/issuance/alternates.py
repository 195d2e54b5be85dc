"""Chains by which the intermediate's certificates lead to other roots (RFC 8555 section 7.4.2, "alternate")."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.issuance import keys
from acme_iid.issuance.home import shown
from acme_iid.issuance.keys import CAFileError
from acme_iid.protocol.public_keys import AUTHORITIES

MAX_LENGTH = 4
"""Certificates in a file: the intermediate as another CA signed it, those above it, and the root."""


@dataclass(frozen=True, slots=True)
class AlternateChain:
    """Another way from the intermediate to a root.

    :ivar pem: the certificates that follow a leaf instead of our intermediate, without the root.
    :ivar root: the root that its users trust.
    :ivar not_after: the end of its first certificate to end, in seconds; it is not offered any more then.
    """

    pem: str
    root: x509.Certificate
    not_after: int

    @property
    def root_pem(self) -> str:
        """The root in PEM, for clients."""
        return self.root.public_bytes(Encoding.PEM).decode()

    @property
    def root_fingerprint(self) -> str:
        """The SHA-256 of the root's DER, lower-case hex."""
        return self.root.fingerprint(hashes.SHA256()).hex()


def load(path: Path, intermediate: x509.Certificate) -> AlternateChain:
    """Read a chain: PEM, the cross-signed intermediate first and its root last.

    :param intermediate: ours, as our own root signed it.
    :raises CAFileError: if it cannot be read, or is no chain from our intermediate to another root.
    """
    chain = _read(path)
    if not 2 <= len(chain) <= MAX_LENGTH:
        raise CAFileError(
            f"{path} holds {len(chain)} certificates; an alternate chain is the cross-signed intermediate first and "
            f"the root last, at most {MAX_LENGTH}"
        )
    first, root = chain[0], chain[-1]
    if first == intermediate:
        raise CAFileError(f"{path} begins with the intermediate that is served anyway, not with a cross-signed one")
    if (first.subject, first.public_key(), _identifier(first)) != (
        intermediate.subject,
        intermediate.public_key(),
        _identifier(intermediate),
    ):
        raise CAFileError(
            f"{path} does not begin with this CA's intermediate: subject, key and key identifier are the same in a "
            "cross-signed one"
        )
    for certificate, issuer in (*pairwise(chain), (root, root)):
        if (refusal := AUTHORITIES.refusal(issuer.public_key(), issuer.public_key_algorithm_oid)) is not None:
            raise CAFileError(f"{path} has a key that no CA signs with: {refusal}")
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise CAFileError(
                f"{path} is no chain: {shown(certificate.subject)} was not issued by {shown(issuer.subject)}"
            ) from error
        if not _is_ca(certificate):
            raise CAFileError(f"{path} is no chain: {shown(certificate.subject)} is no CA certificate")
    return AlternateChain(
        pem="".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in chain[:-1]),
        root=root,
        not_after=int(min(certificate.not_valid_after_utc for certificate in chain).timestamp()),
    )


def _read(path: Path) -> list[x509.Certificate]:
    try:
        with path.open("rb") as stream:
            return x509.load_pem_x509_certificates(stream.read(keys.MAX_FILE_BYTES))
    except OSError as error:
        raise CAFileError(f"the alternate chain {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CAFileError(f"{path} holds no readable certificates in PEM form") from error


def _identifier(certificate: x509.Certificate) -> bytes | None:
    """The subject key identifier, which certificates below it name."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (ValueError, x509.ExtensionNotFound):
        return None


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound):
        return False
