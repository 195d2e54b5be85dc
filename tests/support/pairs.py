"""Certificates with their keys, and the pair of files that a client keeps them in."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from scripted_ca import issue

from acme_iid_client.storage import pairs
from acme_iid_client.x509 import keys


def issuance() -> tuple[bytes, bytes]:
    """A certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    return issue(None, "foo.local", key, ["foo.local"]).public_bytes(Encoding.PEM), keys.to_pem(key)


def certificate_for(key: bytes) -> bytes:
    """Another certificate for a key."""
    private = keys.load(key, "the key")
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return issue(None, "foo.local", private, ["foo.local"]).public_bytes(Encoding.PEM)


def contents(folder: Path) -> tuple[bytes, bytes] | None:
    """What is found under the names; None if nothing is under either."""
    certificate, key = folder / "foo.crt", folder / "foo.key"
    if not certificate.exists() and not key.exists():
        return None
    return certificate.read_bytes(), key.read_bytes()


def pair_in(folder: Path) -> pairs.Pair:
    """The pair foo.crt and foo.key in ``folder``."""
    return pairs.pair(folder / "foo.crt", folder / "foo.key")


def leaf(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())
