"""What clients may take of a server's time, connections and memory, each limit by itself."""

from __future__ import annotations

import resource
import socket
import ssl
import struct
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from pathlib import Path

import processes
import pytest
import requests
from serving import DEADLINE, Running, Start, rename_ca, wait_until

NAME = b"GET /name HTTP/1.1\r\nHost: ca\r\n\r\n"


def sockets(running: Running) -> int:
    """How many sockets the server has."""
    return len(processes.sockets(running.process.pid))


def client_hello() -> bytes:
    """What a TLS client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="ca.local").do_handshake()
    return outgoing.read()


def ask(stream: socket.socket) -> None:
    """Ask for the name, and read it."""
    stream.sendall(NAME)
    text = b""
    while b"My CA" not in text:
        text += stream.recv(65536)


def seconds_until_end(stream: socket.socket) -> float:
    """Read until the server ends a connection; how long that took."""
    began = time.monotonic()
    stream.settimeout(DEADLINE)
    with suppress(ConnectionError, ssl.SSLError):
        while stream.recv(65536):
            pass
    return time.monotonic() - began


@pytest.mark.parametrize("said", [b"", client_hello()[:50], client_hello()], ids=["nothing", "half a hello", "hello"])
def test_handshakes_that_are_not_ended_are_given_up_and_keep_nobody_out(start: Start, said: bytes) -> None:
    running = start()
    before = sockets(running)
    with ExitStack() as stack:
        for _ in range(300):
            stream = stack.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=DEADLINE))
            stream.sendall(said)
        wait_until(lambda: sockets(running) >= before + 250)
        assert running.get("/name") == "My CA"
        wait_until(lambda: sockets(running) <= before)
    assert len(running.lines) == 2, running.lines


def test_a_header_is_waited_for_no_longer_on_a_connection_that_was_kept(start: Start) -> None:
    running = start()
    with running.connect() as stream:
        ask(stream)
        stream.sendall(NAME[:10])
        # Kept without it, the connection would stay for 75 seconds.
        assert seconds_until_end(stream) < 60


def test_a_connection_is_kept_for_as_long_as_the_configuration_says(start: Start, home: Path) -> None:
    rename_ca(home, "[server]\n", '[server]\nkeep_alive = "18s"\n')
    running = start()
    with running.connect() as stream:
        ask(stream)
        # A header would have had 15.
        assert seconds_until_end(stream) > 17


@pytest.mark.parametrize("flags", [(), ("plain",)])
def test_who_takes_an_answer_a_little_at_a_time_is_given_up(start: Start, flags: tuple[str, ...]) -> None:
    running = start(*flags)
    before = sockets(running)
    with running.connect() if not flags else socket.create_connection(("127.0.0.1", running.port)) as stream:
        stream.settimeout(DEADLINE)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        stream.sendall(b"GET /much HTTP/1.1\r\nHost: ca\r\n\r\n")
        end = time.monotonic() + 90
        # The window opens again and again, so that the kernel has no reason to end it.
        while sockets(running) > before:
            assert time.monotonic() < end, "the server goes on and on"
            with suppress(ConnectionError, ssl.SSLError):
                stream.recv(1024)
            time.sleep(1)


def test_who_takes_an_answer_slowly_but_steadily_gets_it_whole(start: Start) -> None:
    running = start("plain")
    with socket.create_connection(("127.0.0.1", running.port), timeout=DEADLINE) as stream:
        stream.sendall(b"GET /much HTTP/1.1\r\nHost: ca\r\n\r\n")
        # Room for several segments, which are 64 KiB on the loopback: a window below one is not made use of steadily.
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 512 * 1024)
        taken, began = 0, time.monotonic()
        while taken < 4 << 20:
            part = stream.recv(16384)
            assert part, taken
            taken += len(part)
            if time.monotonic() - began < 35:  # more than is given to who takes little
                time.sleep(0.2)


def test_bodies_that_do_not_come_have_a_bound_together(start: Start) -> None:
    running = start("plain")
    head = b"POST /name HTTP/1.1\r\nHost: ca\r\nContent-Length: 130000\r\n\r\n"
    with ExitStack() as stack:
        streams = []
        for _ in range(700):
            stream = stack.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=DEADLINE))
            streams.append(stream)
            with suppress(ConnectionError):
                stream.sendall(head + bytes(120_000))
        # 64 MiB have room for 559 of them; whose body is short is answered meanwhile.
        with running.session() as session:
            assert session.post(running.url + "/name", data=b"short", timeout=DEADLINE).status_code == 405
        refused = 0
        for stream in streams:
            stream.setblocking(False)
            with suppress(BlockingIOError, ConnectionError):
                refused += stream.recv(100).startswith(b"HTTP/1.1 503")
        assert 100 < refused < 200
    with running.session() as session:
        assert session.post(running.url + "/name", data=bytes(100_000), timeout=DEADLINE).status_code == 405


def test_connections_beyond_the_places_wait_until_others_have_ended(start: Start) -> None:
    running = start()
    files, _ = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
    assert files == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    few = start(prefix=("bash", "-c", 'ulimit -n 200; exec "$0" "$@"'))
    with ExitStack() as stack:
        for _ in range(150):
            stack.enter_context(socket.create_connection(("127.0.0.1", few.port), timeout=DEADLINE))
        wait_until(lambda: sockets(few) >= 100)
        # Those that wait for a handshake are given up, and then it is this one's turn.
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(few.get, "/name")
            seen = [sockets(few)]
            while wait([asked], 0.01).not_done:
                seen.append(sockets(few))
            assert asked.result() == "My CA"
        assert max(seen) < 120


@pytest.mark.parametrize("name", ["X_Forwarded_For", "X_Forwarded-For", "x-forwarded_for", "X_FORWARDED_FOR"])
def test_a_field_that_wsgi_would_take_for_x_forwarded_for_is_refused(start: Start, name: str) -> None:
    running = start()
    with running.session() as session:
        refused = session.get(running.url + "/fields", headers={name: "192.0.2.1"}, timeout=DEADLINE)
        assert (refused.status_code, refused.headers["Content-Type"]) == (400, "application/problem+json")
        assert "X-Forwarded-For with an underscore" in refused.json()["detail"]
        fields = session.get(
            running.url + "/fields", headers={"X-Forwarded-For": "192.0.2.2", "X_Other": "1"}, timeout=DEADLINE
        ).json()
    assert fields["X-Forwarded-For"] == "192.0.2.2"
    assert "X-Other" not in fields


def test_who_asks_first_whether_to_send_a_body_is_told_to(start: Start) -> None:
    running = start()
    with running.connect() as stream:
        stream.sendall(b"POST /name HTTP/1.1\r\nHost: ca\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert stream.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        stream.sendall(b"hello")
        assert stream.recv(65536).startswith(b"HTTP/1.1 405 ")


def test_a_request_with_the_whole_url_is_answered_as_any_other(start: Start) -> None:
    running = start()
    with running.connect() as stream:
        stream.sendall(b"GET https://ca.local/name?a=b HTTP/1.1\r\nHost: ca\r\n\r\n")
        assert stream.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_connections_that_are_reset_while_an_answer_is_made_leave_no_word(start: Start) -> None:
    running = start("plain")
    before = sockets(running)
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", running.port), timeout=DEADLINE) as stream:
            stream.sendall(b"GET /slow HTTP/1.1\r\nHost: ca\r\n\r\n")
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert requests.get(running.url + "/slow", timeout=DEADLINE).text == "My CA"
    wait_until(lambda: sockets(running) <= before)
    assert len(running.lines) == 2, running.lines
