"""A stolen issuer: what is left to do once another one signs, and when the last client will have noticed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from acme_iid.authority import renewal
from acme_iid.config.settings import Config
from acme_iid.issuance import home
from acme_iid.protocol.renewal import pause_of_life
from acme_iid.store import certificates
from acme_iid.store.writes import Reader

DAILY_LOOK = 24 * 3600
"""Seconds after which a client of ours looks at the roots, and at their revocation lists, at the latest."""


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What a stolen issuer leaves behind.

    :ivar certificate: the file of its certificate.
    :ivar above: who signed it, for people.
    :ivar under_root: whether that is a root of this CA, in whose list it is to be named.
    :ivar root_key: the root's key, if that is in the home.
    :ivar valid: the number of its certificates that are in force.
    :ivar renewed_by: when every client that asks for renewal information has replaced its certificate, seconds.
    :ivar last_end: when the last of its certificates ends, seconds; None if there is none.
    """

    certificate: Path
    above: str
    under_root: bool
    root_key: Path | None
    valid: int
    renewed_by: int
    last_end: int | None


def aftermath(config: Config, reader: Reader, issuer_id: str, now: int) -> Aftermath:
    """Say what an issuer leaves behind whose key was stolen.

    :param now: seconds.
    :raises CAFileError: if its certificate cannot be read.
    """
    file = home.folder_of(issuer_id) / home.CERTIFICATE
    certificate = home.load_certificate(config.home / file)
    under = certificates.under_issuer(reader, issuer_id, now)
    # Whoever asks as late as can be then renews in the rest of the window, or at once.
    asked = now + pause_of_life(under.longest)
    return Aftermath(
        certificate=file,
        above=home.shown(certificate.issuer),
        under_root=_is_under_root(certificate, home.load_roots(config.home)),
        root_key=home.ROOT_KEY if (config.home / home.ROOT_KEY).exists() else None,
        valid=under.valid,
        renewed_by=max(asked, now + renewal.COMPROMISED_SECONDS),
        last_end=under.last_end,
    )


def _is_under_root(certificate: x509.Certificate, roots: tuple[x509.Certificate, ...]) -> bool:
    return any(home.is_signed_by(certificate, root) for root in roots)
