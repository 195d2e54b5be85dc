"""Which private keys are in a backup, and a backup that is encrypted."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import CA

from acme_iid.issuance.home import DESCRIPTION, ROOT_KEY


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CA]:
    made = CA(tmp_path / "ca")
    made.init(in_a_file=True)
    yield made
    if made.process is not None:
        made.kill()


@pytest.fixture
def recipient(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for an RSA key, and the key."""
    certificate, key = tmp_path / "backup.crt", tmp_path / "backup.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
         "-days", "30", "-subj", "/CN=backups"],
        capture_output=True, check=True,
    )  # fmt: skip
    key.chmod(0o600)
    return certificate, key


def backed_up(ca: CA, target: Path, *options: str | Path) -> dict[str, list[str]]:
    told: dict[str, list[str]] = json.loads(ca.cli("backup", target, "--json", *options).stdout)
    return told


def test_a_roots_key_is_in_a_backup_only_if_asked_for(ca: CA, tmp_path: Path) -> None:
    other = ca.home / "secrets/old root.pem"
    other.write_bytes(ca.root_key.read_bytes())
    told = backed_up(ca, tmp_path / "a.tar")
    assert told["left_out"] == [str(other.relative_to(ca.home)), str(ROOT_KEY)]
    assert str(ca.intermediate_key.relative_to(ca.home)) in told["files"]
    content = (tmp_path / "a.tar").read_bytes()
    assert ca.root_key.read_bytes() not in content
    assert ca.intermediate_key.read_bytes() in content
    said = ca.cli("backup", tmp_path / "b.tar").stdout
    assert f"Not in it are private keys of roots, which --with-root-keys puts there: {told['left_out'][0]}" in said
    assert backed_up(ca, tmp_path / "c.tar", "--with-root-keys")["left_out"] == []
    assert ca.root_key.read_bytes() in (tmp_path / "c.tar").read_bytes()
    restored = CA(tmp_path / "restored")
    said = restored.cli("restore", tmp_path / "a.tar").stdout
    assert "Not in it were private keys of roots" in said
    assert not restored.root_key.exists()
    restored.start()
    assert restored.stop() == 0


def test_an_encrypted_key_that_no_issuer_has_counts_as_a_roots(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse\n")
    ca = CA(tmp_path / "ca")
    ca.cli("init", "--domain", "local", "--url", ca.url, "--password-file", password)
    ca.cli("issuer", "rotate", "prepare", "--csr", tmp_path / "next.csr", "--password-file", password)
    responder = ca.home / "secrets/responder_0123456789abcdef.pem"
    responder.write_bytes(ca.root_key.read_bytes() + ca.intermediate.read_bytes())
    told = backed_up(ca, tmp_path / "a.tar")
    assert told["left_out"] == [str(ROOT_KEY)]
    assert str(responder.relative_to(ca.home)) in told["files"]
    # Those of issuers, and of a request that waits for its answer.
    assert len([name for name in told["files"] if name.startswith("secrets/issuer_")]) == 2


def test_keys_outside_the_home_are_named(ca: CA, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    ca.intermediate_key.rename(elsewhere)
    (ca.issuer_folder / DESCRIPTION).write_text(f'key = "file:{elsewhere}"\n')
    told = backed_up(ca, tmp_path / "a.tar")
    assert told["outside"] == [str(elsewhere)]
    said = ca.cli("backup", tmp_path / "b.tar").stdout
    assert f"outside the home that ca.toml or an issuer names: {elsewhere}" in said
    assert "PRIVATE KEY" not in (tmp_path / "a.tar").read_bytes().decode("latin-1")


def test_an_encrypted_backup_is_its_recipients_alone(ca: CA, tmp_path: Path, recipient: tuple[Path, Path]) -> None:
    certificate, key = recipient
    target = tmp_path / "a.cms"
    assert backed_up(ca, target, "--recipient", certificate)["encrypted"]
    content = target.read_bytes()
    for secret in (b"PRIVATE KEY", b"ca.toml", b"manifest", ca.intermediate_key.read_bytes()):
        assert secret not in content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.cms", "backup.crt", "backup.key", "ca"]
    restored = CA(tmp_path / "restored")
    assert "is encrypted; give the certificate" in restored.try_cli("restore", target).stderr
    assert "go together" in restored.try_cli("restore", target, "--key", key).stderr
    restored.cli("restore", target, "--recipient", certificate, "--key", key)
    assert restored.fingerprint == ca.fingerprint
    restored.start()
    assert restored.stop() == 0
    # Also by a program of others, where this one is not at hand.
    plain = subprocess.run(
        ["openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", target, "-inkey", key,
         "-recip", certificate],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert b"manifest.json" in plain[:512]
    described = subprocess.run(
        ["openssl", "cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", target],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "aes-256-cbc" in described


def test_who_lacks_the_key_gets_nothing(ca: CA, tmp_path: Path, recipient: tuple[Path, Path]) -> None:
    certificate, key = recipient
    target = tmp_path / "a.cms"
    ca.cli("backup", target, "--recipient", certificate)
    restored = CA(tmp_path / "restored")
    wrong = restored.try_cli("restore", target, "--recipient", certificate, "--key", ca.intermediate_key)
    assert "is not the key of" in wrong.stderr
    damaged = bytearray(target.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    target.write_bytes(damaged)
    refused = restored.try_cli("restore", target, "--recipient", certificate, "--key", key)
    assert (refused.code, restored.home.exists()) == (1, False)
    assert "damaged" in refused.stderr


def test_a_recipient_has_an_rsa_key(ca: CA, tmp_path: Path) -> None:
    refused = ca.try_cli("backup", tmp_path / "a.cms", "--recipient", ca.root)
    assert refused.code == 1
    assert "has a key that backups are not encrypted for" in refused.stderr
    assert not (tmp_path / "a.cms").exists()
