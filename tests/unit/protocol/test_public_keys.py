"""Which keys are acceptable, by use: every place that verifies with a key asks these policies first."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa, x25519

from acme_iid.attestation.aws_trust import DOCUMENT_KEYS
from acme_iid.protocol import jwk
from acme_iid.protocol.public_keys import (
    ACCOUNTS,
    AUTHORITIES,
    CERTIFIED,
    EVIDENCE,
    SHOWN,
    TOKENS,
    KeyPolicy,
)

POLICIES = {
    "accounts": ACCOUNTS,
    "authorities": AUTHORITIES,
    "AWS documents": DOCUMENT_KEYS,
    "certified": CERTIFIED,
    "evidence": EVIDENCE,
    "shown": SHOWN,
    "tokens": TOKENS,
}
MODULUS = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n


def rsa_key(exponent: int = 65537, modulus: int = MODULUS) -> rsa.RSAPublicKey:
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
@pytest.mark.parametrize("exponent", [65537, 65539, (1 << 32) - 1])
def test_an_exponent_within_the_bounds_is_accepted_everywhere(policy: KeyPolicy, exponent: int) -> None:
    assert policy.refusal(rsa_key(exponent)) is None


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
@pytest.mark.parametrize(
    "exponent",
    [3, 257, 65535, (1 << 32) + 1, (1 << 64) + 1, (1 << 2000) + 1],
    ids=["3", "257", "65535", "33 bits", "65 bits", "2001 bits"],
)
def test_an_exponent_beyond_the_bounds_is_accepted_nowhere(policy: KeyPolicy, exponent: int) -> None:
    refusal = policy.refusal(rsa_key(exponent))
    assert refusal == "the RSA key's public exponent is not accepted; make a new key with the exponent 65537"


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_a_modulus_of_too_few_or_too_many_bits_is_accepted_nowhere(policy: KeyPolicy) -> None:
    least, most = policy.rsa_bits
    for bits in (least - 1, most + 1):
        modulus = (1 << bits - 1) + 1
        assert f"has {bits} bits; between {least} and {most} are accepted" in str(
            policy.refusal(rsa_key(65537, modulus))
        )


@pytest.mark.parametrize(
    ("policy", "types"),
    [
        (ACCOUNTS, {"P-256", "P-384", "P-521", "Ed25519", "RSA"}),
        (AUTHORITIES, {"P-256", "P-384", "P-521", "Ed25519", "RSA"}),
        (CERTIFIED, {"P-256", "P-384", "P-521", "Ed25519", "RSA"}),
        (SHOWN, {"P-256", "P-384", "P-521", "Ed25519", "RSA"}),
        (EVIDENCE, {"P-256", "P-384", "RSA"}),
        (TOKENS, {"P-384", "RSA"}),
        (DOCUMENT_KEYS, {"RSA", "DSA"}),
    ],
)
def test_each_use_takes_its_own_kinds_of_keys(policy: KeyPolicy, types: set[str]) -> None:
    curves = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(), "secp256k1": ec.SECP256K1()}
    keys: dict[str, object] = {name: ec.generate_private_key(curve).public_key() for name, curve in curves.items()}
    keys["Ed25519"] = ed25519.Ed25519PrivateKey.generate().public_key()
    keys["X25519"] = x25519.X25519PrivateKey.generate().public_key()
    keys["RSA"] = rsa_key()
    keys["DSA"] = dsa.generate_private_key(1024).public_key()  # noqa: S505 - AWS's are as short as that
    assert {name for name, key in keys.items() if policy.refusal(key) is None} == types
    assert str(policy.refusal(keys["X25519"])).startswith("X25519 keys are not accepted; the keys that are: ")


def test_a_dsa_key_that_is_too_long_is_accepted_nowhere() -> None:
    parameters = dsa.DSAParameterNumbers((1 << 4096) - 1, (1 << 256) - 1, 2)
    key = dsa.DSAPublicNumbers(2, parameters).public_key()
    assert DOCUMENT_KEYS.refusal(key) == "the DSA key has 4096 bits; between 1024 and 3072 are accepted"


def test_an_account_key_is_judged_when_it_is_read() -> None:
    for exponent in (3, (1 << 32) + 1, (1 << 255) + 1):
        members = {"kty": "RSA", "n": number(MODULUS), "e": number(exponent)}
        with pytest.raises(ValueError, match="exponent is not accepted"):
            jwk.load(json.dumps(members, sort_keys=True, separators=(",", ":")))
    assert jwk.load(json.dumps({"e": "AQAB", "kty": "RSA", "n": number(MODULUS)})) == rsa_key()


def number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()
