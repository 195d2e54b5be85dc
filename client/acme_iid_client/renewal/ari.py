"""ACME Renewal Information (RFC 9773): the CA suggests when a certificate is renewed."""

from __future__ import annotations

from datetime import UTC, datetime

import requests
from cryptography import x509

from acme_iid.binding import base64url
from acme_iid_client.acme.connection import CaError, UnreachableError
from acme_iid_client.acme.known_ca import KnownCA
from acme_iid_client.deadline import Deadline
from acme_iid_client.renewal.schedule import USUAL_INTERVAL, Window
from acme_iid_client.transport.pauses import LATER, retry_after
from acme_iid_client.transport.trust import request_error

_INTERVALS = (60.0, 24 * 3600.0)
"""The shortest and the longest interval that is followed (RFC 9773 section 4.3.2)."""


def certificate_id(certificate: x509.Certificate) -> str | None:
    """The identifier of a certificate (RFC 9773 section 4.1): authority key identifier and serial number.

    :returns: None if the certificate does not name its issuer's key.
    """
    try:
        extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except (x509.ExtensionNotFound, ValueError):
        return None
    if extension.key_identifier is None:
        return None
    serial = certificate.serial_number
    # A DER INTEGER's contents: where the first bit is set, an octet of zeros goes before it.
    octets = serial.to_bytes(serial.bit_length() // 8 + 1)
    return f"{base64url(extension.key_identifier)}.{base64url(octets)}"


def fetch(ca: KnownCA, certificate: x509.Certificate, deadline: Deadline) -> Window | None:
    """Ask the CA.

    :returns: None if it has no opinion: it does not offer renewal information, or not for this certificate.
    :raises UnreachableError: if no answer comes.
    :raises CaError: if the answer cannot be read.
    """
    identifier = certificate_id(certificate)
    if identifier is None:
        return None
    try:
        with ca.session(deadline) as session:
            directory = _json(session.get(ca.directory_url))
            base = directory.get("renewalInfo")
            if not isinstance(base, str):
                return None
            response = session.get(f"{base.rstrip('/')}/{identifier}")
    except requests.RequestException as error:
        raise UnreachableError(str(request_error(error, ca.ca_url))) from error
    if response.status_code == requests.codes.not_found:
        return None
    return _window(_json(response), response)


def _window(content: dict[str, object], response: requests.Response) -> Window:
    try:
        match content:
            case {"suggestedWindow": {"start": str(first), "end": str(last)}}:
                start, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
            case _:
                start = end = datetime.fromtimestamp(0, UTC)
    except ValueError as error:
        raise CaError(f"The times of the CA's renewal information cannot be read: {error}.") from error
    # One whose end is not after its start is as good as none (RFC 9773 section 4.2).
    if start.tzinfo is None or end.tzinfo is None or end <= start:
        raise CaError("The CA's renewal information holds no window of time.")
    explanation = content.get("explanationURL")
    return Window(
        start.timestamp(),
        end.timestamp(),
        min(max(retry_after(response, USUAL_INTERVAL), _INTERVALS[0]), _INTERVALS[1]),
        explanation if isinstance(explanation, str) else None,
    )


def _json(response: requests.Response) -> dict[str, object]:
    if response.status_code != requests.codes.ok:
        error = UnreachableError(f"{response.url} answers with status {response.status_code}.")
        if response.status_code in LATER and "Retry-After" in response.headers:
            error.retry_after = retry_after(response, default=0.0)
        raise error
    try:
        content = response.json()
    except ValueError as error:
        raise CaError(f"{response.url} does not answer with JSON.") from error
    if not isinstance(content, dict):
        raise CaError(f"{response.url} does not answer with a JSON object.")
    return content
