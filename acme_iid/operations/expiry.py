"""The ends of what the CA rests on: issuers, those above them, roots, and lists, with a warning while there is time.

One function says how little of a life is left (:func:`percent_left`). The log, the events, ``issuer status`` and the
exit status of ``check`` all follow from it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from cryptography import x509

from acme_iid.authority import Authority, certificate_status
from acme_iid.config.finding import Finding
from acme_iid.errors import SignerError
from acme_iid.issuance import home, responder
from acme_iid.issuance.issuer import SHORT_ID_LENGTH, key_id
from acme_iid.issuance.roots import fingerprint
from acme_iid.operations.background import Background
from acme_iid.protocol.standing import Standing
from acme_iid.store import expiry_warnings, issuers, jobs, revocation_lists, root_lists
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.writes import Decision, Reader, Write, perform

THRESHOLDS = (10, 25)
"""The percentages of a life at which is warned, the lowest first."""
INTERVAL = 600
"""Seconds from one look of all servers together to the next."""
_JOB = "expiry"
_DAY = 86400

Role = Literal["issuer", "between", "root", "list", "root list", "responder"]
_REMEDIES: dict[Role, str] = {
    "issuer": "Prepare the next one: acme-iid-ca issuer rotate prepare",
    "between": "Have the CA above it give it a new certificate, and prepare an issuer under that: "
    "acme-iid-ca issuer rotate prepare --csr FILE",
    "root": "Make the next root, and a link to it: acme-iid-ca issuer roots link",
    "list": "The server signs it anew by itself; its log says why that fails.",
    "root list": "Sign the next one where the root's key is: acme-iid-ca issuer root-crl sign",
    "responder": "The server renews it by itself; its log says why that fails.",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """The life of a certificate or a list.

    :ivar subject: its name in the store: the SHA-256 of a certificate in hex, or what list it is.
    :ivar name: its name for people.
    :ivar begins: seconds, as ``ends`` is.
    """

    role: Role
    subject: str
    name: str
    begins: int
    ends: int

    def __str__(self) -> str:
        return f"{self.role} {self.name}"


def of_certificate(role: Role, certificate: x509.Certificate) -> Lifetime:
    """The life of a certificate."""
    return Lifetime(
        role,
        fingerprint(certificate),
        home.shown(certificate.subject),
        int(certificate.not_valid_before_utc.timestamp()),
        int(certificate.not_valid_after_utc.timestamp()),
    )


def percent_left(begins: int, ends: int, now: int) -> int | None:
    """The threshold that the rest of a life has come to: 10 or 25 percent; None while more is left.

    :param begins: seconds, as the others are.
    """
    return next((percent for percent in THRESHOLDS if (ends - now) * 100 <= (ends - begins) * percent), None)


def lifetimes(folder: Path, reader: Reader | None, *, without_keys: bool = False) -> list[Lifetime]:
    """The lives of what the CA rests on now: not those of prepared and former issuers, which nothing ends with.

    :param folder: the CA's home.
    :param reader: its store; None if there is none, or it cannot be asked.
    :param without_keys: whether no file with a key may be opened.
    :raises CAFileError: if the home's certificates cannot be read.
    """
    entries = [] if reader is None else issuers.every(reader)
    chains = home.chains(folder) if home.has_issuers(folder) else ()
    chain = _signing_chain(chains, issuers.standings(entries))
    found = [of_certificate(role_in(chain, place), certificate) for place, certificate in enumerate(chain)]
    if reader is not None:
        found += _lists(reader, [entry.id for entry in entries if entry.retired_at is None])
        found += _root_lists(reader, home.load_roots(folder) if chains else ())
        in_service = {entry.id for entry in entries if entry.retired_at is None}
        found += _responders(folder, chains, in_service, without_keys)
    return found


def role_in(chain: Sequence[x509.Certificate], place: int) -> Role:
    """The role of the certificate at a place of an issuer's chain, the root of which comes last."""
    return "issuer" if place == 0 else "root" if place == len(chain) - 1 else "between"


def _signing_chain(
    chains: Sequence[tuple[x509.Certificate, ...]], standings: dict[str, Standing]
) -> tuple[x509.Certificate, ...]:
    """The chain of the issuer that signs; before any server has started, of the one that was made first."""
    for chain in chains:
        standing = standings.get(key_id(chain[0].public_key()))
        if standing is not None and standing.activated_at is not None and standing.replaced_at is None:
            return chain
    return min(chains, key=lambda chain: chain[0].not_valid_before_utc, default=())


def _lists(reader: Reader, issuer_ids: Sequence[str]) -> Iterator[Lifetime]:
    for issuer_id in issuer_ids:
        signed = revocation_lists.latest(reader, issuer_id)
        if signed is not None:
            short = issuer_id[:SHORT_ID_LENGTH]
            yield Lifetime("list", f"list {issuer_id}", f"of the issuer {short}", signed.signed_at, signed.next_update)


