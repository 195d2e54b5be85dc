"""The status of certificates for anybody: a signed list of those that were revoked (CRL), or a signed answer (OCSP).

A list is signed when it is asked for and the store has no current one: no list at all, one that runs out soon, or one
from before a revocation. It is kept in the store, so that all processes serve the same bytes and a list costs one
signature however often it is fetched.
"""

from __future__ import annotations

from typing import NamedTuple

from cryptography.x509.ocsp import OCSPResponseStatus

from acme_iid.authority import Authority
from acme_iid.binding import CLOCK_SKEW
from acme_iid.errors import SignerError, StoreUnavailableError
from acme_iid.issuance import crl, ocsp
from acme_iid.issuance.crl import Revoked
from acme_iid.issuance.issuer import Issuer, RetiredIssuer
from acme_iid.issuance.responder import Responders
from acme_iid.protocol.resources import Certificate
from acme_iid.store import certificates, revocation_lists, unrecorded_revocations
from acme_iid.store.database import Database
from acme_iid.store.revocation_lists import SignedList
from acme_iid.store.writes import Committed, Reader, Write, again

LIST_LIFETIME = 24 * 3600
"""Seconds that a list can be relied on; when half is left, the next fetch has it signed again."""
ANSWER_LIFETIME = 3600
"""Seconds that an OCSP answer can be relied on."""

_TURN_SECONDS = 15.0  # longer than the first signature of all may take
_ATTEMPTS = 5
_NEVER = 1 << 62


def issuer_named(authority: Authority, short_id: str | None) -> Issuer | RetiredIssuer | None:
    """The issuer whose id begins so, retired or not; without an id the one that signs now."""
    if short_id is None:
        return authority.ca.current
    return next((issuer for issuer in _known(authority) if issuer.short_id == short_id), None)


def _known(authority: Authority) -> tuple[Issuer | RetiredIssuer, ...]:
    return *authority.ca.issuers.values(), *authority.ca.retired.values()


