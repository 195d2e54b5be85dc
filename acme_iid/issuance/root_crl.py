"""The revocation list of a root (RFC 5280 section 5): signed where its key is, and checked where it is served."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import SignatureAlgorithmOID

from acme_iid.issuance.home import shown
from acme_iid.issuance.issuer import BACKDATE, SHORT_ID_LENGTH, Signer, signature_hash
from acme_iid.issuance.keys import CAFileError
from acme_iid.issuance.roots import fingerprint
from acme_iid.protocol.public_keys import PublicKey

T = TypeVar("T", bound=x509.ExtensionType)

LIFETIME = 180 * 86400
"""Seconds that a list can be relied on by default: a ceremony twice a year, as roots that are offline have it."""
MAX_BYTES = 1024 * 1024
"""The size that a list may have, octets."""
MAX_NUMBER = (1 << 63) - 1
"""The greatest CRL number that is taken: stores keep it in 64 bits. (RFC 5280 section 5.2.3 allows 20 octets.)"""
REASONS = {
    "unspecified": None,
    "cACompromise": x509.ReasonFlags.ca_compromise,
    "affiliationChanged": x509.ReasonFlags.affiliation_changed,
    "superseded": x509.ReasonFlags.superseded,
    "cessationOfOperation": x509.ReasonFlags.cessation_of_operation,
}
"""The reasons for which a CA certificate is revoked, by their names in RFC 5280 section 5.3.1."""

_SKEW = 300  # seconds that the clock where a list was signed may be ahead
_STRONG_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


class CheckedList(NamedTuple):
    """A list that one of the CA's roots signed; times are seconds.

    :ivar root: the root.
    :ivar serials: the serial numbers that are revoked.
    """

    root: x509.Certificate
    number: int
    this_update: int
    next_update: int
    serials: frozenset[int]
    der: bytes


def short_id(root: x509.Certificate) -> str:
    """Return the id by which a root's list is called in URLs: the beginning of its certificate's SHA-256."""
    return fingerprint(root)[:SHORT_ID_LENGTH]


def url_of(template: str, root: x509.Certificate) -> str:
    """Return the URL of a root's list; ``template`` has {root} for its id."""
    return template.replace("{root}", short_id(root))


