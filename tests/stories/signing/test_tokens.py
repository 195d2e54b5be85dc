"""Keys in a token sign whatever a CA signs, through cryptography's builders."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from signing.programs import ECDSA
from signing.softhsm import SoftHSM

from acme_iid.signing import signers
from acme_iid.signing.keys import ForeignKey

NOW, LATER = datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 2, tzinfo=UTC)
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "A CA")])
TYPES = ("P-256", "P-384", "RSA-2048", "RSA-4096")


def new_key(token: SoftHSM, key_type: str) -> ForeignKey:
    """A new key in the token, opened."""
    place = token.place(f"object={key_type}")
    return signers.open_key(place, signers.generate(place, key_type).public_key)


@pytest.mark.parametrize("key_type", TYPES)
def test_openssl_verifies_requests_certificates_and_lists(token: SoftHSM, key_type: str, tmp_path: Path) -> None:
    key = new_key(token, key_type)
    public_key = key.public_key()
    request = x509.CertificateSigningRequestBuilder(NAME).sign(key, hashes.SHA256())
    certificate = (
        x509.CertificateBuilder(NAME, NAME, public_key, 1, NOW, LATER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    crl = x509.CertificateRevocationListBuilder(NAME, NOW, LATER).sign(key, hashes.SHA256())
    for name, made in (
        ("request", request.public_bytes(Encoding.PEM)),
        ("certificate", certificate.public_bytes(Encoding.PEM)),
        ("crl", crl.public_bytes(Encoding.PEM)),
    ):
        (tmp_path / name).write_bytes(made)
    ca = str(tmp_path / "certificate")
    for command in (
        ["req", "-verify", "-noout", "-in", str(tmp_path / "request")],
        ["verify", "-check_ss_sig", "-attime", str(int(NOW.timestamp()) + 1), "-CAfile", ca, ca],
        ["crl", "-noout", "-in", str(tmp_path / "crl"), "-CAfile", ca],
    ):
        done = subprocess.run(["openssl", *command], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "verify OK" in done.stderr or "OK" in done.stdout + done.stderr
    signers.close(key)


@pytest.mark.parametrize(("key_type", "size"), [("P-256", 32), ("P-384", 48)])
def test_2000_signatures_verify_with_a_leading_zero_byte_too(token: SoftHSM, key_type: str, size: int) -> None:
    """About one in 128 has a number that is a byte shorter."""
    key = new_key(token, key_type)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    public_key = key.public_key()
    texts = [f"text {number}".encode() for number in range(2_000)]
    short = 0
    with ThreadPoolExecutor(8) as pool:
        for text, signature in zip(texts, pool.map(lambda text: key.sign(text, ECDSA), texts), strict=True):
            public_key.verify(signature, text, ECDSA)
            short += any(number.bit_length() <= 8 * (size - 1) for number in decode_dss_signature(signature))
    assert short > 0
    signers.close(key)


def test_a_key_does_not_leave_its_token(token: SoftHSM) -> None:
    key = new_key(token, "P-256")
    with pytest.raises(UnsupportedAlgorithm, match="does not leave its place"):
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(UnsupportedAlgorithm, match="does not leave its place"):
        key.private_numbers()
    listed = token.pkcs11_tool("--list-objects", "--type", "privkey")
    assert "Usage:      sign\n" in listed
    assert "Access:     sensitive, always sensitive, never extractable, local" in listed


def test_keys_of_two_tokens_and_two_of_one_sign_side_by_side(token: SoftHSM) -> None:
    token.add_token("second")
    places = [token.place("object=a"), token.place("object=b"), token.place("object=a", token="second")]
    keys = [signers.open_key(place, signers.generate(place, "P-256").public_key) for place in places]
    assert len({key.public_key().public_numbers() for key in keys}) == 3
    for _ in range(3):
        for key in keys:
            signers.answers(key)
    for key in keys:
        signers.close(key)


@pytest.mark.parametrize("name", ["object=key;id=%01", "id=%01", "id=%01;type=private"])
def test_a_key_made_by_another_tool_is_found_by_its_id_and_label(token: SoftHSM, name: str) -> None:
    token.pkcs11_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "key", "--id", "01")
    token.pkcs11_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "key", "--id", "02")
    public_key = signers.public_key(token.place(name))
    assert public_key != signers.public_key(token.place("id=%02"))
    key = signers.open_key(token.place(name), public_key)
    signers.answers(key)
    signers.close(key)


def test_an_rsa_key_made_by_another_tool_signs(token: SoftHSM) -> None:
    token.pkcs11_tool("--keypairgen", "--key-type", "rsa:3072", "--label", "key", "--id", "01")
    public_key = signers.public_key(token.place())
    assert isinstance(public_key, rsa.RSAPublicKey)
    assert public_key.key_size == 3072
