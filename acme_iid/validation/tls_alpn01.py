"""tls-alpn-01 (RFC 8737), for addresses as well (RFC 8738 section 6)."""

from __future__ import annotations

import ipaddress
import ssl

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from acme_iid.errors import Problem
from acme_iid.policy.hosts import HostProvisioner
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.public_keys import SHOWN
from acme_iid.validation.attempt import FEW, Attempt, Deadline, ValidationError
from acme_iid.validation.connecting import connected

PROTOCOL = "acme-tls/1"
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")

_OCTET_STRING_OF_32 = b"\x04\x20"
_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def validate(attempt: Attempt, host: HostProvisioner) -> None:
    """Check the certificate that the host shows to a client of ``acme-tls/1``.

    :raises ValidationError: ``dns``, ``connection``, ``tls`` or ``incorrectResponse``.
    """
    _check(_certificate(attempt.identifier, host, Deadline()), attempt)


def _certificate(identifier: Identifier, host: HostProvisioner, deadline: Deadline) -> bytes:
    """The certificate that the host shows, in DER."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # It is self-signed by design, and judged here.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([PROTOCOL])
    with connected(identifier, host.tls_port, host, deadline) as stream:
        try:
            stream.settimeout(deadline.left())
            with context.wrap_socket(stream, server_hostname=_server_name(identifier)) as secure:
                negotiated, shown = secure.selected_alpn_protocol(), secure.getpeercert(binary_form=True)
        except TimeoutError as error:
            raise ValidationError(Problem.CONNECTION, f"{identifier} did not finish the handshake in time") from error
        except ssl.SSLError as error:
            raise ValidationError(
                Problem.TLS, f"{identifier} refuses a TLS connection for {PROTOCOL}: {error.reason}"
            ) from error
        except OSError as error:
            raise ValidationError(
                Problem.CONNECTION, f"{identifier} ended the connection in the TLS handshake: {error.strerror}"
            ) from error
    if negotiated != PROTOCOL:
        raise ValidationError(Problem.TLS, f"{identifier} did not agree to the protocol {PROTOCOL} (ALPN)", FEW)
    return shown or b""


def _server_name(identifier: Identifier) -> str:
    """The name to ask for; of an address the one of its reverse mapping, as SNI has no addresses."""
    return identifier.value if identifier.type == "dns" else ipaddress.ip_address(identifier.value).reverse_pointer


def _check(der: bytes, attempt: Attempt) -> None:
    """RFC 8737 section 3: self-signed, for this one name, and with the key authorization's digest.

    :raises ValidationError: ``incorrectResponse``.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        extensions, key = certificate.extensions, certificate.public_key()
    except _UNREADABLE as error:
        raise _certificate_error(attempt, "is not well-formed") from error
    if (refusal := SHOWN.refusal(key, certificate.public_key_algorithm_oid)) is not None:
        raise _certificate_error(attempt, f"has a key that is not accepted: {refusal}")
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise _certificate_error(attempt, "is not self-signed") from error
    if _names(extensions) != [attempt.identifier]:
        raise _certificate_error(attempt, "is not for that name and no other (subjectAltName)")
    try:
        extension = extensions.get_extension_for_oid(ACME_IDENTIFIER)
    except x509.ExtensionNotFound as error:
        raise _certificate_error(attempt, "has no acmeIdentifier extension") from error
    if not extension.critical:
        raise _certificate_error(attempt, "has an acmeIdentifier extension that is not critical")
    value = extension.value.value if isinstance(extension.value, x509.UnrecognizedExtension) else b""
    if value != _OCTET_STRING_OF_32 + attempt.digest:
        raise _certificate_error(attempt, "has another challenge's digest in its acmeIdentifier extension")


def _names(extensions: x509.Extensions) -> list[Identifier]:
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    identifiers: list[Identifier] = []
    for name in names:
        if isinstance(name, x509.DNSName):
            identifiers.append(Identifier("dns", name.value.lower()))
        elif isinstance(name, x509.IPAddress):
            identifiers.append(Identifier("ip", str(name.value)))
        else:
            identifiers.append(Identifier("other", ""))
    return identifiers


def _certificate_error(attempt: Attempt, what: str) -> ValidationError:
    return ValidationError(
        Problem.INCORRECT_RESPONSE, f"the certificate that {attempt.identifier} shows for {PROTOCOL} {what}", FEW
    )
