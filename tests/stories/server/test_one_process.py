"""The server as one process: started, signalled and reloaded, spoken to over real connections."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import NoReturn

import pytest
import requests
from processes import open_files, thread_states
from serving import DEADLINE, Running, Start, rename_ca, wait_until

from acme_iid.config import ca_toml as configuration
from acme_iid.errors import ServerError
from acme_iid.protocol.addresses import Listen
from acme_iid.serving import server

ASK_NAME = b"GET /name HTTP/1.1\r\nHost: ca\r\n\r\n"


class Client:
    """A client that asks again and again on one connection, until it is stopped."""

    def __init__(self, running: Running, *, anew: bool = False) -> None:
        self.statuses: list[int] = []
        self.failures: list[Exception] = []
        self._running = running
        self._anew = anew
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        session = self._running.session()
        while not self._stop.is_set():
            try:
                self.statuses.append(session.get(self._running.url + "/name", timeout=DEADLINE).status_code)
            except requests.RequestException as error:
                self.failures.append(error)
            if self._anew:
                session.close()
        session.close()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def read_answer(stream: socket.socket) -> bytes:
    """An answer whose body is as long as the name."""
    text = b""
    while b"\r\n\r\n" not in text or b"CA" not in text.partition(b"\r\n\r\n")[2]:
        part = stream.recv(65536)
        assert part, text
        text += part
    return text


def test_clients_are_answered_and_sigterm_ends_it_with_success(start: Start, home: Path) -> None:
    running = start()
    assert running.get("/name") == "My CA"
    assert running.get("/pid") == str(running.process.pid)
    assert [oct(file.stat().st_mode & 0o777) for file in (home / "tls").iterdir()] == ["0o600"]
    assert running.stop() == 0
    assert running.lines[-1].endswith("Stopped.\n")
    assert list((home / "tls").iterdir()) == []


def test_its_log_has_what_to_mend_its_start_and_its_end(start: Start) -> None:
    running = start()
    running.get("/pid")
    running.stop(signal.SIGINT)
    assert [line.split(" ", 1)[1].split(",")[0].split(" ")[0].strip() for line in running.lines] == [
        "remark:",  # this CA has no provisioner
        "Listening",
        "Stopped.",
    ]


def test_a_due_certificate_is_renewed_and_no_connection_of_a_client_ends(start: Start, home: Path) -> None:
    running = start(lifetime=6)
    first = running.serial()
    client = Client(running)
    try:
        with running.connect() as stream:
            stream.sendall(ASK_NAME)
            read_answer(stream)
            running.wait_for("has a new certificate", count=2)
            wait_until(lambda: running.serial() != first)
            stream.sendall(ASK_NAME)
            assert b"\r\nConnection: close" not in read_answer(stream)
    finally:
        client.stop()
    assert client.failures == []
    assert set(client.statuses) == {200}
    assert len(list((home / "tls").iterdir())) <= 2


def test_sighup_takes_up_a_changed_configuration_and_a_new_certificate(start: Start, home: Path) -> None:
    running = start()
    before = running.serial()
    rename_ca(home, "My CA", "Another CA")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("The configuration was reloaded")
    running.wait_for("has a new certificate")
    assert running.get("/name") == "Another CA"
    assert running.serial() != before


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        ('My CA"\nnmae = "x', r"unknown key 'nmae' in \[ca\]; the nearest known one is 'name'"),
        ("unusable", "the app cannot work with this name"),
    ],
)
def test_an_unusable_configuration_leaves_the_running_one_in_force(
    start: Start, home: Path, new: str, reason: str
) -> None:
    running = start()
    rename_ca(home, "My CA", new)
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(f"The configuration was not reloaded, the running one stays in force: .*{reason}")
    running.wait_for("has a new certificate")
    assert running.get("/name") == "My CA"
    assert running.stop() == 0


def test_fifty_reloads_cut_no_request_and_leave_no_thread_or_file(start: Start) -> None:
    running = start()

    def held() -> tuple[int, int]:
        return len(thread_states(running.process.pid)), len(open_files(running.process.pid))

    def reload(count: int) -> None:
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("The configuration was reloaded", count=count)
        running.wait_for("has a new certificate", count=count)

    # Everything that is made when it is first needed is there.
    staying = [Client(running) for _ in range(4)]
    coming = [Client(running, anew=True) for _ in range(2)]
    try:
        for count in range(1, 51):
            reload(count)
    finally:
        for client in (*staying, *coming):
            client.stop()
    for client in (*staying, *coming):
        assert client.failures == []
        assert set(client.statuses) == {200}
    threads, files = held()
    reload(51)
    reload(52)
    for _ in range(8):
        running.get("/name")
    wait_until(lambda: held()[0] <= threads and held()[1] <= files)
    assert threads < 40
    assert files < 40


def test_a_request_is_answered_by_the_application_that_began_it(start: Start, home: Path) -> None:
    running = start()
    with running.connect() as stream:
        stream.sendall(b"GET /slow HTTP/1.1\r\nHost: ca\r\n\r\n")
        wait_until(lambda: connected(running.port))
        rename_ca(home, "My CA", "Another CA")
        running.process.send_signal(signal.SIGHUP)
        answer = read_answer(stream)
        stream.sendall(ASK_NAME)
        running.wait_for("The configuration was reloaded")
        assert read_answer(stream).endswith(b"CA")
    assert answer.endswith(b"\r\n\r\nMy CA")
    assert running.get("/name") == "Another CA"


def test_a_body_that_comes_after_a_reload_goes_to_the_new_application(start: Start, home: Path) -> None:
    running = start()
    with running.connect() as stream:
        stream.sendall(b"GET /name HTTP/1.1\r\nHost: ca\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert stream.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        rename_ca(home, "My CA", "Another CA")
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("The configuration was reloaded")
        stream.sendall(b"{}")
        assert read_answer(stream).endswith(b"\r\n\r\nAnother CA")


def connected(port: int) -> bool:
    """Whether somebody has a connection to a port here (01 is ESTABLISHED)."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)


