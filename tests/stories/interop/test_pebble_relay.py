"""The relay in front of the test mode's servers: no answer is lost, and none waits for an ACK."""

from __future__ import annotations

import random
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from interop.harness import Names
from interop.pebble_modes import Mode, started
from pebble_mode.relay import Relay
from ports import free_port

MUCH = random.Random(1).randbytes(3_000_000)
REQUEST = b"GET /dir HTTP/1.1\r\nHost: localhost\r\n\r\n"

Serve = Callable[[socket.socket], None]


@dataclass
class Front:
    """A relay that listens, and the mode whose certificate it has."""

    port: int
    root: Path


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Mode:
    """A TLS certificate of the suite's."""
    mode = Mode(tmp_path_factory.mktemp("certified"))
    mode.certify()
    (mode.home / "both.pem").write_bytes((mode.home / "key.pem").read_bytes() + (mode.home / "cert.pem").read_bytes())
    return mode


@contextmanager
def relayed(certified: Mode, serve: Serve) -> Iterator[Front]:
    """A relay to a server that serves one connection."""
    failures: list[BaseException] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(60)
                    serve(connection)
            except (OSError, AssertionError) as error:
                failures.append(error)

        thread = threading.Thread(target=accept)
        thread.start()
        port = free_port()
        Relay(("127.0.0.1", port), listener.getsockname()[1], certified.home / "both.pem").start()
        yield Front(port, certified.root)
        thread.join(60)
    assert not failures


class Client:
    """TLS over a socket whose every octet is this class's to send: it ends its side and reads on.

    :param received: the size of the kernel's buffer for what comes; 0 for the usual one.
    """

    def __init__(self, front: Front, received: int = 0) -> None:
        self.socket = socket.socket()
        if received:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, received)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", front.port))
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=str(front.root))
        self._tls = context.wrap_bio(self._coming, self._going, server_hostname="localhost")
        while not self._try(self._tls.do_handshake):
            self._receive()
        self._flush()

    def _try(self, step: Callable[[], object]) -> bool:
        """Whether a step of TLS was taken; what it has to say is sent."""
        try:
            step()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._flush()
        return True

    def _flush(self) -> None:
        if data := self._going.read():
            self.socket.sendall(data)

    def _receive(self, most: int = 65536) -> None:
        if data := self.socket.recv(most):
            self._coming.write(data)
        else:
            self._coming.write_eof()

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def read(self, most: int = 65536) -> bytes:
        """What has come next, b"" at the end; the end is TLS's own, and not the connection's alone."""
        while True:
            try:
                return self._tls.read(65536)
            except ssl.SSLWantReadError:
                self._receive(most)
            except ssl.SSLZeroReturnError:
                return b""

    def read_all(self, most: int = 65536) -> bytes:
        return b"".join(iter(lambda: self.read(most), b""))

    def end_in_tls(self) -> None:
        """Send TLS's end (close_notify), and read on."""
        assert not self._try(self._tls.unwrap)

    def end_without_tls(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)


def all_that_comes(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("end", [Client.end_in_tls, Client.end_without_tls], ids=["in TLS", "without TLS"])
def test_a_client_that_ends_its_side_early_gets_its_answer(mode: Mode, end: Callable[[Client], None]) -> None:
    client = Client(Front(mode.port, mode.root))
    client.send(REQUEST)
    end(client)
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"/acme/new-nonce" in answer


@pytest.fixture(scope="module")
def mode(names: Names, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mode]:
    mode = Mode(tmp_path_factory.mktemp("mode"))
    with started(mode, names.resolver, {**mode.addresses, **mode.certify()}) as running:
        yield running


@pytest.mark.parametrize("end", [Client.end_in_tls, Client.end_without_tls], ids=["in TLS", "without TLS"])
def test_the_server_learns_of_the_clients_end_once_it_has_answered(
    certified: Mode, end: Callable[[Client], None]
) -> None:
    seen: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        seen.append(connection.recv(100))
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(100)  # a server that read the end here would not answer
        connection.settimeout(60)
        connection.sendall(b"answer")
        seen.append(all_that_comes(connection))

    with relayed(certified, serve) as front:
        client = Client(front)
        client.send(b"request")
        end(client)
        assert client.read_all() == b"answer"
    assert seen == [b"request", b""]


def test_a_client_that_reads_slowly_gets_everything(certified: Mode) -> None:
    # More than the kernel's buffers hold together: three connections' halves of at most 6 MiB.
    everything, is_stuck = MUCH * 14, threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.setblocking(False)
        rest = memoryview(everything)
        while rest and not is_stuck.is_set():
            try:
                rest = rest[connection.send(rest) :]
            except BlockingIOError:
                # When nothing is taken for a while, the client and all buffers on the way are full.
                if not select.select([], [connection], [], 0.5)[1]:
                    is_stuck.set()
        connection.settimeout(60)
        connection.sendall(rest)

    with relayed(certified, serve) as front:
        client = Client(front, received=4096)
        assert is_stuck.wait(60), "the relay holds without end what its client does not take"
        assert client.read_all(4096) == everything


def test_much_goes_both_ways_at_once(certified: Mode) -> None:
    came: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        reader = threading.Thread(target=lambda: came.append(exactly(connection, len(MUCH))))
        reader.start()
        connection.sendall(MUCH)
        reader.join(60)

    with relayed(certified, serve) as front:
        context = ssl.create_default_context(cafile=str(front.root))
        pieces = []
        with (
            socket.create_connection(("127.0.0.1", front.port), timeout=60) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as client,
        ):
            # One thread, as two must not use one TLS connection: a piece is sent, and what has come is read.
            client.setblocking(False)
            rest, got = memoryview(MUCH), 0
            while rest or got < len(MUCH):
                with suppress(ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    rest = rest[client.send(rest[:30000]) :] if rest else rest
                try:
                    pieces.append(client.recv(65536))
                    got += len(pieces[-1])
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    select.select([client], [client] if rest else [], [], 60)
    assert b"".join(pieces) == MUCH
    assert came == [MUCH]


def exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(65536)
        assert piece
        data += piece
    return bytes(data)


def test_an_answer_that_comes_before_the_request_has_ended_arrives(certified: Mode) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(10)
        connection.sendall(b"too large")  # and it is closed with much that nobody has read

    with relayed(certified, serve) as front:
        client = Client(front)
        client.send(MUCH[:1_000_000])
        assert client.read_all() == b"too large"


def test_the_second_part_of_an_answer_waits_for_no_ack_of_the_first(certified: Mode) -> None:
    rounds, has_head = 20, threading.Semaphore(0)

    def serve(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(rounds):
            connection.recv(10)
            connection.sendall(b"head")
            assert has_head.acquire(timeout=60)
            connection.sendall(b"body")

    took = []
    with relayed(certified, serve) as front:
        client = Client(front)
        for _ in range(rounds):
            client.send(b"?")
            # Its kernel waits with the ACK for an answer that could carry it, as it does on connections that last.
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            assert client.read() == b"head"
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            began = time.monotonic()
            has_head.release()
            assert client.read() == b"body"
            took.append(time.monotonic() - began)
    # The ACK comes after 40 ms, but for one or two rounds; a busy machine delays others.
    assert min(took) < 0.03
