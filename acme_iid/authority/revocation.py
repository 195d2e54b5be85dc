"""Revoking certificates, and what it closes (RFC 8555 section 7.6; rfc-notes/iid-01.md, "Release and revocation")."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from acme_iid.authority import accounts as active_accounts
from acme_iid.authority import delegates, enrolments, signers
from acme_iid.authority.context import RequestContext
from acme_iid.errors import AcmeError, Problem, Remedy, RequestError
from acme_iid.policy.clouds import instance_key
from acme_iid.protocol import jwk
from acme_iid.protocol.resources import Account, Certificate
from acme_iid.store import accounts, certificates, compromised_keys, instances, issuers, proven
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.writes import Reader, Statement, Write, again, perform, refuse

REASONS = {
    0: "unspecified",
    1: "keyCompromise",
    3: "affiliationChanged",
    4: "superseded",
    5: "cessationOfOperation",
}
"""The reason codes a client may give (RFC 5280 section 5.3.1); the others are for other kinds of certificates."""
KEY_COMPROMISE = 1
SUPERSEDED = 4


def reason(value: object) -> int:
    """The reason code in a revokeCert payload; 0 if the payload has no reason.

    :raises AcmeError: ``badRevocationReason``, naming the codes that are allowed.
    """
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value not in REASONS:
        allowed = ", ".join(f"{code} ({word})" for code, word in REASONS.items())
        raise AcmeError(Problem.BAD_REVOCATION_REASON, f"the reason is not one of {allowed}")
    return value


def reason_of_text(text: str) -> int:
    """The reason code that an operator means by ``text``: a code, or a name such as keyCompromise in any case.

    :raises RequestError: naming the ones that are allowed.
    """
    name = text.lower().replace("-", "").replace("_", "")
    for code, word in REASONS.items():
        if name in (str(code), word.lower()):
            return code
    allowed = ", ".join(f"{word} ({code})" for code, word in REASONS.items())
    raise RequestError(f"{text!r} is no reason for a revocation; the reasons are {allowed}")


def find(reader: Reader, der: bytes) -> Certificate:
    """The certificate of ours that ``der`` is.

    :raises AcmeError: ``malformed`` if ``der`` is not a certificate, 404 if this CA did not issue it.
    """
    try:
        leaf = x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion) as error:
        raise AcmeError(Problem.MALFORMED, "'certificate' is not a certificate in base64url DER") from error
    certificate = certificates.by_serial(reader, f"{leaf.serial_number:x}")
    if certificate is None or certificate.der != der:
        raise AcmeError(Problem.MALFORMED, "this CA did not issue that certificate", status=404)
    return certificate


def _thumbprint(certificate: Certificate) -> str:
    """The thumbprint of a certificate's key."""
    return thumbprint_of(x509.load_der_x509_certificate(certificate.der))


def thumbprint_of(leaf: x509.Certificate) -> str:
    """The thumbprint of the key of a certificate of ours."""
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey)
    return jwk.thumbprint(key)


def revoke_by_account(
    context: RequestContext, reader: Reader, account: Account, certificate: Certificate, code: int
) -> Write[None]:
    """Revoke on the word of an account: the one that got the certificate, or that enrolled the one that did.

    A host's certificate is revoked by another account too that controls all its names (RFC 8555 section 7.6). An
    instance's is not: the rules may give one name to many instances, and holding a name is not controlling it.

    :raises AcmeError: ``unauthorized``, ``badRevocationReason``, ``alreadyRevoked``.
    """
    own = account.id in (certificate.account_id, _owner(reader, certificate))
    if not own and certificate.instance is not None:
        raise AcmeError(
            Problem.UNAUTHORIZED,
            "a certificate of an instance is revoked by the account that got it, by its own key, or by an operator",
        )
    if not own and not set(certificate.names) <= proven.controlled_names(reader, account.id, context.now):
        raise AcmeError(
            Problem.UNAUTHORIZED, "this account neither got the certificate nor is authorized for all its names"
        )
    if code == KEY_COMPROMISE:
        others = ", ".join(f"{other} ({word})" for other, word in REASONS.items() if other != code)
        raise AcmeError(
            Problem.BAD_REVOCATION_REASON,
            "keyCompromise takes a request that the certificate's own key signs, or an operator; an account gives one "
            f"of {others}",
        )
    write = _revoke_once(context, reader, certificate, code, f"account {account.id}", may_close=own)
    return replace(write, statements=[signers.guard(account), *write.statements])


