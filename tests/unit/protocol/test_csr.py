from __future__ import annotations

import hashlib
import math
import random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from csr_requests import FOO, KEY, AnyKey, refusal, request
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.attestation import asn1
from acme_iid.errors import AcmeError, Problem
from acme_iid.protocol import csr, jwk
from acme_iid.protocol.public_keys import KEY_TYPES, KeyPolicy
from acme_iid.simulator.cms import oid, sequence

RSA_KEY = rsa.generate_private_key(65537, 2048)


def spki(key: AnyKey) -> bytes:
    return hashlib.sha256(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


@pytest.mark.parametrize(
    "key",
    [
        KEY,
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
        RSA_KEY,
    ],
    ids=lambda key: type(key.public_key()).__name__,
)
def test_strong_keys_are_accepted_and_named(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey,
) -> None:
    checked = csr.check(request(key=key), FOO)
    assert checked.public_key == key.public_key()
    assert checked.spki_sha256 == spki(key)
    assert checked.thumbprint == jwk.thumbprint(key.public_key())


def with_version(version: int, key: AnyKey, *, sign: bool = True) -> bytes:
    """A CSR of another version, signed over its own bytes unless ``sign`` is False."""
    der = request(key=key)
    mark = b"\x02\x01\x00"
    start = der.index(mark)
    tbs = x509.load_der_x509_csr(der).tbs_certrequest_bytes
    other = tbs.replace(mark, b"\x02\x01" + bytes([version]), 1)
    changed = der[: start + 2] + bytes([version]) + der[start + 3 :]
    if not sign:
        return changed
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(other, padding.PKCS1v15(), hashes.SHA256())
        return changed[: -len(signature)] + signature
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return changed[:-64] + key.sign(other)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("key", [RSA_KEY, ed25519.Ed25519PrivateKey.generate()], ids=["RSA", "Ed25519"])
def test_a_csr_of_another_version_is_read_as_it_was_signed(key: AnyKey, version: int) -> None:
    # Ruby's acme-client writes 2; RFC 2986 section 4.1 knows 0 alone.
    assert csr.check(with_version(version, key), FOO).spki_sha256 == spki(key)
    assert "signature does not verify" in refusal(with_version(version, key, sign=False))


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (rsa.generate_private_key(65537, 1024), "the RSA key has 1024 bits; between 2048 and 8192"),  # noqa: S505 - refused
        (rsa.generate_private_key(3, 2048), "public exponent is not accepted"),
        (ec.generate_private_key(ec.SECP256K1()), "secp256k1 keys are not accepted; the keys that are: P-256, P-384"),
        (ec.generate_private_key(ec.SECP224R1()), "secp224r1 keys are not accepted"),
        (ed448.Ed448PrivateKey.generate(), "Ed448 keys are not accepted"),
        (dsa.generate_private_key(2048), "DSA keys are not accepted"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_weak_and_unusual_keys_are_refused(key: AnyKey, reason: str) -> None:
    assert reason in refusal(request(key=key))


def with_key_info(info: bytes) -> bytes:
    """A CSR that holds another SubjectPublicKeyInfo than that of the key that signed it."""
    csr_ = x509.load_der_x509_csr(request())
    own = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    members = [part.encoding for part in asn1.parse(csr_.tbs_certrequest_bytes).children]
    assert members[2] == own
    members[2] = info
    rest = [part.encoding for part in asn1.parse(csr_.public_bytes(Encoding.DER)).children[1:]]
    return sequence(sequence(*members), *rest)


def info_of(algorithm: bytes, parameters: bytes, key: bytes) -> bytes:
    """A SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7)."""
    return sequence(sequence(algorithm, parameters), asn1.tlv(0x03, b"\0" + key))


def explicit_curve() -> bytes:
    """P-256 with parameters of its own (SEC 1 section C.2)."""
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b = bytes.fromhex("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b")
    base = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    point = bytes.fromhex("04" + base + "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5")
    order = bytes.fromhex("00ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
    field = sequence(oid("1.2.840.10045.1.1"), asn1.tlv(asn1.INTEGER, b"\0" + p.to_bytes(32, "big")))
    curve = sequence(asn1.tlv(4, (p - 3).to_bytes(32, "big")), asn1.tlv(4, b))
    one = asn1.tlv(asn1.INTEGER, b"\x01")
    return sequence(one, field, curve, asn1.tlv(4, point), asn1.tlv(asn1.INTEGER, order), one)


POINT, COMPRESSED = (
    KEY.public_key().public_bytes(Encoding.X962, form)
    for form in (PublicFormat.UncompressedPoint, PublicFormat.CompressedPoint)
)
EC, P256 = oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7")
PKCS1 = RSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
NULL = asn1.tlv(asn1.NULL, b"")


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (info_of(oid("1.2.840.113549.1.1.10"), b"", PKCS1), "RSA key is for RSASSA-PSS alone"),
        (info_of(EC, P256, COMPRESSED), "its point is not compressed"),
        (info_of(EC, explicit_curve(), POINT), "a curve is named, without parameters of its own"),
        (info_of(EC, NULL, POINT), "key cannot be read: its algorithm, its curve or their parameters"),
        (info_of(EC, oid("1.3.132.0.39"), POINT), "key cannot be read: its algorithm, its curve or their parameters"),
        (info_of(oid("1.3.132.1.12"), P256, POINT), "key cannot be read: its algorithm, its curve or their parameters"),
        (info_of(EC, P256, b"\4" + bytes(64)), "key cannot be read: its algorithm, its curve or their parameters"),
        (info_of(oid("1.3.101.110"), b"", bytes(32)), "X25519 keys are not accepted; the keys that are: P-256"),
    ],
    ids=["PSS", "compressed", "explicit", "NULL", "another curve", "id-ecDH", "no point", "X25519"],
)
def test_a_key_in_another_form_than_a_certificates_is_refused(info: bytes, reason: str) -> None:
    assert reason in refusal(with_key_info(info))


@pytest.mark.parametrize(
    "exponent", [3, 65535, (1 << 32) + 1, (1 << 255) + 1], ids=["3", "65535", "33 bits", "256 bits"]
)
def test_an_exponent_beyond_the_bounds_is_refused(exponent: int) -> None:
    modulus = RSA_KEY.public_key().public_numbers().n
    key = asn1.tlv(0x30, integer(modulus) + integer(exponent))
    reason = refusal(with_key_info(info_of(oid("1.2.840.113549.1.1.1"), NULL, key)))
    assert reason == "the RSA key's public exponent is not accepted; make a new key with the exponent 65537"


def integer(value: int) -> bytes:
    return asn1.tlv(asn1.INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def with_modulus(change: int) -> bytes:
    """A CSR whose RSA modulus is another number; its signature cannot verify, but the key is judged first."""
    modulus = RSA_KEY.public_key().public_numbers().n
    der = request(key=RSA_KEY)
    octets = modulus.to_bytes(256, "big")
    assert der.count(octets) == 1
    return der.replace(octets, change.to_bytes(256, "big"))


def test_a_modulus_with_a_small_factor_is_refused() -> None:
    modulus = RSA_KEY.public_key().public_numbers().n
    for factor in (3, 751):
        multiple = modulus - modulus % factor
        odd = multiple if multiple % 2 else multiple - factor
        assert "weak: its modulus has a small factor" in refusal(with_modulus(odd))


def is_prime(number: int) -> bool:
    """Whether a large random number is a prime, as good as surely."""
    return number % 2 == 1 and all(pow(base, number - 1, number) == 1 for base in (2, 3, 5))


def rsa_key(p: int, q: int) -> rsa.RSAPrivateKey:
    d = pow(65537, -1, math.lcm(p - 1, q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    return rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), public
    ).private_key()


def roca_prime(known: random.Random, bits: int) -> int:
    """A prime as the library made them: k * M + (65537^a mod M), where M is the product of the first 126 primes."""
    product = math.prod(n for n in range(2, 702) if all(n % divisor for divisor in range(2, math.isqrt(n) + 1)))
    while True:
        least = (1 << bits) * 3 // 4 // product
        candidate = known.randrange(least, (1 << bits) // product) * product
        candidate += pow(65537, known.getrandbits(128), product)
        if is_prime(candidate):
            return candidate


def test_a_key_of_the_faulty_library_is_refused_by_its_fingerprint() -> None:
    known = random.Random(1)
    weak = rsa_key(roca_prime(known, 1024), roca_prime(known, 1024))
    assert weak.key_size == 2048
    assert "ROCA, CVE-2017-15361" in refusal(request(key=weak))


def test_a_key_of_two_primes_that_are_close_to_each_other_is_refused() -> None:
    p = RSA_KEY.private_numbers().p
    q = p + 2
    while not is_prime(q):
        q += 2
    assert "its two primes are close" in refusal(request(key=rsa_key(p, q)))
    square = RSA_KEY.private_numbers().p ** 2
    assert "its two primes are close" in refusal(with_modulus(square))


@pytest.mark.parametrize("kind", KEY_TYPES)
def test_the_policy_says_which_kinds_of_keys_are_accepted(kind: str) -> None:
    known: dict[str, AnyKey] = {
        "P-256": KEY,
        "P-384": ec.generate_private_key(ec.SECP384R1()),
        "P-521": ec.generate_private_key(ec.SECP521R1()),
        "Ed25519": ed25519.Ed25519PrivateKey.generate(),
        "RSA": RSA_KEY,
    }
    policy = KeyPolicy((kind,))
    assert csr.check(request(key=known.pop(kind)), FOO, policy=policy).public_key
    for key in known.values():
        with pytest.raises(AcmeError, match=f": {kind}$") as caught:
            csr.check(request(key=key), FOO, policy=policy)
        assert caught.value.problem is Problem.BAD_CSR


def test_the_policy_says_how_large_rsa_keys_are() -> None:
    larger = rsa.generate_private_key(65537, 3072)
    for bits, key, other in (((2048, 2048), RSA_KEY, larger), ((3072, 4096), larger, RSA_KEY)):
        policy = KeyPolicy(rsa_bits=bits)
        csr.check(request(key=key), FOO, policy=policy)
        with pytest.raises(AcmeError, match=f"between {bits[0]} and {bits[1]} are accepted"):
            csr.check(request(key=other), FOO, policy=policy)


def test_the_signature_must_verify_with_the_key_inside() -> None:
    der = bytearray(request(key=RSA_KEY))
    der[-1] ^= 1
    assert refusal(bytes(der)) == "the CSR's signature does not verify with the key in it"


def test_a_signature_over_sha1_is_refused() -> None:
    der = request(key=RSA_KEY)
    sha256_with_rsa, sha1_with_rsa = bytes.fromhex("06092a864886f70d01010b"), bytes.fromhex("06092a864886f70d010105")
    assert der.count(sha256_with_rsa) == 1
    assert "is signed with SHA1" in refusal(der.replace(sha256_with_rsa, sha1_with_rsa))


@pytest.mark.parametrize(
    "mangle", [lambda der: der[:-1], lambda der: der + b"\0", lambda _: b"", lambda der: b"x" + der]
)
def test_what_is_not_exactly_one_request_is_refused(mangle: object) -> None:
    assert callable(mangle)
    assert "cannot be read" in refusal(mangle(request()))


def test_a_request_over_the_limit_is_refused_unread() -> None:
    assert refusal(b"0" * (csr.MAX_BYTES + 1)) == "the CSR is larger than 8192 bytes"


def test_a_key_of_the_cas_own_is_refused() -> None:
    assert "is the CA's own" in refusal(request(), FOO, frozenset({spki(KEY)}))


def test_a_request_to_become_a_ca_is_refused() -> None:
    wish = x509.BasicConstraints(ca=True, path_length=None)
    assert "asks to become a CA" in refusal(request(extensions=[wish]))


def test_other_wishes_are_left_out_and_not_refused() -> None:
    wishes = [
        x509.BasicConstraints(ca=False, path_length=None),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),
        x509.TLSFeature([x509.TLSFeatureType.status_request]),
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"),
    ]
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")
    assert csr.check(request(extensions=wishes, other=[organization]), FOO).public_key == KEY.public_key()


VALID = request(common_names=["foo.local"])


@given(st.data())
def test_a_changed_octet_anywhere_is_refused_and_never_a_surprise(data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(VALID) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != VALID[position]))
    # ECDSA verifies any reading of the same two numbers, so a lenient spelling of the signature would pass unseen.
    assert refusal(VALID[:position] + bytes([value]) + VALID[position + 1 :])


def test_a_signature_with_bits_that_are_not_used_is_refused() -> None:
    # The library takes one whose last bit is 0, as every other signature's is.
    signed = next(made for made in iter(request, b"") if not made[-1] & 1)
    at = len(signed) - len(x509.load_der_x509_csr(signed).signature) - 1
    assert "whole number of octets" in refusal(signed[:at] + b"\1" + signed[at + 1 :])


@given(st.binary(max_size=300))
def test_any_bytes_at_all_are_refused_with_badcsr(data: bytes) -> None:
    assert refusal(data)
