"""The sockets that the server listens on: opened by itself, shared by its processes, or handed over."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TextIO

import pytest
import requests
import serving
from ports import free_port
from serving import DEADLINE, Start, wait_until

from acme_iid.errors import ServerError
from acme_iid.protocol.addresses import Listen
from acme_iid.serving import sockets

# As whoever hands sockets over has it: by the process id that the program itself will have.
SHELL = ("bash", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&"$0"')


def handing_over(descriptor: int) -> dict[str, Any]:
    return {"prefix": (*SHELL, str(descriptor)), "pass_fds": (descriptor,), "listen": ""}


def test_a_server_with_several_processes_shares_its_port_with_no_other() -> None:
    with ExitStack() as stack:
        first, second = (stack.enter_context(one) for one in sockets.listeners(Listen("127.0.0.1", 0), 2))
        assert first.getsockname() == second.getsockname()
        with pytest.raises(ServerError, match="another process is listening there"):
            sockets.listeners(Listen("127.0.0.1", first.getsockname()[1]), 2)


def test_connections_are_dealt_out_among_the_processes() -> None:
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


@pytest.mark.parametrize("flags", [(), ("two-workers",)])
def test_a_socket_that_was_handed_over_is_the_one_that_is_served(start: Start, flags: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        running = start(*flags, **handing_over(listener.fileno()))
        assert running.port == port
        assert running.get("/own") == "127.0.0.1"
        assert running.stop() == 0
        # Who opened it has it still: a client waits for the next server.
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE):
            assert listener.accept()


def test_what_was_handed_over_to_another_process_is_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        environment = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDNAMES": "https"}
        assert sockets.handed_over(environment) == sockets.Sockets([], [], [])
        assert environment == {}
        assert listener.fileno() >= 0


@pytest.mark.parametrize(
    ("opened", "listen", "reason"),
    [
        ("connected", "", "does not listen for TCP connections; a systemd unit has ListenStream=443 and Accept=no"),
        ("unix", "", "does not listen for TCP connections"),
        ("file", "", "file descriptor 3, which was handed over, is no socket"),
        ("listening", "127.0.0.1:0", "was started with an open socket; leave --listen out"),
    ],
)
def test_what_cannot_be_served_is_a_sentence(home: Path, opened: str, listen: str, reason: str) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        handed: dict[str, socket.socket | TextIO] = {
            "listening": listener,
            "connected": stack.enter_context(socket.create_connection(listener.getsockname())),
            "unix": stack.enter_context(socket.socketpair()[0]),
            "file": stack.enter_context((home / "ca.toml").open()),
        }
        descriptor = handed[opened].fileno()
        running = serving.run(home, **handing_over(descriptor) | {"listen": listen})
        assert running.process.wait(DEADLINE) == 1
        running.end()
    assert any(reason in line for line in running.lines), running.lines


def test_systemd_hands_a_socket_over_with_the_first_client(home: Path) -> None:
    port = free_port()
    command = ["systemd-socket-activate", f"--listen=127.0.0.1:{port}", sys.executable, "-c", serving.PROGRAM,
               str(home), "", "3600"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            with requests.Session() as session:
                session.trust_env = False

                def answered() -> bool:
                    try:
                        answer = session.get(
                            f"https://127.0.0.1:{port}/pid", verify=str(home / "certs/root_ca.crt"), timeout=DEADLINE
                        )
                    except requests.ConnectionError:
                        return False
                    # The program becomes the server.
                    return answer.text == str(process.pid)

                wait_until(answered)
        finally:
            process.terminate()
            assert process.stderr is not None
            process.stderr.read()
        assert process.wait(DEADLINE) == 0
