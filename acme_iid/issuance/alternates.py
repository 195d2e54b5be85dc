"""Chains by which the intermediate's certificates lead to other roots (RFC 8555 section 7.4.2, "alternate")."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.issuance import keys, name_constraints
from acme_iid.issuance.home import shown
from acme_iid.issuance.issuer import key_id
from acme_iid.issuance.keys import CAFileError
from acme_iid.policy.name_constraints import NameConstraints
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.public_keys import AUTHORITIES

MAX_LENGTH = 4
"""Certificates in a file: the intermediate as another CA signed it, those above it, and the root."""


@dataclass(frozen=True, slots=True)
class AlternateChain:
    """Another way from an issuer to a root.

    :ivar issuer_id: of the issuer whose certificates it is for.
    :ivar pem: the certificates that follow a leaf instead of our intermediate, without the root.
    :ivar root: the root that its users trust.
    :ivar not_after: the end of its first certificate to end, in seconds; it is not offered any more then.
    :ivar constraints: the name constraints of all its certificates; it is not offered for names that they shut out.
    """

    issuer_id: str
    pem: str
    root: x509.Certificate
    not_after: int
    constraints: tuple[NameConstraints, ...] = ()

    def is_for(self, issuer_id: str, names: Collection[Identifier], now: int) -> bool:
        """Whether certificates of an issuer are valid by this chain.

        :param names: those in the certificate.
        :param now: seconds.
        """
        permitted = all(entry.refusal(name) is None for entry in self.constraints for name in names)
        return issuer_id == self.issuer_id and now < self.not_after and permitted

    @property
    def root_pem(self) -> str:
        """The root in PEM, for clients."""
        return self.root.public_bytes(Encoding.PEM).decode()

    @property
    def root_fingerprint(self) -> str:
        """The SHA-256 of the root's DER, lower-case hex."""
        return self.root.fingerprint(hashes.SHA256()).hex()


def load(path: Path, issuers: Iterable[x509.Certificate]) -> AlternateChain:
    """Read a chain: PEM, the cross-signed intermediate first and its root last.

    :param issuers: the certificates of the CA's issuers, as its own root signed them.
    :raises CAFileError: if it cannot be read, or is no chain from one of the issuers to another root.
    """
    chain = _read(path)
    if not 2 <= len(chain) <= MAX_LENGTH:
        raise CAFileError(
            f"{path} holds {len(chain)} certificates; an alternate chain is the cross-signed intermediate first and "
            f"the root last, at most {MAX_LENGTH}"
        )
    first, root = chain[0], chain[-1]
    for issuer in issuers:
        if first == issuer:
            raise CAFileError(f"{path} begins with the intermediate that is served anyway, not with a cross-signed one")
        if _stands_for(first, issuer):
            break
    else:
        raise CAFileError(
            f"{path} does not begin with an intermediate of this CA: subject, key and key identifier are the same in a "
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
    holders = ((f"the certificate {shown(entry.subject)} of an alternate chain", entry) for entry in chain)
    return AlternateChain(
        issuer_id=key_id(first.public_key()),
        pem="".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in chain[:-1]),
        root=root,
        not_after=int(min(certificate.not_valid_after_utc for certificate in chain).timestamp()),
        constraints=name_constraints.read(holders),
    )


def _read(path: Path) -> list[x509.Certificate]:
    try:
        with path.open("rb") as stream:
            return x509.load_pem_x509_certificates(stream.read(keys.MAX_FILE_BYTES))
    except OSError as error:
        raise CAFileError(f"the alternate chain {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CAFileError(f"{path} holds no readable certificates in PEM form") from error


def _stands_for(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether certificates of an issuer are valid under another certificate, too."""
    same = (certificate.subject, certificate.public_key()) == (issuer.subject, issuer.public_key())
    return same and _identifier(certificate) == _identifier(issuer)


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
