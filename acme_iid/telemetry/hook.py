"""An HTTPS hook: events as NDJSON in a POST, with a MAC under a key that the receiver shares."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

from acme_iid.bounded import reading
from acme_iid.bounded.reading import AnswerBudget
from acme_iid.telemetry import delivery
from acme_iid.telemetry.delivery import Deadline, Message, RejectedError, UndeliveredError

MAX_LINE = 128 * 1024
"""The octets of an event's line; a longer one is cut."""
MAX_BODY = 256 * 1024
"""The octets of a request's body, with which it ends; the first event is in it however long it is."""
_ANSWER_OCTETS = 64 * 1024
_REJECTED = (400, 413, 422)
"""The statuses that are about the content, and not about the sender or the moment."""


def signature(secret: bytes, now: int, body: bytes) -> str:
    """The header's value: the time and the MAC, HMAC-SHA256 over the time in decimal, a dot, and the body; in hex."""
    mac = hmac.new(secret, b"%d." % now + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={mac}"


def body(messages: Sequence[Message]) -> bytes:
    """Events as NDJSON."""
    return "".join(f"{message.line}\n" for message in messages).encode("ascii")


def post(
    messages: Sequence[Message],
    url: str,
    context: ssl.SSLContext,
    header: str,
    secret: bytes,
    now: int,
    seconds: float,
) -> None:
    """Post events. No answer leads to another address: a redirection is a refusal.

    :param header: the name of the header that has the MAC.
    :param seconds: the longest that all of it may take.
    :raises RejectedError: if the receiver says that this content is wrong.
    :raises UndeliveredError: if the receiver did not say that it took them.
    """
    deadline = Deadline(seconds)
    data = body(messages)
    headers = {
        "Content-Type": "application/x-ndjson",
        "Content-Length": str(len(data)),
        "User-Agent": "acme-iid-ca",
        header: signature(secret, now, data),
    }
    try:
        status = _status(url, context, headers, data, deadline)
    except (OSError, http.client.HTTPException, reading.TooLongError) as error:
        raise UndeliveredError(delivery.reason(error)) from error
    if 200 <= status < 300:
        return
    raise (RejectedError if status in _REJECTED else UndeliveredError)(f"it answered with the status {status}")


def _status(url: str, context: ssl.SSLContext, headers: dict[str, str], data: bytes, deadline: Deadline) -> int:
    """Send a request, and read the answer to its end."""
    target = urlsplit(url)
    host, port = target.hostname or "", target.port or 443
    connection = http.client.HTTPConnection(host, port)
    budget = AnswerBudget(deadline.seconds, _ANSWER_OCTETS)
    opened = delivery.connect(host, port, context, deadline)
    try:
        connection.sock = opened
        connection.response_class = lambda sock, *args, **kwargs: reading.response(sock, budget, *args, **kwargs)  # type: ignore[assignment]
        connection.putrequest(
            "POST", f"{target.path or '/'}{f'?{target.query}' if target.query else ''}", skip_host=True
        )
        connection.putheader("Host", target.netloc)
        for name, value in headers.items():
            connection.putheader(name, value)
        opened.settimeout(deadline.seconds())
        connection.endheaders()
        unsent: OSError | None = None
        try:
            delivery.send(opened, data, deadline)
        except TimeoutError:
            raise
        except OSError as error:
            unsent = error  # whoever finds a body too long may answer before its end
        try:
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise unsent or error from error
        answer.read()
        if unsent is not None and 200 <= answer.status < 300:
            raise unsent  # it has not got what it says that it took
        return answer.status
    finally:
        connection.close()
        opened.close()
