"""HTTP over sockets that listen: aiohttp's server, with limits on what clients may take of time and memory.

A connection is accepted while there are places, and gets the TLS context of that moment, so a new certificate closes
nothing. A request is handed on when all of it has come. An answer says ``Connection: close`` where the connection ends.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from asyncio import sslproto
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from acme_iid.errors import AcmeError, Problem
from acme_iid.serving.application import Answering
from acme_iid.serving.connection import CLOSING_SECONDS, HANDSHAKE_SECONDS, Connection
from acme_iid.serving.messages import MAX_REQUEST_BYTES, Answer, Request

BODY_SECONDS = 20.0
"""Seconds a request's body may take."""
MOST_CONNECTIONS = 16384
"""Connections of one process, with those that have not begun TLS; further ones wait in the backlog."""

_DRAINED_BYTES = 1024 * 1024
_LONG_BODY = 8 * 1024
_MOST_LONG_BODIES = 64 * 1024 * 1024  # octets of all bodies that are longer than that and have not come whole
_MOST_BESIDE_BODY = 64 * 1024  # octets of a request in chunks that do not belong to its body
_AT_ONCE = 32  # connections accepted before the others are looked after
_NO_FILES_SECONDS = 1.0
_FIRST_REQUEST_SECONDS = 1.0  # that a connection has for its first request once the server stops
_LEAVING_SECONDS = 0.2  # that a client has, once the server stops, to end TLS on a connection that waits for nothing
_FULL_SECONDS = 0.01  # until it is asked again whether there is room for what a connection may bring
_TWINS = ("X_Forwarded_For", "X_Forwarded-For", "X-Forwarded_For")

# The client is told of a fault in its request; a log that strangers fill is of no use.
_SILENT = logging.getLogger("acme_iid.serving.aiohttp")
_SILENT.disabled = True

# Each connection with TLS has a buffer of that size from its beginning on: with asyncio's 256 KiB, ten thousand on
# which nothing comes would take gigabytes.
sslproto.SSLProtocol.max_size = 16 * 1024


