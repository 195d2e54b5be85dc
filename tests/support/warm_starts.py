"""Commands on a CA that a test has made, run by a process that has imported the program already.

A command takes half a second of a core to import what it needs. One process imports it once, and forks for each
command: that is a process of its own all the same, with its own arguments, environment, folder and files. Servers, and
commands that are not on a test's own CA, are started as a person starts them.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NoReturn

_FURTHER = (
    "acme_iid.config.ca_toml",
    "acme_iid.config.findings",
    "acme_iid.operations.bulk",
    "acme_iid.operations.expiry",
    "acme_iid.operations.founding",
    "acme_iid.operations.status",
    "acme_iid.operations.waiting_acts",
    "acme_iid.store.existing",
)
"""Modules that commands import when they run, beside their own."""
_MOST = 1 << 20


class Starter:
    """The process that has imported them, for the commands ``acme-iid-ca`` of one process of tests."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "warm_starts", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), *sys.path])),
                },
            )
        atexit.register(self.close)

    def close(self) -> None:
        """End it."""
        self._ours.close()
        self._process.wait(timeout=60)

    def run(self, arguments: list[str], seconds: float) -> tuple[int, str, str]:
        """Run a command; returns its exit status, and what it wrote.

        :raises TimeoutError: if it takes longer than so many seconds; it is ended.
        """
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            result, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with result:
                order = {"arguments": arguments, "environment": dict(os.environ), "folder": str(Path.cwd())}
                with theirs:
                    files = [out.fileno(), errors.fileno(), theirs.fileno()]
                    socket.send_fds(self._ours, [json.dumps(order).encode()], files)
                result.settimeout(seconds)
                pid = int(result.recv(100))
                try:
                    code = int(result.recv(100))
                except TimeoutError:
                    os.kill(pid, signal.SIGKILL)
                    raise
            out.seek(0)
            errors.seek(0)
            return code, out.read(), errors.read()


@cache
def _starter(python_path: str | None) -> Starter:
    del python_path  # in its environment
    return Starter()


def starter() -> Starter:
    """The one of this process, and of where Python finds modules now."""
    return _starter(os.environ.get("PYTHONPATH"))


def _serve(orders: socket.socket) -> None:
    import importlib  # noqa: PLC0415 - only this process needs it

    from acme_iid.cli import COMMANDS  # noqa: PLC0415 - as above

    for name in (*(place.partition(":")[0] for place, _ in COMMANDS.values()), *_FURTHER):
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        text, files, _, _ = socket.recv_fds(orders, _MOST, 3)
        if not text:
            return
        if os.fork() == 0:
            orders.close()
            _look_after(json.loads(text), files)
        for file in files:
            os.close(file)


def _look_after(order: dict[str, object], files: list[int]) -> NoReturn:
    """Start the command, and say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with socket.socket(fileno=files.pop()) as result:
        child = os.fork()
        if child == 0:
            result.close()
            _become(order, files)
        result.send(str(child).encode())
        _, status = os.waitpid(child, 0)
        result.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(order: dict[str, object], files: list[int]) -> NoReturn:
    """Be the command."""
    from acme_iid import cli  # noqa: PLC0415 - as above

    code = 1
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, file in enumerate((nothing, *files)):
            os.dup2(file, number)
        environment, arguments = order["environment"], order["arguments"]
        assert isinstance(environment, dict)
        assert isinstance(arguments, list)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(str(order["folder"]))
        sys.argv[1:] = arguments
        try:
            cli.main(args=arguments, prog_name="acme-iid-ca")
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _serve(socket.socket(fileno=int(sys.argv[1])))
