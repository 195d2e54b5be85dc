"""Which issuer signs: the store says so, and every server follows within seconds."""

from __future__ import annotations

from functools import partial

from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.authority import succession
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.store import issuers
from acme_iid.store.database import Database
from acme_iid.store.writes import Reader, Statement, Write, perform


def begin(database: Database, ca: CertificateAuthority, now: int) -> None:
    """Note the issuers of a server that starts, and have it sign with the one that the store says.

    The first server of a CA activates its issuer.

    :param now: seconds.
    :raises CAFileError: if the key of the issuer that signs is not in the home.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    perform(database, partial(_note, ca=ca, now=now))
    succession.follow(database, ca)


def _note(reader: Reader, ca: CertificateAuthority, now: int) -> Write[None]:
    statements: list[Statement] = [
        issuers.note(issuer.id, issuer.certificate.public_bytes(Encoding.DER), issuer.chain_pem, now)
        for issuer in ca.issuers.values()
        if issuers.chain(reader, issuer.id) != issuer.chain_pem
    ]
    if issuers.signing(reader) is None:
        statements.append(issuers.activate_first(ca.current.id, now))
    return Write(statements, lambda _rows: None)
