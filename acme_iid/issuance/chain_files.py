"""The file in which a chain comes from another CA: certificates in PEM form and nothing else (RFC 7468)."""

from __future__ import annotations

import re
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from acme_iid.issuance import keys
from acme_iid.issuance.keys import CAFileError

MAX_CERTIFICATES = 8
"""In one chain: the issuing CA, those above it, and the root."""

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,60})-----")
_CERTIFICATE = "CERTIFICATE"
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_NOT_CERTIFICATES = {
    "CERTIFICATE REQUEST": "a request and not its answer; import the certificate that was signed for it",
    "NEW CERTIFICATE REQUEST": "a request and not its answer; import the certificate that was signed for it",
    "PKCS7": "a PKCS #7 bundle; turn it into certificates: openssl pkcs7 -print_certs -in FILE",
    "CMS": "a PKCS #7 bundle; turn it into certificates: openssl pkcs7 -print_certs -in FILE",
    "TRUSTED CERTIFICATE": "a certificate with OpenSSL's own marks of trust; take them off: openssl x509 -in FILE",
    "X509 CRL": "a revocation list; leave it out",
}


def read(path: Path) -> tuple[x509.Certificate, ...]:
    """Return the certificates in a file; all that they say can be read.

    A byte order mark, text between the certificates, and any ends of lines are accepted.

    :raises CAFileError: if it cannot be read, holds something else, no certificates or too many.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(keys.MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CAFileError(f"the chain {path} cannot be read: {error.strerror}") from error
    if len(data) > keys.MAX_FILE_BYTES:
        raise CAFileError(f"{path} is larger than a chain of certificates can be ({keys.MAX_FILE_BYTES} bytes)")
    data = data.removeprefix(_UTF8_MARK)
    begins = list(_BEGIN.finditer(data))
    _require_certificates(path, data, [match[1].decode() for match in begins])
    if len(begins) > MAX_CERTIFICATES:
        raise CAFileError(f"{path} holds {len(begins)} certificates; {MAX_CERTIFICATES} are the limit")
    ends = [*(match.start() for match in begins[1:]), len(data)]
    pieces = [data[match.start() : end] for match, end in zip(begins, ends, strict=True)]
    return tuple(_certificate(path, number, piece) for number, piece in enumerate(pieces, 1))


def _require_certificates(path: Path, data: bytes, labels: list[str]) -> None:
    """Refuse what is no file of certificates, and say what it is."""
    for label in labels:
        if label.endswith("PRIVATE KEY"):
            raise CAFileError(
                f"{path} holds a private key. It has no place in a chain; leave it out, and ask who has read the file"
            )
        if label != _CERTIFICATE:
            raise CAFileError(f"{path} holds {_NOT_CERTIFICATES.get(label, f'a {label!r}, which is no certificate')}")
    if labels:
        return
    if data.startswith(_UTF16_MARKS):
        raise CAFileError(f"{path} is text in UTF-16; save it as plain text (ASCII or UTF-8)")
    if data.startswith(b"\x30"):
        raise CAFileError(
            f"{path} is in DER form and not in PEM form; turn each certificate into PEM: "
            "openssl x509 -inform DER -in FILE -out FILE.pem (for a bundle: openssl pkcs7 -inform DER -print_certs)"
        )
    raise CAFileError(f"{path} holds no readable certificates in PEM form")


def _certificate(path: Path, number: int, piece: bytes) -> x509.Certificate:
    which = f"the certificate {number} in {path}"
    try:
        certificate = x509.load_pem_x509_certificate(piece)
    except (ValueError, x509.InvalidVersion) as error:
        raise CAFileError(f"{which} is no readable certificate in PEM form; was it copied as a whole?") from error
    try:
        _ = certificate.subject, certificate.issuer, certificate.not_valid_before_utc, certificate.not_valid_after_utc
        certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CAFileError(f"{which} has a name, a time or a key that cannot be read: {error}") from error
    try:
        _ = certificate.extensions
    except x509.DuplicateExtension as error:
        raise CAFileError(f"{which} has an extension twice ({error.oid.dotted_string}); have it signed anew") from error
    except (ValueError, TypeError, x509.UnsupportedGeneralNameType) as error:
        raise CAFileError(f"{which} has extensions that cannot be read: {error}") from error
    return certificate
