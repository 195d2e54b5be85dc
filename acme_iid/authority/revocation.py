"""Revoking certificates, and what it closes (RFC 8555 section 7.6; rfc-notes/iid-01.md, "Release and revocation")."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.authority import accounts as active_accounts
from acme_iid.authority import delegates, enrolments
from acme_iid.errors import AcmeError, Fault, Problem, RequestError
from acme_iid.protocol import jwk
from acme_iid.protocol.resources import Account, Certificate
from acme_iid.store import accounts, certificates, compromised_keys, events, instances, orders
from acme_iid.store.database import Database, Reader, Transaction

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
    """The reason code in a revokeCert payload; 0 if there is none.

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
    wanted = text.lower().replace("-", "").replace("_", "")
    for code, word in REASONS.items():
        if wanted in (str(code), word.lower()):
            return code
    allowed = ", ".join(f"{word} ({code})" for code, word in REASONS.items())
    raise RequestError(f"{text!r} is no reason for a revocation; the reasons are {allowed}")


def find(database: Database, der: bytes) -> Certificate:
    """The certificate of ours that ``der`` is.

    :raises AcmeError: ``malformed`` if it is none, 404 if this CA did not issue it.
    """
    try:
        leaf = x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion) as error:
        raise AcmeError(Problem.MALFORMED, "'certificate' is not a certificate in base64url DER") from error
    found = certificates.by_serial(database, f"{leaf.serial_number:x}")
    if found is None or _leaf(found).public_bytes(Encoding.DER) != der:
        raise AcmeError(Problem.MALFORMED, "this CA did not issue that certificate", status=404)
    return found


def _leaf(certificate: Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.chain.encode())


def _thumbprint(certificate: Certificate) -> str:
    """The thumbprint of a certificate's key."""
    key = _leaf(certificate).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey)
    return jwk.thumbprint(key)


def revoke_by_account(
    database: Database, account: Account, certificate: Certificate, code: int, remote: str, now: int
) -> None:
    """Revoke on the word of an account: the one that got the certificate, or that enrolled the one that did.

    A host's certificate is revoked by another account too that controls all its names (RFC 8555 section 7.6). An
    instance's is not: the rules may give one name to many instances, and holding a name is not controlling it.

    :raises AcmeError: ``unauthorized``, ``badRevocationReason``, ``alreadyRevoked``.
    """
    own = account.id in (certificate.account_id, _owner(database, certificate))
    if not own and certificate.instance is not None:
        raise AcmeError(
            Problem.UNAUTHORIZED,
            "a certificate of an instance is revoked by the account that got it, by its own key, or by an operator",
        )
    if not own and not set(certificate.names) <= orders.controlled_names(database, account.id, now):
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
    _revoke_once(database, certificate, code, f"account {account.id}", now, may_close=own, remote=remote)


def revoke_by_key(
    database: Database, thumbprint: str, certificate: Certificate, code: int, remote: str, now: int
) -> None:
    """Revoke on the word of the certificate's own key.

    :param thumbprint: of the key that signed the request.
    :raises AcmeError: ``unauthorized``, ``alreadyRevoked``.
    """
    if _thumbprint(certificate) != thumbprint:
        raise AcmeError(Problem.UNAUTHORIZED, "the request is not signed by the certificate's key")
    _revoke_once(database, certificate, code, "certificate key", now, may_close=True, remote=remote)


def revoke_by_operator(database: Database, certificate: Certificate, code: int, now: int) -> None:
    """Revoke on an operator's word, and close the names to the instance.

    :raises AcmeError: ``alreadyRevoked``.
    """
    with database.transaction() as transaction:
        done = revoke(transaction, certificate, code, "operator", now, closes=True)
    _require_revoked(done)


def _revoke_once(
    database: Database, certificate: Certificate, code: int, by: str, now: int, *, may_close: bool, remote: str
) -> None:
    """Revoke on somebody's word over the wire.

    :param may_close: whether it closes names; another account that controls them must not be able to lock the
        instance out of them, nor one whose instance was released to another.
    :raises AcmeError: ``alreadyRevoked``.
    """
    with database.transaction() as transaction:
        closes = may_close and _still_theirs(transaction, certificate)
        done = revoke(transaction, certificate, code, by, now, closes=closes, remote=remote)
    _require_revoked(done)


def _require_revoked(done: bool) -> None:
    # Behind the transaction: that the key is compromised was recorded all the same.
    if not done:
        raise AcmeError(Problem.ALREADY_REVOKED, "the certificate was revoked before")


def _still_theirs(reader: Reader, certificate: Certificate) -> bool:
    """Whether the instance still belongs to the account that got the certificate.

    One that an operator released to another account is no longer the former one's to be locked out of names.
    """
    holder = None if certificate.instance is None else instances.get(reader, certificate.instance)
    # Without a record (trust on first use is off) nobody else holds it.
    return holder is None or holder.account_id == _owner(reader, certificate)


def _owner(reader: Reader, certificate: Certificate) -> str:
    """The account by whose proof a certificate was issued: the one that got it, or that enrolled the one that did."""
    account = accounts.get(reader, certificate.account_id)
    enrolment = None if account is None else delegates.enrolment_of(reader, account)
    return certificate.account_id if enrolment is None else enrolment.account_id


def revoke(
    transaction: Transaction,
    certificate: Certificate,
    code: int,
    revoked_by: str,
    now: int,
    *,
    closes: bool,
    remote: str | None = None,
) -> bool:
    """Revoke a certificate; with ``closes``, close its names to its instance and end what it has proven for them.

    A certificate that was superseded closes nothing: its successor is in use. Of one that was revoked before, for
    whatever reason, nothing changes but that its key is noted if it is compromised.

    :param code: keyCompromise only on the word of the certificate's key or of an operator.
    :param revoked_by: "account <id>", "certificate key" or "operator".
    :returns: False if it was revoked before.
    """
    if code == KEY_COMPROMISE:
        note_compromise(transaction, certificate, revoked_by, now)
    if not certificates.revoke(transaction, certificate.id, code, revoked_by, now):
        return False
    closed = closes and code != SUPERSEDED and certificate.instance is not None
    if closed:
        assert certificate.instance is not None
        certificates.close_names(transaction, certificate.instance, certificate.names, now)
        fault = Fault(Problem.UNAUTHORIZED, "a certificate for this name was revoked meanwhile")
        enrolments.end_of_instance(
            transaction, certificate.instance, certificate.names, "a certificate for one of its names was revoked", now
        )
        orders.revoke_proofs(transaction, certificate.instance, certificate.names, fault, now)
    event = events.add(
        transaction,
        "certificate.revoked",
        now,
        account_id=certificate.account_id,
        instance_id=certificate.instance,
        serial=certificate.serial,
        names=[name.value for name in certificate.names],
        reason=REASONS[code],
        by=revoked_by,
        closed=closed,
        remote=remote,
    )
    events.add_names(transaction, event, now, certificate.names, certificate.instance)
    return True


def note_compromise(transaction: Transaction, certificate: Certificate, by: str, now: int) -> None:
    """Note that a certificate's key is compromised: it is never certified again, and an account with it has ended.

    :param by: as for :func:`revoke`.
    """
    if not compromised_keys.add(transaction, certificate.key_id, now):
        return
    events.add(
        transaction,
        "key.compromised",
        now,
        account_id=certificate.account_id,
        instance_id=certificate.instance,
        spki_sha256=certificate.key_id,
        serial=certificate.serial,
        by=by,
    )
    signing = accounts.by_thumbprint(transaction, _thumbprint(certificate))
    if signing is not None:
        active_accounts.end(transaction, signing, now, "compromised key")
