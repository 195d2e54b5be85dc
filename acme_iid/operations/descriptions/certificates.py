"""Certificates, as operators are shown them."""

from __future__ import annotations

from typing import TypedDict

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from acme_iid.authority.revocation import REASONS
from acme_iid.operations.descriptions.pages import Page, one_more, page
from acme_iid.operations.descriptions.times import timestamp
from acme_iid.protocol.resources import Certificate
from acme_iid.store import certificates, fleet
from acme_iid.store.certificates import Status
from acme_iid.store.listing import Filter
from acme_iid.store.writes import Reader


class CertificateRow(TypedDict):
    """A certificate in a list.

    :ivar serial: its serial number, decimal.
    :ivar names: the names that it is for.
    :ivar status: one of valid, expired and revoked.
    :ivar not_after: the time at which it ends.
    :ivar instance: the whole id of its instance; None for a host's.
    :ivar account: the id of the account that ordered it.
    """

    serial: str
    names: list[str]
    status: Status
    not_after: str
    instance: str | None
    account: str


class CertificateDescription(CertificateRow):
    """A certificate in full.

    :ivar serial_hex: its serial number, hexadecimal.
    :ivar provisioner: the name of the provisioner under which its names were proven.
    :ivar profile: the name of its profile.
    :ivar order: the id of its order.
    :ivar issued: a time.
    :ivar not_before: the time at which it begins.
    :ivar revoked: the time of its revocation.
    :ivar revocation_reason: the reason by name (RFC 5280 section 5.3.1).
    :ivar revoked_by: who revoked it.
    :ivar key_sha256: the SHA-256 of its SubjectPublicKeyInfo, in hex.
    :ivar fingerprint: its own SHA-256, in hex.
    """

    serial_hex: str
    provisioner: str | None
    profile: str | None
    order: str
    issued: str
    not_before: str
    revoked: str | None
    revocation_reason: str | None
    revoked_by: str | None
    key_sha256: str
    fingerprint: str


class RenewalsAsked(TypedDict):
    """What asking for renewals has done.

    :ivar certificates: the number of those whose clients were asked.
    :ivar seconds: the time that the renewals are spread over.
    """

    certificates: int
    seconds: int


def status(certificate: Certificate, now: int) -> Status:
    """The status of a certificate at a time, as people are shown it."""
    if certificate.revoked_at is not None:
        return "revoked"
    return "valid" if certificate.not_after > now else "expired"


def row(certificate: Certificate, now: int) -> CertificateRow:
    """A certificate in a list.

    :param now: seconds.
    """
    return {
        "serial": str(int(certificate.serial, 16)),
        "names": [name.value for name in certificate.names],
        "status": status(certificate, now),
        "not_after": timestamp(certificate.not_after),
        "instance": certificate.instance,
        "account": certificate.account_id,
    }


def listed(
    reader: Reader,
    criteria: Filter,
    now: int,
    *,
    of_status: Status | None = None,
    ends_before: int | None = None,
    overdue: bool = False,
) -> Page[CertificateRow]:
    """A page of the certificates, the latest issued first.

    :param criteria: a :func:`~acme_iid.operations.criteria.numbered` filter.
    :param now: seconds.
    :param of_status: only those that have it now.
    :param ends_before: only valid ones that end before this time, seconds.
    :param overdue: only valid ones whose time for renewal has passed, and that have no successor.
    :raises ValueError: if these leave nothing over.
    """
    is_of_valid = overdue or ends_before is not None
    if is_of_valid and of_status not in (None, "valid"):
        raise ValueError(f"what ends soon or is overdue is valid, and not {of_status}")
    if overdue:
        found = fleet.overdue(reader, one_more(criteria), now, ends_before=ends_before)
    else:
        of_status = "valid" if is_of_valid else of_status
        found = certificates.page(reader, one_more(criteria), of_status, now, ends_before=ends_before)
    return page([(certificates.position(entry), row(entry, now)) for entry in found], criteria)


def whole(certificate: Certificate, now: int) -> CertificateDescription:
    """A certificate in full.

    :param now: seconds.
    """
    reason = certificate.revocation_reason
    return {
        **row(certificate, now),
        "serial_hex": f"{int(certificate.serial, 16):x}",
        "provisioner": certificate.provisioner,
        "profile": certificate.profile,
        "order": certificate.id,
        "issued": timestamp(certificate.issued_at),
        "not_before": timestamp(certificate.not_before),
        "revoked": timestamp(certificate.revoked_at),
        "revocation_reason": None if reason is None else REASONS[reason],
        "revoked_by": certificate.revoked_by,
        "key_sha256": certificate.key_id,
        "fingerprint": x509.load_der_x509_certificate(certificate.der).fingerprint(SHA256()).hex(),
    }