class _Protocol(web.RequestHandler):
    """aiohttp's protocol, which says what is wrong as everything else here does."""

    __slots__ = ("_failure",)

    def __init__(self, failure: Callable[[Exception], Answer], manager: web.Server, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._failure = failure

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a request that cannot be read, or that a fault of ours ended; the last on its connection."""
        del request, message
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and isinstance(exc, Exception):
            if isinstance(exc, ConnectionError):
                raise exc  # its client has left
            answer = self._failure(exc)
        else:
            answer = self._failure(_malformed("the request is not readable HTTP/1.1"))
        response = _response(answer)
        response.force_close()
        return response


class HTTPServer:
    """Answers what comes on sockets.

    :param keep_alive: seconds that a connection is kept on which no further request comes.
    :param most: the largest number of connections.
    """

    def __init__(
        self,
        application: Answering,
        context: ssl.SSLContext | None,
        keep_alive: float,
        most: int = MOST_CONNECTIONS,
    ) -> None:
        self.context = context
        """The TLS context of connections that are accepted from now on; None for plain HTTP."""
        self._connections: set[Connection] = set()
        self._most = most
        self._accepted = 0
        self._place_free = asyncio.Event()
        self._long_bodies = 0
        self._stopping = False
        self._handshakes: set[asyncio.Task[None]] = set()
        self._inside = asyncio.Condition()
        self._running: dict[Answering, int] = {}
        self.use(application, keep_alive)

    def use(self, application: Answering, keep_alive: float) -> None:
        """Have another application answer the requests that come from now on."""
        self._application = application
        self._running.setdefault(application, 0)
        self._manager = web.Server(self._handle)
        self._keep_alive = keep_alive

    async def until_unused(self, application: Answering) -> None:
        """Wait until an application that is not in use any more has given its last answer."""
        async with self._inside:
            await self._inside.wait_for(lambda: not self._running[application])
        del self._running[application]

    async def accept(self, listener: socket.socket) -> None:
        """Accept connections until it is cancelled."""
        loop = asyncio.get_running_loop()
        most = min(self._most, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        while True:
            for _ in range(_AT_ONCE):
                while self._accepted >= most:
                    self._place_free.clear()
                    await self._place_free.wait()
                while not self._application.takes_connection():  # noqa: ASYNC110 - there is room once time has passed
                    await asyncio.sleep(_FULL_SECONDS)
                try:
                    stream, _ = await loop.sock_accept(listener)
                except OSError:
                    # No file or no memory for it now, or the client has left.
                    await asyncio.sleep(_NO_FILES_SECONDS)
                    continue
                self._accepted += 1
                task = loop.create_task(self._begin(stream))
                self._handshakes.add(task)
                task.add_done_callback(self._handshakes.discard)
            await asyncio.sleep(0)

    async def stop(self, seconds: float) -> None:
        """Answer the requests that are being sent or answered, and end all connections.

        Whoever has connected just now finds an open connection, and its first request is answered, too.

        :param seconds: the time that it may take.
        """
        self._stopping = True
        for task in tuple(self._handshakes):
            task.cancel()
        self._end_idle(lambda connection: connection.has_asked)
        asyncio.get_running_loop().call_later(_FIRST_REQUEST_SECONDS, self._end_idle, lambda _: True)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._inside:
                await self._inside.wait_for(lambda: not self._connections)
        for connection in tuple(self._connections):
            connection.transport.abort()

    def _end_idle(self, which: Callable[[Connection], bool]) -> None:
        """End connections on which nothing has come that was not answered."""
        loop = asyncio.get_running_loop()
        for connection in tuple(self._connections):
            if connection.is_idle and which(connection):
                # TLS's end is sent at once. A client that keeps the connection for later reads it only then.
                connection.transport.close()
                loop.call_later(_LEAVING_SECONDS, connection.transport.abort)

    async def _begin(self, stream: socket.socket) -> None:
        """Make a connection of what was accepted; its place is free again when it has ended, or has not begun."""
        loop = asyncio.get_running_loop()
        made = False

        def begun(connection: Connection) -> None:
            nonlocal made
            made = True
            self._connections.add(connection)

        try:
            await loop.connect_accepted_socket(
                lambda: Connection(self._protocol, begun, self._ended),
                stream,
                ssl=self.context,
                ssl_handshake_timeout=None if self.context is None else HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=None if self.context is None else CLOSING_SECONDS,
            )
        except (OSError, ValueError):
            pass  # no handshake, or none in time
        finally:
            if not made:
                self._free()  # the socket is the loop's to close

    def _protocol(self) -> web.RequestHandler:
        return _Protocol(
            self._application.failure,
            self._manager,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=self._keep_alive,
            lingering_time=0,  # bodies are read before the answer
            auto_decompress=False,
            access_log=_SILENT,
            logger=_SILENT,
        )

    def _ended(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._free()
        if self._stopping:
            self._tell()

    def _free(self) -> None:
        self._accepted -= 1
        self._place_free.set()

    def _tell(self) -> None:
        """Wake the tasks that wait for an end of requests or connections."""

        async def tell() -> None:
            async with self._inside:
                self._inside.notify_all()

        task = asyncio.get_running_loop().create_task(tell())
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, and write the answer."""
        connection = None if request.transport is None else request.transport.get_protocol()
        if not isinstance(connection, Connection):
            raise ConnectionResetError  # it has ended meanwhile
        connection.header_has_come()
        try:
            body, refusal = await self._body_or_refusal(request, connection)
            # The one in use by now: a body may take long, and what a configuration no longer gives is not given.
            application = self._application
            self._running[application] += 1
            try:
                if refusal is None:
                    answer = await application.answer(_request(request, body))
                else:
                    answer = application.refusal(_request(request, b""), refusal)
                response = _response(answer)
                if refusal is not None or self._stopping or _insists(connection, answer):
                    response.force_close()
                await response.prepare(request)
                await response.write_eof()
            finally:
                self._running[application] -= 1
                if application is not self._application and not self._running[application]:
                    self._tell()
        finally:
            connection.answered()
        return response

    async def _body_or_refusal(
        self, request: web.BaseRequest, connection: Connection
    ) -> tuple[bytes, AcmeError | None]:
        """The request's body, or why the request is refused and is the last on its connection."""
        try:
            body = await self._body(request)
            if "Transfer-Encoding" in request.headers and connection.received > len(body) + _MOST_BESIDE_BODY:
                raise _malformed("the chunks of the request's body take too much beside it")
        except AcmeError as error:
            return b"", error
        return body, None

    async def _body(self, request: web.BaseRequest) -> bytes:
        """The request's body.

        :raises AcmeError: ``malformed``: with status 413 if it is too large, with 408 if it does not come in time, and
            with 400 if where it ends is not said plainly, or whose request it is.
        """
        if any(name in request.headers for name in _TWINS):
            raise _malformed("a header field's name is that of X-Forwarded-For with an underscore")
        # A body that is larger than the part that would be read is not waited for.
        if (request.content_length or 0) > _DRAINED_BYTES:
            raise _too_large()
        content = request.content
        if content.is_eof():
            whole = content.read_nowait()
            if len(whole) > MAX_REQUEST_BYTES:
                raise _too_large()
            return whole
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await self._slow_body(request)
        except TimeoutError:
            raise AcmeError(
                Problem.MALFORMED, "the request's body did not come in time; send it at once", status=408
            ) from None
        except (web.RequestPayloadError, ValueError) as error:
            raise _malformed("the request's body does not end as its header says") from error

    async def _slow_body(self, request: web.BaseRequest) -> bytes:
        """A body of which something has not come yet."""
        body, size, counted = bytearray(), 0, 0
        try:
            while part := await request.content.readany():
                size += len(part)
                # A client that is still sending would see its connection end, and not the answer.
                if size > _DRAINED_BYTES:
                    break
                if size <= MAX_REQUEST_BYTES:
                    body += part
                if len(body) - counted > _LONG_BODY:
                    self._long_bodies += len(body) - counted
                    counted = len(body)
                    if self._long_bodies > _MOST_LONG_BODIES:
                        raise AcmeError(
                            Problem.SERVER_INTERNAL,
                            "the server waits for too many long requests; nothing was changed, try again later",
                            status=503,
                            headers={"Retry-After": "5"},
                        )
        finally:
            self._long_bodies -= counted
        if size > MAX_REQUEST_BYTES:
            raise _too_large()
        return bytes(body)


def _insists(connection: Connection, answer: Answer) -> bool:
    """Whether the client of a connection is told to come later before it was to come again.

    Its next connection waits with those that are to be accepted; on this one it could ask as often as it likes.
    """
    if answer.status != HTTPStatus.SERVICE_UNAVAILABLE:
        return False
    seconds = next((value for name, value in answer.headers if name == "Retry-After"), None)
    return seconds is not None and connection.tell_to_wait(float(seconds))


def _request(request: web.BaseRequest, body: bytes) -> Request:
    path, _, query = request.raw_path.partition("?")
    if not path.startswith("/"):
        # The absolute form, which servers have to accept (RFC 9112 section 3.2.2).
        path = "/" + path.partition("://")[2].partition("/")[2]
    headers = request.headers
    types = headers.getall("Content-Type", ())
    return Request(
        method=request.method,
        path="/" + unquote(path, errors="replace").lstrip("/"),
        query=query,
        content_type=",".join(types) if types else None,
        forwarded=",".join(headers.getall("X-Forwarded-For", ())),
        peer=request.remote or "",
        body=body,
        fields=tuple(headers.items()),
        transport=request.transport,
    )


def _response(answer: Answer) -> web.Response:
    response = web.Response(body=answer.body, status=answer.status, headers=answer.headers)
    response.headers["Server"] = "acme-iid"
    return response


def _malformed(detail: str) -> AcmeError:
    return AcmeError(Problem.MALFORMED, detail)


def _too_large() -> AcmeError:
    return AcmeError(Problem.MALFORMED, f"the request is larger than {MAX_REQUEST_BYTES} bytes", status=413)
