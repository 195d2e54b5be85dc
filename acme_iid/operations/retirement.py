"""The end of an issuer: a last list that outlasts its last certificate, after which its key can be destroyed.

From then on nothing is signed with that key: no list, no answer, no certificate. Servers pass over its files, need no
key, and serve the last list and the certificate from the store. So no certificate under it can be revoked any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from acme_iid.authority import certificate_status
from acme_iid.config.settings import Config
from acme_iid.errors import RequestError
from acme_iid.issuance import home
from acme_iid.issuance.issuer import SHORT_ID_LENGTH, Issuer
from acme_iid.issuance.serving import LIFETIME
from acme_iid.signing.places import Place
from acme_iid.store import certificates, issuers, revocation_lists
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.issuers import StoredIssuer
from acme_iid.store.writes import Reader, Write, again, perform

MARGIN = 7 * 24 * 3600
"""Seconds by which the last list outlasts the last certificate: clocks are wrong, and lists are fetched early."""
FOLLOWED_SECONDS = 180
"""Seconds after an activation in which a server may still need the former key: for certificates, or a responder."""


@dataclass(frozen=True, slots=True)
class Retired:
    """An issuer that was retired.

    :ivar valid: the number of its certificates that are in force, and can no longer be revoked.
    :ivar last_end: when the last of its certificates ends, seconds; None if the store has none.
    :ivar next_update: until when its last list can be relied on, seconds.
    :ivar key: where the key is that can be destroyed.
    """

    id: str
    valid: int
    last_end: int | None
    next_update: int
    key: Place


def retire(
    config: Config, database: Database, short_id: str, password: str | None, now: int, *, while_valid: bool
) -> Retired:
    """Sign the last list of a former issuer, and have it sign nothing any more: both, or nothing.

    :param short_id: the beginning of its id.
    :param password: of its key.
    :param now: seconds.
    :param while_valid: whether it may be retired although certificates of it are in force.
    :raises RequestError: if it signs, was never activated, is retired, or has certificates in force.
    :raises CAFileError: if its key cannot be used.
    :raises SignerError: if its key is in a token or behind a program, and does not answer; nothing was changed then.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    issuer_id = find(database, short_id).id
    _require_former(database, issuer_id, now)
    issuer = home.load_issuer(config.home, issuer_id, password)
    key = home.key_place(config.home, issuer_id)
    return perform(database, partial(_retire, issuer=issuer, key=key, now=now, while_valid=while_valid))


def find(reader: Reader, short_id: str) -> StoredIssuer:
    """The issuer that the store knows by the beginning of its id.

    :raises RequestError: if there is none.
    """
    entries = [entry for entry in issuers.every(reader) if short_id and entry.id.startswith(short_id)]
    if len(entries) == 1:
        return entries[0]
    if entries:
        raise RequestError(f"{len(entries)} issuers begin with {short_id!r}; give more of the id")
    raise RequestError(
        f"no server of this CA ever had an issuer {short_id[:SHORT_ID_LENGTH]!r}; 'acme-iid-ca issuer status' lists "
        "those that there are"
    )


def _require_former(reader: Reader, issuer_id: str, now: int) -> None:
    standing = issuers.standings(issuers.every(reader))[issuer_id]
    if standing.retired_at is not None:
        raise RequestError("this issuer is retired already, and its last list is signed")
    if standing.activated_at is None:
        raise RequestError("this issuer never signed; remove its folder in issuers/ and its key, if nobody needs it")
    if standing.replaced_at is None:
        raise RequestError("this issuer signs now; activate another one first: acme-iid-ca issuer rotate activate")
    if now < standing.replaced_at + FOLLOWED_SECONDS:
        raise RequestError(
            f"another issuer took its place less than {FOLLOWED_SECONDS} seconds ago, and servers may still need the "
            "key of this one; try again in a few minutes"
        )


def _retire(reader: Reader, issuer: Issuer, key: Place, now: int, *, while_valid: bool) -> Write[Retired]:
    _require_former(reader, issuer.id, now)
    under = certificates.under_issuer(reader, issuer.id, now)
    if under.valid and not while_valid:
        assert under.last_end is not None
        raise RequestError(
            f"{under.valid} certificates of this issuer are in force, the last until {_time(under.last_end)}; after "
            "its last list none of them can be revoked. Wait until then, or say that this is intended: --while-valid"
        )
    # Certificates of the servers themselves are in no store; they live for a day.
    last = max(under.last_end or 0, now + LIFETIME)
    known = revocation_lists.latest(reader, issuer.id)
    signed = certificate_status.sign_list(reader, issuer, known, now, last + MARGIN)
    statements = [
        # It comes first: revocations that are under way end before it, and are counted.
        issuers.retire(issuer.id, now),
        revocation_lists.put(signed, None if known is None else known.number, again),
        revocation_lists.whole(signed, again),
    ]
    detail = {"issuer": issuer.id, "valid": under.valid, "last_end": under.last_end, "list_until": signed.next_update}
    retired = Retired(issuer.id, under.valid, under.last_end, signed.next_update, key)
    return Write(statements, lambda _rows: retired, [Event("issuer.retired", now, detail=detail)])


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
