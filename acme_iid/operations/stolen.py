"""A stolen issuer: what is left to do once another one signs, and when the last client will have noticed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from acme_iid.authority import renewal
from acme_iid.config.settings import Config
from acme_iid.issuance import home
from acme_iid.issuance.ca import fingerprint
from acme_iid.issuance.issuer import SHORT_ID_LENGTH
from acme_iid.protocol.renewal import pause_of_life
from acme_iid.store import certificates, root_lists
from acme_iid.store.writes import Reader


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

    :ivar certificate: the file of its certificate.
    :ivar above: who signed it, for people.
    :ivar ceremony: None if that is no root of this CA, so that the list that names it is another's.
    :ivar valid: the number of its certificates that are in force.
    :ivar renewed_by: when every client that asks for renewal information has replaced its certificate, seconds.
    :ivar last_end: when the last of its certificates ends, seconds; None if there is none.
    """

    certificate: Path
    above: str
    ceremony: Ceremony | None
    valid: int
    renewed_by: int
    last_end: int | None


def aftermath(config: Config, reader: Reader, issuer_id: str, now: int) -> Aftermath:
    """Say what an issuer leaves behind whose key was stolen.

    :param now: seconds.
    :raises CAFileError: if its certificate cannot be read.
    """
    file = config.home / home.folder_of(issuer_id) / home.CERTIFICATE
    certificate = home.load_certificate(file)
    under = certificates.under_issuer(reader, issuer_id, now)
    return Aftermath(
        certificate=file,
        above=home.shown(certificate.issuer),
        ceremony=_ceremony(config, reader, certificate),
        valid=under.valid,
        # Whoever asks as late as can be renews at once then.
        renewed_by=now + max(pause_of_life(under.longest), renewal.COMPROMISED_SECONDS),
        last_end=under.last_end,
    )


def _ceremony(config: Config, reader: Reader, certificate: x509.Certificate) -> Ceremony | None:
    roots = home.load_roots(config.home)
    root = next((root for root in roots if home.is_signed_by(certificate, root)), None)
    if root is None:
        return None
    known, key = root_lists.newest(reader, fingerprint(root)), config.home / home.ROOT_KEY
    return Ceremony(
        config.home / home.ROOT_CERTIFICATE if len(roots) == 1 else None,
        key if key.exists() else None,
        None if known is None else f"{config.server.url}/root-crl/{known.root_id[:SHORT_ID_LENGTH]}",
    )
