"""Many connections to a server at once, that do as little as they can."""

from __future__ import annotations

import resource
import socket
import ssl
import struct
import threading
import time
from typing import Self

import processes
from running import CA

NEEDED_FILES = 12_000
_TCP_REPAIR = 19

HEADER = b"POST /acme/new-order HTTP/1.1\r\nHost: ca\r\nContent-Type: application/jose+json\r\n"


def raise_limit() -> None:
    """Let this process have as many connections as the tests want."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most >= NEEDED_FILES, f"these tests need a limit of {NEEDED_FILES} open files, and the hard one is {most}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def sockets(ca: CA) -> int:
    """How many sockets the server's workers have."""
    return sum(len(processes.sockets(worker)) for worker in ca.workers())


def until_sockets(ca: CA, count: int, seconds: float) -> None:
    """Wait until the server's workers have no more sockets than that."""
    deadline = time.monotonic() + seconds
    while (now := sockets(ca)) > count:
        assert time.monotonic() < deadline, f"{now} sockets are left, {count} were before"
        time.sleep(0.2)


class Crowd:
    """Connections that have been made; used in a ``with``, whose end closes them.

    :param tls: whether they speak TLS.
    :param port: the one of the listener for plain HTTP; None for the ACME server's.
    :param said: what each of them sends at once.
    """

    def __init__(self, ca: CA, count: int, *, tls: bool = True, said: bytes = b"", port: int | None = None) -> None:
        raise_limit()
        context = ssl.create_default_context(cafile=str(ca.root))
        self.streams: list[socket.socket] = []
        self._ended = threading.Event()
        self._dripping: threading.Thread | None = None
        for _ in range(count):
            stream = socket.create_connection(("127.0.0.1", port or ca.port), timeout=60)
            self.streams.append(stream)
            if tls:
                self.streams[-1] = context.wrap_socket(stream, server_hostname="127.0.0.1")
            if said:
                self.streams[-1].sendall(said)

    def drip(self, octet: bytes) -> Self:
        """Send this once a second, on each connection that the server has not ended."""

        def run() -> None:
            open_ones = list(self.streams)
            while not self._ended.wait(1):
                for stream in list(open_ones):
                    try:
                        stream.sendall(octet)
                    except OSError:
                        open_ones.remove(stream)

        self._dripping = threading.Thread(target=run)
        self._dripping.start()
        return self

    def vanish(self) -> None:
        """Be gone without a word, as a machine whose cable was pulled: neither FIN nor RST is sent."""
        for stream in self.streams:
            stream.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
            stream.close()
        self.streams.clear()

    def reset(self) -> None:
        """End all connections with RST."""
        for stream in self.streams:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.close()
        self.streams.clear()

    def answers(self, seconds: float) -> list[bytes]:
        """The first line that each connection is answered with until the server ends it, or b"" if with none."""
        deadline = time.monotonic() + seconds
        found = []
        for stream in self.streams:
            text = b""
            try:
                while True:
                    stream.settimeout(max(0.1, deadline - time.monotonic()))
                    if not (part := stream.recv(65536)):
                        break
                    text += part
            except TimeoutError:
                raise AssertionError(f"the server has not ended a connection; so far it said {text!r}") from None
            except OSError:
                pass  # ended with RST, or without TLS's own end
            found.append(text.partition(b"\r\n")[0])
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        if self._dripping is not None:
            self._dripping.join()
        for stream in self.streams:
            stream.close()
