"""The page on operators without keys, typed on a machine that boots with systemd, and on one without the CA's home."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from booted import REPOSITORY, Container, container
from pages import blocks, commands, page
from ports import free_port
from processes import children
from running import ACCOUNT, CA, SECONDS, answer
from wire import Account

from acme_iid.simulator import aws

PAGE = "docs/how-to/operators-without-keys.md"
HOME = Path("/etc/acme-iid-ca")
PREFIX = Path("/opt/python")
PROGRAM = Path("/opt/program")
VM = aws.Instance(account=ACCOUNT, instance_id="i-05e360db6e50b5eda")
COMMAND = """\
#!/bin/sh
PYTHONPATH={program}:{program}/client exec {python}/bin/python -m acme_iid.cli "$@"
"""
SERVICE = """
[Service]
User=acme-iid-ca
SystemCallFilter=@system-service {landlock}
ExecStart=/usr/local/bin/acme-iid-ca --home /etc/acme-iid-ca serve
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=0
"""
SOCKET = Path("/run/acme-iid-ca/admin.sock")
UNIT = "acme-iid-ca-admin.socket"
MOST_LINES = 200


@dataclass
class Place:
    """A booted machine with the CA, whose network is this machine's.

    :ivar listener: the port of the admin listener.
    """

    machine: Container
    ca: CA
    listener: int = field(default_factory=free_port)

    def type(self, user: str, text: str) -> subprocess.CompletedProcess[str]:
        """Type commands as a user of the machine."""
        return self.machine.run("runuser", "--login", user, "--command", text)

    def typed(self, user: str, name: str, thumbprint: str = "") -> str:
        """Type a block of the page as a user of the machine; it must succeed. Returns all that was printed."""
        text = commands(name).replace("THUMBPRINT", thumbprint)
        done = self.type(user, f"set -e\n{text}")
        assert done.returncode == 0, (name, done.stdout, done.stderr, self.log())
        return done.stdout + done.stderr

    def log(self) -> str:
        shown = self.machine.run("journalctl", "--no-pager", "--lines", str(MOST_LINES), "--unit", "acme-iid-ca")
        return shown.stdout

    def configure(self, number: int) -> None:
        """Put one of the page's blocks of [admin] into ca.toml."""
        shown = [block.text for block in blocks("toml", PAGE) if block.text.startswith("[admin]")]
        file = self.ca.home / "ca.toml"
        before, _, _ = file.read_text().partition("\n[admin]\n")
        text = shown[number].replace("0.0.0.0:9443", f"127.0.0.1:{self.listener}")
        file.write_text(f"{before}\n{text}")

    def show(self, *properties: str) -> str:
        shown = self.machine.run("systemctl", "show", "--value", "--property", ",".join(properties), "acme-iid-ca")
        return shown.stdout.strip()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("operators")
    ca = CA(folder / "ca")
    ca.init(in_a_file=True)
    settings = ca.home / "ca.toml"
    settings.write_text(settings.read_text().replace(str(ca.home), str(HOME)))
    with container(folder / "machine") as machine, ExitStack() as stack:
        for outside, inside in ((REPOSITORY, PROGRAM), (Path(sys.prefix).resolve(), PREFIX), (ca.home, HOME)):
            target = machine.root / str(inside).lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--bind", outside, target], check=True)
            stack.callback(unmount, target)
        machine.write("/usr/local/bin/acme-iid-ca", COMMAND.format(program=PROGRAM, python=PREFIX))
        (machine.root / "usr/local/bin/acme-iid-ca").chmod(0o755)
        calls = re.search(r"calls through: `([\w ]+)`", page(PAGE))
        assert calls is not None
        machine.write("/etc/systemd/system/acme-iid-ca.service", SERVICE.format(landlock=calls[1]))
        (unit,) = (block for block in blocks("ini", PAGE) if block.name == UNIT)
        with machine.booted():
            for user in ("--system acme-iid-ca", "--create-home hannah", "--create-home alice", "--create-home oscar"):
                added = machine.run("useradd", "--shell", "/bin/bash", *user.split())
                assert added.returncode == 0, added.stderr
            machine.run("chown", "--recursive", "acme-iid-ca", str(HOME))
            made = Place(machine, ca)
            made.typed("root", "operators-groups")
            made.configure(0)
            machine.write(f"/etc/systemd/system/{UNIT}", unit.text)
            made.typed("root", "operators-systemd")
            machine.until(lambda: "Listening on" in made.log(), SECONDS)
            yield made


def unmount(target: Path) -> None:
    subprocess.run(["umount", "--lazy", target], check=True)


@pytest.fixture(scope="module")
def rebuilt(place: Place) -> Account:
    """The account of a VM that was rebuilt: the instance belongs to another key."""
    lost, made = place.ca.account(), place.ca.account()
    lost.obtain("foo.local", answer=answer(VM))
    _, (refused,) = made.prove("foo.local", answer=answer(VM))
    assert "belongs to another" in refused.text
    return made


def test_systemd_opens_the_socket_for_the_group_and_nobody_else(place: Place) -> None:
    shown = place.machine.run("stat", "--format", "%a %U %G", str(SOCKET))
    assert shown.stdout == "660 root acme-iid-operators\n", (shown.stderr, place.log())
    assert f"Operators are answered at unix:{SOCKET}" in place.log()
    refused = place.type("oscar", "acme-iid-ca instance list")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"you may not open the admin socket {SOCKET}: it is for members of the group" in refused.stderr
    member = place.type("alice", "acme-iid-ca instance list")
    assert member.returncode == 0, member.stderr
    assert f"Asked at unix:{SOCKET} as alice, with the role operator.\n" in member.stderr


