"""Certificate revocation lists (RFC 5280 section 5): what was revoked, signed by the intermediate."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.issuance.ca import BACKDATE, Issuer, signature_hash

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


def sign(issuer: Issuer, revoked: Iterable[Revoked], number: int, now: int, next_update: int) -> bytes:
    """Sign a list of ``revoked``, in DER.

    :param number: the CRL number (RFC 5280 section 5.2.3), greater than any before it.
    :param now: seconds; the list says a minute less, for clocks that lag.
    :param next_update: seconds; until then the list can be relied on.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(_time(now - BACKDATE))
        .next_update(_time(next_update))
        .add_extension(issuer.key_identifier, critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for entry in revoked:
        one = x509.RevokedCertificateBuilder().serial_number(entry.serial).revocation_date(_time(entry.at))
        if entry.reason in REASONS:
            one = one.add_extension(x509.CRLReason(REASONS[entry.reason]), critical=False)
        builder = builder.add_revoked_certificate(one.build())
    return builder.sign(issuer.key, signature_hash(issuer.key)).public_bytes(Encoding.DER)


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
