"""The commands about keys in tokens and behind programs, as typed under a company's root."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import forge
import pytest
from cryptography import x509
from pages import REPOSITORY, blocks
from pki.rotating import certificate, until
from pki.typist import Typist
from running import ACCOUNT, answer
from signing import kms
from signing.kms import KMS
from signing.softhsm import SoftHSM
from wire import Account, Wire

from acme_iid.simulator import aws

NAMED = {block.name: block.text for block in blocks("sh") if block.name.startswith(("pki-", "keys-"))}


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KMS]:
    with kms.serve(tmp_path / "kms") as service:
        service.make_key("ECC_NIST_P256")
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        yield service


@pytest.fixture
def typist(token: SoftHSM, service: KMS, tmp_path: Path) -> Iterator[Typist]:
    # The page makes its own.
    token.remove_token()
    folder, programs = tmp_path / "typed", tmp_path / "programs"
    for made in (folder, programs):
        made.mkdir()
    (folder / "docs").symlink_to(REPOSITORY / "docs")
    typist = Typist(folder, NAMED, {"/usr/local/bin": str(programs)})
    assert service.port
    yield typist
    if typist.ca.process is not None:
        typist.ca.kill()


def signed_by(typist: Typist, issuer: str) -> None:
    """Order certificates until an issuer has signed one, and verify it."""
    wire = Wire(f"https://localhost:{typist.ca.port}/acme/directory", typist.ca.root)
    account, vm, expected = Account.new(wire), answer(aws.Instance(account=ACCOUNT)), certificate(typist.ca, issuer)
    found: list[x509.Certificate] = []

    def signs() -> bool:
        found.append(account.obtain("vm.local", answer=vm).leaf)
        return found[-1].issuer == expected.subject

    until(signs)
    found[-1].verify_directly_issued_by(expected)


def test_the_commands_about_keys_work_as_typed(typist: Typist, service: KMS, tmp_path: Path) -> None:
    ca, folder = typist.ca, tmp_path / "typed"
    for name in ("pki-company", "pki-request", "pki-sign"):
        typist.type_(name)
    trust = tmp_path / "test-roots.pem"
    trust.write_bytes(forge.keys().certificates)
    ca.cli("provisioner", "add", "AWS", "--type", "AWS", "--aws-account", ACCOUNT, "--iid-roots", trust)
    ca.start()

    typist.type_("pki-token")
    typist.type_("pki-token-prepare")
    (second,) = typist.issuers("prepared")
    status = typist.type_when_followed("pki-token-activate", NEXT=second)
    assert "pkcs11:token=acme;object=issuing-2" in status
    signed_by(typist, second)
    typist.type_("pki-token-init")
    verified = subprocess.run(
        ["openssl", "req", "-verify", "-noout", "-in", folder / "issuer-2.csr"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "verify OK" in verified.stderr + verified.stdout

    typist.type_("pki-program")
    (third,) = typist.issuers("prepared")
    assert "exec:" in typist.type_when_followed("pki-token-activate", NEXT=third)
    signed_by(typist, third)
    assert {(asked["MessageType"], asked["length"]) for asked in service.asked()} == {("DIGEST", 32)}
    assert json.loads(typist.type_("keys-try")).keys() == {"id", "public_key"}

    assert "credential:token-pin" in typist.type_("keys-credential")
    said = typist.type_("keys-backup")
    assert "exec:" in said
    assert "Traceback" not in "".join(ca.log)
    assert ca.stop() == 0


def test_each_command_about_keys_is_typed() -> None:
    assert {name for name in NAMED if name.startswith("keys-")} == {"keys-credential", "keys-try", "keys-backup"}
