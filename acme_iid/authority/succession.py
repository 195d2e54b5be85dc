"""Following the store: which issuer signs, and which ones sign nothing any more."""

from __future__ import annotations

from cryptography import x509

from acme_iid.errors import AcmeError, Problem
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.issuance.issuer import RetiredIssuer
from acme_iid.issuance.keys import CAFileError
from acme_iid.store import issuers
from acme_iid.store.writes import Reader


def follow(reader: Reader, ca: CertificateAuthority) -> None:
    """Have a CA do what the store says of its issuers.

    :raises CAFileError: if this process does not hold the key of the issuer that signs.
    """
    entries = issuers.every(reader)
    ca.standings = issuers.standings(entries)
    for entry in entries:
        if entry.retired_at is not None and entry.id not in ca.retired:
            chain = (x509.load_der_x509_certificate(entry.certificate), *_above(entry.chain))
            ca.retire(RetiredIssuer(chain))
    ca.use(issuers.signing(reader))


def _above(chain: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(chain.encode())[1:]


def take_up(reader: Reader, ca: CertificateAuthority) -> AcmeError | None:
    """Follow the store at once, because a certificate could not be recorded: another issuer may sign by now.

    :returns: the error if this server cannot go on; None if the certificate is to be made again.
    """
    try:
        follow(reader, ca)
    except CAFileError as error:
        return AcmeError(Problem.SERVER_INTERNAL, str(error))
    return None
