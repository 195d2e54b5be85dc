"""A relay between a client and a server over TCP, which counts round trips, falls silent and cuts."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit, urlunsplit

from ports import free_port


class Relay:
    """Relays connections to a port of this machine's.

    :param port: the server's.
    """

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self.turns = 0
        """Round trips: how often a client sent something after the server had."""
        self._target = port
        self._silent = threading.Event()
        self._watch: Callable[[bytes], bool] | None = None
        self._ending = threading.Event()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, url: str) -> str:
        """A database's URL by way of the relay."""
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{self.port}")))

    def silence(self) -> None:
        """Keep all connections open, take new ones, and pass nothing on any more."""
        self._silent.set()

    def speak(self) -> None:
        """Pass on again what comes from now on; what was kept is lost with its connections."""
        for client, server in self._pairs:
            _close(client, server)
        self._pairs.clear()
        self._silent.clear()

    def cut_after(self, words: bytes) -> None:
        """Pass on a request with these words in it, and then the end of the connection in the place of its answer."""
        self._watch = lambda data: words in data

    def close(self) -> None:
        """End it."""
        self._ending.set()
        self._listener.close()
        for client, server in self._pairs:
            _close(client, server)

    def _accept(self) -> None:
        while not self._ending.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs.append((client, server))
            threading.Thread(target=self._relay, args=(client, server), daemon=True).start()

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        last, cutting = server, False
        with contextlib.suppress(OSError, ValueError):
            while True:
                readable, _, _ = select.select([client, server], [], [], 30)
                for source in readable:
                    data = source.recv(65536)
                    if not data:
                        return _close(client, server)
                    self._while_silent()
                    if cutting and source is server:
                        return _close(client, server)
                    if source is client and last is server:
                        self.turns += 1
                    last = source
                    (server if source is client else client).sendall(data)
                    if source is client and self._watch is not None and self._watch(data):
                        self._watch, cutting = None, True
        return _close(client, server)

    def _while_silent(self) -> None:
        while self._silent.is_set() and not self._ending.is_set():
            time.sleep(0.05)


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


@contextlib.contextmanager
def relay(port: int) -> Iterator[Relay]:
    """A relay while the block runs."""
    made = Relay(port)
    try:
        yield made
    finally:
        made.close()