def revoke_by_key(
    context: RequestContext, reader: Reader, thumbprint: str, certificate: Certificate, code: int
) -> Write[None]:
    """Revoke on the word of the certificate's own key.

    :param thumbprint: of the key that signed the request.
    :raises AcmeError: ``unauthorized``, ``alreadyRevoked``.
    """
    if _thumbprint(certificate) != thumbprint:
        raise AcmeError(Problem.UNAUTHORIZED, "the request is not signed by the certificate's key")
    return _revoke_once(context, reader, certificate, code, "certificate key", may_close=True)


def revoke_by_operator(database: Database, certificate: Certificate, code: int, now: int) -> None:
    """Revoke on an operator's word, and close the names to the instance.

    :raises AcmeError: ``alreadyRevoked``.
    """
    perform(database, lambda reader: _revoke(reader, certificate, code, "operator", now, closes=True))


def _revoke_once(
    context: RequestContext, reader: Reader, certificate: Certificate, code: int, by: str, *, may_close: bool
) -> Write[None]:
    """Revoke on somebody's word over the wire.

    :param may_close: whether it closes names; another account that controls them must not be able to lock the
        instance out of them, nor one whose instance was released to another.
    :raises AcmeError: ``alreadyRevoked``.
    """
    closes = may_close and _still_theirs(reader, certificate)
    return _revoke(reader, certificate, code, by, context.now, closes=closes, remote=context.remote)


def _still_theirs(reader: Reader, certificate: Certificate) -> bool:
    """Whether the instance still belongs to the account that got the certificate.

    One that an operator released to another account is no longer the former one's to be locked out of names.
    """
    holder = None if certificate.instance is None else instances.get(reader, certificate.instance)
    # If nobody holds it by first use (trust on it is off), there is no other holder.
    return holder is None or not holder.is_held or holder.account_id == _owner(reader, certificate)


def _owner(reader: Reader, certificate: Certificate) -> str:
    """The account by whose proof a certificate was issued: the one that got it, or that enrolled the one that did."""
    account = accounts.get(reader, certificate.account_id)
    enrolment = None if account is None else delegates.enrolment_of(reader, account)
    return certificate.account_id if enrolment is None else enrolment.account_id


def _revoke(
    reader: Reader,
    certificate: Certificate,
    code: int,
    revoked_by: str,
    now: int,
    *,
    closes: bool,
    remote: str | None = None,
) -> Write[None]:
    """Revoke a certificate; with ``closes``, close its names to its instance and end what it has proven.

    A certificate that was superseded closes nothing: its successor is in use. Of one that was revoked before, for
    whatever reason, nothing changes but that its key is noted if it is compromised.

    :param code: keyCompromise only on the word of the certificate's key or of an operator.
    :param revoked_by: "account <id>", "certificate key" or "operator".
    :raises AcmeError: ``alreadyRevoked``; ``unauthorized`` if the last list of its issuer is signed.
    """
    current = certificates.get(reader, certificate.id)
    noting: list[Statement] = []
    if code != SUPERSEDED and certificate.instance is not None:
        # Whoever revokes it, the instance's next order is proven anew.
        noting.append(instances.note_revocation(certificate.instance, now))
    before = current is None or current.revoked_at is not None
    issuer = issuers.get(reader, certificate.issuer_id)
    is_final = issuer is not None and issuer.retired_at is not None
    closed = not before and not is_final and closes and code != SUPERSEDED and certificate.instance is not None
    closing = NOTHING
    if closed:
        assert certificate.instance is not None
        closing = _close(reader, certificate, certificate.instance, now)
    compromised = NOTHING
    if code == KEY_COMPROMISE:
        compromised = compromise(reader, certificate, revoked_by, now, closing.ended)
    if before or is_final:
        error = _already_error() if before else retired_error()
        # That the key is compromised is recorded all the same.
        noting = noting if compromised.events else []
        return refuse([*compromised.statements, *noting], error, compromised.events)
    statements = [
        *compromised.statements,
        *noting,
        *closing.statements,
        # Who retires the issuer waits for this, and then counts it.
        *([] if issuer is None else [issuers.in_service(issuer.id, again)]),
        certificates.revoke(certificate, code, revoked_by, now),
    ]
    events = [
        *compromised.events,
        *closing.events,
        event(certificate, code, revoked_by, now, closed=closed, remote=remote),
    ]
    return Write(statements, lambda _rows: None, events)


