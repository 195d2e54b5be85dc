"""The time limits of one connection, and how much it may hold.

aiohttp parses requests and writes answers. Between the socket and aiohttp's own protocol stands this one, which sees
each octet come, and ends a connection whose client takes too long over a request's header. A TLS handshake is asyncio's
to end, a body is awaited with a limit of its own (http.py), a connection on which nothing follows is aiohttp's to end
(``keep_alive``), and one whose client takes its answers slowly or not at all is the kernel's (sockets.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

HANDSHAKE_SECONDS = 10.0
"""Seconds a TLS handshake may take."""
HEADER_SECONDS = 15.0
"""Seconds a request's header may take, from its first octet; for the first request from the connection's beginning."""
CLOSING_SECONDS = 5.0
"""Seconds that TLS's own end of a connection may take."""


class Connection(asyncio.Protocol):
    """A connection; what comes goes on to another protocol, and what that writes goes to the transport itself.

    :param make: makes the HTTP server's protocol for this connection, once it is needed.
    :param begun: called with this once the connection can be used (with TLS, after the handshake).
    :param ended: called with this once, when it has ended after that.
    """

    __slots__ = (
        "_begun", "_ended", "_expected", "_header", "_inner", "_make", "has_asked", "is_idle", "received", "transport",
    )  # fmt: skip

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        begun: Callable[[Connection], None],
        ended: Callable[[Connection], None],
    ) -> None:
        self._make = make
        self._begun = begun
        self._ended = ended
        self._header: asyncio.TimerHandle | None = None
        self._expected = 0.0
        self.is_idle = True
        """Whether nothing of a request has come that was not answered."""
        self.has_asked = False
        """Whether anything of a request has ever come."""
        self.received = 0
        """The octets that have come since the latest answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._header = asyncio.get_running_loop().call_later(HEADER_SECONDS, transport.abort)
        self._begun(self)
        self._inner = self._make()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        self.received += len(data)
        if self.is_idle:
            self.is_idle, self.has_asked = False, True
            if self._header is None:
                self._header = asyncio.get_running_loop().call_later(HEADER_SECONDS, self.transport.abort)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """See :class:`asyncio.Protocol`."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        if self._header is not None:
            self._header.cancel()
        self._inner.connection_lost(exc)
        self._ended(self)

    def header_has_come(self) -> None:
        """Note that a request is being answered."""
        self.is_idle = False
        if self._header is not None:
            self._header.cancel()
            self._header = None

    def answered(self) -> None:
        """Note that the answer was written."""
        self.is_idle = True
        self.received = 0

    def tell_to_wait(self, seconds: float) -> bool:
        """Note that the client is told to come back after so many seconds.

        :returns: whether it has come before the time that it was told the last time.
        """
        now = asyncio.get_running_loop().time()
        is_early = now < self._expected
        self._expected = now + seconds
        return is_early
