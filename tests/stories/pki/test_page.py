"""The pages on a company's root, as typed, from its first issuer to a stolen one, beside a server that runs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import blocks
from pki.typist import Typist
from ports import free_port
from running import ACCOUNT, CA

NAMED = {block.name: block.text for block in blocks("sh") if block.name.startswith("pki-")}
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
KEYS = ("pki-token", "pki-token-prepare", "pki-token-activate", "pki-token-init", "pki-program")


@pytest.fixture
def typist(tmp_path: Path) -> Iterator[Typist]:
    made = Typist(tmp_path, NAMED)
    yield made
    if made.ca.process is not None:
        made.ca.kill()


def test_the_pages_commands_work_as_typed_beside_a_running_server(typist: Typist, tmp_path: Path) -> None:
    ca = typist.ca
    for name in STEPS[:2]:
        typist.type_(name)
    assert "Corporate Root" in typist.type_("pki-sign")
    status_port = free_port()
    (settings,) = (block.text for block in blocks("toml") if block.name == "pki-status")
    with (ca.home / "ca.toml").open("a") as stream:
        stream.write("\n" + settings.replace("8080", str(status_port)))
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


def test_every_block_of_the_pages_is_typed() -> None:
    """Those about keys that are no files are typed by tests/stories/signing."""
    assert set(NAMED) == {*STEPS, *KEYS}
