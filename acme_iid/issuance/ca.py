"""The CA as it is in its home: the roots that clients trust, and the issuers under them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.issuance.issuer import SHORT_ID_LENGTH, Issuer, RetiredIssuer
from acme_iid.issuance.keys import CAFileError
from acme_iid.protocol.standing import Standing


class CertificateAuthority:
    """The roots and the issuers of one CA.

    :ivar roots: what clients trust, the one in use first.
    :ivar issuers: those whose keys this process holds, by their ids.
    :ivar retired: those whose keys nobody needs any more, by their ids.
    :ivar standings: what the store said last of all issuers, by their ids.
    :ivar own_keys: the SHA-256 of the SubjectPublicKeyInfo of all certificates of the CA, keys that get no certificate.
    """

    def __init__(self, roots: Sequence[x509.Certificate], issuers: Sequence[Issuer]) -> None:
        self.roots = tuple(roots)
        self.issuers: Mapping[str, Issuer] = {issuer.id: issuer for issuer in issuers}
        self.retired: Mapping[str, RetiredIssuer] = {}
        self.standings: Mapping[str, Standing] = {}
        self.own_keys = frozenset().union(*(issuer.own_keys for issuer in issuers))
        self._current = issuers[0]

    @property
    def current(self) -> Issuer:
        """The issuer that signs what is issued now."""
        return self._current

    @property
    def root_pem(self) -> str:
        """All roots, as clients are given them."""
        return "".join(root.public_bytes(Encoding.PEM).decode() for root in self.roots)

    @property
    def root_fingerprint(self) -> str:
        """The SHA-256 of the DER of the root in use, lower-case hex: what an operator compares."""
        return fingerprint(self.roots[0])

    def use(self, issuer_id: str | None) -> None:
        """Issue under another issuer from now on.

        :param issuer_id: None for no change.
        :raises CAFileError: if this process does not hold its key.
        """
        if issuer_id is None or issuer_id == self._current.id:
            return
        if issuer_id not in self.issuers:
            raise CAFileError(
                f"the issuer that signs now, {issuer_id[:SHORT_ID_LENGTH]}, is not in this server's home; copy its "
                "folder in issuers/ and its key here from the server on which it was prepared"
            )
        self._current = self.issuers[issuer_id]

    def retire(self, issuer: RetiredIssuer) -> None:
        """Sign nothing with an issuer's key any more; it is not the one that signs now."""
        self.retired = {**self.retired, issuer.id: issuer}
        self.issuers = {known: entry for known, entry in self.issuers.items() if known != issuer.id}
        self.own_keys |= issuer.own_keys


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate's DER, lower-case hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()
