"""The server as a process: started, signalled and killed, spoken to over real connections."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner
from cryptography import x509

from acme_iid import config as configuration
from acme_iid import server, sockets
from acme_iid.cli import main
from acme_iid.errors import ServerError
from acme_iid.values import Listen
from acme_iid.worker import WSGIApplication

PROGRAM = """
import os, sys, time
from pathlib import Path
import flask
from acme_iid import config, errors, server, values

def application(settings, password):
    if settings.ca.name == "unusable":
        raise ValueError("the app cannot work with this name")
    if (settings.home / "broken").exists():
        raise ValueError("the app is broken")
    app = flask.Flask("test")
    app.add_url_rule("/pid", view_func=lambda: str(os.getpid()), endpoint="pid")
    app.add_url_rule("/name", view_func=lambda: settings.ca.name, endpoint="name")
    own = " ".join(sorted(name.value for name in settings.namespace.reserved))
    app.add_url_rule("/own", view_func=lambda: own, endpoint="own")
    app.add_url_rule("/brief", view_func=lambda: (time.sleep(0.02), str(os.getpid()))[1], endpoint="brief")
    app.add_url_rule("/slow", view_func=lambda: (time.sleep(1), "done")[1], endpoint="slow")
    return app

try:
    server.run(
        config.load(Path(sys.argv[1])),
        listen=values.listen_address(sys.argv[2]),
        plain_http="plain" in sys.argv[4:],
        workers=2 if "two-workers" in sys.argv[4:] else 1,
        serving_lifetime=int(sys.argv[3]),
        application=application,
    )
except errors.ServerError as error:
    sys.exit(f"refused: {error}")
