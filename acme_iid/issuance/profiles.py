"""Certificate profiles: kinds of certificates that a client asks for by name (draft-ietf-acme-profiles)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from acme_iid.protocol.public_keys import PublicKey

USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
"""The sides of TLS that a certificate is for, with their extended key usages (RFC 5280 section 4.2.1.12)."""
KEY_USAGES = ("digitalSignature", "keyEncipherment", "keyAgreement")
"""The bits of the key usage that a profile may name (RFC 5280 section 4.2.1.3)."""
DEFAULT_KEY_USAGES = KEY_USAGES[:2]

MAX_LIFETIME = 825 * 86400
"""Seconds: what TLS clients accept at most, even from private CAs."""
MIN_LIFETIME = 60


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """The lifetimes of certificates, in seconds.

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

    :ivar name: the name that orders ask for; None for the one profile of a CA without profiles.
    :ivar description: a sentence for people, which the directory shows.
    :ivar usages: keys of :data:`USAGES`.
    :ivar key_usages: of :data:`KEY_USAGES`; what a kind of key cannot do is left out of its certificates.
    """

    name: str | None
    description: str
    lifetimes: Lifetimes
    usages: tuple[str, ...] = tuple(USAGES)
    key_usages: tuple[str, ...] = DEFAULT_KEY_USAGES


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
    """The extended key usage extension for keys of :data:`USAGES`, always in the same order."""
    return x509.ExtendedKeyUsage([oid for usage, oid in USAGES.items() if usage in usages])
