from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from josepy.b64 import b64encode
from josepy.jwk import JWKEC
from josepy.util import ComparableECKey

from acme_iid.binding import base64url
from acme_iid.protocol import jwk
from acme_iid.protocol.public_keys import CURVES


def number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=="), "big")


def test_the_rsa_example_of_rfc_7638_section_3_1() -> None:
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj"
        "hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ"
        "vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK"
        "nqDKgw"
    )
    key = rsa.RSAPublicNumbers(65537, number(modulus)).public_key()
    assert jwk.thumbprint(key) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_the_ed25519_example_of_rfc_8037_appendix_a_3() -> None:
    x = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    key = ed25519.Ed25519PublicKey.from_public_bytes(x)
    assert jwk.thumbprint(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_it_is_the_thumbprint_that_josepy_computes(curve: ec.EllipticCurve) -> None:
    # Coordinates with leading zeros are padded; among forty keys of each curve some have them.
    for scalar in range(1, 41):
        key = ec.derive_private_key(scalar, curve).public_key()
        theirs = b64encode(JWKEC(key=ComparableECKey(key)).thumbprint()).decode()
        assert jwk.thumbprint(key) == theirs


def test_a_key_on_another_curve_has_none() -> None:
    with pytest.raises(ValueError, match="secp256k1 is not among P-256, P-384, P-521"):
        jwk.thumbprint(ec.generate_private_key(ec.SECP256K1()).public_key())


@pytest.mark.parametrize(
    ("member", "value", "reason"),
    [
        ("d", "AAAA", "holds a secret"),
        ("kty", "oct", "holds a secret"),
        ("x", 7, "not a text"),
        ("x", ["AAAA"], "not a text"),
        ("n", "A" * 1401, "longer than any key's"),
    ],
)
def test_a_jwk_with_such_a_member_is_no_public_key(member: str, value: object, reason: str) -> None:
    public = {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}
    assert jwk.canonical(public | {"use": "sig"}) == jwk.canonical(public)
    with pytest.raises(ValueError, match=reason):
        jwk.canonical(public | {member: value})


@pytest.mark.parametrize(("curve", "octets"), [(ec.SECP256R1(), 32), (ec.SECP384R1(), 48), (ec.SECP521R1(), 66)])
@pytest.mark.parametrize("member", ["x", "y"])
def test_a_coordinate_without_its_octets_of_zero_is_named(curve: ec.EllipticCurve, octets: int, member: str) -> None:
    """Ruby's acme-client sends one key in 128 so; the refusal says what to do."""
    for scalar in range(1, 3000):
        numbers = ec.derive_private_key(scalar, curve).public_key().public_numbers()
        coordinates = {"x": numbers.x, "y": numbers.y}
        if coordinates[member].bit_length() <= 8 * (octets - 1):
            break
    else:
        pytest.fail("no key has such a coordinate")
    whole = {name: value.to_bytes(octets, "big") for name, value in coordinates.items()}
    fields = {"kty": "EC", "crv": CURVES[curve.name]}
    assert jwk.load(jwk.canonical(fields | {name: base64url(value) for name, value in whole.items()}))
    short = whole | {member: whole[member].lstrip(b"\0")}
    with pytest.raises(ValueError, match=f"the JWK's {member} is too short: .* {octets} octets, .*another account key"):
        jwk.load(jwk.canonical(fields | {name: base64url(value) for name, value in short.items()}))
