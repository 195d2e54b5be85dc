"""The processes that answer operators begin and end with the server, and come back when they alone have ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable

import pytest
from operators import ROOT, Steered, User, role_table
from processes import runs
from running import SECONDS

VIEWER = User("games")


def until(holds: Callable[[], bool], why: object = "") -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, why
        time.sleep(0.02)


@pytest.fixture(params=["1", "2"], ids=["one process", "two processes"])
def served(steered: Steered, request: pytest.FixtureRequest) -> Steered:
    steered.configure(role_table("viewer", users=["games"]))
    steered.start("--workers", request.param)
    return steered


def test_both_end_when_the_server_is_stopped(served: Steered) -> None:
    pids = [served.keeper, served.worker]
    assert served.ca.stop() == 0
    assert not any(map(runs, pids))
    assert not any("has ended" in line for line in served.ca.log)


def test_both_end_when_the_server_is_killed(served: Steered) -> None:
    pids = [served.keeper, served.worker]
    # Processes of the server that hang do not keep these.
    hanging = [pid for pid in served.ca.workers() if pid not in (served.server, served.keeper)]
    for pid in hanging:
        os.kill(pid, signal.SIGSTOP)
    assert served.ca.process is not None
    served.ca.process.kill()
    try:
        until(lambda: not any(map(runs, pids)))
    finally:
        for pid in hanging:
            os.kill(pid, signal.SIGKILL)


def test_a_killed_process_comes_back_and_the_socket_stays(served: Steered) -> None:
    before, inode = served.worker, served.socket.stat().st_ino
    os.kill(before, signal.SIGKILL)
    # Whoever connects meanwhile waits; nobody is turned away.
    assert VIEWER.get(served.socket).status == 200
    assert served.worker != before
    assert served.socket.stat().st_ino == inode
    served.ca.until_logged("The process that answers operators has ended (killed by signal 9); it is started again in")


def test_a_killed_keeper_is_told_and_operators_are_turned_away(served: Steered) -> None:
    worker = served.worker
    os.kill(served.keeper, signal.SIGKILL)
    served.ca.until_logged("The process that keeps the one for operators has ended (killed by signal 9)")
    until(lambda: not runs(worker))
    assert ROOT.get(served.socket).text == "ConnectionRefusedError"
    # ACME goes on.
    assert served.ca.account().url
    assert served.ca.stop() == 0
    assert not served.socket.exists()


def test_a_reload_changes_roles_without_a_restart(served: Steered) -> None:
    keeper, inode = served.keeper, served.socket.stat().st_ino
    assert (VIEWER.get(served.socket).status, User("daemon").get(served.socket).status) == (200, 403)
    served.configure(role_table("viewer", users=["daemon"]))
    served.reload()
    served.until_answered(200, User("daemon"))
    assert VIEWER.get(served.socket).status == 403
    assert (served.keeper, served.socket.stat().st_ino) == (keeper, inode)


def test_an_open_connection_loses_its_role_with_a_reload(steered: Steered) -> None:
    steered.configure(role_table("viewer", users=["games"]))
    steered.start()
    first = steered.worker
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(SECONDS)
        stream.connect(str(steered.socket))
        stream.sendall(b"GET /instances HTTP/1.1\r\nHost: a\r\n\r\n")
        assert stream.recv(4096).startswith(b"HTTP/1.1 200")
        steered.configure()
        steered.reload()
        until(lambda: not runs(first))
        assert stream.recv(4096) == b"", "the connection outlived its process"


def test_a_configuration_that_is_refused_changes_no_role(steered: Steered) -> None:
    steered.configure(role_table("viewer", users=["games"]))
    steered.start()
    steered.configure(role_table("viewer", users=["daemon"]), role_table("no such role"))
    assert steered.ca.process is not None
    steered.ca.process.send_signal(signal.SIGHUP)
    steered.ca.until_logged("The configuration was not reloaded, the running one stays in force")
    os.kill(steered.worker, signal.SIGKILL)
    # The process that comes after has what the server has, and not what is in the file.
    assert (VIEWER.get(steered.socket).status, User("daemon").get(steered.socket).status) == (200, 403)


def test_an_administrator_has_the_server_reload(steered: Steered) -> None:
    steered.configure(role_table("administrator", users=["sys"]))
    steered.start()
    steered.configure(role_table("administrator", users=["sys"]), role_table("viewer", users=["games"]))
    assert VIEWER.post(steered.socket, "/reload").status == 403
    assert User("sys").post(steered.socket, "/reload").status == 200
    steered.ca.until_logged("The configuration was reloaded.")
    steered.until_answered(200, VIEWER)


def test_an_administrators_check_sees_the_file_as_it_is_now(steered: Steered) -> None:
    steered.configure(role_table("administrator", users=["sys"]))
    steered.start()
    sys = User("sys")
    # Editors put another file in the old one's place, and it may name files that were not there before.
    file, edited = steered.ca.home / "ca.toml", steered.ca.home / "edited"
    (steered.ca.home / "secret").write_text("a secret of sixteen octets and more\n")
    (steered.ca.home / "secret").chmod(0o644)
    edited.write_text(
        f'{file.read_text()}\n[[sink]]\nname = "siem"\nurl = "https://127.0.0.1:1/events"\nsecret_file = "secret"\n'
    )
    edited.rename(file)
    outlook = sys.get(steered.socket, "/check/reload").json
    assert outlook["refusal"] is None
    assert any("sink" in line for line in outlook["changes"]), outlook
    findings = sys.get(steered.socket, "/check").json["findings"]
    assert ("others-read", str(steered.ca.home / "secret")) in [(one["code"], one["where"]) for one in findings]
    file.write_text("[ca]\n")
    assert "is missing" in json.dumps(sys.get(steered.socket, "/check").json["unusable"])


def test_what_takes_a_restart_is_said_at_a_reload(steered: Steered) -> None:
    steered.configure()
    steered.start()
    steered.configure(group=None)
    assert ROOT.get(steered.socket, "/check/reload").json["restart"] == ['- admin.group = "users"']
    steered.reload()
    steered.ca.until_logged("The address to listen on has changed; that takes a restart.")


def test_a_table_that_is_gone_leaves_root_and_nobody_else(steered: Steered) -> None:
    steered.configure(role_table("viewer", users=["games"]))
    steered.start()
    file = steered.ca.home / "ca.toml"
    file.write_text(file.read_text().partition("\n[admin]\n")[0])
    steered.reload()
    steered.ca.until_logged("[admin] is gone from ca.toml")
    steered.until_answered(403, VIEWER)
    assert ROOT.get(steered.socket).status == 200
