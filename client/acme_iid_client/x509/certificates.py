"""Reading certificates: their names, the provisioner behind them, and whether a chain holds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.attestation import asn1
from acme_iid.terminal import durations
from acme_iid_client.errors import ClientError
from acme_iid_client.x509.keys import PublicKey, spki, type_of

PROVISIONER_OID = x509.ObjectIdentifier("1.3.6.1.4.1.37476.9000.64.1")
"""The extension that step-ca defined, so that ``step certificate inspect`` shows the provisioner as well."""

PROVISIONER_TYPES = {3: "GCP", 4: "AWS", 5: "Azure", 6: "ACME"}
"""step-ca's numbers for the kinds of provisioner that this CA has."""

CLOCK_SKEW = timedelta(minutes=5)
"""The time that this machine's clock may be behind the CA's before a new certificate counts as one from the future."""

_BEGIN = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----")
_PEM = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----.+?-----END (?:X509 )?CERTIFICATE-----", re.DOTALL)
_SHARE = re.compile(r"(\d{1,3})%\Z", re.ASCII)

MAX_CHAIN = 8
"""Certificates in a chain; a longer one is nothing that a CA means."""


@dataclass(frozen=True, slots=True)
class Provisioner:
    """The provisioner extension of a certificate.

    :ivar type: "AWS", "GCP", "Azure", "ACME", or ``type N`` for a number that is not known here.
    :ivar name: its name.
    :ivar credential_id: the owner it went by: an AWS account, a GCP service account's id, an Azure tenant.
    """

    type: str
    name: str
    credential_id: str


def load_certificates(content: bytes) -> list[x509.Certificate]:
    """The certificates in a PEM file, or the one in a DER file.

    :raises ClientError: if there is no certificate, or one of them cannot be read.
    """
    try:
        if b"-----BEGIN" not in content:
            return [x509.load_der_x509_certificate(content)]
        # One by one, because Debian's certbot has a cryptography that knows no PEM file of several.
        certificates = [x509.load_pem_x509_certificate(block[0]) for block in _PEM.finditer(content)]
    except ValueError as error:
        raise ClientError("No certificate was found, neither in PEM nor in DER.") from error
    if not certificates or len(certificates) != len(_BEGIN.findall(content)):
        raise ClientError("No certificate was found, or one is cut off.")
    return certificates


