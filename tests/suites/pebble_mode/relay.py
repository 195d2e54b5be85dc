"""TLS with a certificate that somebody else made, in front of a loopback port without TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path


class Relay:
    """Accepts TLS at ``address`` and passes on to ``port`` what is inside.

    :param pem: the file with the key and the chain.
    """

    def __init__(self, address: tuple[str, int], port: int, pem: Path) -> None:
        self._port = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._listener = socket.create_server(address, family=family, backlog=512)

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
            connection.settimeout(600)
            with (
                self._context.wrap_socket(connection, server_side=True) as outside,
                socket.create_connection(("127.0.0.1", self._port)) as inside,
            ):
                back = threading.Thread(target=_pump, args=(inside, outside), daemon=True)
                back.start()
                _pump(outside, inside)
                back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