def test_the_check_knows_the_groups_that_the_page_makes(place: Place) -> None:
    checked = place.type("root", "acme-iid-ca check")
    assert "unknown-operator" not in checked.stdout + checked.stderr


def test_the_helpdesk_lets_the_rebuilt_vm_in_as_the_page_says(place: Place, rebuilt: Account) -> None:
    printed = place.typed("hannah", "operators-helpdesk", rebuilt.key.thumbprint)
    assert f"Asked at unix:{SOCKET} as hannah, with the role helpdesk." in printed
    assert f"is released to the key {rebuilt.key.thumbprint} until " in printed
    rebuilt.obtain("foo.local", answer=answer(VM))
    shown = place.type("root", "acme-iid-ca events --kind instance.released").stdout
    assert "hannah" in shown
    assert "rebuilt, ticket 4711" in shown


def test_the_helpdesk_may_do_no_more_and_the_operator_may(place: Place) -> None:
    account = place.ca.account()
    end = f"acme-iid-ca account deactivate {account.url.rpartition('/')[2]} --reason leaver"
    refused = place.type("hannah", end)
    assert refused.returncode == 1
    assert "takes the role operator, and yours is helpdesk" in refused.stderr
    assert place.type("hannah", "acme-iid-ca reload").returncode == 1
    assert place.type("alice", end).returncode == 0
    shown = place.type("root", "acme-iid-ca events --kind account.deactivated --limit 1").stdout
    assert "alice" in shown
    assert "leaver" in shown


@pytest.mark.usefixtures("rebuilt")
def test_programs_ask_as_the_reference_says(place: Place) -> None:
    # By root and this machine's curl: the small one has none.
    text = commands("admin-ask").replace(str(SOCKET), f"/proc/{place.machine.leader}/root{SOCKET}")
    done = subprocess.run(["bash", "-euc", text], capture_output=True, text=True, check=True)
    printed = done.stdout
    assert '"items"' in printed
    assert '"orders_ended"' in printed
    assert place.type("alice", "acme-iid-ca instance unblock i-05e360db6e50b5eda").returncode == 0


def test_the_socket_outlives_a_server_that_is_killed(place: Place) -> None:
    before = (place.show("MainPID"), place.machine.run("stat", "--format", "%i", str(SOCKET)).stdout)
    killed = place.machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "acme-iid-ca.service")
    assert killed.returncode == 0
    # Whoever connects meanwhile waits.
    asked = place.type("alice", "acme-iid-ca instance list")
    assert asked.returncode == 0, (asked.stderr, place.log())
    after = (place.show("MainPID"), place.machine.run("stat", "--format", "%i", str(SOCKET)).stdout)
    assert after[0] not in ("0", before[0])
    assert after[1] == before[1]


# From another machine


@pytest.fixture(scope="module")
def desk(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Hannah has on a machine without the CA's home."""
    folder = tmp_path_factory.mktemp("desk")
    done = subprocess.run(["bash", "-euc", commands("operators-ca")], cwd=folder, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (place.ca.home / "operators.pem").write_bytes((folder / "operators.pem").read_bytes())
    (folder / "roots.pem").write_bytes(place.ca.root.read_bytes())
    place.configure(1)
    restarted = place.machine.run("systemctl", "restart", "acme-iid-ca.service")
    assert restarted.returncode == 0
    place.machine.until(lambda: f"Operators are answered at https://127.0.0.1:{place.listener}" in place.log(), SECONDS)
    return folder


@pytest.mark.usefixtures("rebuilt")
def test_the_helpdesk_asks_from_another_machine_as_the_page_says(place: Place, desk: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACME_IID")}
    folder = desk / "bin"
    folder.mkdir()
    (folder / "acme-iid-ca").write_text(COMMAND.format(program=REPOSITORY, python=sys.prefix))
    (folder / "acme-iid-ca").chmod(0o755)
    env = {**kept, "HOME": str(desk), "PATH": f"{folder}:{kept['PATH']}", "XDG_CONFIG_HOME": str(desk / "config")}
    text = commands("operators-elsewhere").replace("ca.internal:9443", f"127.0.0.1:{place.listener}")
    assert str(place.listener) in text
    done = subprocess.run(["bash", "-euc", text], cwd=desk, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stderr, place.log())
    asked = f"Asked at https://127.0.0.1:{place.listener} as hannah@example.com, with the role helpdesk."
    assert done.stderr.count(asked) == 2
    shown = place.type("root", "acme-iid-ca events --kind instance.blocked --limit 1 --json").stdout
    assert '"via": "tls"' in shown
    assert "ticket 4712: stolen" in shown


def test_the_console_is_seen_as_the_page_says(place: Place) -> None:
    port = free_port()
    text = commands("operators-console").replace("8899", str(port))
    assert str(port) in text
    command = ["nsenter", "--target", str(place.machine.leader), "--all", "runuser", "--login", "hannah", "--command"]
    process = subprocess.Popen([*command, f"exec {text}"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        link = re.search(rf"http://127\.0\.0\.1:{port}/\?token=\S+", "".join(lines))
        assert link is not None, lines
        with requests.Session() as browser:
            browser.trust_env = False
            page = browser.get(link[0], timeout=SECONDS)
            onward = re.search(r'http-equiv="refresh" content="0; ?url=([^"]+)"', page.text)
            if onward is not None:
                page = browser.get(f"http://127.0.0.1:{port}{onward[1]}", timeout=SECONDS)
            assert page.status_code == 200
            assert f"unix:{SOCKET}" in page.text
            assert "<h1>Overview</h1>" in page.text
    finally:
        pid = process.pid
        while below := children(pid):
            pid = below[0]
        os.kill(pid, signal.SIGINT)
        process.communicate(timeout=SECONDS)
    assert process.returncode == 0