"""
DEADLINE = 60


@dataclass
class Running:
    process: subprocess.Popen[str]
    root: Path
    lines: list[str]
    url: str = ""
    follower: threading.Thread | None = None

    def session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.root)
        return session

    def get(self, path: str) -> str:
        with self.session() as session:
            return session.get(self.url + path, timeout=DEADLINE).text

    def serial(self) -> int:
        host, port = self.url.removeprefix("https://").rsplit(":", 1)
        with (
            socket.create_connection((host, int(port)), timeout=DEADLINE) as plain,
            ssl.create_default_context(cafile=str(self.root)).wrap_socket(plain, server_hostname=host) as stream,
        ):
            der = stream.getpeercert(binary_form=True)
            assert der is not None
            return x509.load_der_x509_certificate(der).serial_number

    def wait_for(self, pattern: str) -> re.Match[str]:
        found: list[re.Match[str]] = []

        def seen() -> bool:
            found.extend(filter(None, (re.search(pattern, line) for line in list(self.lines))))
            return bool(found)

        wait_until(seen)
        return found[0]

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        self.process.send_signal(signal_number)
        return self.process.wait(DEADLINE)


Start = Callable[..., Running]


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = CliRunner().invoke(main, ["--home", str(tmp_path / "ca"), "init", "--url", "https://127.0.0.1"])
    assert made.exit_code == 0, made.output
    return tmp_path / "ca"


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    started: list[Running] = []

    def go(*flags: str, listen: str = "127.0.0.1:0", lifetime: int = 3600) -> Running:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(home), listen, str(lifetime), *flags],
            stderr=subprocess.PIPE,
            text=True,
        )
        running = Running(process, home / "certs/root_ca.crt", [])
        started.append(running)

        def follow() -> None:
            assert process.stderr is not None
            running.lines.extend(process.stderr)

        running.follower = threading.Thread(target=follow, daemon=True)
        running.follower.start()
        running.url = running.wait_for(r"Listening on (\S+), for https://127\.0\.0\.1$")[1]
        return running

    yield go
    for running in started:
        if running.process.poll() is None:
            running.process.terminate()
            try:
                running.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()
        if running.follower is not None:
            running.follower.join(DEADLINE)
            # A worker that outlived its server holds the other end; closing ours would wait for it.
            assert not running.follower.is_alive(), "a process of the server is still running"
        assert running.process.stderr is not None
        running.process.stderr.close()


def rename_ca(home: Path, old: str, new: str) -> None:
    file = home / "ca.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_clients_that_trust_the_root_are_answered_and_sigterm_ends_it_with_success(start: Start, home: Path) -> None:
    running = start()
    assert running.get("/name") == "My CA"
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


def test_a_due_certificate_is_renewed_and_no_request_of_a_client_that_stays_connected_fails(
    start: Start, home: Path
) -> None:
    running = start(lifetime=6)
    first = running.serial()
    statuses: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        with running.session() as session:
            while not stop.wait(0.01):
                statuses.append(session.get(running.url + "/pid", timeout=DEADLINE).status_code)

    client = threading.Thread(target=ask)
    client.start()
    try:
        running.wait_for("has a new certificate")
        wait_until(lambda: running.serial() != first)
        # Until the first one has run out: by then only the new one can be what verifies.
        time.sleep(2.5)
        assert running.serial() != first
    finally:
        stop.set()
        client.join()
    assert len(statuses) > 50
    assert set(statuses) == {200}
    assert len(list((home / "tls").iterdir())) <= 2


def test_a_worker_that_is_replaced_lets_go_of_its_clients_with_an_answer(start: Start) -> None:
    running = start()
    with running.session() as session:
        seen: list[tuple[str, str | None]] = []

        def another_worker_answers() -> bool:
            answer = session.get(running.url + "/pid", timeout=DEADLINE)
            seen.append((answer.text, answer.headers.get("Connection")))
            return seen[-1][0] != seen[0][0]

        assert not another_worker_answers()
        running.process.send_signal(signal.SIGHUP)
        wait_until(another_worker_answers)
        # Closed without this, a connection could be closed just as its client sends the next request.
        assert [end for _, end in seen[:1] + seen[-2:]] == [None, "close", None]


def test_a_worker_that_has_most_of_the_connections_sends_some_on_and_no_request_fails(start: Start) -> None:
    running = start("two-workers")
    with ExitStack() as stack:
        dealt: dict[str, list[requests.Session]] = {}

        def one_has_six_and_the_other_two() -> bool:
            session = stack.enter_context(running.session())
            dealt.setdefault(session.get(running.url + "/pid", timeout=DEADLINE).text, []).append(session)
            return len(dealt) == 2 and min(many := [len(one) for one in dealt.values()]) >= 2 and max(many) >= 6

        wait_until(one_has_six_and_the_other_two)  # the kernel deals connections out by chance
        fewer, more = sorted(dealt.values(), key=len)
        stop = threading.Event()
        answered_by = [""] * 8

        def ask(place: int, session: requests.Session) -> None:
            while not stop.is_set():
                answered_by[place] = session.get(running.url + "/brief", timeout=DEADLINE).text

        clients = [threading.Thread(target=ask, args=each) for each in enumerate([*more[:6], *fewer[:2]])]
        for client in clients:
            client.start()
        try:
            wait_until(lambda: sorted(map(answered_by.count, dealt)) == [4, 4])
            assert all(client.is_alive() for client in clients)
        finally:
            stop.set()
            for client in clients:
                client.join()


def test_sighup_takes_up_a_changed_configuration_and_a_new_certificate(start: Start, home: Path) -> None:
    running = start()
    before = running.serial()
    rename_ca(home, "My CA", "Another CA")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("The configuration was reloaded")
    wait_until(lambda: running.get("/name") == "Another CA")
    wait_until(lambda: running.serial() != before)


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        ('My CA"\nnmae = "x', r"unknown key 'nmae' in \[ca\]; the nearest known one is 'name'"),
        ("unusable", "the app cannot work with this name"),
    ],
)
def test_a_configuration_that_cannot_be_used_leaves_the_running_one_in_force(
    start: Start, home: Path, new: str, reason: str
) -> None:
    running = start()
    pid = running.get("/pid")
    rename_ca(home, "My CA", new)
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(f"stays in force: .*{reason}")
    wait_until(lambda: running.get("/pid") != pid)  # workers are replaced all the same
    assert running.get("/name") == "My CA"
    assert running.stop() == 0


def test_a_request_in_progress_is_answered_before_the_server_stops(start: Start) -> None:
    running = start()
    answers: list[str] = []
    client = threading.Thread(target=lambda: answers.append(running.get("/slow")))
    client.start()
    port = int(running.url.rsplit(":", 1)[1])
    wait_until(lambda: connected(port))
    time.sleep(0.3)  # for the request to follow its connection; the answer takes a second from then
    assert running.stop() == 0
    client.join()
    assert answers == ["done"]


def connected(port: int) -> bool:
    """Whether somebody has a connection to a port here (01 is ESTABLISHED)."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)


def test_a_worker_that_is_killed_is_replaced_and_requests_wait_for_the_new_one(start: Start) -> None:
    running = start()
    pid = running.get("/pid")
    os.kill(int(pid), signal.SIGKILL)
    assert running.get("/pid") != pid
    assert running.process.poll() is None


def reload_workers(running: Running) -> str:
    """Reload, and return the process that answers then."""
    before = running.get("/pid")
    running.process.send_signal(signal.SIGHUP)
    wait_until(lambda: running.get("/pid") != before)
    return running.get("/pid")


def test_workers_that_are_killed_just_after_a_reload_are_replaced(start: Start) -> None:
    running = start()
    for _ in range(2):
        pid = reload_workers(running)
        for _ in range(2):
            os.kill(int(pid), signal.SIGKILL)
            killed, pid = pid, running.get("/pid")
            assert pid != killed
    assert running.process.poll() is None
    assert running.stop() == 0


def test_a_worker_that_does_not_start_replaces_none(start: Start, home: Path) -> None:
    running = start(lifetime=6)
    pid = running.get("/pid")
    (home / "broken").touch()
    running.wait_for("A worker cannot start: the app is broken")
    running.wait_for("A new worker did not start, so the old ones go on")
    assert running.get("/pid") == pid
    assert running.stop() == 0


def test_a_worker_that_keeps_ending_ends_the_server_with_a_sentence(start: Start, home: Path) -> None:
    running = start()
    (home / "broken").touch()
    os.kill(int(running.get("/pid")), signal.SIGKILL)
    assert running.process.wait(120) == 1
    running.wait_for("refused: the server's processes keep ending")


