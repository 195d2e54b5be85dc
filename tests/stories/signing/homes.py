"""CAs whose intermediate's key is in a token: made, asked to sign requests, and looked at with OpenSSL."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from running import CA

from acme_iid.issuance import ceremony
from acme_iid.issuance.issuer import Signer
from acme_iid.issuance.roots import to_pem
from acme_iid.protocol.public_keys import PublicKey
from acme_iid.signing.places import Place

NAMES = ("--name", "My CA", "--domain", "local", "--url", "https://ca.local")


def init(ca: CA, place: Place, *options: str | Path) -> None:
    """Make a CA whose intermediate's key is in a place."""
    ca.cli("init", *NAMES, "--key", str(place), *options)


def verify_request(csr: Path) -> str:
    """What OpenSSL says of a request; it must be signed by its own key."""
    done = subprocess.run(
        ["openssl", "req", "-verify", "-noout", "-text", "-in", csr], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "verify OK" in done.stdout + done.stderr
    return done.stdout


def answer(csr: Path, root: Signer, now: int, path: Path) -> Path:
    """Sign a request under a root, and write the chain."""
    request = x509.load_pem_x509_csr(csr.read_bytes())
    key = request.public_key()
    assert isinstance(key, PublicKey)
    constraints = request.extensions.get_extension_for_class(x509.NameConstraints).value
    certificate = ceremony.sign_intermediate(root, request.subject, key, now, constraints=constraints)
    path.write_text(to_pem(certificate, root.certificate))
    return path


def issued_by(ca: CA) -> x509.Certificate:
    """The certificate that the CA makes of its own server's name, by a command."""
    out = ca.home / "proxy.pem"
    ca.cli("serving-certificate", "--out", out, "--force")
    return x509.load_pem_x509_certificate(out.read_bytes())


def pem(certificate: x509.Certificate) -> bytes:
    """A certificate as it is in files."""
    return certificate.public_bytes(Encoding.PEM)
