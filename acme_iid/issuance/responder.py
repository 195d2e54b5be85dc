"""The responders that sign OCSP answers for the issuers (RFC 6960 section 4.2.2.2), so that no issuer's key has to.

Each issuer has one in each home: a key and a certificate that lasts seven days, in one file. It is renewed when half of
that is left, by whichever process needs it first; an issuer's key that is a token's or a service's is asked twice a
week. A responder that clients would refuse is told of in the log and replaced. The issuer's own key never answers.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from acme_iid.durable import replace_file
from acme_iid.issuance import keys
from acme_iid.issuance.home import folder_of, load_certificate, shown
from acme_iid.issuance.issuer import BACKDATE, SHORT_ID_LENGTH, Signer, key_id, signature_hash
from acme_iid.issuance.keys import CAFileError
from acme_iid.issuance.leaf import new_serial

LIFETIME = 7 * 86400
"""Seconds that a responder's certificate lasts, where nothing needs a longer one."""

_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_MISSING = "there is none"
_log = logging.getLogger(__name__)


class ResponderError(Exception):
    """There is no responder for an issuer, and its key is not here to make one; the text says why."""


@dataclass(frozen=True, slots=True)
class Responder:
    """A responder as it is used.

    :ivar begins: seconds, as ``ends`` is.
    :ivar file: the state of its file when it was read or written, by which a change is seen; None if there was none.
    """

    signer: Signer
    begins: int
    ends: int
    file: tuple[int, int, int] | None


def file_of(issuer_id: str) -> Path:
    """Return where the responder of an issuer is in a home: its key, and then its certificate."""
    return Path("secrets") / f"responder_{issuer_id[:SHORT_ID_LENGTH]}.pem"


def certificate_file_of(issuer_id: str) -> Path:
    """Return where the certificate of an issuer's responder is in a home, for those who may read no key."""
    return folder_of(issuer_id) / "responder.pem"


