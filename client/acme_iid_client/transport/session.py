"""All HTTP of the client: bounded in size and in time, without credentials from ``.netrc``.

The requests library waits for each read of a socket anew, decompresses whatever comes, and sends the password that
``.netrc`` has for a host to whoever answers under its name. So answers are read by :mod:`acme_iid.bounded`, which
counts octets and knows the end of the time; and a body is decompressed here, into no more than is taken.
"""

from __future__ import annotations

import http.client
import io
import logging
import ssl
import time
import zlib
from typing import Any

import requests
import requests.adapters
import urllib3

from acme_iid.bounded.adapter import BoundedAdapter, PeerCheck
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError

MAX_BYTES = 1024 * 1024
"""The largest body that is taken unless a session says otherwise, also after it was decompressed."""
_REQUEST_SECONDS = 30.0
"""The longest that one request may take to be connected, and then between two reads."""
_LEAST_SECONDS = 0.1
"""Seconds that are tried at least: a time-out of none would be one that never ends, or an error of another kind."""
_FRAMING_BYTES = 256 * 1024
"""Octets of status, headers and the framing of chunks, besides the largest body."""
_PIECE = 16 * 1024
_PAUSE = 0.3
"""Seconds before a request is sent again whose connection was closed."""
_CLOSED = (
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
    ConnectionResetError,
    ConnectionAbortedError,
    BrokenPipeError,
    http.client.RemoteDisconnected,
)
"""The errors of a connection that the server has closed, in the handshake or later."""

_log = logging.getLogger(__name__)


class TooLargeError(ClientError):
    """An answer is larger than anything that is taken."""


class Session(requests.Session):
    """Sends the client's requests, one after the other.

    No redirect is followed. Proxies of the environment, and their credentials in it, are used for what leaves this
    machine.

    :param deadline: when an answer has to be there whole.
    :param max_bytes: the largest body.
    :param proxies: whether proxies of the environment are used.
    :param connect_seconds: the longest that a connection may take.
    :param check: looks at the certificates of the server at the end of each new TLS connection.
    :param again: the number of times that a GET or HEAD is sent again if its connection was closed before an answer, as
        happens when a server's process is replaced.
    """

    def __init__(
        self,
        deadline: Deadline,
        *,
        max_bytes: int = MAX_BYTES,
        proxies: bool = True,
        connect_seconds: float = _REQUEST_SECONDS,
        check: PeerCheck | None = None,
        again: int = 0,
    ) -> None:
        super().__init__()
        self.trust_env = proxies
        # A callable in their place keeps the library from looking for credentials in .netrc or a URL.
        self.auth = _nobody
        self.headers["Accept-Encoding"] = "identity"
        self._connect_seconds = connect_seconds
        self._again = again
        self._budget = _Budget(deadline, max_bytes)
        for scheme in ("https://", "http://"):
            self.mount(scheme, BoundedAdapter(self._budget, check))

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """As in requests, with the answer's body read whole.

        :raises TooLargeError: if it is too large.
        :raises requests.RequestException: if no answer comes in time, or it breaks off.
        """
        again = self._again if method in ("GET", "HEAD") else 0
        while True:
            try:
                return self._request_once(method, url, *args, **kwargs)
            except requests.ConnectionError as error:
                if again == 0 or not _was_closed(error) or not self._budget.deadline.sleep(_PAUSE):
                    raise
                again -= 1

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere: the library would read the body of a redirect before it looks whether it is to be followed."""

    def _request_once(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        budget = self._budget
        budget.spent = 0
        seconds = max(_LEAST_SECONDS, min(_REQUEST_SECONDS, budget.deadline.remaining))
        kwargs["timeout"] = (min(self._connect_seconds, seconds), seconds)
        kwargs["allow_redirects"] = False
        kwargs["stream"] = True
        began = time.monotonic()
        response = super().request(method, url, *args, **kwargs)
        try:
            content = _body(response.raw, budget.max_bytes)
        except BaseException as error:
            # The rest of the answer would be read as the next one's.
            response.raw.close()
            if isinstance(error, urllib3.exceptions.ReadTimeoutError):
                raise requests.ReadTimeout(error, request=response.request) from error
            if isinstance(error, urllib3.exceptions.HTTPError):
                raise requests.ConnectionError(error, request=response.request) from error
            raise
        response.raw.release_conn()
        response.raw = io.BytesIO(content)
        _log.debug(
            "%s %s: status %d, %d octets, %.0f ms",
            response.request.method,
            str(response.url).partition("?")[0],
            response.status_code,
            len(content),
            (time.monotonic() - began) * 1000,
        )
        return response


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _was_closed(error: requests.ConnectionError) -> bool:
    """Whether a server has closed the connection, as the innermost of the libraries' errors says."""
    inner: BaseException | None = error
    for _ in range(8):
        if inner is None or isinstance(inner, _CLOSED):
            break
        inner = inner.__context__
    return inner is not None


def _body(raw: urllib3.HTTPResponse, max_bytes: int) -> bytes:
    """A body, decompressed if a proxy has compressed it although nobody asked for that.

    :raises TooLargeError: if it is too large before or after that.
    :raises ClientError: if it is compressed in another way than gzip and deflate, or not as it says.
    """
    coding = str(raw.headers.get("Content-Encoding") or "identity").strip().lower()
    # With 32 added, zlib takes the forms of gzip and of zlib (RFC 9110 sections 8.4.1.2 and 8.4.1.3).
    unpack = zlib.decompressobj(32 + zlib.MAX_WBITS) if coding in ("gzip", "x-gzip", "deflate") else None
    if unpack is None and coding != "identity":
        raise ClientError(
            f"The answer is encoded as {coding[:40]!r}, which was not asked for. Is there a proxy in between?"
        )
    content = b""
    for piece in raw.stream(_PIECE, decode_content=False):
        try:
            content += piece if unpack is None else unpack.decompress(piece, max_bytes + 1 - len(content))
        except zlib.error as error:
            raise ClientError(f"The answer is not encoded as {coding!r}, although it says so.") from error
        if len(content) > max_bytes:
            raise TooLargeError(f"The answer is larger than {max_bytes} octets, more than any that is expected.")
    return content


class _Budget:
    """The octets and the time that are left for the answer to one request.

    :ivar spent: octets that came, of any kind.
    """

    def __init__(self, deadline: Deadline, max_bytes: int) -> None:
        self.deadline = deadline
        self.max_bytes = max_bytes
        self.spent = 0

    def seconds(self) -> float:
        """The time for one more step, seconds.

        :raises TimeoutError: if it is over.
        """
        left = self.deadline.remaining
        if left <= 0:
            raise TimeoutError("the time is up")
        return min(left, _REQUEST_SECONDS)

    def take(self, octets: int) -> None:
        """Count what came.

        :raises TooLargeError: if it is too much.
        """
        self.spent += octets
        if self.spent > self.max_bytes + _FRAMING_BYTES:
            raise TooLargeError(f"The answer is larger than {self.max_bytes} octets, more than any that is expected.")
