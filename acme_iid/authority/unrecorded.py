"""Revoking a certificate that the store does not know: it was restored from a backup of before it was issued."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.authority import revocation
from acme_iid.errors import AcmeError, Problem, RequestError
from acme_iid.issuance.issuer import key_id
from acme_iid.protocol.public_keys import PublicKey
from acme_iid.store import issuers, unrecorded_revocations
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.unrecorded_revocations import UnrecordedRevocation
from acme_iid.store.writes import Reader, Write, again, perform, refuse


def revoke(
    database: Database, leaf: x509.Certificate, of_home: Iterable[x509.Certificate], code: int, now: int
) -> None:
    """Revoke a certificate on an operator's word, by itself: lists and answers say so from now on.

    :param of_home: the certificates of the issuers in the home, which the store may not know yet.
    :param code: the reason.
    :param now: seconds.
    :raises RequestError: if no issuer of this CA has signed it.
    :raises AcmeError: ``alreadyRevoked``; ``unauthorized`` if the last list of its issuer is signed.
    """
    perform(database, partial(_revoke, leaf=leaf, of_home=tuple(of_home), code=code, now=now))


def _revoke(
    reader: Reader, leaf: x509.Certificate, of_home: Iterable[x509.Certificate], code: int, now: int
) -> Write[None]:
    issuer_id = _issuer_of(reader, leaf, of_home)
    serial = f"{leaf.serial_number:x}"
    if unrecorded_revocations.get(reader, issuer_id, serial) is not None:
        raise AcmeError(Problem.ALREADY_REVOKED, "the certificate was revoked before")
    entry = UnrecordedRevocation(
        issuer_id=issuer_id,
        serial=serial,
        not_after=int(leaf.not_valid_after_utc.timestamp()),
        key_id=key_id(leaf.public_key()),
        der=leaf.public_bytes(Encoding.DER),
        revoked_at=now,
        reason=code,
    )
    detail = {"serial": serial, "issuer": issuer_id, "reason": revocation.REASONS[code], "by": "operator"}
    event = Event("certificate.revoked", now, detail={**detail, "recorded": False})
    compromised = revocation.NOTHING
    if code == revocation.KEY_COMPROMISE and isinstance(leaf.public_key(), PublicKey):
        noted = Event("key.compromised", now, detail={"spki_sha256": entry.key_id, "serial": serial, "by": "operator"})
        compromised = revocation.compromise_key(reader, entry.key_id, revocation.thumbprint_of(leaf), noted)
    issuer = issuers.get(reader, issuer_id)
    if issuer is not None and issuer.retired_at is not None:
        # That the key is compromised is recorded all the same.
        return refuse(compromised.statements, revocation.retired_error(), compromised.events)
    # Who retires the issuer waits for this, and then counts it.
    in_service = [] if issuer is None else [issuers.in_service(issuer_id, again)]
    statements = [*compromised.statements, *in_service, unrecorded_revocations.add(entry)]
    return Write(statements, lambda _rows: None, [*compromised.events, event])


def _issuer_of(reader: Reader, leaf: x509.Certificate, of_home: Iterable[x509.Certificate]) -> str:
    """The id of the issuer of ours that has signed a certificate.

    :raises RequestError: if there is none.
    """
    known = [x509.load_der_x509_certificate(entry.certificate) for entry in issuers.every(reader)]
    issuer = next((one for one in (*known, *of_home) if _has_signed(one, leaf)), None)
    if issuer is None:
        raise RequestError(
            "no issuer of this CA has signed the certificate, so that this CA cannot revoke it; an intermediate is "
            "revoked by its root's list: acme-iid-ca issuer root-crl sign --revoke"
        )
    return key_id(issuer.public_key())


def _has_signed(issuer: x509.Certificate, leaf: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
