from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from acme_iid.durable import write_new
from acme_iid.issuance import keys
from acme_iid.issuance.keys import CAFileError

KEY = keys.generate()
DER = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
ENCRYPTED_DER = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2"))
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def refusal(path: Path, password: str | None = None) -> str:
    with pytest.raises(CAFileError) as caught:
        keys.load(path, password)
    assert str(path) in str(caught.value)
    assert password is None or password not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("password", [None, "hunter2", "pässword with blanks"])
def test_a_key_comes_back_from_its_private_file(tmp_path: Path, password: str | None) -> None:
    key = keys.generate()
    write_new(tmp_path / "key", keys.to_pem(key, password), 0o600)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert (b"ENCRYPTED" in (tmp_path / "key").read_bytes()) is (password is not None)
    loaded = keys.load(tmp_path / "key", password)
    assert loaded.public_key() == key.public_key()


def test_an_encrypted_key_needs_its_own_password(tmp_path: Path) -> None:
    write_new(tmp_path / "key", keys.to_pem(keys.generate(), "right"), 0o600)
    assert "is encrypted; give the file with its password: --password-file" in refusal(tmp_path / "key")
    assert "the password does not open" in refusal(tmp_path / "key", "wrong")


def test_a_key_that_is_not_encrypted_needs_no_password_and_minds_none(tmp_path: Path) -> None:
    key = keys.generate()
    write_new(tmp_path / "key", keys.to_pem(key), 0o600)
    assert keys.load(tmp_path / "key", "superfluous").public_key() == key.public_key()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644])
def test_a_key_file_open_to_others_is_refused_with_the_command_that_helps(tmp_path: Path, mode: int) -> None:
    write_new(tmp_path / "key", keys.to_pem(keys.generate()), 0o600)
    (tmp_path / "key").chmod(mode)
    message = refusal(tmp_path / "key")
    assert f"(mode {mode:04o})" in message
    assert f"chmod 600 '{tmp_path / 'key'}'" in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no private key in PEM form"),
        (b"junk", "holds no private key in PEM form"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "a private key that cannot be read"),
        (DER, "holds a private key in DER form, not PEM: openssl pkey -inform DER -in"),
        (ENCRYPTED_DER, "holds an encrypted private key in DER form, not PEM"),
        (PUBLIC, "holds no private key but a public key"),
    ],
    ids=["empty", "junk", "damaged", "DER", "encrypted DER", "public"],
)
def test_a_file_without_a_key_is_refused_with_what_it_holds(tmp_path: Path, content: bytes, said: str) -> None:
    write_new(tmp_path / "key", content, 0o600)
    assert said in refusal(tmp_path / "key")
    assert said in refusal(tmp_path / "key", "hunter2")


def test_a_key_that_is_encrypted_as_openssl_used_to_needs_its_password(tmp_path: Path) -> None:
    key = keys.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"right"))
    assert b"Proc-Type: 4,ENCRYPTED" in pem
    write_new(tmp_path / "key", pem, 0o600)
    assert "is encrypted; give the file with its password" in refusal(tmp_path / "key")
    assert keys.load(tmp_path / "key", "right").public_key() == key.public_key()


def test_a_key_that_no_ca_signs_with_is_refused(tmp_path: Path) -> None:
    pem = dsa.generate_private_key(2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_new(tmp_path / "key", pem, 0o600)
    assert "ECDSA, Ed25519 or RSA is needed" in refusal(tmp_path / "key")


@pytest.mark.parametrize(("exponent", "bits", "reason"), [(3, 2048, "exponent"), (65537, 1024, "has 1024 bits")])
def test_an_rsa_key_that_is_not_acceptable_is_refused(tmp_path: Path, exponent: int, bits: int, reason: str) -> None:
    write_new(tmp_path / "key", keys.to_pem(rsa.generate_private_key(exponent, bits)), 0o600)
    message = refusal(tmp_path / "key")
    assert "holds a key that a CA does not sign with: the RSA key" in message
    assert reason in message


def test_a_missing_key_is_a_sentence(tmp_path: Path) -> None:
    assert "cannot be read: No such file or directory" in refusal(tmp_path / "key")


def test_nothing_is_overwritten_and_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("there", "link"):
        with pytest.raises(FileExistsError):
            write_new(tmp_path / name, b"new", 0o600)
    assert (tmp_path / "there").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("content", "password"),
    [(b"hunter2", "hunter2"), (b"hunter2\n", "hunter2"), (b"hunter2\r\nsecond\n", "hunter2"), (b" a b \n", " a b ")],
)
def test_the_password_is_the_first_line_of_its_file(tmp_path: Path, content: bytes, password: str) -> None:
    (tmp_path / "password").write_bytes(content)
    assert keys.read_password(tmp_path / "password") == password


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "has an empty first line"),
        (b"\nsecond", "has an empty first line"),
        (b"x" * 1024, "is longer than 1023 bytes"),
        (b"\xff\n", "is not UTF-8"),
    ],
)
def test_a_password_that_cannot_be_one_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "password").write_bytes(content)
    with pytest.raises(CAFileError, match=reason):
        keys.read_password(tmp_path / "password")
