"""When a certificate is due, and what its successor is like."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from cryptography import x509

from acme_iid_client.certificates import names_in, provisioner_of
from acme_iid_client.errors import ClientError
from acme_iid_client.keys import KeyType, type_of
from acme_iid_client.order import Request

_DURATION = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?\Z")


def due_at(certificate: x509.Certificate) -> datetime:
    """When a certificate should be renewed: with a third of its life left."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return end - (end - start) / 3


def successor(certificate: x509.Certificate, provisioner: str | None, not_after: str | None) -> Request:
    """The order that renews a certificate: the same names and kind of key, by the same provisioner.

    :param provisioner: another provisioner, if one is asked for.
    :param not_after: RFC 3339, as in :class:`~acme_iid_client.order.Request`.
    :raises ClientError: if the certificate has no names.
    """
    names = names_in(certificate)
    if not names:
        raise ClientError("The certificate has no names, so there is nothing to renew.")
    known = provisioner_of(certificate)
    if provisioner is None and known is not None and known.type != "ACME":
        provisioner = known.name
    return Request(names, type_of(certificate.public_key()) or KeyType("EC", "P-256"), provisioner, not_after)


def parse_not_after(text: str | None, now: datetime) -> str | None:
    """What ``--not-after`` says, as RFC 3339 in UTC.

    :param text: a time in RFC 3339, or how long from now: ``8h``, ``90m``, ``1d12h``.
    :raises ClientError: if it is neither.
    """
    if text is None:
        return None
    found = _DURATION.match(text)
    if found and text:
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        end = now + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    else:
        wrong = ClientError(f"--not-after {text} is neither a duration like 8h nor a time like 2030-01-31T12:00:00Z.")
        try:
            end = datetime.fromisoformat(text)
        except ValueError:
            raise wrong from None
        if end.tzinfo is None:
            raise wrong
    return end.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
