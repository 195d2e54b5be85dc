"""Certificate revocation lists (RFC 5280 section 5): what was revoked, signed by the intermediate."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.issuance.issuer import BACKDATE, Signer, signature_hash

REASONS = {
    1: x509.ReasonFlags.key_compromise,
    3: x509.ReasonFlags.affiliation_changed,
    4: x509.ReasonFlags.superseded,
    5: x509.ReasonFlags.cessation_of_operation,
}
"""Reason codes as lists and responses carry them; 0, unspecified, is left out (RFC 5280 section 5.3.1)."""


class Revoked(NamedTuple):
    """A certificate that was revoked: its serial number, when (seconds), and the reason code."""

    serial: int
    at: int
    reason: int


def sign(signer: Signer, revoked: Iterable[Revoked], number: int, now: int, next_update: int) -> bytes:
    """Sign a list of ``revoked``, in DER.

    :param number: the CRL number (RFC 5280 section 5.2.3), greater than any before it.
    :param now: seconds; the list says a minute less, for clocks that lag.
    :param next_update: seconds; until then the list can be relied on.
    """
    # Given at once: the builder's own method copies the list with each that it adds.
    builder = (
        x509.CertificateRevocationListBuilder(revoked_certificates=[_entry(one, now - BACKDATE) for one in revoked])
        .issuer_name(signer.certificate.subject)
        .last_update(_time(now - BACKDATE))
        .next_update(_time(next_update))
        .add_extension(signer.key_identifier, critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    return builder.sign(signer.key, signature_hash(signer.key)).public_bytes(Encoding.DER)


def _entry(one: Revoked, this_update: int) -> x509.RevokedCertificate:
    # A list is of its thisUpdate, which is a minute back: nothing in it is later.
    at = min(one.at, this_update)
    builder = x509.RevokedCertificateBuilder().serial_number(one.serial).revocation_date(_time(at))
    if one.reason in REASONS:
        builder = builder.add_extension(x509.CRLReason(REASONS[one.reason]), critical=False)
    return builder.build()


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