def to_pem(*certificates: x509.Certificate) -> bytes:
    """Certificates as a PEM file, in the given order."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate's DER, lower-case hex."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def names_in(certificate: x509.Certificate) -> list[str]:
    """The dns names and addresses that a certificate is for, in its order."""
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(name.value) for name in alternatives if isinstance(name, x509.DNSName | x509.IPAddress)]


def common_name(name: x509.Name) -> str:
    """The common name in a distinguished name, or the whole in RFC 4514 form where it has none."""
    for attribute in name.get_attributes_for_oid(x509.NameOID.COMMON_NAME):
        return str(attribute.value)
    return name.rfc4514_string()


def provisioner_of(certificate: x509.Certificate) -> Provisioner | None:
    """The provisioner extension; None without one, or if it is malformed."""
    try:
        extension = certificate.extensions.get_extension_for_oid(PROVISIONER_OID).value
    except (x509.ExtensionNotFound, ValueError):
        return None
    if not isinstance(extension, x509.UnrecognizedExtension):
        return None
    try:
        return parse_provisioner(extension.value)
    except ValueError:
        return None


def parse_provisioner(der: bytes) -> Provisioner:
    """Read ``SEQUENCE {type INTEGER, name OCTET STRING, credentialID OCTET STRING, keyValuePairs ... OPTIONAL}``.

    :param der: the extension's value.
    :raises ValueError: if it is not that.
    """
    number, name, credential, *pairs = asn1.children(asn1.parse(der), asn1.SEQUENCE, "the provisioner")
    for pair in pairs[:1]:
        asn1.expect(pair, asn1.SEQUENCE, "the list of pairs")
    kind = asn1.integer(number, "the type")
    if len(pairs) > 1 or not 0 <= kind < 256:
        raise ValueError("the provisioner has further members, or a type that is no small number")
    return Provisioner(
        PROVISIONER_TYPES.get(kind, f"type {kind}"),
        asn1.octets(name, "the name").decode("utf-8"),
        asn1.octets(credential, "the credential's id").decode("utf-8", "replace"),
    )


def check_issued(
    chain: list[x509.Certificate],
    roots: tuple[x509.Certificate, ...],
    public_key: PublicKey,
    names: list[str],
    now: datetime,
) -> None:
    """Check that what the CA sent is the certificate that was asked for.

    The path is walked here, certificate by certificate, rather than by ``cryptography.x509.verification``:
    that one is for a peer's certificate under the WebPKI profile, which has no Ed25519 keys, and it takes no
    wildcard as a subject.

    :param chain: leaf first; the root may be at its end or not.
    :param roots: the CA's roots, at least one; the chain has to lead to one of them.
    :param public_key: the key that the request was made with.
    :param names: the canonical names that were ordered.
    :param now: the present time, with a zone.
    :raises ClientError: naming what does not hold.
    """
    if not chain or len(chain) > MAX_CHAIN:
        raise ClientError("The CA sent no certificate chain.")
    leaf = chain[0]
    if spki(leaf.public_key()) != spki(public_key):
        raise ClientError("The CA sent a certificate for another key. It was not saved.")
    if sorted(names_in(leaf)) != sorted(names):
        raise ClientError(
            f"The CA sent a certificate for {', '.join(names_in(leaf)) or 'no name'} instead of {', '.join(names)}. "
            "It was not saved."
        )
    path = [certificate for certificate in chain if certificate not in roots]
    # A root that was renewed with its key is there twice, and one of the two may have ended.
    issuers = [root for root in roots if path and is_issued_by(path[-1], root)] or list(roots[:1])
    for root in issuers:
        try:
            _check_path([*path, root], names[0], now)
        except ClientError:
            if root == issuers[-1]:
                raise
        else:
            return


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's name and key are those that the certificate was signed with."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def cut_short_by(chain: list[x509.Certificate], roots: Iterable[x509.Certificate]) -> x509.Certificate | None:
    """The CA certificate above a leaf that ends when the leaf does, so that the leaf could not last longer.

    :param chain: the leaf first.
    :param roots: those that it may lead to.
    :returns: None if there is none.
    """
    above = [*chain[1:], *(root for root in roots if is_issued_by(chain[-1], root))]
    first = min(above, key=lambda certificate: certificate.not_valid_after_utc, default=None)
    return first if first is not None and first.not_valid_after_utc <= chain[0].not_valid_after_utc else None


def _check_path(path: list[x509.Certificate], name: str, now: datetime) -> None:
    """Check each certificate of a path, from the leaf to a root that is trusted.

    :param name: the name for a certificate without a subject in a message.
    """
    for depth, (certificate, issuer) in enumerate(pairwise(path)):
        _check_link(certificate, issuer, depth)
    for certificate in path:
        if now < certificate.not_valid_before_utc - CLOCK_SKEW or now >= certificate.not_valid_after_utc:
            raise ClientError(
                f"The certificate of {common_name(certificate.subject) or name} that the CA sent is valid from "
                f"{rfc3339(certificate.not_valid_before_utc)} to {rfc3339(certificate.not_valid_after_utc)}, but this "
                f"machine's clock says {rfc3339(now)}. Check the clock."
            )


def _check_link(certificate: x509.Certificate, issuer: x509.Certificate, depth: int) -> None:
    """Check that ``issuer`` is a CA that issued ``certificate``, with ``depth`` CAs below it (RFC 5280 section 6.1)."""
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
        raise ClientError(
            "The certificate that the CA sent does not chain to its root certificate. It was not saved."
        ) from error
    if not constraints.ca or (constraints.path_length is not None and constraints.path_length < depth):
        raise ClientError(f"{common_name(issuer.subject)!r} may not issue this certificate. It was not saved.")


def parse_left(text: str, life: timedelta) -> timedelta:
    """The time that ``--expires-in`` means.

    :param text: a duration like ``8h`` or ``1d12h``, or a share of the whole life like ``25%``.
    :param life: the whole life.
    :raises ClientError: if it is neither.
    """
    share = _SHARE.match(text)
    if share:
        return life * min(int(share[1]), 100) / 100
    duration = durations.parse(text)
    if duration is None:
        raise ClientError(f"--expires-in {text} is neither a duration like 8h nor a share of the lifetime like 25%.")
    return timedelta(seconds=duration)


def rfc3339(time: datetime) -> str:
    """A time in UTC as RFC 3339 writes it, in whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def abbreviate(text: str) -> str:
    """The first and the last four characters, where that is shorter than the whole."""
    return text if len(text) <= 11 else f"{text[:4]}...{text[-4:]}"


