"""A TLS server whose every connection is a test's own, for answers that no library would send."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from scripted_ca import Issuer, issue, new_issuer

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
MOST_SECONDS = 120
"""How long a connection is served at most, so that nothing outlives a test that fails."""


@dataclass
class Hostile:
    """The server.

    :ivar answer: what is done with each connection, once a request's head has come.
    :ivar heads: the heads of the requests that came.
    :ivar sent: octets that clients have taken, or that the system keeps for them.
    :ivar gone: set once a client has closed a connection to which something was being sent.
    :ivar connections: how many connections were made.
    :ivar cut: how many of them are closed before a handshake.
    :ivar marked: whether the certificate has the mark of a CA's own server.
    """

    folder: Path
    answer: Callable[[Hostile, socket.socket], None] = lambda _server, _connection: None
    root: Issuer = field(default_factory=lambda: new_issuer("Hostile Root CA"))
    url: str = ""
    heads: list[bytes] = field(default_factory=list)
    sent: int = 0
    gone: threading.Event = field(default_factory=threading.Event)
    connections: int = 0
    cut: int = 0
    marked: bool = True
    tls: bool = True

    @property
    def root_file(self) -> Path:
        """The root's certificate, PEM."""
        file = self.folder / "hostile_root.pem"
        file.write_bytes(self.root.pem)
        return file

    def context(self) -> ssl.SSLContext:
        """TLS with a new certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = issue(self.root, "server", key, ["127.0.0.1", "localhost"], serving=self.marked)
        pem = self.folder / "hostile.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pem.write_bytes(private + certificate.public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return context

    def send(self, connection: socket.socket, data: bytes) -> None:
        """Send, and count it."""
        connection.sendall(data)
        self.sent += len(data)

    def serve(self, connection: socket.socket) -> None:
        """Serve a connection until its client leaves."""
        self.connections += 1
        connection.settimeout(MOST_SECONDS)
        try:
            with connection:
                if self.connections <= self.cut:
                    return
                with self.context().wrap_socket(connection, server_side=True) if self.tls else connection as stream:
                    self.heads.append(_head(stream))
                    self.answer(self, stream)
        except OSError:
            self.gone.set()


def _head(stream: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and (piece := stream.recv(4096)):
        head += piece
    return head


@contextmanager
def serving(
    folder: Path, answer: Callable[[Hostile, socket.socket], None] | None = None, *, tls: bool = True
) -> Iterator[Hostile]:
    """Serve on a free port of 127.0.0.1.

    :param folder: for the server's key and the root.
    """
    server = Hostile(folder, tls=tls)
    server.answer = answer or server.answer
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=server.serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def tunnel(server: Hostile, connection: socket.socket) -> None:
    """What a proxy does with CONNECT: carry octets both ways."""
    host, _, port = server.heads[-1].split(b" ")[1].decode().rpartition(":")
    with socket.create_connection((host, int(port)), timeout=MOST_SECONDS) as target:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=_carry, args=(target, connection), daemon=True)
        back.start()
        _carry(connection, target)
        back.join(MOST_SECONDS)


def _carry(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
