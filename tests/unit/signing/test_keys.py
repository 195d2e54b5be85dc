"""Keys in other places are keys for cryptography's builders, and no wrong signature leaves them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from acme_iid.errors import SignerBusyError, SignerError
from acme_iid.signing import outcomes
from acme_iid.signing.keys import MAX_SIGNED_BYTES, ForeignECKey, foreign_key
from acme_iid.signing.places import PlaceError, ProgramPlace, TokenPlace

TOKEN = TokenPlace(Path("/m.so"), "file:/pin", token="t", label="k")
PROGRAM = ProgramPlace(("/bin/sign",), "k")
NOW, LATER = datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 2, tzinfo=UTC)
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "A CA")])
HASHES: dict[str, hashes.HashAlgorithm] = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384()}
PRIVATE: dict[str, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = {
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "RSA": rsa.generate_private_key(65537, 2048),
}


class Signer:
    """A place that holds its key here, and remembers what it was asked."""

    def __init__(self, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
        self.key = key
        self.asked: list[Mapping[str, object]] = []
        self.error: SignerError | None = None

    def ask(self, message: Mapping[str, object]) -> Mapping[str, object]:
        self.asked.append(message)
        if self.error is not None:
            raise self.error
        algorithm = HASHES[str(message["algorithm"]).rpartition("-")[2]]
        data = base64.b64decode(str(message.get("tbs", message.get("digest"))))
        hashing = algorithm if "tbs" in message else Prehashed(algorithm)
        if isinstance(self.key, rsa.RSAPrivateKey):
            signature = self.key.sign(data, padding.PKCS1v15(), hashing)
        else:
            signature = self.key.sign(data, ec.ECDSA(hashing))
        return {"signature": base64.b64encode(signature).decode()}

    def release(self) -> None:
        pass


@pytest.mark.parametrize("place", [TOKEN, PROGRAM], ids=["token", "program"])
@pytest.mark.parametrize("kind", PRIVATE)
def test_builders_sign_with_them(kind: str, place: TokenPlace | ProgramPlace) -> None:
    signer = Signer(PRIVATE[kind])
    key = foreign_key(place, signer, PRIVATE[kind].public_key())
    request = x509.CertificateSigningRequestBuilder(NAME).sign(key, hashes.SHA256())
    certificate = x509.CertificateBuilder(NAME, NAME, key.public_key(), 1, NOW, LATER).sign(key, hashes.SHA256())
    crl = x509.CertificateRevocationListBuilder(NAME, NOW, LATER).sign(key, hashes.SHA384())
    assert request.is_signature_valid
    assert crl.is_signature_valid(PRIVATE[kind].public_key())
    certificate.verify_directly_issued_by(certificate)
    assert [str(message["algorithm"]).rpartition("-")[2] for message in signer.asked] == ["sha256", "sha256", "sha384"]


@pytest.mark.parametrize(("place", "name", "length"), [(TOKEN, "digest", 32), (PROGRAM, "tbs", 100_000)])
def test_a_token_gets_digests_and_a_program_the_text(place: TokenPlace | ProgramPlace, name: str, length: int) -> None:
    signer = Signer(PRIVATE["P-256"])
    key = foreign_key(place, signer, PRIVATE["P-256"].public_key())
    assert isinstance(key, ForeignECKey)
    key.sign(b"a" * 100_000, ec.ECDSA(hashes.SHA256()))
    (message,) = signer.asked
    assert len(base64.b64decode(str(message[name]))) == length
    assert {"digest", "tbs"} & set(message) == {name}


@pytest.mark.parametrize("kind", PRIVATE)
def test_a_signature_of_another_key_does_not_leave_them(kind: str) -> None:
    others: dict[str, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = {
        "P-256": ec.generate_private_key(ec.SECP256R1()),
        "P-384": ec.generate_private_key(ec.SECP384R1()),
        "RSA": rsa.generate_private_key(65537, 2048),
    }
    signer = Signer(others[kind])
    key = foreign_key(PROGRAM, signer, PRIVATE[kind].public_key())
    with pytest.raises(SignerError, match="a signature that its public key does not verify"):
        x509.CertificateSigningRequestBuilder(NAME).sign(key, hashes.SHA256())
    assert outcomes.latest(PROGRAM) is False


def test_the_last_question_counts_and_none_that_was_not_asked() -> None:
    told: list[bool] = []
    outcomes.watch(lambda _seconds, is_good: told.append(is_good))
    signer = Signer(PRIVATE["P-256"])
    key = foreign_key(PROGRAM, signer, PRIVATE["P-256"].public_key())
    assert isinstance(key, ForeignECKey)
    latest = []
    for error in (
        None,
        SignerBusyError("64 others wait"),
        SignerError("away"),
        SignerBusyError("64 others wait"),
        None,
    ):
        signer.error = error
        with nullcontext() if error is None else pytest.raises(SignerError):
            key.sign(b"a text", ec.ECDSA(hashes.SHA256()))
        latest.append(outcomes.latest(PROGRAM))
    assert latest == [True, True, False, False, True]
    assert told == [True, False, True]


def test_a_text_that_is_too_long_is_not_sent() -> None:
    signer = Signer(PRIVATE["P-256"])
    key = foreign_key(PROGRAM, signer, PRIVATE["P-256"].public_key())
    assert isinstance(key, ForeignECKey)
    with pytest.raises(SignerError, match="is not asked to sign 33554433 bytes"):
        key.sign(bytes(MAX_SIGNED_BYTES + 1), ec.ECDSA(hashes.SHA256()))
    assert signer.asked == []


@pytest.mark.parametrize(
    "public_key",
    [ed25519.Ed25519PrivateKey.generate().public_key(), ec.generate_private_key(ec.SECP521R1()).public_key(), None],
    ids=["Ed25519", "P-521", "none"],
)
def test_keys_of_other_kinds_are_refused(public_key: object) -> None:
    with pytest.raises(PlaceError, match="exec:/bin/sign k cannot be used: "):
        foreign_key(PROGRAM, Signer(PRIVATE["P-256"]), public_key)


@pytest.mark.parametrize("kind", PRIVATE)
def test_the_private_key_cannot_be_read(kind: str) -> None:
    key = foreign_key(TOKEN, Signer(PRIVATE[kind]), PRIVATE[kind].public_key())
    with pytest.raises(UnsupportedAlgorithm, match="does not leave its place"):
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(UnsupportedAlgorithm, match="does not leave its place"):
        key.private_numbers()
