"""A stolen issuer: marked when it does not sign, what is left to do then, and when the last client will have noticed.

The one that signs is marked by the activation that replaces it (:mod:`acme_iid.operations.rotation`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography import x509

from acme_iid.config.settings import Config
from acme_iid.errors import RequestError
from acme_iid.issuance import home
from acme_iid.issuance.issuer import SHORT_ID_LENGTH, key_id
from acme_iid.issuance.roots import fingerprint, is_signed_by
from acme_iid.operations import issuers as issuing
from acme_iid.operations import retirement
from acme_iid.protocol.renewal import COMPROMISED_SECONDS, pause_of_life
from acme_iid.store import certificates, issuers, root_lists, roots
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.writes import Reader, Statement, Write, perform


@dataclass(frozen=True, slots=True)
class Compromised:
    """An issuer whose key was stolen.

    :ivar before: when it was marked so before, seconds; None if it was marked now.
    """

    id: str
    before: int | None


def compromise(config: Config, database: Database, short_id: str, now: int) -> Compromised:
    """Mark an issuer that does not sign: a former, retired or prepared one. Once more changes nothing.

    :param short_id: the beginning of its id.
    :param now: seconds.
    :raises RequestError: if it signs, or there is no such issuer.
    :raises CAFileError: if the store does not know it, and the issuers in the home cannot be read.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    return perform(database, partial(_compromise, config=config, short_id=short_id, now=now))


def _compromise(reader: Reader, config: Config, short_id: str, now: int) -> Write[Compromised]:
    signing = issuers.signing(reader)
    if signing is None:
        raise RequestError(
            "no server of this CA has ever started, so that no issuer has signed anything; make a new home with "
            "'acme-iid-ca init'"
        )
    statements: list[Statement] = []
    activated_at = None
    if any(entry.id.startswith(short_id) for entry in issuers.every(reader)):
        entry = retirement.find(reader, short_id)
        if entry.compromised_at is not None:
            known = Compromised(entry.id, entry.compromised_at)
            return Write([], lambda _rows: known)
        if entry.id == signing:
            raise RequestError(
                "this issuer signs now; have a prepared one take its place, which marks this one: acme-iid-ca issuer "
                "rotate activate NEXT --compromised"
            )
        issuer_id, activated_at = entry.id, entry.activated_at
    else:
        # Prepared in this home, and no server has taken it up yet.
        chain = issuing.chosen(config, short_id)
        issuer_id = key_id(chain[0].public_key())
        statements.append(issuing.noted(chain, now))
    statements.append(issuers.compromise(issuer_id, activated_at, now))
    marked = Compromised(issuer_id, None)
    return Write(statements, lambda _rows: marked, [Event("issuer.compromised", now, detail={"issuer": issuer_id})])


@dataclass(frozen=True, slots=True)
class Ceremony:
    """What the list of the root is signed with that names the issuer.

    :ivar root: the file of the root's certificate; None if the home's holds other roots too.
    :ivar key: the file of the root's key; None if it is elsewhere.
    :ivar former: where the list is that this CA hands out now; None if there is none yet.
    """

    root: Path | None
    key: Path | None
    former: str | None


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What a stolen issuer leaves behind.

    :ivar certificate: its certificate.
    :ivar file: the file of that; None if it is not in this home.
    :ivar above: who signed it, for people.
    :ivar ceremony: None if that is no root of this CA, so that the list that names it is another's.
    :ivar dropped_at: when the root that it leads to was dropped, seconds; None while clients trust it.
    :ivar valid: the number of its certificates that are in force.
    :ivar renewed_by: when every client that asks for renewal information has replaced its certificate, seconds.
    :ivar last_end: when the last of its certificates ends, seconds; None if there is none.
    """

    certificate: x509.Certificate
    file: Path | None
    above: str
    ceremony: Ceremony | None
    dropped_at: int | None
    valid: int
    renewed_by: int
    last_end: int | None


def aftermath(config: Config, reader: Reader, issuer_id: str, now: int) -> Aftermath:
    """Say what an issuer leaves behind whose key was stolen.

    :param now: seconds.
    :raises CAFileError: if the roots in the home cannot be read.
    """
    entry = issuers.get(reader, issuer_id)
    assert entry is not None  # it was marked
    certificate = x509.load_der_x509_certificate(entry.certificate)
    # A retired issuer needs no folder any more, and one of another server never had one here.
    file = config.home / home.folder_of(issuer_id) / home.CERTIFICATE
    under = certificates.under_issuer(reader, issuer_id, now)
    return Aftermath(
        certificate=certificate,
        file=file if file.exists() else None,
        above=home.shown(certificate.issuer),
        ceremony=_ceremony(config, reader, certificate),
        dropped_at=_dropped_at(reader, x509.load_pem_x509_certificates(entry.chain.encode())[-1]),
        valid=under.valid,
        # Whoever asks as late as can be renews at once then.
        renewed_by=(entry.compromised_at or now) + max(pause_of_life(under.longest), COMPROMISED_SECONDS),
        last_end=under.last_end,
    )


def _dropped_at(reader: Reader, below: x509.Certificate) -> int | None:
    """When the root that has signed a certificate was dropped."""
    known = ((root.dropped_at, x509.load_der_x509_certificate(root.certificate)) for root in roots.every(reader))
    return next((at for at, root in known if at is not None and is_signed_by(below, root)), None)


def _ceremony(config: Config, reader: Reader, certificate: x509.Certificate) -> Ceremony | None:
    trusted = home.load_roots(config.home)
    root = next((root for root in trusted if is_signed_by(certificate, root)), None)
    if root is None:
        return None
    known, key = root_lists.newest(reader, fingerprint(root)), config.home / home.ROOT_KEY
    return Ceremony(
        config.home / home.ROOT_CERTIFICATE if len(trusted) == 1 else None,
        key if key.exists() else None,
        None if known is None else f"{config.server.url}/root-crl/{known.root_id[:SHORT_ID_LENGTH]}",
    )