def test_sigterm_lets_requests_end_says_close_and_ends_what_is_idle(start: Start) -> None:
    running = start()
    with running.connect() as busy, running.connect() as half, running.connect() as idle:
        idle.sendall(ASK_NAME)
        read_answer(idle)
        half.sendall(ASK_NAME)
        read_answer(half)
        half.sendall(ASK_NAME[:20])
        busy.sendall(b"GET /slow HTTP/1.1\r\nHost: ca\r\n\r\n")
        time.sleep(0.3)  # for both to come; the answer takes a second from then
        running.process.send_signal(signal.SIGTERM)
        assert idle.recv(10) == b""
        half.sendall(ASK_NAME[20:])
        for stream in (half, busy):
            assert b"\r\nConnection: close\r\n" in read_answer(stream)
            assert stream.recv(10) == b""
    assert running.process.wait(DEADLINE) == 0


def test_whoever_connected_before_sigterm_is_answered_after_it(start: Start) -> None:
    running = start()
    with running.connect() as asked, running.connect() as new, running.connect() as silent:
        asked.sendall(ASK_NAME)
        read_answer(asked)  # the others were accepted before it was answered
        running.process.send_signal(signal.SIGTERM)
        assert asked.recv(10) == b""  # it has heard the signal
        new.sendall(ASK_NAME)
        assert b"\r\nConnection: close\r\n" in read_answer(new)
        assert silent.recv(10) == b""
    assert running.process.wait(DEADLINE) == 0


def test_a_request_that_takes_too_long_does_not_keep_it_from_stopping(start: Start) -> None:
    running = start()
    with running.connect() as stream:
        stream.sendall(b"POST /name HTTP/1.1\r\nHost: ca\r\nContent-Length: 5\r\n\r\nh")
        time.sleep(0.3)
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 120


def test_the_address_on_the_command_line_is_one_of_the_cas_own(start: Start) -> None:
    assert start("plain", listen="[::1]:0").get("/own") == "127.0.0.1 ::1"


def test_plain_http_has_no_certificate_and_says_whom_it_serves(start: Start, home: Path) -> None:
    running = start("plain")
    assert running.url.startswith("http://")
    assert running.get("/name") == "My CA"
    assert not (home / "tls").exists()


def test_it_listens_on_ipv6(start: Start) -> None:
    running = start("plain", listen="[::1]:0")
    assert running.url.startswith("http://[::1]:")
    assert running.get("/name") == "My CA"


def test_tls_1_2_is_spoken_and_http_2_is_not_offered(start: Start) -> None:
    running = start()
    context = ssl.create_default_context(cafile=str(running.root))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", running.port), timeout=DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as stream,
    ):
        assert (stream.version(), stream.selected_alpn_protocol()) == ("TLSv1.2", "http/1.1")


def never(*_: object) -> NoReturn:
    raise AssertionError("no app is made for a server that cannot listen")


@pytest.mark.parametrize(
    ("listen", "reason"),
    [
        (Listen("192.0.2.1", 8443), "cannot listen on 192.0.2.1:8443: this machine has no such address"),
        (Listen("name.invalid", 8443), "cannot listen on name.invalid:8443: "),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_a_sentence(home: Path, listen: Listen, reason: str) -> None:
    with pytest.raises(ServerError, match=re.escape(reason)):
        server.run(configuration.load(home), listen=listen, application=never)


def test_a_port_in_use_is_a_sentence(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = Listen("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(ServerError, match="another process is listening there"):
            server.run(configuration.load(home), listen=listen, application=never)


def test_an_app_that_cannot_start_is_a_sentence_and_leaves_nothing(home: Path) -> None:
    def unusable(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device", "ca.db")

    with pytest.raises(ServerError, match="No space left on device"):
        server.run(configuration.load(home), listen=Listen("127.0.0.1", 0), application=unusable)
    assert not (home / "tls").exists()


def test_a_plain_url_needs_the_flag_that_says_so(home: Path) -> None:
    rename_ca(home, "https://127.0.0.1", "http://127.0.0.1:8080")
    with pytest.raises(ServerError, match="serve with --plain-http"):
        server.run(configuration.load(home), listen=Listen("127.0.0.1", 0), application=never)
