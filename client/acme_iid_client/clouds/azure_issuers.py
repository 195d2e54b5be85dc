"""The certificate that stands above the signer of an attested document, for a CA that does not have it yet.

Azure attaches its signer's certificate alone, and takes up new issuing authorities when it likes. So the one that made
the signer's certificate is sent along: from the list that is installed, or else fetched from where the certificate
says (caIssuers, RFC 5280 section 4.2.2.1), if that is a place of Microsoft's or DigiCert's. Nobody here believes it:
the CA checks the chain up to a root that it has.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from importlib.resources import files
from urllib.parse import urljoin, urlsplit

import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID

from acme_iid.attestation import cms
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError
from acme_iid_client.transport.session import Session

HOSTS = frozenset({"www.microsoft.com", "caissuers.microsoft.com", "cacerts.digicert.com", "cacerts.digicert.cn"})
"""The hosts that give the issuers of Azure's signers. They are certificates, so HTTP does."""
SECONDS = 3.0
"""The longest time for all of it."""
MAX_BYTES = 64 * 1024
MAX_REDIRECTS = 2
"""All within one host."""

_UNREADABLE = (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


def issuers(document: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of the issuer of a document's signer; empty if it cannot be found.

    :param document: SignedData (RFC 5652 section 5.1), which nobody has verified.
    """
    try:
        signer = _signer(document)
    except ValueError:
        return ()
    if signer is None or signer.issuer == signer.subject:
        return ()
    return tuple(_installed(signer)) or _fetched(signer)


def _signer(document: bytes) -> x509.Certificate | None:
    """The attached certificate that the first SignerInfo names by issuer and serial number.

    :raises ValueError: if the document is not SignedData.
    """
    signed = cms.parse(document)
    for der in signed.certificates:
        certificate = x509.load_der_x509_certificate(der)
        if (certificate.issuer.public_bytes(), certificate.serial_number) == (signed.issuer, signed.serial):
            return certificate
    return None


def _installed(signer: x509.Certificate) -> Iterator[x509.Certificate]:
    """Those in the list that the verifiers have here; an older CA may not have them."""
    listed = json.loads(files("acme_iid").joinpath("attestation/keys/azure.json").read_bytes())
    for entry in listed["intermediates"]:
        certificate = x509.load_der_x509_certificate(base64.b64decode(entry["der"]))
        if certificate.subject == signer.issuer:
            yield certificate


def _fetched(signer: x509.Certificate) -> tuple[x509.Certificate, ...]:
    """The one that can be fetched, within :data:`SECONDS`."""
    certificates: list[x509.Certificate] = []
    deadline = Deadline(SECONDS)

    def fetch() -> None:
        for url in _addresses(signer):
            content = _get(url, deadline)
            if content is not None and (certificate := _read(content)) and certificate.subject == signer.issuer:
                certificates.append(certificate)
                return

    # A daemon: a resolver that keeps it waiting must not keep the program.
    fetching = threading.Thread(target=fetch, daemon=True)
    fetching.start()
    fetching.join(SECONDS)
    return tuple(certificates)


def _addresses(signer: x509.Certificate) -> list[str]:
    """The addresses of its issuer in a certificate, as far as they are on the allowed hosts."""
    try:
        access = signer.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except _UNREADABLE:
        return []
    locations = [
        entry.access_location for entry in access if entry.access_method == AuthorityInformationAccessOID.CA_ISSUERS
    ]
    urls = [location.value for location in locations if isinstance(location, x509.UniformResourceIdentifier)]
    return [url for url in urls if _is_allowed(url)]


def _is_allowed(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "http" and parts.netloc in HOSTS and parts.path.startswith("/")
    except ValueError:
        return False


def _get(url: str, deadline: Deadline) -> bytes | None:
    """The content at an address; None if there is no content or it is large."""
    with Session(deadline, max_bytes=MAX_BYTES) as session:
        for _ in range(1 + MAX_REDIRECTS):
            try:
                response = session.request("GET", url)
                target = urljoin(url, response.headers.get("Location", ""))
            except (requests.RequestException, ClientError, ValueError):
                return None
            if not response.is_redirect:
                return response.content if response.status_code == requests.codes.ok else None
            if not _is_allowed(target) or urlsplit(target).netloc != urlsplit(url).netloc:
                return None
            url = target
    return None


def _read(content: bytes) -> x509.Certificate | None:
    """A certificate in DER, as RFC 5280 has it, or in PEM."""
    load = x509.load_pem_x509_certificate if content.startswith(b"-----BEGIN") else x509.load_der_x509_certificate
    try:
        certificate = load(content)
        # Read here, as the package reads them when they are first asked for.
        _ = certificate.subject, certificate.public_bytes(Encoding.DER)
    except ValueError:
        return None
    return certificate
