"""Which issuer signs: the store says so, and every server follows within seconds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.errors import RequestError
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.operations.presence import SEEN_SECONDS
from acme_iid.store import issuers, servers
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.issuers import StoredIssuer
from acme_iid.store.writes import Reader, Statement, Write, perform


def begin(database: Database, ca: CertificateAuthority, now: int) -> None:
    """Note the issuers of a server that starts, and have it sign with the one that the store says.

    The first server of a CA activates its issuer.

    :param now: seconds.
    :raises CAFileError: if the key of the issuer that signs is not in the home.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    perform(database, partial(_note, ca=ca, now=now))
    ca.use(issuers.signing(database))


def _note(reader: Reader, ca: CertificateAuthority, now: int) -> Write[None]:
    statements: list[Statement] = [
        issuers.note(issuer.id, issuer.certificate.public_bytes(Encoding.DER), issuer.chain_pem, now)
        for issuer in ca.issuers.values()
        if issuers.chain(reader, issuer.id) != issuer.chain_pem
    ]
    if issuers.signing(reader) is None:
        statements.append(issuers.activate_first(ca.current.id, now))
    return Write(statements, lambda _rows: None)


def activate(database: Database, issuer_id: str, now: int) -> StoredIssuer:
    """Have a prepared issuer sign in the place of the one that does.

    :param now: seconds.
    :raises RequestError: if it is not prepared, ends too soon, or a server that runs lacks its key.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    return perform(database, partial(_activate, issuer_id=issuer_id, now=now))


def _activate(reader: Reader, issuer_id: str, now: int) -> Write[StoredIssuer]:
    every = {entry.id: entry for entry in issuers.every(reader)}
    entry = every.get(issuer_id)
    former = issuers.signing(reader)
    if entry is None or former is None:
        raise RequestError(f"there is no issuer {issuer_id[:16]} in the store; a server that has its key notes it")
    if entry.activated_at is not None or entry.retired_at is not None:
        raise RequestError(f"the issuer {issuer_id[:16]} was activated before; prepare a new one")
    lacking = lacking_servers(servers.seen(reader, now, SEEN_SECONDS), issuer_id)
    if lacking:
        raise RequestError(
            f"{len(lacking)} of the servers that run lack the key of {issuer_id[:16]}: {', '.join(lacking)}. Copy the "
            "issuer's folder and key into their homes, and reload them (SIGHUP)"
        )
    event = Event("issuer.activated", now, detail={"issuer": issuer_id, "former": former})
    return Write([issuers.activate(issuer_id, former, now)], lambda _rows: entry, [event])


def lacking_servers(running: Sequence[servers.Server], issuer_id: str) -> list[str]:
    """The servers that do not hold an issuer's key, by their ids."""
    return [server.id for server in running if issuer_id not in server.issuers]
