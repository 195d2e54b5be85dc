"""When a certificate is renewed: one answer for the daemon, ``renew``, ``needs-renewal`` and ``list``.

The rules, in their order:

1. With the time left that an administrator has chosen (``--expires-in``), or up to a twentieth of that time earlier.
2. At a moment of the window that the CA suggests, if it was asked, and at the latest with a twentieth of the life left.
3. With a third of the life left, or up to a twentieth of the life earlier.

How much earlier depends on the certificate alone: certificates of a fleet differ, so that they are not all renewed at
once, and every program comes to the same moment for one certificate.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid_client.x509.certificates import parse_left

USUAL_INTERVAL = 6 * 3600.0
"""Seconds until the CA is asked again, where it does not say."""
_JITTER = 20
"""Into how many parts a time is divided, by up to one of which certificates are renewed earlier than others."""


@dataclass(frozen=True, slots=True)
class Window:
    """The time in which the CA suggests to renew (RFC 9773).

    :ivar start: seconds since the epoch.
    :ivar end: the same.
    :ivar interval: seconds after which to ask again.
    :ivar explanation: a page that says why, or None.
    """

    start: float
    end: float
    interval: float = USUAL_INTERVAL
    explanation: str | None = None

    def moment(self, certificate: x509.Certificate) -> float:
        """A moment in the window: random among certificates (RFC 9773 section 4.2), and always the same for one."""
        return self.start + _fraction(certificate) * (self.end - self.start)


def planned_at(certificate: x509.Certificate, window: Window | None = None, expires_in: str | None = None) -> datetime:
    """The time at which a certificate is renewed.

    :param window: the window that the CA suggests; it counts, but a twentieth of the certificate's life is always left.
    :param expires_in: the time that is to be left then, as an administrator has chosen it; it counts before all else.
    :raises ClientError: if that is not a time.
    """
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if expires_in is not None:
        left = parse_left(expires_in, end - start)
        return end - left - left / _JITTER * _fraction(certificate)
    if window is not None:
        latest = end - (end - start) / _JITTER
        # Any number of a CA becomes a time: the largest and smallest are cut before.
        seconds = min(max(window.moment(certificate), 0.0), latest.timestamp())
        return datetime.fromtimestamp(seconds, UTC)
    return end - (end - start) / 3 - (end - start) / _JITTER * _fraction(certificate)


def _fraction(certificate: x509.Certificate) -> float:
    """A number from 0 to below 1 that is as random as the certificate's serial number."""
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
    return int.from_bytes(digest[:6]) / 2**48
