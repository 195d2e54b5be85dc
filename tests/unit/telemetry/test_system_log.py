"""The lines of acts in the machine's log: one datagram an act, bounded, and none where nobody takes it."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from processes import open_files

from acme_iid.protocol.resources import InstanceKey
from acme_iid.store.chain import Event
from acme_iid.telemetry import logs
from acme_iid.telemetry.system_log import SystemLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket such as /dev/log."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taking:
        taking.bind(str(tmp_path / "log"))
        taking.settimeout(10)
        yield taking


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """How the process logs, put back afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("acme_iid")
    handlers, levels, hooks = root.handlers[:], (root.level, ours.level), (sys.excepthook, threading.excepthook)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(False)


def test_an_act_is_one_datagram_with_its_facts(log: socket.socket, tmp_path: Path) -> None:
    actor = {"via": "direct", "user": "ada", "reason": "ticket 7\n<30>acme-iid-ca: forged"}
    event = Event("instance.blocked", 7, instance=InstanceKey("aws:i-1", "aws", "123"), detail={"actor": actor})
    SystemLog(str(tmp_path / "log")).write(event)
    text = log.recv(65536).decode()
    assert text.startswith("<30>acme-iid-ca[")
    assert text.endswith(
        "instance.blocked instance=aws:i-1 cloud=aws actor.via=direct actor.user=ada "
        'actor.reason="ticket 7\\n<30>acme-iid-ca: forged"'
    )
    assert text.isprintable()


def test_an_event_of_64_kb_is_cut_and_the_next_one_arrives(log: socket.socket, tmp_path: Path) -> None:
    names = [f"{'n' * 240}{number:03}.local" for number in range(100)]
    SystemLog(str(tmp_path / "log")).write(Event("order.refused", 7, detail={"names": names, "reason": "r" * 40_000}))
    SystemLog(str(tmp_path / "log")).write(Event("instance.unblocked", 8))
    first, second = log.recv(65536).decode(), log.recv(65536).decode()
    assert len(first) < 4000
    assert "…" in first
    assert second.endswith("instance.unblocked")


def test_steps_leave_no_line(log: socket.socket, tmp_path: Path) -> None:
    for kind in ("challenge.valid", "account.deactivated"):
        SystemLog(str(tmp_path / "log")).write(Event(kind, 7))
    assert log.recv(65536).decode().endswith("account.deactivated")


def test_without_a_log_acts_go_on(tmp_path: Path) -> None:
    SystemLog(str(tmp_path / "none")).write(Event("instance.unblocked", 7))


@pytest.mark.usefixtures("logging_as_before")
def test_set_up_again_and_again_no_file_stays_open(log: socket.socket, tmp_path: Path) -> None:
    """Also where nobody takes a line."""
    before = len(open_files(os.getpid()))
    kept = []
    for number in range(50):
        kept += [SystemLog(str(tmp_path / "log")), SystemLog(str(tmp_path / "none"))]
        for one in kept[-2:]:
            one.write(Event("instance.unblocked", number))
        kept[-2].close()
        log.recv(65536)
        logs.set_up("json", "warning")
    assert len(open_files(os.getpid())) == before
    assert sum(isinstance(one, logs.Handler) for one in logging.getLogger().handlers) == 1


def test_closed_it_opens_again(log: socket.socket, tmp_path: Path) -> None:
    one = SystemLog(str(tmp_path / "log"))
    for number in range(2):
        one.write(Event("instance.unblocked", number))
        one.close()
        assert log.recv(65536).decode().endswith("instance.unblocked")


@pytest.mark.usefixtures("log")
def test_a_log_that_is_stuck_is_waited_for_once(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filling:
        filling.connect(str(tmp_path / "log"))
        filling.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                filling.send(b"x")
    stuck, begun = SystemLog(str(tmp_path / "log")), time.monotonic()
    for number in range(100):
        stuck.write(Event("instance.unblocked", number))
    assert time.monotonic() - begun < 50