def test_new_connections_are_answered_while_workers_are_replaced(start: Start) -> None:
    running = start()
    stop = threading.Event()
    failures: list[Exception] = []
    answered = [0] * 12

    def ask(place: int) -> None:
        while not stop.is_set():
            try:
                running.get("/pid")
                answered[place] += 1
            except requests.RequestException as error:
                failures.append(error)

    clients = [threading.Thread(target=ask, args=(place,)) for place in range(len(answered))]
    for client in clients:
        client.start()
    try:
        for _ in range(3):
            pid = int(running.get("/pid"))
            running.process.send_signal(signal.SIGHUP)
            wait_until(lambda pid=pid: ended(pid))  # type: ignore[misc]
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert min(answered) > 0
    assert failures == []


def test_the_address_on_the_command_line_is_one_of_the_cas_own(start: Start) -> None:
    assert start("plain", listen="[::1]:0").get("/own") == "127.0.0.1 ::1"


def test_after_a_kill_of_the_parent_the_same_address_can_be_served_at_once(start: Start, home: Path) -> None:
    running = start()
    address = running.url.removeprefix("https://")
    worker = int(running.get("/pid"))
    assert running.stop(signal.SIGKILL) == -signal.SIGKILL
    try:
        again = start(listen=address)
        assert again.get("/pid") != str(worker)
        wait_until(lambda: ended(worker))
    except AssertionError:
        os.kill(worker, signal.SIGKILL)
        raise
    # What the killed one left behind is gone, too.
    assert len(list((home / "tls").iterdir())) == 1


def ended(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


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
    host, port = running.url.removeprefix("https://").rsplit(":", 1)
    context = ssl.create_default_context(cafile=str(running.root))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection((host, int(port)), timeout=DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname=host) as stream,
    ):
        assert (stream.version(), stream.selected_alpn_protocol()) == ("TLSv1.2", "http/1.1")


def never(*_: object) -> WSGIApplication:
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


def test_a_server_with_several_workers_shares_its_port_with_no_other() -> None:
    with ExitStack() as stack:
        first, second = (stack.enter_context(one) for one in sockets.listeners(Listen("127.0.0.1", 0), 2))
        assert first.getsockname() == second.getsockname()
        with pytest.raises(ServerError, match="another process is listening there"):
            sockets.listeners(Listen("127.0.0.1", first.getsockname()[1]), 2)


def test_connections_are_dealt_out_among_the_workers() -> None:
    with ExitStack() as stack:
        listeners = [stack.enter_context(one) for one in sockets.listeners(Listen("127.0.0.1", 0), 2)]
        for _ in range(64):
            stack.enter_context(socket.create_connection(listeners[0].getsockname()))
        accepted = [0, 0]
        for place, listener in enumerate(listeners):
            with suppress(BlockingIOError):
                while True:
                    stack.enter_context(listener.accept()[0])
                    accepted[place] += 1
    # All 64 on one side would be a chance of one in 2^63.
    assert sum(accepted) == 64
    assert min(accepted) > 0


def test_a_process_that_accepts_no_more_leaves_connections_to_the_others() -> None:
    with sockets.bind(Listen("127.0.0.1", 0), shared=False) as listener:
        port = listener.getsockname()[1]
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)

        def let_go() -> None:
            sockets.accept_no_more(port)
            found = []
            for _ in range(2):  # before and after the connections
                with suppress(BlockingIOError):
                    found.append(str(listener.accept()))
                sender.send(found)
                proceed.wait(DEADLINE)

        proceed = context.Event()
        process = context.Process(target=let_go)
        process.start()
        try:
            assert receiver.recv() == []
            with ExitStack() as stack:
                for _ in range(4):
                    stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=DEADLINE))
                proceed.set()
                assert receiver.recv() == []
                for _ in range(4):
                    stack.enter_context(listener.accept()[0])
        finally:
            process.join(DEADLINE)
        assert process.exitcode == 0


def test_an_answer_does_not_wait_for_its_beginning_to_be_acknowledged() -> None:
    with (
        sockets.bind(Listen("127.0.0.1", 0), shared=False) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_who_acknowledges_nothing_is_given_up() -> None:
    with (
        sockets.bind(Listen("127.0.0.1", 0), shared=False) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


def test_an_app_that_cannot_start_is_a_sentence_and_leaves_nothing(home: Path) -> None:
    def unusable(*_: object) -> WSGIApplication:
        raise OSError(28, "No space left on device", "ca.db")

    with pytest.raises(ServerError, match="No space left on device"):
        server.run(configuration.load(home), listen=Listen("127.0.0.1", 0), application=unusable)
    assert not (home / "tls").exists()


def test_a_plain_url_needs_the_flag_that_says_so(home: Path) -> None:
    rename_ca(home, "https://127.0.0.1", "http://127.0.0.1:8080")
    with pytest.raises(ServerError, match="serve with --plain-http"):
        server.run(configuration.load(home), listen=Listen("127.0.0.1", 0), application=never)
