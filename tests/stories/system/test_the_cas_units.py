"""The CA's units as they are shipped, on a machine that boots with systemd."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from booted import REPOSITORY, Container, container
from pages import commands
from ports import free_port

UNIT = "acme-iid-ca.service"
UNITS = REPOSITORY / "packaging/systemd"
PREFIX = Path(sys.prefix).resolve()  # no link, which would lead out of the machine
CODE = Path("/usr/lib/acme-iid-ca")
PROGRAM = """#!/bin/sh
PYTHONPATH={code} exec {python} -m acme_iid.cli "$@"
"""
ADMIN_SOCKET = """
[Socket]
ListenStream=/run/acme-iid-ca/admin.sock
SocketMode=0660
FileDescriptorName=admin
Service=acme-iid-ca.service
"""
STORE = "/var/lib/acme-iid-ca/ca.db"
URL_FILE = 'url_file = "credential:store-url"'


@dataclass
class Served:
    """A machine with the CA as a service.

    :ivar port: the one that its socket has in place of 443, since the network is the test's own.
    """

    machine: Container
    port: int

    def must(self, *command: str) -> str:
        done = self.machine.run(*command)
        assert done.returncode == 0, (command, done.stdout, done.stderr, self.log())
        return done.stdout

    def type(self, name: str, *replaced: tuple[str, str]) -> None:
        """Type a block of the handbook, with other values than its examples."""
        text = commands(name)
        for example, real in replaced:
            assert text.count(example) == 1
            text = text.replace(example, real)
        self.must("bash", "-euc", text)

    def log(self) -> str:
        return self.machine.run("journalctl", "--no-pager", "-u", UNIT, "-n", "60").stdout

    def shown(self, name: str) -> str:
        return self.must("systemctl", "show", "--value", f"--property={name}", UNIT).strip()

    def is_healthy(self) -> bool:
        root = self.machine.root / "var/lib/acme-iid-ca/certs/root_ca.crt"
        context = ssl.create_default_context(cafile=str(root))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(f"https://127.0.0.1:{self.port}/health", timeout=60) as answer:
            return bool(answer.status == 200)

    def change(self, old: str, new: str) -> None:
        """Edit ca.toml."""
        file = self.machine.root / "etc/acme-iid-ca/ca.toml"
        text = file.read_text()
        assert text.count(old) == 1
        file.write_text(text.replace(old, new))


def unmount(target: Path) -> None:
    subprocess.run(["umount", "--lazy", target], check=True)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A machine with the units and the user as a package leaves them, on which nothing runs yet."""
    with container(tmp_path_factory.mktemp("units") / "machine") as made, ExitStack() as stack:
        # Not the whole clone: others may be kept out of the folder that it is in.
        for folder, inside in ((REPOSITORY / "acme_iid", CODE / "acme_iid"), (PREFIX, PREFIX)):
            target = made.root / str(inside).lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--bind", folder, target], check=True)
            stack.callback(unmount, target)
        found = Served(made, free_port())
        made.write("/usr/bin/acme-iid-ca", PROGRAM.format(code=CODE, python=PREFIX / "bin/python"))
        (made.root / "usr/bin/acme-iid-ca").chmod(0o755)
        for file in UNITS.glob("acme-iid-ca.s[eo]*"):
            shutil.copy(file, made.root / "usr/lib/systemd/system")
        shutil.copy(UNITS / "acme-iid-ca.sysusers", made.root / "usr/lib/sysusers.d/acme-iid-ca.conf")
        made.write("/usr/lib/systemd/system/acme-iid-ca-admin.socket", ADMIN_SOCKET)
        port = f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{found.port}\n"
        made.write("/etc/systemd/system/acme-iid-ca.socket.d/port.conf", port)
        with made.booted():
            found.must("systemd-sysusers")
            for place, mode in (("/etc/acme-iid-ca", "0750"), ("/var/lib/acme-iid-ca", "0700")):
                found.must("install", "-d", "-o", "acme-iid-ca", "-g", "acme-iid-ca", "-m", mode, place)
            yield found


@pytest.fixture(scope="module")
def started(served: Served) -> Served:
    """The same once the CA was made, and its service enabled and started."""
    served.type("service-start", ("https://ca.internal", f"https://127.0.0.1:{served.port}"))
    return served


def test_root_does_not_make_what_the_service_cannot_read(served: Served) -> None:
    home = served.machine.root / "var/lib/acme-iid-ca"
    before = (home / "secrets").exists()
    refused = served.machine.run("acme-iid-ca", "init", "--name", "Its CA")
    assert refused.returncode == 1
    assert "type this: runuser -u acme-iid-ca -- acme-iid-ca init --name 'Its CA'" in refused.stderr
    assert (home / "secrets").exists() is before


def test_the_service_starts_after_init_and_says_what_it_does(started: Served) -> None:
    assert started.is_healthy()
    assert started.shown("StatusText").startswith("Listening on https://127.0.0.1:")
    assert started.shown("WatchdogTimestampMonotonic") != "0"
    assert started.must("systemctl", "is-enabled", UNIT, "acme-iid-ca.socket").split() == ["enabled", "enabled"]
    assert "remark" in started.machine.run("runuser", "-u", "acme-iid-ca", "--", "acme-iid-ca", "check").stdout


