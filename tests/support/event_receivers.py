"""Receivers of events over TLS: syslog and HTTPS, that take them, hang, end, or answer as they are told."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import re
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hostile import Hostile

SECRET = "a key that both sides share, 32 octets"
_HEADER = re.compile(r"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) (\S+) acme-iid-ca - (\S+) - (.*)", re.DOTALL)


@dataclass
class Receiver:
    """A receiver.

    :ivar lines: the lines of the events that it took, in order.
    :ivar mode: ``take``; ``abrupt`` takes, and ends without TLS's own end; ``hang`` reads nothing; ``cut`` ends each
        connection before TLS; ``reset`` reads a little and resets; ``leave`` ends TLS and reads nothing; ``early``, for
        HTTPS, answers before the body has come, and reads no more.
    :ivar answer: for HTTPS, the status for a body.
    """

    folder: Path
    scheme: str
    mode: str = "take"
    answer: Callable[[bytes], int] = lambda _body: 204
    lines: list[str] = field(default_factory=list)
    messages: list[tuple[int, str, str]] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    location: str = ""
    released: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._identity = Hostile(self.folder, marked=False)
        self.roots = self._identity.root_file
        self._context = self._identity.context()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self.scheme}://localhost:{self.port}" + ("/events" if self.scheme == "https" else "")

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that it took."""
        return [json.loads(line) for line in list(self.lines)]

    @property
    def numbers(self) -> list[int]:
        """Their numbers."""
        return [event["seq"] for event in self.events]

    def settings(self, name: str = "siem") -> str:
        """The table of ca.toml with it."""
        secret = self.folder / "hook.secret"
        secret.write_text(f"{SECRET}\n")
        secret.chmod(0o600)
        hook = f'secret_file = "{secret}"\n' if self.scheme == "https" else ""
        return f'[[sink]]\nname = "{name}"\nurl = "{self.url}"\nroots_file = "{self.roots}"\n{hook}'

    def serve(self, connection: socket.socket) -> None:
        """Serve one connection."""
        self.connections += 1
        mode = self.mode
        with contextlib.suppress(OSError), connection:
            if mode == "cut":
                return
            connection.settimeout(30)
            stream = self._context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False)
            with stream:
                if mode == "hang":
                    self.released.wait(60)
                elif mode == "reset":
                    stream.recv(10)
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                elif mode == "leave":
                    stream.setblocking(False)
                    with contextlib.suppress(OSError):
                        stream.unwrap()
                    # What comes meanwhile is never read.
                    select.select([stream], [], [], 30)
                    time.sleep(0.2)
                elif mode == "early":
                    stream.recv(10)
                    stream.sendall(b"HTTP/1.1 200 Told\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                elif self.scheme == "https":
                    self._request(stream)
                else:
                    self._syslog(stream, mode)

    def _syslog(self, stream: ssl.SSLSocket, mode: str) -> None:
        data = b""
        while piece := stream.recv(65536):
            data += piece
        while data:
            length, _, rest = data.partition(b" ")
            message, data = rest[: int(length)].decode(), rest[int(length) :]
            found = _HEADER.fullmatch(message)
            assert found is not None, message
            self.messages.append((int(found[1]), found[4], found[2]))
            self.lines.append(found[5])
        if mode == "take":
            stream.unwrap()

    def _request(self, stream: ssl.SSLSocket) -> None:
        data = b""
        while b"\r\n\r\n" not in data and (piece := stream.recv(65536)):
            data += piece
        if not data:
            return
        head, _, body = data.partition(b"\r\n\r\n")
        headers = {name.lower(): value.strip() for name, _, value in
                   (line.partition(":") for line in head.decode().split("\r\n")[1:])}  # fmt: skip
        while len(body) < int(headers["content-length"]):
            body += stream.recv(65536)
        at, mac = headers["x-acme-iid-signature"].split(",")
        expected = hmac.new(SECRET.encode(), at.removeprefix("t=").encode() + b"." + body, hashlib.sha256).hexdigest()
        assert mac == f"v1={expected}"
        status = self.answer(body)
        if 200 <= status < 300:
            self.lines += body.decode().splitlines()
        further = f"Location: {self.location}\r\n" if self.location else ""
        stream.sendall(f"HTTP/1.1 {status} Told\r\n{further}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())


@contextmanager
def receiving(folder: Path, scheme: str) -> Iterator[Receiver]:
    """Receive on a free port of loopback."""
    folder.mkdir(exist_ok=True)
    receiver = Receiver(folder, scheme)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # What nobody reads does not fit into the buffers: a sender sees an early answer before it has sent all.
        # A sender's own buffer has room for twenty segments, which loopback would have as large as they can be.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        receiver.port = listener.getsockname()[1]

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=receiver.serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield receiver
        finally:
            receiver.released.set()
            listener.shutdown(socket.SHUT_RDWR)