def current_list(authority: Authority, issuer: Issuer | RetiredIssuer, now: int) -> SignedList:
    """The list of an issuer that is current: every revocation that was acknowledged before is in it.

    Where nothing can be written or signed, or another thread of this process has the list signed just now, the list
    before is served for as long as it is relied on and lacks no revocation. Of an issuer that is retired it is the last
    one.

    :raises SignerError: if a key that is elsewhere gives no signature, and the list before does not do.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    database = authority.database
    known = revocation_lists.latest(database, issuer.id)
    if isinstance(issuer, RetiredIssuer):
        if known is None:
            raise StoreUnavailableError("the last list of a retired issuer is not in the store")
        return known
    if known is not None and _is_current(database, known, now):
        return known
    holds = known is not None and _still_holds(database, known, now)
    with authority.list_turns.of(issuer.id).taken(0.0 if holds else _TURN_SECONDS) as taken:
        if taken:
            return _signed_again(database, issuer, now)
    if known is None or not holds:
        raise SignerError(f"the list of the issuer {issuer.short_id} was not signed in {_TURN_SECONDS:.0f} s")
    return known


def _signed_again(database: Database, issuer: Issuer, now: int) -> SignedList:
    for _ in range(_ATTEMPTS):
        known = revocation_lists.latest(database, issuer.id)
        if known is not None and _is_current(database, known, now):
            return known
        try:
            signed = sign_list(database, issuer, known, now, now + LIST_LIFETIME)
            put = revocation_lists.put(signed, None if known is None else known.number, again)
            outcome = database.commit(Write([put], lambda _rows: None))
            if isinstance(outcome, Committed):
                return signed
        except (SignerError, StoreUnavailableError):
            if known is None or not _still_holds(database, known, now):
                raise
            return known
        # Another process was first; its list may be just what is needed.
    raise StoreUnavailableError("certificates are being revoked faster than lists are signed")


def _still_holds(reader: Reader, known: SignedList, now: int) -> bool:
    """Whether a list can be served where there is no newer one."""
    return now < known.next_update and _is_whole(reader, known)


def _is_current(reader: Reader, known: SignedList, now: int) -> bool:
    due = known.next_update - LIST_LIFETIME // 2
    return known.signed_at - CLOCK_SKEW <= now < due and _is_whole(reader, known)


def _is_whole(reader: Reader, known: SignedList) -> bool:
    return revocation_lists.count(reader, known.key_id, known.since) == known.revoked


def sign_list(reader: Reader, issuer: Issuer, known: SignedList | None, now: int, next_update: int) -> SignedList:
    """Sign the list of an issuer, as it is to be put in the place of the latest one.

    :param known: the latest one.
    :param now: seconds.
    :param next_update: until then it can be relied on, seconds.
    """
    # A certificate is in one more list after its end (RFC 5280 section 3.3): clients that missed its revocation see it.
    since = now if known is None else min(known.signed_at, now)
    revoked = [
        Revoked(int(serial, 16), at, reason)
        for serial, at, reason in revocation_lists.revoked(reader, issuer.id, since)
    ]
    # Numbers follow the clock, so that they grow after a backup was restored, too.
    number = now if known is None else max(known.number + 1, now)
    der = crl.sign(issuer.signer, revoked, number, now, next_update)
    return SignedList(issuer.id, number, since, len(revoked), now, next_update, der)


class Answer(NamedTuple):
    """An OCSP answer in DER, and the seconds for which it can be relied on."""

    der: bytes
    lifetime: int


def answer(authority: Authority, responders: Responders, request: bytes, now: int) -> Answer:
    """The answer to an OCSP request in DER, which the issuer's responder signs.

    It outlives neither the certificate, since Caddy staples no such answer, nor the responder. One for an
    expired certificate has no nextUpdate, which says that there may be news at any time (RFC 6960 section 4.2.2.1).

    :raises OCSPError: if there is no answer: ``malformedRequest``, ``unauthorized`` for another CA's certificates.
    :raises ResponderError: if the issuer has no responder that can be used.
    """
    question = ocsp.read(request)
    issuer = next((issuer for issuer in _known(authority) if question.is_about(issuer.certificate)), None)
    if issuer is None:
        raise ocsp.OCSPError(OCSPResponseStatus.UNAUTHORIZED)
    certificate = certificates.by_serial(authority.database, f"{question.serial:x}")
    if certificate is not None and certificate.issuer_id != issuer.id:
        certificate = None
    revoked, not_after = _revocation(authority.database, issuer, question.serial, certificate)
    # With the key of a retired issuer nothing is signed; its responder lasts as long as its last certificate. Where the
    # key is elsewhere, no request waits for it: the thread that looks after responders makes them ahead of time.
    signer = issuer.signer if isinstance(issuer, Issuer) and not issuer.signs_elsewhere else None
    responder = responders.of(issuer.certificate, signer, now)
    until = min(now + ANSWER_LIFETIME, responder.ends, not_after)
    lifetime = max(0, until - now)
    next_update = until if lifetime else None
    issued = certificate is not None or revoked is not None
    der = ocsp.answer(responder.signer, question, issued=issued, revoked=revoked, now=now, next_update=next_update)
    return Answer(der, lifetime)


def _revocation(
    reader: Reader, issuer: Issuer | RetiredIssuer, serial: int, certificate: Certificate | None
) -> tuple[Revoked | None, int]:
    """The revocation of a certificate, if there is one, and when the certificate ends; :data:`_NEVER` if unknown."""
    if certificate is not None:
        at, reason = certificate.revoked_at, certificate.revocation_reason or 0
        return (None if at is None else Revoked(serial, at, reason)), certificate.not_after
    unrecorded = unrecorded_revocations.get(reader, issuer.id, f"{serial:x}")
    if unrecorded is None:
        return None, _NEVER
    return Revoked(serial, unrecorded.revoked_at, unrecorded.reason), unrecorded.not_after
