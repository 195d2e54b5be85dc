"""Revoking certificates, and what it closes (RFC 8555 section 7.6; rfc-notes/iid-01.md, "Release and revocation")."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.authority import delegates, enrolments
from acme_iid.errors import AcmeError, Fault, Problem, RequestError
from acme_iid.protocol import jwk
from acme_iid.protocol.resources import Account, Certificate
from acme_iid.store import accounts, certificates, events, instances, orders
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


def revoke_by_account(
    database: Database, account: Account, certificate: Certificate, code: int, remote: str, now: int
) -> None:
    """Revoke on the word of the account that got the certificate, or of one authorized for all its names.

    :raises AcmeError: ``unauthorized``, ``alreadyRevoked``.
    """
    own = certificate.account_id == account.id
    if not own and not set(certificate.names) <= orders.authorized_names(database, account.id, now):
        raise AcmeError(
            Problem.UNAUTHORIZED, "this account neither got the certificate nor is authorized for all its names"
        )
    with database.transaction() as transaction:
        # Another account that holds the names now must not be able to lock the instance out of them.
        closes = own and _still_theirs(transaction, certificate)
        revoke(transaction, certificate, code, f"account {account.id}", now, closes=closes, remote=remote)


def revoke_by_key(
    database: Database, thumbprint: str, certificate: Certificate, code: int, remote: str, now: int
) -> None:
    """Revoke on the word of the certificate's own key.

    :param thumbprint: of the key that signed the request.
    :raises AcmeError: ``unauthorized``, ``alreadyRevoked``.
    """
    key = _leaf(certificate).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey)
    if jwk.thumbprint(key) != thumbprint:
        raise AcmeError(Problem.UNAUTHORIZED, "the request is not signed by the certificate's key")
    with database.transaction() as transaction:
        closes = _still_theirs(transaction, certificate)
        revoke(transaction, certificate, code, "certificate key", now, closes=closes, remote=remote)


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
) -> None:
    """Revoke a certificate; with ``closes``, close its names to its instance and end what it has proven for them.

    A certificate that was superseded closes nothing: its successor is in use.

    :param revoked_by: "account <id>", "certificate key" or "operator".
    :raises AcmeError: ``alreadyRevoked``.
    """
    if not certificates.revoke(transaction, certificate.id, code, revoked_by, now):
        raise AcmeError(Problem.ALREADY_REVOKED, "the certificate was revoked before")
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
