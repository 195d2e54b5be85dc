"""The commands of docs/pki.md, as typed, from the company's root to a stolen issuer, beside a server that runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import blocks
from pki.rotating import SECONDS, hang_up
from ports import free_port
from running import ACCOUNT, CA

PAGE = "docs/pki.md"
NAMED = {block.name: block.text for block in blocks("sh", PAGE)}
STEPS = (
    "pki-company",
    "pki-request",
    "pki-sign",
    "pki-root-crl",
    "pki-new-domain",
    "pki-activate",
    "pki-retire",
    "pki-check",
    "pki-revoke",
    "pki-link",
    "pki-announce",
    "pki-next-root-crl",
    "pki-use",
    "pki-use-activate",
    "pki-drop",
    "pki-backup",
    "pki-stolen-prepare",
    "pki-stolen",
    "pki-stolen-other",
    "pki-stolen-list",
)


class Typist:
    """Somebody who types the page's commands in one folder, with a home and ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.ca = CA(folder / "ca")
        self.status_port = free_port()
        self._folder = folder
        shims = folder / "bin"
        shims.mkdir()
        command = shims / "acme-iid-ca"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m acme_iid.cli "$@"\n')
        command.chmod(0o755)
        self._environment = {
            **os.environ,
            "ACME_IID_CA_HOME": str(self.ca.home),
            "PATH": f"{shims}:{os.environ['PATH']}",
        }

    def try_(self, name: str, *, later: str = "", **capitals: str) -> subprocess.CompletedProcess[str]:
        """Type a block.

        :param later: by how much the clock is ahead meanwhile, as libfaketime has it.
        :param capitals: what stands for the page's words in capitals.
        """
        text = NAMED[name].replace("8443", str(self.ca.port))
        for word, value in capitals.items():
            assert word in text
            text = text.replace(word, value)
        return subprocess.run(
            [*(("faketime", "-f", later) if later else ()), "bash", "-euo", "pipefail", "-c", text],
            cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip

    def type_(self, name: str, *, later: str = "", **capitals: str) -> str:
        """Type a block that succeeds; what it prints."""
        done = self.try_(name, later=later, **capitals)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        return done.stdout

    def type_when_followed(self, name: str, **capitals: str) -> str:
        """Have the server read its files again, and type a block as soon as it holds the new key."""
        hang_up(self.ca)
        deadline = time.monotonic() + SECONDS
        while (done := self.try_(name, **capitals)).returncode:
            assert "lack the issuer's key" in done.stderr, done.stderr
            assert time.monotonic() < deadline
            time.sleep(0.5)
        return done.stdout

    def issuers(self, state: str) -> list[str]:
        """The ids of the issuers in a state."""
        rows = json.loads(self.ca.cli("issuer", "status", "--json").stdout)
        return [row["id"] for row in rows if row["state"] == state]


@pytest.fixture
def typist(tmp_path: Path) -> Iterator[Typist]:
    made = Typist(tmp_path)
    yield made
    if made.ca.process is not None:
        made.ca.kill()


def test_the_pages_commands_work_as_typed_beside_a_running_server(typist: Typist, tmp_path: Path) -> None:
    ca = typist.ca
    for name in STEPS[:2]:
        typist.type_(name)
    assert "Corporate Root" in typist.type_("pki-sign")
    (settings,) = (block.text for block in blocks("toml", PAGE))
    with (ca.home / "ca.toml").open("a") as stream:
        stream.write("\n" + settings.replace("8080", str(typist.status_port)))
    ca.cli("provisioner", "add", "AWS", "--type", "AWS", "--aws-account", ACCOUNT, "--allow", "{instance_id}.local")
    ca.start()
    typist.type_("pki-root-crl")

    typist.type_("pki-new-domain")
    (first,), (second,) = typist.issuers("signing"), typist.issuers("prepared")
    activated = typist.type_when_followed("pki-activate", NEXT=second)
    assert "signing" in activated
    assert "It permits example.org. For names there, add that to domains in [ca]" in activated
    assert "less than" in typist.try_("pki-retire", FORMER=first).stderr
    typist.type_("pki-retire", later="+5m", FORMER=first)
    typist.type_("pki-check")

    leaf_of(ca, second, tmp_path)
    typist.type_("pki-revoke")

    assert "the former root's revocation list is at http://localhost:" in typist.type_("pki-link")
    typist.type_("pki-announce")
    typist.type_("pki-next-root-crl")
    old, new = roots(ca)
    typist.type_("pki-use", ROOT=new)
    (third,) = typist.issuers("prepared")
    typist.type_when_followed("pki-use-activate", NEXT=third)
    typist.type_("pki-drop", FORMER=old)
    typist.type_("pki-backup")
    assert b"PRIVATE KEY" not in (tmp_path / "ca-backup.p7m").read_bytes()

    typist.type_("pki-stolen-prepare")
    (fourth,) = typist.issuers("prepared")
    printed = typist.type_when_followed("pki-stolen", NEXT=fourth)
    assert "issuer root-crl sign" in printed
    assert "The root above it was dropped" in typist.type_("pki-stolen-other", ISSUER=second)
    assert "issuer root-crl sign" in typist.type_("pki-stolen-other", ISSUER=third)
    typist.type_("pki-stolen-list", STOLEN=str(ca.home / "issuers" / third / "certificate.pem"))
    assert set(typist.issuers("compromised")) == {second, third}
    assert ca.stop() == 0
    assert "Traceback" not in "".join(ca.log)


def roots(ca: CA) -> list[str]:
    """The fingerprints of the roots, the one in use first."""
    return [row["fingerprint"] for row in json.loads(ca.cli("issuer", "roots", "list", "--json").stdout)]


def leaf_of(ca: CA, issuer: str, folder: Path) -> None:
    """A certificate that the CA's store does not know, signed with an issuer's key: ``lost.pem``."""
    signer = [
        "-CA",
        ca.home / "issuers" / issuer / "certificate.pem",
        "-CAkey",
        ca.home / "secrets" / f"issuer_{issuer}_key",
    ]
    for command in (
        [
            "req",
            "-new",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "lost.key",
            "-out",
            "lost.csr",
            "-subj",
            "/CN=lost.local",
        ],
        ["x509", "-req", "-in", "lost.csr", *signer, "-days", "1", "-out", "lost.pem"],
    ):
        subprocess.run(["openssl", *map(str, command)], cwd=folder, check=True, capture_output=True)


def test_every_block_of_the_page_is_typed() -> None:
    assert set(NAMED) == set(STEPS)