def short_text(certificate: x509.Certificate) -> str:
    """A certificate in a few lines, as ``acme-iid inspect --short`` prints it."""
    subject = common_name(certificate.subject) if certificate.subject else ""
    names = names_in(certificate)
    lines = [subject, *(name for name in names if name != subject)] if subject else names or [""]
    provisioner = provisioner_of(certificate)
    serial = abbreviate(str(certificate.serial_number))
    text = [
        f"X.509v3 {_title(certificate)} ({key_name(certificate)}) [Serial: {serial}]",
        f"  Subject:     {lines[0]}",
        *(f"               {line}" for line in lines[1:]),
        f"  Issuer:      {common_name(certificate.issuer)}",
    ]
    if provisioner is not None:
        text.append(f"  Provisioner: {provisioner.name} [ID: {abbreviate(provisioner.credential_id)}]")
    text.append(f"  Valid from:  {rfc3339(certificate.not_valid_before_utc)}")
    text.append(f"          to:  {rfc3339(certificate.not_valid_after_utc)}")
    return "\n".join(text)


def long_text(certificate: x509.Certificate) -> str:
    """A certificate for people to read, everything that this program knows to name in it."""
    provisioner = provisioner_of(certificate)
    rows = [
        ("Serial", f"{certificate.serial_number} ({certificate.serial_number:x})"),
        ("Subject", certificate.subject.rfc4514_string() or "(empty)"),
        *(("Name", name) for name in names_in(certificate)),
        ("Issuer", certificate.issuer.rfc4514_string()),
        ("Valid from", rfc3339(certificate.not_valid_before_utc)),
        ("Valid to", rfc3339(certificate.not_valid_after_utc)),
    ]
    if provisioner is not None:
        rows += [
            ("Provisioner", f"{provisioner.name} ({provisioner.type})"),
            ("Credential ID", provisioner.credential_id),
        ]
    rows += [
        ("Key", key_name(certificate)),
        ("Fingerprint", f"SHA-256 {fingerprint(certificate)}"),
    ]
    return "\n".join([f"X.509v3 {_title(certificate)}", *(f"  {label + ':':<15}{value}" for label, value in rows)])


def facts(certificate: x509.Certificate) -> dict[str, object]:
    """A certificate for programs to read: strings, and the serial number in decimal as a string."""
    provisioner = provisioner_of(certificate)
    return {
        "serial": str(certificate.serial_number),
        "subject": common_name(certificate.subject),
        "names": names_in(certificate),
        "issuer": common_name(certificate.issuer),
        "provisioner": None
        if provisioner is None
        else {"type": provisioner.type, "name": provisioner.name, "credential_id": provisioner.credential_id},
        "key_type": key_name(certificate),
        "not_before": rfc3339(certificate.not_valid_before_utc),
        "not_after": rfc3339(certificate.not_valid_after_utc),
        "fingerprint": fingerprint(certificate),
    }


def key_name(certificate: x509.Certificate) -> str:
    """The kind of the certificate's key, as people call it: ``ECDSA P-256``, ``RSA 2048``, ``Ed25519``."""
    try:
        return str(type_of(certificate.public_key()) or "another kind of key")
    except (ValueError, TypeError):
        return "unknown key"


def _title(certificate: x509.Certificate) -> str:
    try:
        authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        authority = False
    if not authority:
        return "TLS Certificate"
    return "Root CA Certificate" if certificate.subject == certificate.issuer else "Intermediate CA Certificate"
