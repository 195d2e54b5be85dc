"""The admin socket is open to its group from its first moment on, and to nobody else at any time."""

from __future__ import annotations

import grp
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from operators import MEMBERS, ROOT, Steered, User, role_table
from running import CA, run_module
from strangers import as_nobody

KNOCK = """
import collections, os, select, socket, sys
counted = collections.Counter()
print("ready", flush=True)
# Until the test closes its end; each look is as soon after the one before as the machine allows.
while not select.select([0], [], [], 0.0002)[0]:
    with socket.socket(socket.AF_UNIX) as knocking:
        try:
            knocking.connect(sys.argv[1])
            counted["opened"] += 1
        except OSError as error:
            counted[type(error).__name__] += 1
tries, denied = sum(counted.values()), counted["PermissionError"]
# A socket on which nobody listens yet is refused only to those who may open it.
print(tries - denied - counted["FileNotFoundError"], tries, denied)
"""
WIDE = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=chmod,fchmod,fchmodat,chown,fchownat,listen",
        "-e", "inject=chmod,fchmod,fchmodat,chown,fchownat,listen:delay_enter=300000")  # fmt: skip
"""Each step between the socket's making and its rights takes a third of a second."""


class Knocked:
    """What a stranger's tries have come to."""

    opened = tries = denied = 0


@contextmanager
def knocking(path: Path) -> Iterator[Knocked]:
    """Another user tries to open a socket, over and over."""
    found = Knocked()
    process = subprocess.Popen(as_nobody("/usr/bin/python3", "-c", KNOCK, path), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True, cwd="/")  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        yield found
    finally:
        said, _ = process.communicate(timeout=30)
        found.opened, found.tries, found.denied = map(int, said.split())


def rights(path: Path) -> tuple[int, str]:
    status = path.stat()
    return stat.S_IMODE(status.st_mode), grp.getgrgid(status.st_gid).gr_name


@pytest.mark.parametrize("umask", ["000", "022"])
def test_no_stranger_opens_the_socket_at_any_moment(steered: Steered, umask: str) -> None:
    steered.configure(role_table("viewer", users=["games"]))
    with knocking(steered.socket) as knocked:
        steered.start(prefix=(*WIDE, "sh", "-c", f'umask {umask}; exec "$@"', "sh"))
        assert rights(steered.socket) == (0o660, MEMBERS)
        assert User("games").get(steered.socket).status == 200
    assert knocked.opened == 0
    assert knocked.denied > 0, "nobody knocked while the socket was there"
    assert [path for path in steered.socket.parent.iterdir() if path.name.startswith(".admin-")] == []


def test_a_socket_that_a_killed_server_left_is_replaced(steered: Steered) -> None:
    steered.configure(role_table("viewer", users=["games"]))
    steered.start()
    steered.ca.kill()
    left = steered.socket.stat().st_ino
    with knocking(steered.socket) as knocked:
        steered.start()
        assert (rights(steered.socket), User("games").get(steered.socket).status) == ((0o660, MEMBERS), 200)
    assert knocked.opened == 0
    assert steered.socket.stat().st_ino != left


def test_a_server_that_stops_takes_its_socket_with_it(steered: Steered) -> None:
    steered.configure()
    steered.start()
    assert steered.ca.stop() == 0
    assert not steered.socket.exists()


def test_without_a_group_only_root_and_the_server_open_the_socket(steered: Steered) -> None:
    steered.configure(role_table("viewer", users=["games"]), group=None)
    steered.start()
    assert rights(steered.socket)[0] == 0o600
    assert User("games").get(steered.socket).text == "PermissionError"


def test_a_file_in_the_sockets_place_is_left_alone(steered: Steered) -> None:
    steered.configure()
    steered.socket.write_text("a file of somebody's")
    assert f"{steered.socket}, which [admin] in ca.toml names for its socket, is something else" in refused(steered.ca)
    assert steered.socket.read_text() == "a file of somebody's"


def test_another_servers_socket_is_left_alone(steered: Steered, tmp_path: Path) -> None:
    steered.configure()
    steered.start()
    other = Steered(CA(tmp_path / "other"), steered.socket)
    other.ca.init(in_a_file=True)
    other.configure()
    assert f"another server answers at {steered.socket}" in refused(other.ca)
    assert ROOT.get(steered.socket).status == 200


def test_a_group_that_does_not_exist_is_refused_at_the_start(steered: Steered) -> None:
    steered.configure(group="nobody-has-this")
    assert "this machine has no group 'nobody-has-this'" in refused(steered.ca)
    assert not steered.socket.exists()


def refused(ca: CA) -> str:
    """What a server says that does not start."""
    outcome = run_module("acme_iid.cli", "--home", ca.home, "serve")
    assert outcome.code == 1, outcome.stderr
    return outcome.stderr


# As systemd hands sockets over

HAND_OVER = """
import os, socket, sys
path, mode, *command = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
os.chmod(path, int(mode, 8))
listener.listen()
os.dup2(listener.fileno(), 3) if listener.fileno() != 3 else os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "admin", "LISTEN_PID": str(os.getpid())}
os.execvp(command[0], command)
"""


def handing_over(path: Path, mode: str) -> tuple[str, ...]:
    return (sys.executable, "-c", HAND_OVER, str(path), mode)


def test_a_socket_that_systemd_opened_is_used_and_left_there(steered: Steered) -> None:
    steered.configure(role_table("viewer", users=["games"]))
    steered.start(prefix=handing_over(steered.socket, "0660"))
    before = steered.socket.stat().st_ino
    assert ROOT.get(steered.socket).status == 200
    steered.ca.stop()
    assert steered.socket.stat().st_ino == before


def test_a_socket_that_is_open_to_all_is_not_taken_over(steered: Steered) -> None:
    steered.configure()
    command = [*handing_over(steered.socket, "0666"), sys.executable, "-m", "acme_iid.cli", "--home",
               str(steered.ca.home), "serve"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert f"everybody on this machine can open the socket {steered.socket}" in done.stderr


def test_a_socket_for_operators_needs_the_table_for_them(steered: Steered) -> None:
    command = [*handing_over(steered.socket, "0660"), sys.executable, "-m", "acme_iid.cli", "--home",
               str(steered.ca.home), "serve"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert 'a socket for "admin" was handed over, and ca.toml has no [admin]' in done.stderr


def test_ten_reloads_keep_the_socket_and_refuse_nobody(steered: Steered) -> None:
    steered.configure(role_table("viewer", users=["games"]))
    steered.start()
    before = steered.socket.stat().st_ino
    assert steered.ca.process is not None
    for number in range(10):
        # Another name each time, so that there is something to take up.
        steered.configure(role_table("viewer", users=["games", f"somebody-{number}"]))
        steered.ca.process.send_signal(signal.SIGHUP)
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(60)
            stream.connect(str(steered.socket))
            stream.sendall(b"GET /instances HTTP/1.1\r\nHost: a\r\n\r\n")
            assert stream.recv(100).startswith(b"HTTP/1.1 200")
    assert steered.socket.stat().st_ino == before
