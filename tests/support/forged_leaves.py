"""Leaves that whoever has an issuer's key makes outside the server, and what OpenSSL says of them."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.issuance import keys
from acme_iid.issuance.issuer import Signer

DAY = 86400


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def verify(folder: Path, now: int, root: x509.Certificate, leaf: x509.Certificate, *between: x509.Certificate) -> str:
    """What OpenSSL says of a leaf under a root, strictly: "" if it is good.

    :param now: seconds.
    """
    for name, content in (("root", pem(root)), ("between", pem(*between or [root])), ("leaf", pem(leaf))):
        (folder / name).write_bytes(content)
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-attime", str(now), "-CAfile", str(folder / "root"),
         "-untrusted", str(folder / "between"), str(folder / "leaf")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stdout + done.stderr


def forged(signer: Signer, now: int, *names: x509.GeneralName) -> x509.Certificate:
    """A leaf that whoever has the issuer's key makes by himself."""
    key = keys.generate()
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(signer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(datetime.fromtimestamp(now - 60, UTC))
        .not_valid_after(datetime.fromtimestamp(now + DAY, UTC))
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(signer.key_identifier, critical=False)
        .sign(signer.key, hashes.SHA256())
    )