def test_its_exposure_is_2_0_at_most(started: Served) -> None:
    told = started.must("systemd-analyze", "security", "--no-pager", UNIT)
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told)
    assert exposure is not None, told
    assert float(exposure[1]) <= 2.0, told


def test_a_ca_toml_that_is_wrong_is_not_reloaded(started: Served) -> None:
    started.change("[ca]\n", "[ca]\nnome = 1\n")
    assert started.machine.run("systemctl", "reload", UNIT).returncode != 0
    assert "nome" in started.log()
    started.change("nome = 1\n", "")
    started.must("systemctl", "reload", UNIT)
    started.machine.until(lambda: "The configuration was reloaded." in started.log(), 60)
    assert "was not reloaded" not in started.log()


def test_a_reload_does_without_credentials_and_tells_of_others(started: Served) -> None:
    credential = started.machine.root / "etc/credstore/acme-iid-ca.store-url"
    started.machine.write("/root/store-url", f"sqlite:{STORE}\n")
    started.change('url = "sqlite:ca.db"', URL_FILE)
    started.type("service-credential")
    assert started.is_healthy()
    started.type("service-reload")
    pid = started.shown("MainPID")
    credential.write_text(f"sqlite:{STORE}.other\n")
    assert started.machine.run("systemctl", "reload", UNIT).returncode != 0
    assert "acme-iid-ca.store-url is another one than the server has: restart needed" in started.log()
    assert started.shown("MainPID") == pid
    assert started.is_healthy()
    credential.write_text(f"sqlite:{STORE}\n")
    started.must("systemctl", "reload", UNIT)
    started.change(URL_FILE, 'url = "sqlite:ca.db"')
    started.must("systemctl", "restart", UNIT)


def test_sockets_survive_reloads_and_a_restart_under_load(started: Served) -> None:
    file = started.machine.root / "etc/acme-iid-ca/ca.toml"
    text = file.read_text()
    file.write_text(text + '\n[admin]\nsocket = "/run/acme-iid-ca/admin.sock"\n')
    started.must("systemctl", "stop", UNIT, "acme-iid-ca.socket")
    started.must("systemctl", "start", "acme-iid-ca-admin.socket", UNIT)
    inode = started.must("stat", "-c", "%i", "/run/acme-iid-ca/admin.sock")
    failures: list[Exception] = []
    answered, stop = [0], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                answered[0] += started.is_healthy()
            except OSError as error:
                if "refused" in str(error):
                    failures.append(error)

    client = threading.Thread(target=ask)
    client.start()
    try:
        for _ in range(10):
            started.must("systemctl", "kill", "--kill-whom=main", "--signal=HUP", UNIT)
        started.must("systemctl", "restart", UNIT)
        started.must("acme-iid-ca", "--admin-url", "unix:/run/acme-iid-ca/admin.sock", "instance", "list")
    finally:
        stop.set()
        client.join()
    assert failures == []
    assert answered[0] > 0
    assert started.must("stat", "-c", "%i", "/run/acme-iid-ca/admin.sock") == inode
    # Other tests' server has no operators.
    file.write_text(text)
    started.must("systemctl", "stop", "acme-iid-ca-admin.socket", "acme-iid-ca.socket", UNIT)
    started.must("systemctl", "start", UNIT)


def test_a_server_that_is_killed_is_started_again(started: Served) -> None:
    before = started.shown("MainPID")
    started.must("systemctl", "kill", "--kill-whom=main", "--signal=KILL", UNIT)
    started.machine.until(lambda: started.shown("MainPID") not in ("0", before), 60)
    assert started.is_healthy()


def test_a_server_that_cannot_start_is_tried_until_it_can(started: Served) -> None:
    store = started.machine.root / STORE.lstrip("/")
    away = store.with_suffix(".away")
    started.must("systemctl", "stop", UNIT)
    store.rename(away)
    store.mkdir()
    started.must("systemctl", "restart", "--no-block", UNIT)
    # By default systemd starts a unit five times in ten seconds and then never again.
    started.machine.until(lambda: int(started.shown("NRestarts")) > 5, 120)
    store.rmdir()
    away.rename(store)
    started.machine.until(lambda: started.shown("ActiveState") == "active", 60)
    assert started.is_healthy()
    for _ in range(6):
        started.must("systemctl", "restart", UNIT)


def test_a_home_of_before_is_moved_as_the_page_says(started: Served) -> None:
    started.must("systemctl", "stop", "acme-iid-ca.socket", UNIT)
    started.must("bash", "-euc", "cd /var/lib/acme-iid-ca; mv -t /etc/acme-iid-ca ./*; chown -R root: /etc/acme-iid-ca")
    # Root's CA is found where it was before.
    told = started.machine.run("acme-iid-ca", "check").stdout
    assert "Stop the server, move all but ca.toml from there to /var/lib/acme-iid-ca" in told
    started.type("service-move")
    started.must("systemctl", "start", UNIT)
    assert started.is_healthy()
    assert "home-in-etc" not in started.machine.run("runuser", "-u", "acme-iid-ca", "--", "acme-iid-ca", "check").stdout
