"""Certificate chains for tests: a root, authorities below it, and a leaf, each key made once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache

import forge
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from acme_iid.simulator.authority import Authority, Extension, name

NOW = forge.SIGNED_AT
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
WHEN = datetime.fromtimestamp(NOW, UTC)
BEFORE, AFTER = WHEN.replace(year=2020), WHEN.replace(year=2040)


@cache
def numbered_key(_number: int = 0) -> EllipticCurvePrivateKey:
    """Keys by number, so that each is made once."""
    return generate_ec(SECP256R1())


def named(text: str) -> x509.Name:
    return name(text, "Test")


@cache
def root_authority() -> Authority:
    return Authority.root(named("Root"), numbered_key())


def authority_below(count: int, path_length: int | None = None, of: Authority | None = None) -> Authority:
    authority = of or root_authority()
    for number in range(1, count + 1):
        authority = authority.below(named(f"Authority {number}"), numbered_key(number), path_length)
    return authority


def leaf_of(issuer: Authority, extensions: Sequence[Extension] = ()) -> x509.Certificate:
    return issuer.certify(named("Signer"), numbered_key(99).public_key(), extensions, BEFORE, AFTER)
