"""A file that should hold a private key, and holds something else, is called what it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509 import CertificateSigningRequestBuilder, Name
from scripted_ca import issue

from acme_iid_client.errors import ClientError
from acme_iid_client.storage import account_keys
from acme_iid_client.x509 import csr, keys

KEY = ec.generate_private_key(ec.SECP256R1())
LEAF = issue(None, "foo.local", KEY, ["foo.local"])
PASSWORD = BestAvailableEncryption(b"secret")


def private(
    encoding: Encoding, form: PrivateFormat = PrivateFormat.PKCS8, encryption: KeySerializationEncryption | None = None
) -> bytes:
    return KEY.private_bytes(encoding, form, encryption or NoEncryption())


REQUEST = CertificateSigningRequestBuilder().subject_name(Name([])).sign(KEY, hashes.SHA256())
SPKI = PublicFormat.SubjectPublicKeyInfo
KEYS = {
    "encrypted": (private(Encoding.PEM, encryption=PASSWORD), "an encrypted private key"),
    "encrypted as of old": (
        private(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, PASSWORD), "an encrypted private key",
    ),
    "DER": (private(Encoding.DER), "a private key in DER form, not PEM: openssl pkey -inform DER -in "),
    "DER as of old": (private(Encoding.DER, PrivateFormat.TraditionalOpenSSL), "a private key in DER form"),
    "encrypted DER": (private(Encoding.DER, encryption=PASSWORD), "an encrypted private key in DER form"),
    "OpenSSH": (private(Encoding.PEM, PrivateFormat.OpenSSH), "a private key in OpenSSH's form"),
}  # fmt: skip
OTHERS = {
    "certificate": (LEAF.public_bytes(Encoding.PEM), "no private key but a certificate"),
    "certificate in DER": (LEAF.public_bytes(Encoding.DER), "no private key but a certificate, in DER form"),
    "request": (REQUEST.public_bytes(Encoding.PEM), "no private key but a certificate request"),
    "request in DER": (REQUEST.public_bytes(Encoding.DER), "no private key but a certificate request, in DER form"),
    "public key": (KEY.public_key().public_bytes(Encoding.PEM, SPKI), "no private key but a public key"),
    "public key in DER": (
        KEY.public_key().public_bytes(Encoding.DER, SPKI), "no private key but a public key, in DER form",
    ),
    "PKCS #12": (serialize_key_and_certificates(b"x", KEY, LEAF, None, PASSWORD), "a PKCS #12 file"),
    "damaged": (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be read"),
    "text": (b"hello", "no private key in PEM form"),
    "nothing": (b"", "no private key in PEM form"),
}  # fmt: skip


# OpenSSH's form of a key is read as what it is where the library knows it.
@pytest.mark.parametrize("what", [name for name in {**KEYS, **OTHERS} if name != "OpenSSH"])
def test_a_file_that_is_no_private_key_in_pem_is_named(tmp_path: Path, what: str) -> None:
    content, said = {**KEYS, **OTHERS}[what]
    file = tmp_path / "the key"
    with pytest.raises(ClientError) as caught:
        keys.load(content, str(file))
    assert str(caught.value).startswith(f"{file} holds {said}") or said == "cannot be read"
    assert said in str(caught.value)
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(ClientError) as caught:
        account_keys.from_file(file)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("what", KEYS)
def test_a_key_is_no_signing_request_in_any_form(what: str) -> None:
    with pytest.raises(ClientError, match="holds a private key, not a certificate signing request"):
        csr.load(KEYS[what][0], "a.key")


def test_a_key_of_another_kind_is_named_so() -> None:
    other = ed448.Ed448PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ClientError, match="of a kind that is not used in TLS certificates"):
        keys.load(other, "a.key")
