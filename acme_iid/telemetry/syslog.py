"""Syslog over TLS: messages of RFC 5424, framed by their lengths (RFC 5425).

Syslog has no answers. What was sent counts as taken once the receiver has ended its side after ours: a receiver's
system ends a connection cleanly only if all of it was read there, and resets it otherwise.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime

from acme_iid.telemetry import delivery
from acme_iid.telemetry.delivery import Deadline, Message, UndeliveredError

PORT = 6514
MAX_OCTETS = 8192
"""The longest message: what every receiver should take (RFC 5425 section 4.3.1)."""
_HEADER_OCTETS = 400
MAX_LINE = MAX_OCTETS - _HEADER_OCTETS
"""The octets of an event's line in one message."""

_AUDIT = 13
"""The facility "log audit" (RFC 5424 section 6.2.1)."""
_WARNING, _INFORMATIONAL = 4, 6
_APP_NAME = "acme-iid-ca"
_MAX_MESSAGE_ID, _MAX_HOST = 32, 255


def frame(message: Message, host: str) -> bytes:
    """An event as one message with its length before it.

    :param host: the name of this machine.
    """
    severity = _WARNING if message.kind.endswith((".refused", ".compromised")) else _INFORMATIONAL
    at = datetime.fromtimestamp(message.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    head = (
        f"<{_AUDIT * 8 + severity}>1 {at} {_word(host, _MAX_HOST)} {_APP_NAME} - {_word(message.kind, _MAX_MESSAGE_ID)}"
    )
    text = f"{head} - {message.line}".encode("ascii")
    return b"%d %b" % (len(text), text)


def _word(text: str, most: int) -> str:
    """A field of the header: visible ASCII, or a dash."""
    return "".join(character for character in text if "!" <= character <= "~")[:most] or "-"


def send(
    messages: Sequence[Message], host: str, port: int, context: ssl.SSLContext, own_name: str, seconds: float
) -> None:
    """Send events over one connection, and wait until the receiver has taken them.

    :param own_name: the name of this machine.
    :param seconds: the longest that all of it may take.
    :raises UndeliveredError: if it is not known that the receiver took them all.
    """
    deadline = Deadline(seconds)
    try:
        connection = delivery.connect(host, port, context, deadline)
        try:
            delivery.send(connection, b"".join(frame(message, own_name) for message in messages), deadline)
            _end(connection, deadline)
        finally:
            connection.close()
    except OSError as error:
        raise UndeliveredError(delivery.reason(error)) from error


def _end(connection: ssl.SSLSocket, deadline: Deadline) -> None:
    """End our side, and wait for the end of the other.

    :raises OSError: if that is a reset, or does not come.
    """
    connection.settimeout(deadline.seconds())
    try:
        with connection.unwrap() as raw:
            # TLS's own end may have been sent before all was read; the system's end is a reset then.
            raw.shutdown(socket.SHUT_WR)
            raw.settimeout(deadline.seconds())
            raw.recv(1)
    except ssl.SSLEOFError:
        return  # many receivers end the connection, and not TLS before
    except ssl.SSLZeroReturnError:
        return
