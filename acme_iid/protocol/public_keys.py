"""Policies of acceptable public keys: every key that is verified with or certified is judged here first.

Most keys come from those who ask for something. Verifying with an absurd one (an RSA exponent as long as its modulus)
is much work for this server, and no work for its sender. So every key is judged before its first use: accounts' keys,
CSRs, certificates in evidence, certificates that hosts show, key sets, and operators' files.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
"""The kinds of public key that accounts and certificates may have."""

CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
"""The curves by the name that cryptography gives them, with their JWK name (RFC 7518 section 6.2.1.1)."""

RSA_BITS = (2048, 8192)
"""The smallest and the largest RSA modulus of a key that is certified or signs requests."""
RSA_EXPONENTS = range(65537, 1 << 32, 2)
"""The RSA exponents, all odd. The least is that of NIST SP 800-89 section 5.3.3 and of the CA/Browser Forum's BR 6.1.6,
whose upper bound (2^256) makes a verification ten times as expensive; Go and Windows take 32 bits at most."""
DSA_BITS = (1024, 3072)
"""The smallest and the largest DSA modulus (FIPS 186-4 section 4.2)."""

KEY_TYPES = (*CURVES.values(), "Ed25519", "RSA")
"""The kinds of keys that certificates can have, as ca.toml calls them."""

_RSASSA_PSS = x509.ObjectIdentifier("1.2.840.113549.1.1.10")


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """The keys that are acceptable for one use.

    :ivar types: of :data:`KEY_TYPES`, and ``DSA``.
    :ivar rsa_bits: the smallest and the largest RSA modulus.
    """

    types: tuple[str, ...] = KEY_TYPES
    rsa_bits: tuple[int, int] = RSA_BITS

    def refusal(self, key: object, algorithm: x509.ObjectIdentifier | None = None) -> str | None:
        """The reason why a key is not acceptable, as a clause for a sentence; None if it is acceptable.

        :param key: as cryptography loaded it.
        :param algorithm: of the SubjectPublicKeyInfo that it came in, if it came in one: a key for RSASSA-PSS alone
            (RFC 4055 section 1.2) is loaded as any RSA key is.
        """
        kind = type_of(key, algorithm)
        if kind not in self.types:
            return f"{kind} keys are not accepted; the keys that are: {', '.join(self.types)}"
        if isinstance(key, rsa.RSAPublicKey):
            return self._rsa_refusal(key)
        return _size_refusal(key, DSA_BITS) if isinstance(key, dsa.DSAPublicKey) else None

    def _rsa_refusal(self, key: rsa.RSAPublicKey) -> str | None:
        if (refusal := _size_refusal(key, self.rsa_bits)) is not None:
            return refusal
        numbers = key.public_numbers()
        if numbers.e not in RSA_EXPONENTS:
            return "the RSA key's public exponent is not accepted; make a new key with the exponent 65537"
        if numbers.n % 2 == 0:
            return "the RSA key is weak: its modulus has a small factor; make a new key"
        return None


CERTIFIED = KeyPolicy()
"""Keys that get certificates, where an operator does not say otherwise; weak ones never do (:mod:`csr`)."""
ACCOUNTS = KeyPolicy()
"""Keys that sign requests."""
AUTHORITIES = KeyPolicy()
"""Keys that CAs sign with: this one, and those above it in an operator's files."""
SHOWN = KeyPolicy()
"""Keys of certificates that hosts show for a challenge."""
EVIDENCE = KeyPolicy(("P-256", "P-384", "RSA"), (2048, 4096))
"""Keys in certificates of evidence, sent or given by operators; the clouds' are P-384 and RSA of 4096 bits at most."""
TOKENS = KeyPolicy(("P-384", "RSA"))
"""Keys in the key sets of token issuers."""


def type_of(key: object, algorithm: x509.ObjectIdentifier | None = None) -> str:
    """The name of a key's type: one of :data:`KEY_TYPES`, ``DSA``, or the name of another kind or curve.

    :param algorithm: see :meth:`KeyPolicy.refusal`.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        return CURVES.get(key.curve.name, key.curve.name)
    if algorithm == _RSASSA_PSS:
        return "RSASSA-PSS"
    return type(key).__name__.removesuffix("PublicKey")


def _size_refusal(key: rsa.RSAPublicKey | dsa.DSAPublicKey, bits: tuple[int, int]) -> str | None:
    least, most = bits
    if least <= key.key_size <= most:
        return None
    return f"the {type_of(key)} key has {key.key_size} bits; between {least} and {most} are accepted"
