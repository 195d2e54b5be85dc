"""http-01 (RFC 8555 section 8.3)."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from acme_iid.bounded import reading
from acme_iid.bounded.reading import AnswerBudget
from acme_iid.errors import Problem
from acme_iid.policy.hosts import HostProvisioner
from acme_iid.protocol.identifiers import Identifier, from_text
from acme_iid.validation.attempt import FEW, ONCE, Attempt, Deadline, ValidationError
from acme_iid.validation.connecting import connected

MAX_REDIRECTS = 3
"""One to https, one to the canonical host, and one to spare. Each is a connection that an account's host chose."""
MAX_BODY_BYTES = 1024
"""A key authorization is 87 octets long, and only white space may follow it."""
MAX_RESPONSE_BYTES = 64 * 1024
"""Of one response, with its header."""

_REDIRECTS = (301, 302, 303, 307, 308)
_PATH = "/.well-known/acme-challenge/"


class _Place(NamedTuple):
    """The target of a request."""

    scheme: str
    target: Identifier
    port: int
    path: str

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """The Host header (RFC 9110 section 7.2)."""
        name = f"[{self.target}]" if ":" in self.target.value else self.target.value
        return name if self.port == {"http": 80, "https": 443}[self.scheme] else f"{name}:{self.port}"


class _Answer(NamedTuple):
    """A response: its status, its Location and the first octets of its body."""

    status: int
    location: str | None
    body: bytes


def validate(attempt: Attempt, host: HostProvisioner) -> None:
    """Fetch the key authorization from the host.

    :raises ValidationError: ``dns``, ``connection``, ``tls`` or ``incorrectResponse``.
    """
    deadline = Deadline()
    first = place = _Place("http", attempt.identifier, host.http_port, _PATH + attempt.token)
    for redirects in range(MAX_REDIRECTS + 1):
        try:
            answer = _answer(place, host, deadline)
            if answer.status not in _REDIRECTS:
                _check(place, answer, attempt)
                return
            place = _redirected(place, answer.location, attempt, host)
        except ValidationError as error:
            if redirects == 0:
                raise
            raise _redirect_error(first) from error
    raise _redirect_error(first)


def _answer(place: _Place, host: HostProvisioner, deadline: Deadline) -> _Answer:
    try:
        return _get(place, host, deadline)
    except TimeoutError as error:
        raise ValidationError(Problem.CONNECTION, f"{place.url} gave no answer in time") from error
    except ssl.SSLError as error:
        raise ValidationError(Problem.TLS, f"there is no TLS connection to {place.url}: {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ValidationError(
            Problem.CONNECTION, f"{place.url} gave no answer that is HTTP ({type(error).__name__})"
        ) from error


def _check(place: _Place, answer: _Answer, attempt: Attempt) -> None:
    if answer.status != 200:
        raise _response_error(f"{place.url} was answered with status {answer.status}, not 200")
    # The white space of RFC 8555 section 8.3; bytes.rstrip would take other control characters as well.
    if len(answer.body) > MAX_BODY_BYTES or answer.body.rstrip(b" \t\r\n") != attempt.key_authorization.encode():
        raise _response_error(
            f"the answer of {place.url} is not the key authorization, which is the token, a dot and the account "
            "key's thumbprint"
        )


def _redirect_error(first: _Place) -> ValidationError:
    """The one error for every fault behind a redirect.

    The people who control a host choose where it redirects to. If a closed port, a status and an address had errors of
    their own here, accounts could look round in the networks that this server reaches.
    """
    return _response_error(f"{first.url} redirects, and the redirect does not lead to the key authorization")


def _response_error(detail: str, worth: int = FEW) -> ValidationError:
    return ValidationError(Problem.INCORRECT_RESPONSE, detail, worth)


def _get(place: _Place, host: HostProvisioner, deadline: Deadline) -> _Answer:
    request = (
        f"GET {place.path} HTTP/1.1\r\nHost: {place.authority}\r\nUser-Agent: acme-iid\r\nAccept: */*\r\n"
        "Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
    )
    with connected(place.target, place.port, host, deadline) as plain:
        plain.settimeout(deadline.left())
        with _tls(plain, place.target) if place.scheme == "https" else plain as stream:
            stream.settimeout(deadline.left())
            stream.sendall(request.encode("ascii"))
            with reading.response(stream, AnswerBudget(deadline.left, MAX_RESPONSE_BYTES), method="GET") as response:
                response.begin()
                return _Answer(response.status, response.getheader("Location"), response.read(MAX_BODY_BYTES + 1))


def _tls(stream: socket.socket, target: Identifier) -> ssl.SSLSocket:
    # A host that has no certificate yet can redirect all of its plain HTTP; the key authorization is public anyhow.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(stream, server_hostname=target.value)


def _redirected(place: _Place, location: str | None, attempt: Attempt, host: HostProvisioner) -> _Place:
    """The target of a redirect.

    :raises ValidationError: ``incorrectResponse`` if validation does not go there.
    """
    if not location or not location.isascii() or not location.isprintable() or " " in location or len(location) > 2000:
        raise _response_error(f"{place.url} redirects to something that is not a URL")
    try:
        parts = urlsplit(urljoin(place.url, location))
        target, port = from_text(parts.hostname or ""), parts.port
    except ValueError as error:
        raise _response_error(f"{place.url} redirects to a place that has no name: {error}") from error
    ports = {"http": host.http_port, "https": host.tls_port}
    if "@" in parts.netloc:
        raise _response_error(f"{place.url} redirects to a URL with a user or password in it", ONCE)
    if parts.scheme not in ports or target.wildcard:
        raise _response_error(f"{place.url} redirects to something that is neither an http nor an https URL", ONCE)
    if port not in (None, *ports.values()):
        raise _response_error(
            f"{place.url} redirects to port {port}; validation goes to {host.http_port} and {host.tls_port}", ONCE
        )
    if not attempt.may_follow(target):
        raise _response_error(
            f"{place.url} redirects to {target}, which no host of the provisioner may prove (allow, networks); "
            "validation goes only to names and addresses that could be proven",
            ONCE,
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Place(parts.scheme, target, ports[parts.scheme] if port is None else port, path)
