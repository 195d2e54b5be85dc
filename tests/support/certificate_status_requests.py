"""Asks what anybody may know of a certificate: the list, and the OCSP responder."""

from __future__ import annotations

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from ports import free_port
from running import CA
from wire import Account, Issued, b64


def turn_on(ca: CA) -> None:
    file = ca.home / "ca.toml"
    file.write_text(file.read_text().replace("\n[server]", "crl = true\n\n[server]", 1))


def listen_by_plain_http(ca: CA) -> str:
    """Have a CA listen for plain HTTP as well; the URL."""
    port = free_port()
    file = ca.home / "ca.toml"
    file.write_text(f'{file.read_text()}\n[status]\nlisten = "127.0.0.1:{port}"\n')
    return f"http://127.0.0.1:{port}"


def revoke(account: Account, issued: Issued, reason: int | None = None) -> None:
    payload = {"certificate": b64(issued.der)} | ({} if reason is None else {"reason": reason})
    url = account.wire.directory["revokeCert"]
    # keyCompromise takes the certificate's own key.
    done = account.wire.post(url, payload, issued.key) if reason == 1 else account.post(url, payload)
    assert done.status_code == 200, done.text


def intermediate(ca: CA) -> x509.Certificate:
    return x509.load_pem_x509_certificate(ca.intermediate.read_bytes())


def fetch(ca: CA, path: str = "/crl", **headers: str) -> requests.Response:
    return ca.wire().session.get(ca.url + path, headers=headers, timeout=30)


def hash_of(data: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(data)
    return digest.finalize()


def point(issuer: x509.Certificate) -> bytes:
    """The bits of a P-256 key."""
    return issuer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def question(
    issuer: x509.Certificate, serial: int, nonce: bytes | None = None, algorithm: hashes.HashAlgorithm | None = None
) -> bytes:
    """A request about a serial number."""
    used = algorithm or hashes.SHA1()  # noqa: S303 - what requests usually have
    name, key = (hash_of(data, used) for data in (issuer.subject.public_bytes(), point(issuer)))
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(name, key, serial, used)
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)
