"""The server as a service of systemd, which opens its socket and starts it again when it crashes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from booted import REPOSITORY, Container, container
from running import CA

HOME = Path("/srv/ca")
SOCKET = """
[Socket]
ListenStream=127.0.0.1:{port}

[Install]
WantedBy=sockets.target
"""
SERVICE = """
[Service]
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
def machine(tmp_path: Path, ca: CA) -> Iterator[Container]:
    """A machine that shares this one's network, this project with its Python's packages, and the CA's home."""
    with container(tmp_path / "machine") as made, ExitStack() as stack:
        for folder, place in ((REPOSITORY, REPOSITORY), (Path(sys.prefix), Path(sys.prefix)), (ca.home, HOME)):
            target = made.root / str(place).lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--bind", folder, target], check=True)
            stack.callback(unmount, target)
        python = Path(sys.prefix, "bin", "python")
        made.write("/etc/systemd/system/acme-iid-ca.socket", SOCKET.format(port=ca.port))
        made.write("/etc/systemd/system/acme-iid-ca.service", SERVICE.format(python=python, home=HOME))
        with made.booted():
            started = made.run("systemctl", "start", "acme-iid-ca.socket")
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


def test_systemd_starts_a_server_that_crashed_again_on_its_socket(machine: Container, ca: CA) -> None:
    assert main_pid(machine) == "0"
    assert healthy(ca)  # the first client has it started
    before = main_pid(machine)
    assert before != "0"
    assert machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "acme-iid-ca.service").returncode == 0
    machine.until(lambda: main_pid(machine) not in ("0", before), 60)
    assert healthy(ca)


def test_a_restart_by_systemd_refuses_no_new_connection(machine: Container, ca: CA) -> None:
    assert healthy(ca)
    stop = threading.Event()
    refused: list[Exception] = []
    answered = [0]

    def ask() -> None:
        while not stop.is_set():
            try:
                answered[0] += healthy(ca)
            except requests.ConnectionError as error:
                # One that was made and had no answer yet may be ended; none is refused.
                if "Connection refused" in str(error):
                    refused.append(error)

    client = threading.Thread(target=ask)
    client.start()
    try:
        for _ in range(3):
            assert machine.run("systemctl", "restart", "acme-iid-ca.service").returncode == 0
    finally:
        stop.set()
        client.join()
    assert refused == []
    assert answered[0] > 0
    assert machine.run("systemctl", "reload", "acme-iid-ca.service").returncode == 0
    machine.until(lambda: "was reloaded" in machine.run("journalctl", "-u", "acme-iid-ca").stdout, 60)
    assert healthy(ca)
