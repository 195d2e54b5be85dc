"""CAs whose intermediate's key is in a token, and what OpenSSL says of what they sign."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from cryptography import x509
from running import CA

from acme_iid.issuance import ceremony
from acme_iid.issuance.issuer import Signer
from acme_iid.issuance.roots import to_pem
from acme_iid.protocol.public_keys import PublicKey
from acme_iid.signing.places import Place

NAMES = ("--name", "My CA", "--domain", "local", "--url", "https://ca.local")


def init(ca: CA, place: Place, *options: str | Path) -> str:
    """Make a CA whose intermediate's key is in a place; what the command said of the key."""
    return ca.cli("init", *NAMES, "--key", str(place), *options).stderr


def verify_request(csr: Path) -> None:
    """Have OpenSSL verify a request under its own key."""
    done = subprocess.run(
        ["openssl", "req", "-verify", "-noout", "-in", csr], capture_output=True, text=True, check=True
    )
    assert "verify OK" in done.stdout + done.stderr


def verify_chain(ca: CA, folder: Path) -> None:
    """Have the CA sign a certificate, and OpenSSL verify it."""
    leaf = folder / "proxy.pem"
    ca.cli("serving-certificate", "--key", folder / "proxy.key", "--out", leaf)
    subprocess.run(["openssl", "verify", "-CAfile", ca.root, "-untrusted", leaf, leaf], capture_output=True, check=True)


def answer(csr: Path, root: Signer, path: Path) -> Path:
    """Sign a request under a root, and write the chain."""
    request = x509.load_pem_x509_csr(csr.read_bytes())
    key = request.public_key()
    assert isinstance(key, PublicKey)
    constraints = request.extensions.get_extension_for_class(x509.NameConstraints).value
    certificate = ceremony.sign_intermediate(root, request.subject, key, int(time.time()), constraints=constraints)
    path.write_text(to_pem(certificate, root.certificate))
    return path


def issuers(ca: CA) -> list[dict[str, Any]]:
    """What ``issuer status`` says of the issuers."""
    return [row for row in json.loads(ca.cli("issuer", "status", "--json").stdout) if row["role"] == "issuer"]
