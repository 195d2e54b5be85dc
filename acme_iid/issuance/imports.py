"""A chain that somebody else signed for a key of ours: whether the CA can issue with it.

All is tried before anything is written: what each certificate says, and then a TLS handshake with a leaf of the new
issuer, as strict clients make it.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from acme_iid.issuance import keys
from acme_iid.issuance.home import shown
from acme_iid.issuance.keys import CAFileError
from acme_iid.protocol.public_keys import AUTHORITIES, PublicKey

T = TypeVar("T", bound=x509.ExtensionType)

MAX_CERTIFICATES = 8
"""In one chain: the issuing CA, those above it, and the root."""

_STRONG_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_PURPOSES = {"serverAuth": ExtendedKeyUsageOID.SERVER_AUTH, "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH}
_WANTED_ORDER = "the issuing CA first, then each certificate that signed the one before it, and the root last"


def read_chain(path: Path) -> tuple[x509.Certificate, ...]:
    """Return the certificates in a PEM file.

    :raises CAFileError: if it cannot be read, or holds no certificates or too many.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(keys.MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CAFileError(f"the chain {path} cannot be read: {error.strerror}") from error
    if len(data) > keys.MAX_FILE_BYTES:
        raise CAFileError(f"{path} is larger than a chain of certificates can be ({keys.MAX_FILE_BYTES} bytes)")
    try:
        chain = x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise CAFileError(f"{path} holds no readable certificates in PEM form") from error
    if len(chain) > MAX_CERTIFICATES:
        raise CAFileError(f"{path} holds {len(chain)} certificates; {MAX_CERTIFICATES} are the limit")
    return tuple(chain)


def check(chain: Sequence[x509.Certificate], key: PublicKey, now: int) -> None:
    """Check that a chain leads from a key of ours to a root, and that each certificate may do what it is there for.

    What is demanded of key usages is keyCertSign and cRLSign of the issuing CA, and keyCertSign of those above.

    :param chain: the issuing CA first, the root last.
    :param key: what the issuing CA's certificate must be for.
    :param now: seconds.
    :raises CAFileError: with what is wrong and what to do.
    """
    _check_place(chain, key)
    for place, certificate in enumerate(chain):
        try:
            _check_certificate(certificate, place, now)
        except (ValueError, UnsupportedAlgorithm, x509.UnsupportedGeneralNameType, x509.DuplicateExtension) as error:
            raise CAFileError(f"{_name(certificate)} has extensions that cannot be read: {error}") from error
    for certificate, issuer in pairwise(chain):
        if certificate.not_valid_after_utc > issuer.not_valid_after_utc:
            raise CAFileError(
                f"{_name(certificate)} ends at {_time(certificate.not_valid_after_utc)}, after {_name(issuer)} that "
                f"signed it ({_time(issuer.not_valid_after_utc)}); have it signed for a shorter time"
            )


def _check_place(chain: Sequence[x509.Certificate], key: PublicKey) -> None:
    """Check that the certificates are in order, and that the first one is for our key."""
    first = chain[0]
    if first.public_key() != key:
        elsewhere = next((entry for entry in chain if entry.public_key() == key), None)
        if elsewhere is not None:
            raise CAFileError(
                f"the certificates are in the wrong order: {_name(elsewhere)} has this CA's key and must be the first; "
                f"{_WANTED_ORDER}"
            )
        raise CAFileError(
            f"{_name(first)} is for another key than this CA's; import the answer to the request that this CA made"
        )
    for certificate, issuer in pairwise(chain):
        if (refusal := AUTHORITIES.refusal(issuer.public_key(), issuer.public_key_algorithm_oid)) is not None:
            raise CAFileError(f"{_name(issuer)} has a key that no CA should sign with: {refusal}")
        if not _is_signed_by(certificate, issuer):
            raise CAFileError(f"{_name(certificate)} was not signed by {_name(issuer)}: the order is {_WANTED_ORDER}")
    last = chain[-1]
    if len(chain) == 1 and _is_signed_by(last, last):
        raise CAFileError(
            f"{_name(last)} is self-signed: a root that issues leaves by itself is not supported; have an intermediate "
            "signed by it (acme-iid-ca init --csr)"
        )
    if not _is_signed_by(last, last):
        raise CAFileError(
            f"the chain ends with {_name(last)}, which was signed by {shown(last.issuer)!r}; add that "
            f"certificate, up to the root: {_WANTED_ORDER}"
        )


def _check_certificate(certificate: x509.Certificate, place: int, now: int) -> None:
    """Check one certificate of a chain; ``place`` is the number of CA certificates below it."""
    name = _name(certificate)
    if certificate.issuer != certificate.subject and not isinstance(
        certificate.signature_hash_algorithm, (*_STRONG_HASHES, type(None))
    ):
        algorithm = certificate.signature_hash_algorithm
        raise CAFileError(f"{name} is signed with {algorithm.name if algorithm else ''}, which clients refuse; SHA-256")
    if now < certificate.not_valid_before_utc.timestamp():
        raise CAFileError(
            f"{name} is not valid yet: it begins at {_time(certificate.not_valid_before_utc)}; look at the clocks"
        )
    if now >= certificate.not_valid_after_utc.timestamp():
        raise CAFileError(f"{name} has expired, at {_time(certificate.not_valid_after_utc)}; have a new one signed")
    basic = _extension(certificate, x509.BasicConstraints)
    if basic is None or not basic.ca:
        raise CAFileError(f"{name} is no CA certificate (basicConstraints: CA); have it signed as a subordinate CA")
    if basic.path_length is not None and basic.path_length < place:
        raise CAFileError(
            f"{name} has the path length {basic.path_length}, and {place} CA certificates are below it; it has to be "
            "signed with a longer one, or with none at all"
        )
    if _extension(certificate, x509.SubjectKeyIdentifier) is None:
        raise CAFileError(f"{name} has no subject key identifier, which CA certificates have (RFC 5280 4.2.1.2)")
    usage = _extension(certificate, x509.KeyUsage)
    lacking = [
        word
        for word, present in (
            ("keyCertSign", usage is None or usage.key_cert_sign),
            ("cRLSign", place > 0 or usage is None or usage.crl_sign),
        )
        if not present
    ]
    if lacking:
        raise CAFileError(f"{name} may not sign: its key usage lacks {' and '.join(lacking)}; have it signed with them")
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    if purposes is not None and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in purposes:
        closed = [word for word, purpose in _PURPOSES.items() if purpose not in purposes]
        if closed:
            raise CAFileError(
                f"{name} is limited to purposes (extendedKeyUsage) that lack {' and '.join(closed)}, which the "
                "certificates below it are for; have it signed with these or without the extension"
            )


def try_chain(chain: Sequence[x509.Certificate], leaf_pem: str, key: keys.PrivateKey, host: str) -> None:
    """Have OpenSSL shake hands with a leaf under a chain, strictly, as clients with Python 3.13 and later do.

    :param chain: the issuing CA first, the root last.
    :param leaf_pem: a certificate for ``host`` that the issuing CA's key signed.
    :param key: the leaf's.
    :raises CAFileError: with OpenSSL's reason.
    """
    root = chain[-1].public_bytes(Encoding.PEM).decode()
    trusting = ssl.create_default_context(cadata=root)
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    above = "".join(entry.public_bytes(Encoding.PEM).decode() for entry in chain[:-1])
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
        pair.write(keys.to_pem(key).decode() + leaf_pem + above)
        pair.flush()
        serving.load_cert_chain(pair.name)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server, server_hostname=host)
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            hint = (
                f"its name constraints do not permit the CA's own name, {host}"
                if "subtree" in error.verify_message
                else "have it signed as RFC 5280 section 4.2 asks"
            )
            raise CAFileError(
                f"no client would take a certificate under this chain: OpenSSL says '{error.verify_message}'; {hint}"
            ) from error
        except ssl.SSLError as error:
            raise CAFileError(f"no TLS connection comes about under this chain: {error.reason}") from error


def _is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _extension(certificate: x509.Certificate, kind: type[T]) -> T | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _name(certificate: x509.Certificate) -> str:
    return repr(shown(certificate.subject) or "a certificate without a subject")


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