def create(issuer: Signer, now: int, ends: int) -> Signer:
    """Return a new responder of an issuer.

    :param ends: seconds; it ends with the issuer at the latest.
    :raises ResponderError: if the issuer has ended.
    """
    ends = min(ends, _ends(issuer.certificate))
    if ends <= now:
        raise ResponderError(f"{shown(issuer.certificate.subject)!r} has ended, and so have all that it has signed")
    key = keys.generate()
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    subject = [
        x509.NameAttribute(NameOID.COMMON_NAME, "OCSP Responder"),
        x509.NameAttribute(NameOID.SERIAL_NUMBER, identifier.digest.hex()[:8]),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(new_serial())
        .not_valid_before(datetime.fromtimestamp(now - BACKDATE, UTC))
        .not_valid_after(datetime.fromtimestamp(ends, UTC))
        .add_extension(_USAGE, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
        # Nobody asks for the status of what signs statuses: it lasts a few days instead.
        .add_extension(x509.OCSPNoCheck(), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(issuer.key_identifier, critical=False)
        .sign(issuer.key, signature_hash(issuer.key))
    )
    return Signer(certificate, key)


def refusal(certificate: x509.Certificate, issuer: x509.Certificate, now: int) -> str | None:
    """Return why clients refuse the answers of a responder for an issuer, in words; None if they believe them.

    :param now: seconds.
    """
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return f"its certificate was signed by {shown(certificate.issuer)!r}, and not by {shown(issuer.subject)!r}"
    try:
        found = {type(extension.value): extension.value for extension in certificate.extensions}
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        return f"its certificate's extensions cannot be read: {error}"
    purposes, usage = found.get(x509.ExtendedKeyUsage), found.get(x509.KeyUsage)
    if not isinstance(purposes, x509.ExtendedKeyUsage) or ExtendedKeyUsageOID.OCSP_SIGNING not in purposes:
        return "its certificate is not for OCSP: its extendedKeyUsage lacks OCSPSigning"
    if x509.OCSPNoCheck not in found:
        return "its certificate lacks id-pkix-ocsp-nocheck, so that clients would ask for its own status"
    if isinstance(usage, x509.KeyUsage) and not usage.digital_signature:
        return "its certificate's key usage lacks digitalSignature"
    if now < certificate.not_valid_before_utc.timestamp():
        return f"its certificate is not valid yet: it begins at {_time(certificate.not_valid_before_utc)}"
    if now >= _ends(certificate):
        return f"its certificate has ended, at {_time(certificate.not_valid_after_utc)}"
    return None


def look(
    home: Path, issuer: x509.Certificate, now: int, *, without_keys: bool = False
) -> tuple[x509.Certificate | None, str | None]:
    """Look at an issuer's responder without its key: its certificate, and why it cannot be used.

    :param without_keys: whether no file with a key may be opened: the certificate is then read where it is alone.
    :returns: None for what is not there.
    """
    issuer_id = key_id(issuer.public_key())
    path = home / (certificate_file_of(issuer_id) if without_keys else file_of(issuer_id))
    if not path.exists():
        return None, None
    try:
        certificate = load_certificate(path)
    except CAFileError as error:
        return None, str(error)
    return certificate, refusal(certificate, issuer, now)


class Responders:
    """The responders of one home's issuers, for all threads of a process.

    :param password: under which keys are stored, if under one.
    :param lifetime: seconds that a new one lasts.
    """

    def __init__(self, home: Path, password: str | None, lifetime: int = LIFETIME) -> None:
        self._home = home
        self._password = password
        self._lifetime = lifetime
        self._known: dict[str, Responder] = {}

    def of(self, certificate: x509.Certificate, issuer: Signer | None, now: int, until: int = 0) -> Responder:
        """Return the responder of an issuer, which is made or renewed where its key is here and that is due.

        :param certificate: the issuer's.
        :param issuer: the issuer with its key; None where that is gone, or is not to be asked now.
        :param now: seconds.
        :param until: the time until which it has to last at least, seconds, as far as the issuer itself does.
        :raises ResponderError: if there is none that clients believe, and none can be made.
        :raises SignerError: if the issuer's key is elsewhere and gives no signature.
        """
        issuer_id = key_id(certificate.public_key())
        path = self._home / file_of(issuer_id)
        until = min(until, _ends(certificate))
        known = self._known.get(issuer_id)
        if known is None or known.file != _state(path) or not _serves(known, certificate, issuer, now, until):
            # Without a lock: a key that is elsewhere may let one thread wait, and others have enough in the file.
            known = self._known[issuer_id] = self._renewed(path, certificate, issuer, now, until)
        return known

    def _renewed(
        self, path: Path, certificate: x509.Certificate, issuer: Signer | None, now: int, until: int
    ) -> Responder:
        found = self._read(path, certificate, now)
        if isinstance(found, Responder) and _serves(found, certificate, issuer, now, until):
            return found
        if issuer is None:
            name = shown(certificate.subject)
            raise ResponderError(f"no OCSP answers for {name!r}, whose key is not here: the responder {path}: {found}")
        made = create(issuer, now, max(now + self._lifetime, until))
        try:
            with _locked(path.parent):
                # Another process may have been first.
                again = self._read(path, certificate, now)
                if isinstance(again, Responder) and _serves(again, certificate, issuer, now, until):
                    return again
                pem = keys.to_pem(made.key, self._password) + made.certificate.public_bytes(Encoding.PEM)
                replace_file(path, pem, 0o600)
                self._show(issuer, made.certificate)
        except OSError as error:
            _log.warning(
                "The OCSP responder cannot be kept in %s: %s. This process uses its own.", path, error.strerror
            )
        if isinstance(found, str) and found != _MISSING:
            _log.error("The OCSP responder in %s was not used: %s. A new one was made.", path, found)
        return _responder(made, _state(path))

    def _show(self, issuer: Signer, certificate: x509.Certificate) -> None:
        """Keep a responder's certificate where those can read it who may read no key."""
        path = self._home / certificate_file_of(key_id(issuer.certificate.public_key()))
        if path.parent.is_dir():
            replace_file(path, certificate.public_bytes(Encoding.PEM), 0o644)

    def _read(self, path: Path, issuer: x509.Certificate, now: int) -> Responder | str:
        """The responder in a file, or why it cannot be used."""
        state = _state(path)
        if state is None:
            return _MISSING
        try:
            signer = Signer(load_certificate(path), keys.load(path, self._password))
        except CAFileError as error:
            return str(error)
        if signer.certificate.public_key() != signer.key.public_key():
            return "its key is not its certificate's"
        return refusal(signer.certificate, issuer, now) or _responder(signer, state)


def _serves(known: Responder, certificate: x509.Certificate, issuer: Signer | None, now: int, until: int) -> bool:
    """Whether a responder goes on: it has not ended, and one that can be replaced is not due."""
    if now >= known.ends:
        return False
    if issuer is None or known.ends >= _ends(certificate):
        return True
    return now < (known.begins + known.ends) // 2 and known.ends >= until


def _responder(signer: Signer, state: tuple[int, int, int] | None) -> Responder:
    begins = int(signer.certificate.not_valid_before_utc.timestamp())
    return Responder(signer, begins, _ends(signer.certificate), state)


def _state(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced; None if it is not there, or cannot be reached."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out that make a responder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _ends(certificate: x509.Certificate) -> int:
    return int(certificate.not_valid_after_utc.timestamp())


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
