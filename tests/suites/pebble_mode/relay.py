"""TLS with a certificate that somebody else made, in front of a loopback port without TLS.

A connection has one thread, which reads and writes both of its sides: OpenSSL lets no two threads use one TLS
connection at a time.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path

_PIECE = 65536
_MOST_HELD = 4 * _PIECE
"""Octets that are held for a side that takes them slowly; no more is read for it meanwhile."""
_IDLE = 600.0
"""Seconds after which a connection is given up on which nothing moves."""
_QUIET = 1.0
"""Seconds without an answer after which a client that has ended its side is believed to wait for none."""
_LINGER = 5.0
"""Seconds in which a client may take the end of the last answer before its connection is closed."""
_BLOCKED = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

Waiting = dict[socket.socket, int]
"""The events that are waited for, by the socket."""


class Relay:
    """Accepts TLS at ``address`` and passes on to ``port`` what is inside.

    :param address: host and port; an empty host is every address of this machine.
    :param pem: the file with the key and the chain.
    """

    def __init__(self, address: tuple[str, int], port: int, pem: Path) -> None:
        self._port = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        # A client that ends its side of the TCP connection, and says nothing in TLS, gets its answer nevertheless.
        self._context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
        both = not address[0] and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both or ":" in address[0] else socket.AF_INET
        self._listener = socket.create_server(address, family=family, backlog=512, dualstack_ipv6=both)

    def start(self) -> None:
        """Begin; the threads end with the process."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # Either side may end a connection at any time, and that is all that is to be known of it.
        with suppress(OSError), connection:
            connection.settimeout(_IDLE)
            with (
                self._context.wrap_socket(connection, server_side=True) as outside,
                socket.create_connection(("127.0.0.1", self._port)) as inside,
            ):
                pass_on(outside, inside)


def pass_on(outside: ssl.SSLSocket, inside: socket.socket) -> None:
    """Pass on all that comes, until the server has ended and the client has all of its answers."""
    for side in (outside, inside):
        side.setblocking(False)
        # Nothing waits for the ACK of what was sent before it (Nagle's algorithm).
        side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    asking, answering = _Asking(outside, inside), _Answering(inside, outside)
    with selectors.DefaultSelector() as selector:
        while not answering.is_over:
            waiting: Waiting = {}
            moved, heard = asking.move(waiting), answering.pieces
            moved |= answering.move(waiting)
            asking.is_answered |= answering.pieces > heard
            if not moved and not _wait(selector, waiting, asking.patience):
                if asking.patience == _IDLE:
                    return
                asking.end()
    _linger(outside)


def _wait(selector: selectors.BaseSelector, waiting: Waiting, seconds: float) -> bool:
    """Wait for an event; False if none came."""
    for side in list(selector.get_map().values()):
        selector.unregister(side.fileobj)
    for socket_, events in waiting.items():
        selector.register(socket_, events)
    return bool(selector.select(seconds))


class _Way:
    """One direction of a connection.

    :ivar pieces: how many pieces have come.
    :ivar is_over: whether the source has ended, and the target has everything and knows it.
    """

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self._source = source
        self._target = target
        self._held = bytearray()
        self._has_ended = False
        self.pieces = 0
        self.is_over = False

    def move(self, waiting: Waiting) -> bool:
        """Read and write what can be without waiting; whether anything moved. What blocks is added to ``waiting``."""
        moved = self._read(waiting)
        if self._held:
            moved |= self._write(waiting)
        elif self._has_ended and not self.is_over:
            moved |= self._finish(waiting)
        return moved

    def _read(self, waiting: Waiting) -> bool:
        if self._has_ended or len(self._held) >= _MOST_HELD:
            return False
        try:
            data = self._source.recv(_PIECE)
        except _BLOCKED as error:
            _note(waiting, self._source, error, selectors.EVENT_READ)
            return False
        except ConnectionError:
            data = b""
        self._has_ended = not data
        self._held += data
        self.pieces += 1
        return True

    def _write(self, waiting: Waiting) -> bool:
        try:
            sent = self._target.send(self._held)
        except _BLOCKED as error:
            _note(waiting, self._target, error, selectors.EVENT_WRITE)
            return False
        del self._held[:sent]
        return True

    def _finish(self, waiting: Waiting) -> bool:
        """Tell the target that nothing more comes."""
        raise NotImplementedError


class _Asking(_Way):
    """What the client sends to the server.

    :ivar is_answered: whether the server has said something since it was sent something.
    """

    is_answered = True

    @property
    def patience(self) -> float:
        """Seconds that something is waited for."""
        return _QUIET if self._has_ended and not self.is_over and self.is_answered else _IDLE

    def _write(self, waiting: Waiting) -> bool:
        try:
            moved = super()._write(waiting)
        except ConnectionError:
            # The server has answered without the rest, which nobody needs any more.
            self._held.clear()
            return True
        self.is_answered = self.is_answered and not moved
        return moved

    def _finish(self, _waiting: Waiting) -> bool:
        # A server stops its work on an answer when the client has ended, so it is not told before it has answered.
        return False

    def end(self) -> None:
        """Tell the server that the client has ended."""
        self.is_over = True
        with suppress(OSError):
            self._target.shutdown(socket.SHUT_WR)


class _Answering(_Way):
    """What the server sends to the client."""

    _target: ssl.SSLSocket

    def _finish(self, waiting: Waiting) -> bool:
        try:
            self._target.unwrap()
        except ssl.SSLWantWriteError:
            _note(waiting, self._target, None, selectors.EVENT_WRITE)
            return False
        except (OSError, ValueError):
            pass  # TLS's end was sent, or there is nobody; the client's own end is not waited for
        with suppress(OSError):
            self._target.shutdown(socket.SHUT_WR)
        self.is_over = True
        return True


def _note(waiting: Waiting, side: socket.socket, error: OSError | None, usual: int) -> None:
    """TLS may have to read in order to write, and the other way round."""
    event = usual
    if isinstance(error, ssl.SSLWantReadError):
        event = selectors.EVENT_READ
    elif isinstance(error, ssl.SSLWantWriteError):
        event = selectors.EVENT_WRITE
    waiting[side] = waiting.get(side, 0) | event


def _linger(outside: ssl.SSLSocket) -> None:
    """Wait for the client's end: a close before it would take back what the client has not read yet (RFC 9112 9.6)."""
    deadline = time.monotonic() + _LINGER
    with suppress(OSError):
        while (left := deadline - time.monotonic()) > 0:
            outside.settimeout(left)
            if not outside.recv(_PIECE):  # without TLS by now: nobody reads it
                return
