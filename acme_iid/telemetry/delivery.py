"""Events on their way to another place: TLS connections under one deadline, and what may go wrong."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

MOST_ADDRESSES = 4
"""Addresses of one name that are tried."""
_PIECE = 16 * 1024


class UndeliveredError(Exception):
    """The receiver did not take what was sent, and it is sent again; the text says why, as a clause."""


class RejectedError(UndeliveredError):
    """The receiver does not take this very content, as it says."""


class Message(NamedTuple):
    """One event for a receiver.

    :ivar at: seconds.
    :ivar line: the event as a line of JSON, in ASCII, within the receiver's bounds.
    """

    seq: int
    at: int
    kind: str
    line: str


class Deadline:
    """A time by which all has to be done.

    :param seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def seconds(self) -> float:
        """The seconds that are left for one more step.

        :raises TimeoutError: if none are.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is over")
        return left


def tls_context(roots: Path | None, certificate: Path | None) -> ssl.SSLContext:
    """How receivers are reached: by TLS 1.2 or later, and only those whose certificate has their name.

    :param roots: the roots to trust, PEM; the system's if None.
    :param certificate: the certificate, and its key, to show to a receiver that asks, PEM.
    :raises OSError: if a file cannot be read, or is no such file; the key has no password.
    """
    context = ssl.create_default_context(cafile=None if roots is None else str(roots))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        # Without this, a key that has a password would have it asked for on a terminal.
        context.load_cert_chain(certificate, password=lambda: b"")
    return context


def connect(host: str, port: int, context: ssl.SSLContext, deadline: Deadline) -> ssl.SSLSocket:
    """A TLS connection.

    :raises OSError: if there is none within the deadline.
    """
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return connect_to([(family, address) for family, _, _, _, address in entries], host, context, deadline)


def connect_to(
    addresses: Sequence[tuple[socket.AddressFamily, Any]], host: str, context: ssl.SSLContext, deadline: Deadline
) -> ssl.SSLSocket:
    """A TLS connection to the first address that takes one; those that are silent leave time for the others.

    :raises OSError: if there is none within the deadline.
    """
    failure: OSError = OSError("its name has no address")
    tried = addresses[:MOST_ADDRESSES]
    for number, (family, address) in enumerate(tried, 1):
        # Half of what is left, and for the last one all of it.
        share = Deadline(deadline.seconds() / (1 if number == len(tried) else 2))
        raw = socket.socket(family, socket.SOCK_STREAM)
        try:
            raw.settimeout(share.seconds())
            raw.connect(address)
            raw.settimeout(share.seconds())
            return context.wrap_socket(raw, server_hostname=host)
        except OSError as error:
            raw.close()
            failure = error
    raise failure


def send(connection: ssl.SSLSocket, data: bytes, deadline: Deadline) -> None:
    """Send all of some octets, piece by piece: the time-out of a connection is that of one write.

    :raises OSError: if they are not all sent within the deadline.
    """
    view = memoryview(data)
    while view:
        connection.settimeout(deadline.seconds())
        view = view[connection.send(view[:_PIECE]) :]


def reason(error: Exception) -> str:
    """Why something was not delivered, as a clause for a person."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not accepted: {error.verify_message}"
        case TimeoutError():
            return "it did not take them in time"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or 'the connection ended'}"
        case socket.gaierror():
            return "its name cannot be resolved"
        case OSError() if error.strerror:
            return error.strerror
        case _:
            return str(error) or type(error).__name__
