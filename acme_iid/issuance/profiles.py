"""Certificate profiles: kinds of certificates that a client asks for by name (draft-ietf-acme-profiles)."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from acme_iid.protocol.public_keys import PublicKey
from acme_iid.tables import Table
from acme_iid.values import duration

USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
"""What a certificate is for, and how its extended key usage says so (RFC 5280 section 4.2.1.12)."""
KEY_USAGES = ("digitalSignature", "keyEncipherment", "keyAgreement")
"""The bits of the key usage that a profile may name (RFC 5280 section 4.2.1.3)."""
DEFAULT_KEY_USAGES = KEY_USAGES[:2]

MAX_LIFETIME = 825 * 86400
"""Seconds: what TLS clients accept at most, even from private CAs."""
MIN_LIFETIME = 60

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}\Z")
_MAX_DESCRIPTION = 200


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long certificates are valid, seconds.

    :ivar usual: unless an order says otherwise.
    :ivar minimum: the shortest an order may ask for.
    :ivar maximum: the longest.
    """

    usual: int
    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Profile:
    """One ``[profile.NAME]`` of ca.toml.

    :ivar name: what orders ask for; None for what a CA without profiles issues.
    :ivar description: a sentence for people, which the directory shows.
    :ivar usages: keys of :data:`USAGES`.
    :ivar key_usages: of :data:`KEY_USAGES`; what a kind of key cannot do is left out of its certificates.
    """

    name: str | None
    description: str
    lifetimes: Lifetimes
    usages: tuple[str, ...] = tuple(USAGES)
    key_usages: tuple[str, ...] = DEFAULT_KEY_USAGES


def lifetimes(table: Table, defaults: Lifetimes) -> Lifetimes:
    """Take ``lifetime``, ``minimum_lifetime`` and ``maximum_lifetime`` out of a table.

    :raises ConfigError: if they are out of bounds or out of order.
    """
    found = Lifetimes(
        usual=table.text("lifetime", "a duration", duration, defaults.usual),
        minimum=table.text("minimum_lifetime", "a duration", duration, defaults.minimum),
        maximum=table.text("maximum_lifetime", "a duration", duration, defaults.maximum),
    )
    if found.minimum < MIN_LIFETIME:
        raise table.error("minimum_lifetime", "is below a minute, which no client can work with")
    if found.maximum > MAX_LIFETIME:
        raise table.error("maximum_lifetime", "is above 825 days, which TLS clients refuse")
    if not found.minimum <= found.usual <= found.maximum:
        raise table.error(
            "lifetime",
            f"{found.usual} seconds is not between minimum_lifetime ({found.minimum} seconds) "
            f"and maximum_lifetime ({found.maximum} seconds)",
        )
    return found


def read(name: str, table: Table, defaults: Lifetimes) -> Profile:
    """Read one ``[profile.NAME]``.

    :param defaults: the lifetimes in ``[ca]``, for those that it does not give.
    :raises ConfigError: if it says what cannot be meant.
    """
    if not _NAME.match(name):
        raise table.refusal(
            f"{name!r} is no name for a profile; it has up to 48 letters, digits, '.', '_' and '-' and begins with "
            "a letter or digit"
        )
    usages = table.texts("usages", 'a list of "server" and "client"', lambda text: _one_of(text, USAGES))
    key_usages = table.texts("key_usages", "a list of key usages", lambda text: _one_of(text, KEY_USAGES))
    profile = Profile(
        name=name,
        description=table.text("description", "a sentence that says what the profile is for", _description),
        lifetimes=lifetimes(table, defaults),
        usages=tuple(USAGES) if usages is None else usages,
        key_usages=DEFAULT_KEY_USAGES if key_usages is None else key_usages,
    )
    table.done()
    if not profile.usages:
        raise table.error("usages", 'is empty; a certificate is for "server", "client" or both')
    if "digitalSignature" not in profile.key_usages:
        raise table.error("key_usages", "lacks digitalSignature, without which no key can be used in TLS 1.3")
    return profile


def key_usage(usages: Collection[str], key: PublicKey) -> x509.KeyUsage:
    """The key usage extension for a key: those of ``usages`` that this kind of key can do."""
    return x509.KeyUsage(
        digital_signature="digitalSignature" in usages,
        content_commitment=False,
        key_encipherment="keyEncipherment" in usages and isinstance(key, rsa.RSAPublicKey),
        data_encipherment=False,
        key_agreement="keyAgreement" in usages and isinstance(key, ec.EllipticCurvePublicKey),
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def extended_key_usage(usages: Collection[str]) -> x509.ExtendedKeyUsage:
    """The extended key usage extension for keys of :data:`USAGES`, in the same order whatever theirs is."""
    return x509.ExtendedKeyUsage([oid for usage, oid in USAGES.items() if usage in usages])


def _description(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > _MAX_DESCRIPTION:
        raise ValueError(f"{text!r} is no description; it is one line of at most {_MAX_DESCRIPTION} characters")
    return text


def _one_of(text: str, known: Collection[str]) -> str:
    if text not in known:
        raise ValueError(f"{text!r} is not one of {', '.join(known)}")
    return text