def _already_error() -> AcmeError:
    return AcmeError(Problem.ALREADY_REVOKED, "the certificate was revoked before")


def retired_error() -> AcmeError:
    """The error about a certificate whose issuer has signed its last list."""
    return AcmeError(
        Problem.UNAUTHORIZED,
        "this certificate cannot be revoked any more: its issuer is retired, and its last revocation list is signed. "
        "It stays good until it ends by itself. An operator can block its instance (acme-iid-ca instance block), which "
        "then gets no other, or have the root's revocation list name the issuer, which ends all certificates under it",
        remedy=Remedy.OPERATOR,
    )


class Effect(NamedTuple):
    """Statements and events that belong to a revocation, and the ids of the enrolments that end with it."""

    statements: list[Statement]
    events: list[Event]
    ended: frozenset[str] = frozenset()


NOTHING = Effect([], [])


def _close(reader: Reader, certificate: Certificate, instance_id: str, now: int) -> Effect:
    """Close a certificate's names to its instance, and end what that has proven."""
    ended = enrolments.end_of_instance(
        reader, instance_id, certificate.names, "a certificate for one of its names was revoked", now
    )
    instance = instances.get(reader, instance_id)
    generation = 0 if instance is None else instance.generation
    raising = instances.raise_generation(
        instance_key(instance_id), generation, "a certificate of this instance was revoked meanwhile", now
    )
    closing = certificates.close_names(instance_id, certificate.names, now)
    return Effect([raising, *ended.statements, *closing], ended.events, ended.ids)


def event(
    certificate: Certificate, code: int, revoked_by: str, now: int, *, closed: bool, remote: str | None = None
) -> Event:
    """The event of a revocation.

    :param closed: whether it closed the names to the instance.
    """
    return Event(
        "certificate.revoked",
        now,
        account_id=certificate.account_id,
        instance=instance_key(certificate.instance),
        detail={
            "serial": certificate.serial,
            "names": [name.value for name in certificate.names],
            "reason": REASONS[code],
            "by": revoked_by,
            "closed": closed,
            "remote": remote,
        },
    )


def compromise(
    reader: Reader, certificate: Certificate, by: str, now: int, ended: Collection[str] = frozenset()
) -> Effect:
    """Note that a certificate's key is compromised: it is never certified again, and an account with it has ended.

    :param by: as for the revocation.
    :param ended: the ids of the enrolments that end in the same write.
    """
    noted = Event(
        "key.compromised",
        now,
        account_id=certificate.account_id,
        instance=instance_key(certificate.instance),
        detail={"spki_sha256": certificate.key_id, "serial": certificate.serial, "by": by},
    )
    return compromise_key(reader, certificate.key_id, _thumbprint(certificate), noted, ended)


def compromise_key(
    reader: Reader, key_id: str, thumbprint: str, noted: Event, ended: Collection[str] = frozenset()
) -> Effect:
    """Note that a key is compromised, unless it was noted before.

    :param key_id: the SHA-256 of its SubjectPublicKeyInfo, hex.
    :param thumbprint: its own (RFC 7638).
    :param noted: the event.
    """
    if compromised_keys.has(reader, key_id):
        return NOTHING
    now = noted.at
    signing = accounts.by_thumbprint(reader, thumbprint)
    ending = None if signing is None else active_accounts.deactivate(reader, signing, now, "compromised key", ended)
    statements, events = [compromised_keys.add(key_id, now)], [noted]
    if isinstance(ending, Write):
        statements, events = [*ending.statements, *statements], [*events, *ending.events]
    # After the key is noted nobody gets an account with it; this is for whoever got one since it was looked for.
    return Effect([*statements, accounts.none_with(thumbprint)], events)