def _root_lists(reader: Reader, roots: Sequence[x509.Certificate]) -> Iterator[Lifetime]:
    for root in roots:
        entry = root_lists.newest(reader, fingerprint(root))
        if entry is not None:
            subject, name = f"root list {entry.root_id}", f"of {home.shown(root.subject)}"
            yield Lifetime("root list", subject, name, entry.this_update, entry.next_update)


def _responders(
    folder: Path, chains: Sequence[tuple[x509.Certificate, ...]], in_service: Collection[str], without_keys: bool
) -> Iterator[Lifetime]:
    """The responders of this home; that of a retired issuer ends with its last certificate, as it should."""
    for chain in chains:
        if key_id(chain[0].public_key()) in in_service:
            certificate = responder.look(folder, chain[0], 0, without_keys=without_keys)[0]
            if certificate is not None:
                yield of_responder(chain[0], certificate)


def of_responder(issuer: x509.Certificate, certificate: x509.Certificate) -> Lifetime:
    """The life of an issuer's OCSP responder."""
    life = of_certificate("responder", certificate)
    return replace(life, name=f"of the issuer {key_id(issuer.public_key())[:SHORT_ID_LENGTH]}")


def sentence(lifetime: Lifetime, now: int) -> str | None:
    """The warning for people, without what to do; None if there is time.

    :param now: seconds.
    """
    percent = percent_left(lifetime.begins, lifetime.ends, now)
    if percent is None:
        return None
    end = datetime.fromtimestamp(lifetime.ends, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if lifetime.ends <= now:
        return f"the {lifetime} has ended, at {end}."
    left = lifetime.ends - now
    span = f"{left // _DAY} days" if left >= 2 * _DAY else f"{left // 3600} hours"
    return f"the {lifetime} ends in {span}, at {end}: less than {percent} % of its life is left."


def findings(folder: Path, reader: Reader | None, now: int, *, without_keys: bool = False) -> list[Finding]:
    """What ends soon, for ``check``.

    :param reader: see :func:`lifetimes`.
    :param without_keys: see :func:`lifetimes`.
    :raises CAFileError: if the home's certificates cannot be read.
    """
    return [
        Finding("ends-soon", "remark", str(entry), text, _REMEDIES[entry.role])
        for entry in lifetimes(folder, reader, without_keys=without_keys)
        if (text := sentence(entry, now)) is not None
    ]


def warn(database: Database, lifetime: Lifetime, now: int) -> bool:
    """Warn of what ends soon, once for each threshold: in the log of one server, and in the record.

    :returns: whether this call did.
    """
    text, percent = sentence(lifetime, now), percent_left(lifetime.begins, lifetime.ends, now)
    if text is None or percent is None:
        return False
    if not perform(database, partial(_warn, lifetime=lifetime, percent=percent, now=now)):
        return False
    _log.warning("%s %s", text[0].upper() + text[1:], _REMEDIES[lifetime.role])
    return True


def _warn(reader: Reader, lifetime: Lifetime, percent: int, now: int) -> bool | Write[bool]:
    if expiry_warnings.has(reader, lifetime.subject, percent, lifetime.ends):
        return False
    detail: dict[str, object] = {
        "role": lifetime.role,
        "name": lifetime.name,
        "subject": lifetime.subject,
        "ends": lifetime.ends,
        "percent": percent,
    }
    note = expiry_warnings.note(lifetime.subject, percent, lifetime.ends)
    return Write([note], lambda _rows: True, [Event("expiry.warned", now, detail=detail)])


class ExpiryWatch(Background):
    """The thread of one process that looks at what ends soon, when it is this process's turn.

    It has lists signed anew in time, too, though nobody fetches them: one that nears its end is then a fault.
    """

    def __init__(self, authority: Authority) -> None:
        super().__init__(
            INTERVAL / 10,
            first=1.0,
            spread=0.1,
            fault="looking for what ends soon failed",
            unavailable="Nobody looks for what ends soon now",
        )
        self._authority = authority

    def turn(self) -> None:
        """Look, if it is this process's turn."""
        now = int(time.time())
        database = self._authority.database
        take: Decision[int | None] = partial(jobs.take, name=_JOB, now=now, interval=INTERVAL)
        if not jobs.is_due(database, _JOB, now, INTERVAL) or perform(database, take) is None:
            return
        try:
            if self._authority.config.shows_status:
                self._renew_lists(now)
        finally:
            # A list that cannot be signed is one of those that end soon.
            for lifetime in lifetimes(self._authority.config.home, database):
                warn(database, lifetime, now)

    def _renew_lists(self, now: int) -> None:
        ca = self._authority.ca
        for issuer in ca.issuers.values():
            standing = ca.standings.get(issuer.id)
            if standing is not None and standing.activated_at is not None:
                try:
                    certificate_status.current_list(self._authority, issuer, now)
                except SignerError as error:
                    self.warn("The list of revoked certificates was not renewed: %s", error)
