"""A certificate's renewal window, and its identifier in ACME (RFC 9773)."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from acme_iid.binding import base64url, from_base64url
from acme_iid.protocol.resources import Certificate
from acme_iid.protocol.standing import Standing

PARTS_BEFORE, PARTS = 15, 24
"""A window begins, if nothing is said of it, when 15 of 24 parts of a lifetime have passed."""
COMPROMISED_SECONDS = 1800
"""The seconds over which the certificates of an issuer whose key was stolen are renewed."""
_FOLLOWING_SECONDS = 60
"""The seconds in which every server has taken up the issuer that signs: before, a renewal may get the former one."""
_FORMER_SECONDS = 24 * 3600
"""The seconds over which the certificates of a former issuer are renewed, if a sixth of their life is not less."""
_MAX_SERIAL_OCTETS = 20  # RFC 5280 section 4.1.2.2
_LONGEST_WAIT = 6 * 3600
_SHORTEST_WAIT = 60


class CertificateId(NamedTuple):
    """A certificate's identifier: its authority key identifier and its serial number (RFC 9773 section 4.1)."""

    authority_key: bytes
    serial: int

    def __str__(self) -> str:
        # A DER INTEGER's content: one octet more where the first bit would make it negative.
        octets = self.serial.to_bytes(self.serial.bit_length() // 8 + 1, "big")
        return f"{base64url(self.authority_key)}.{base64url(octets)}"

    @classmethod
    def read(cls, text: str) -> CertificateId:
        """Read one, in its one spelling.

        :raises ValueError: with the fault, in words.
        """
        first, dot, second = text.partition(".")
        try:
            authority_key, serial = (from_base64url(part) for part in (first, second))
        except ValueError:
            authority_key = serial = b""
        identifier = cls(authority_key, int.from_bytes(serial[: _MAX_SERIAL_OCTETS + 1], "big"))
        if not dot or not authority_key or not serial or str(identifier) != text:
            raise ValueError(
                "a certificate is named by its authority key identifier and its serial number, each in base64url "
                "without padding, with a dot between them (RFC 9773 section 4.1)"
            )
        return identifier


class Term(Protocol):
    """The facts of a certificate that its renewal depends on, as :class:`Certificate` has them."""

    @property
    def not_before(self) -> int:
        """Seconds, as all others are."""

    @property
    def not_after(self) -> int:
        """Its end."""

    @property
    def revoked_at(self) -> int | None:
        """When it was revoked."""

    @property
    def renew_from(self) -> int | None:
        """The beginning of the time in which an operator wants it renewed."""

    @property
    def renew_until(self) -> int | None:
        """The end of that time."""


class Window(NamedTuple):
    """The time in which a certificate should be renewed, from start to end, seconds."""

    start: int
    end: int


class Hurry(NamedTuple):
    """A reason of the CA's own to have certificates renewed before their time.

    :ivar since: from when on, seconds.
    :ivar over: over how many seconds renewals are spread at most, so that clients do not come all at once.
    """

    since: int
    over: int


def hurry_of(standing: Standing | None) -> Hurry | None:
    """The reason to hurry that certificates have by where their issuer stands: its key was stolen, or it was replaced.

    :param standing: None for an issuer that nothing is known of.
    """
    if standing is None:
        return None
    if standing.compromised_at is not None:
        return Hurry(standing.compromised_at, COMPROMISED_SECONDS)
    if standing.replaced_at is not None:
        return Hurry(standing.replaced_at + _FOLLOWING_SECONDS, _FORMER_SECONDS)
    return None


def window(certificate: Term, hurry: Hurry | None = None) -> Window:
    """The time in which a certificate should be renewed (RFC 9773 section 4.2).

    At once if it was revoked; when an operator says so; else about when a third of its lifetime is left. A reason to
    hurry makes it earlier, and never later.
    """
    if certificate.revoked_at is not None:
        return Window(certificate.revoked_at - 2, certificate.revoked_at - 1)
    lifetime = certificate.not_after - certificate.not_before
    if certificate.renew_from is not None and certificate.renew_until is not None:
        usual = Window(certificate.renew_from, certificate.renew_until)
    else:
        # A twelfth of the lifetime wide, so that certificates of one hour are not renewed in one minute.
        start = certificate.not_before + lifetime * PARTS_BEFORE // PARTS
        usual = Window(start, max(start + lifetime // 12, start + 1))
    if hurry is None:
        return usual
    start = max(hurry.since, certificate.not_before)
    # Four times the pause after which clients ask again, so that most of them see it before their moment in it.
    return min(usual, Window(start, max(start + min(hurry.over, lifetime // 6), start + 1)))


def retry_after(certificate: Certificate) -> int:
    """Seconds after which a client should ask again: often enough to see an operator's wish in time."""
    return pause_of_life(certificate.not_after - certificate.not_before)


def pause_of_life(lifetime: int) -> int:
    """Seconds after which the client of a certificate of that lifetime, in seconds, should ask again."""
    return min(_LONGEST_WAIT, max(_SHORTEST_WAIT, lifetime // 24))