def read(path: Path) -> x509.CertificateRevocationList:
    """Return the list in a file, in DER or PEM.

    :raises CAFileError: if it cannot be read, or holds no list.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise CAFileError(f"the list {path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise CAFileError(f"{path} is larger than a root's list can be ({MAX_BYTES} bytes)")
    load = x509.load_pem_x509_crl if data.lstrip().startswith(b"-----") else x509.load_der_x509_crl
    try:
        return load(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CAFileError(f"{path} holds no revocation list in DER or PEM form") from error


def sign(
    root: Signer,
    revoked: Sequence[x509.Certificate],
    reason: str,
    former: x509.CertificateRevocationList | None,
    now: int,
    lifetime: int = LIFETIME,
) -> bytes:
    """Sign a root's list, in DER.

    :param revoked: certificates that the root has signed, revoked now.
    :param reason: theirs, one of :data:`REASONS`.
    :param former: the list before: what stands in it stays revoked, and the number is greater. None for the first.
    :param now: seconds; the list says a minute less, for clocks that lag. Numbers follow it, so that they grow.
    :param lifetime: seconds that the list can be relied on.
    :raises CAFileError: if the root cannot sign a list, or has signed neither a certificate nor the former list.
    """
    certificate = root.certificate
    _require_signer(root)
    begins = datetime.fromtimestamp(now - BACKDATE, UTC)
    entries = {} if former is None else {entry.serial_number: entry for entry in _entries(certificate, former)}
    for one in revoked:
        _require_issued(certificate, one)
        entries.setdefault(one.serial_number, _entry(one.serial_number, begins, REASONS[reason]))
    number = now if former is None else max(now, _number(former) + 1)
    builder = (
        x509.CertificateRevocationListBuilder(revoked_certificates=list(entries.values()))
        .issuer_name(certificate.subject)
        .last_update(begins)
        .next_update(datetime.fromtimestamp(now + lifetime, UTC))
        .add_extension(root.key_identifier, critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    return builder.sign(root.key, signature_hash(root.key)).public_bytes(Encoding.DER)


def check(found: x509.CertificateRevocationList, roots: Iterable[x509.Certificate], now: int) -> CheckedList:
    """Check that a list is one that clients of these roots rely on now.

    :param now: seconds.
    :raises CAFileError: with what is wrong and what to do.
    """
    try:
        root = _root_of(found, roots)
        _require_whole(found)
        number = _number(found)
        serials = frozenset(entry.serial_number for entry in found)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise CAFileError(f"the list has parts that cannot be read: {error}") from error
    this_update = int(found.last_update_utc.timestamp())
    if this_update > now + _SKEW:
        raise CAFileError(f"the list is not valid yet: it begins at {_time(found.last_update_utc)}; look at the clocks")
    if found.next_update_utc is None:
        raise CAFileError("the list does not say until when it can be relied on (nextUpdate); sign it with that")
    next_update = int(found.next_update_utc.timestamp())
    if next_update <= now:
        raise CAFileError(f"the list ran out at {_time(found.next_update_utc)}; sign a new one with the root's key")
    return CheckedList(root, number, this_update, next_update, serials, found.public_bytes(Encoding.DER))


def _root_of(found: x509.CertificateRevocationList, roots: Iterable[x509.Certificate]) -> x509.Certificate:
    named = [root for root in roots if root.subject.public_bytes() == found.issuer.public_bytes()]
    if not named:
        raise CAFileError(f"the list is by {shown(found.issuer)!r}, which is none of this CA's roots")
    root = next((one for one in named if _has_signed(one, found)), None)
    if root is None:
        raise CAFileError(f"the list has the name of {shown(found.issuer)!r}, and was not signed with that root's key")
    algorithm = found.signature_hash_algorithm
    if found.signature_algorithm_oid != SignatureAlgorithmOID.ED25519 and not isinstance(algorithm, _STRONG_HASHES):
        name = "an unknown hash" if algorithm is None else algorithm.name
        raise CAFileError(f"the list is signed with {name}, which clients refuse; sign it with SHA-256")
    usage = _extension(root, x509.KeyUsage)
    if usage is not None and not usage.crl_sign:
        raise CAFileError(f"{shown(root.subject)!r} may not sign lists: its key usage lacks cRLSign")
    return root


def _has_signed(root: x509.Certificate, found: x509.CertificateRevocationList) -> bool:
    key = root.public_key()
    assert isinstance(key, PublicKey)  # a CA signs with no other
    return found.is_signature_valid(key)


def _require_whole(found: x509.CertificateRevocationList) -> None:
    """Refuse lists that say a part only, or something that must be understood and is not."""
    for extension in found.extensions:
        if isinstance(extension.value, x509.DeltaCRLIndicator | x509.IssuingDistributionPoint):
            raise CAFileError("the list is a part of the root's list only; give the whole one, for all certificates")
        if extension.critical:
            raise CAFileError(f"the list has a critical extension that is not known ({extension.oid.dotted_string})")
    if any(extension.critical for entry in found for extension in entry.extensions):
        raise CAFileError("an entry of the list has a critical extension, such as that of an indirect list")


def _number(found: x509.CertificateRevocationList) -> int:
    try:
        number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound as error:
        raise CAFileError("the list has no CRL number (RFC 5280 section 5.2.3); sign it with one") from error
    if not 0 <= number < MAX_NUMBER:
        raise CAFileError(f"the list's CRL number is {number}; numbers from 0 to {MAX_NUMBER - 1} are taken")
    return number


def _require_signer(root: Signer) -> None:
    certificate = root.certificate
    if certificate.public_key() != root.key.public_key():
        raise CAFileError("the root's key is not the key of its certificate")
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.crl_sign:
        raise CAFileError(f"{shown(certificate.subject)!r} may not sign lists: its key usage lacks cRLSign")
    if _extension(certificate, x509.SubjectKeyIdentifier) is None:
        raise CAFileError(f"{shown(certificate.subject)!r} has no subject key identifier, which CA certificates have")


def _require_issued(root: x509.Certificate, certificate: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(root)
    except Exception as error:
        raise CAFileError(
            f"{shown(certificate.subject)!r} was not signed by {shown(root.subject)!r}, whose list has only what it "
            "signed; give the certificate of an intermediate"
        ) from error


def _entries(root: x509.Certificate, former: x509.CertificateRevocationList) -> Iterable[x509.RevokedCertificate]:
    if former.issuer.public_bytes() != root.subject.public_bytes() or not _has_signed(root, former):
        raise CAFileError(f"the former list is none that {shown(root.subject)!r} has signed")
    return former


def _entry(serial: int, at: datetime, reason: x509.ReasonFlags | None) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at)
    return (builder if reason is None else builder.add_extension(x509.CRLReason(reason), critical=False)).build()


def _extension(certificate: x509.Certificate, kind: type[T]) -> T | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
