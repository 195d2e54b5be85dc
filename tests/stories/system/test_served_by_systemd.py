"""The server as a service of systemd, which opens its sockets and starts it again when it crashes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests
from booted import REPOSITORY, Container, container
from certificate_status_requests import listen_by_plain_http
from running import CA

HOME = Path("/srv/ca")
PREFIX = Path(sys.prefix).resolve()  # no link, which would lead out of the machine
SOCKET = """
[Socket]
ListenStream=127.0.0.1:{port}

[Install]
WantedBy=sockets.target
"""
STATUS_SOCKET = """
[Socket]
ListenStream={address}
FileDescriptorName=status
Service=acme-iid-ca.service
"""
SERVICE = """
[Service]
Environment=PYTHONPATH={repository}
ExecStart={python} -m acme_iid.cli --home {home} serve
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=0
"""


@pytest.fixture
def ca(tmp_path: Path) -> CA:
    made = CA(tmp_path / "ca")
    made.cli("init", "--url", made.url, "--listen", f"127.0.0.1:{made.port}")
    return made


@pytest.fixture
def plain(ca: CA) -> str:
    """The URL of its listener for plain HTTP."""
    return listen_by_plain_http(ca)


@pytest.fixture
def machine(tmp_path: Path, ca: CA, plain: str) -> Iterator[Container]:
    """A machine that shares this one's network, this project with its Python's packages, and the CA's home."""
    with container(tmp_path / "machine") as made, ExitStack() as stack:
        for folder, place in ((REPOSITORY, REPOSITORY), (PREFIX, PREFIX), (ca.home, HOME)):
            target = made.root / str(place).lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--bind", folder, target], check=True)
            stack.callback(unmount, target)
        python = PREFIX / "bin/python"
        made.write("/etc/systemd/system/acme-iid-ca.socket", SOCKET.format(port=ca.port))
        address = plain.removeprefix("http://")
        made.write("/etc/systemd/system/acme-iid-ca-status.socket", STATUS_SOCKET.format(address=address))
        service = SERVICE.format(python=python, home=HOME, repository=REPOSITORY)
        made.write("/etc/systemd/system/acme-iid-ca.service", service)
        with made.booted():
            started = made.run("systemctl", "start", "acme-iid-ca.socket", "acme-iid-ca-status.socket")
            assert started.returncode == 0, started.stderr
            yield made


def unmount(target: Path) -> None:
    subprocess.run(["umount", "--lazy", target], check=True)


def main_pid(machine: Container) -> str:
    return machine.run("systemctl", "show", "--property=MainPID", "--value", "acme-iid-ca.service").stdout.strip()


def healthy(ca: CA) -> bool:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(f"{ca.url}/health", verify=str(ca.root), timeout=60).status_code == 200


def listed(ca: CA, plain: str) -> bool:
    """Whether the revocation list comes by plain HTTP."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(f"{plain}/crl/{ca.issuer_id}", timeout=60).status_code == 200


class Client:
    """Somebody who asks again and again, each time on a new connection.

    :param ask: whether the answer was right.
    :ivar refused: connections that were refused.
    """

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self._stop = threading.Event()
        self.answered = 0
        self.refused: list[Exception] = []

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.answered += self._ask()
            except requests.ConnectionError as error:
                # One that was made and had no answer yet may be ended; none is refused.
                if "Connection refused" in str(error):
                    self.refused.append(error)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask until the block ends."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


def test_the_first_client_by_plain_http_has_it_started(machine: Container, ca: CA, plain: str) -> None:
    assert main_pid(machine) == "0"
    assert listed(ca, plain)
    assert main_pid(machine) != "0"
    # Each socket has what it is named for.
    assert healthy(ca)
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(f"{plain}/health", timeout=60).status_code == 404


def test_systemd_starts_a_server_that_crashed_again_on_its_socket(machine: Container, ca: CA) -> None:
    assert main_pid(machine) == "0"
    assert healthy(ca)  # the first client has it started
    before = main_pid(machine)
    assert before != "0"
    assert machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "acme-iid-ca.service").returncode == 0
    machine.until(lambda: main_pid(machine) not in ("0", before), 60)
    assert healthy(ca)


def test_a_restart_by_systemd_refuses_no_new_connection(machine: Container, ca: CA, plain: str) -> None:
    assert healthy(ca)
    clients = [Client(lambda: healthy(ca)), Client(lambda: listed(ca, plain))]
    with ExitStack() as stack:
        for client in clients:
            stack.enter_context(client.asking())
        for _ in range(3):
            assert machine.run("systemctl", "restart", "acme-iid-ca.service").returncode == 0
        # The latest one hears of it once it answers; before, it is no server yet.
        assert healthy(ca)
        assert machine.run("systemctl", "reload", "acme-iid-ca.service").returncode == 0
        machine.until(lambda: "was reloaded" in machine.run("journalctl", "-u", "acme-iid-ca").stdout, 60)
    assert [client.refused for client in clients] == [[], []]
    assert min(client.answered for client in clients) > 0
    assert healthy(ca)
    assert listed(ca, plain)
    assert "unexpected failure" not in machine.run("journalctl", "-u", "acme-iid-ca").stdout
