"""Commands that prepare a test, run by processes that have imported the program already.

A command takes half a second of a core to import what it needs, and much of what tests wait for is a CA being made. One
process imports it once, and forks for each command: that is a process of its own all the same, with its own arguments,
environment, folder and files. What a test is about is started as a person starts it.
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
import threading
from functools import cache
from pathlib import Path
from typing import NoReturn

_PREPARED = (
    "acme_iid.cli.init",
    "acme_iid.cli.provisioner",
    "acme_iid.cli.provisioner_edits",
    "acme_iid.cli.acting",
    "acme_iid.operations.founding",
    "acme_iid.operations.configuration_record",
    "acme_iid.store.existing",
)
_MOST = 1 << 20


class Starter:
    """The process that has imported them, for the commands ``acme-iid-ca`` of one process of tests."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "warm_starts", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,
            )
        self._one_at_a_time = threading.Lock()
        atexit.register(self.close)

    def close(self) -> None:
        """End it."""
        self._ours.close()
        self._process.wait(timeout=60)

    def run(self, arguments: list[str], seconds: float) -> tuple[int, str, str]:
        """Run a command; returns its exit status, and what it wrote.

        :raises TimeoutError: if it takes longer than so many seconds; it is ended.
        """
        with self._one_at_a_time, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            order = {"arguments": arguments, "environment": dict(os.environ), "folder": str(Path.cwd())}
            socket.send_fds(self._ours, [json.dumps(order).encode()], [out.fileno(), errors.fileno()])
            self._ours.settimeout(seconds)
            try:
                code = int(self._ours.recv(100))
            except TimeoutError:
                os.killpg(self._process.pid, signal.SIGKILL)
                starter.cache_clear()
                raise
            out.seek(0)
            errors.seek(0)
            return code, out.read(), errors.read()


@cache
def starter() -> Starter:
    """The one of this process."""
    return Starter()


def _serve(orders: socket.socket) -> None:
    import importlib  # noqa: PLC0415 - only this process needs it

    for name in _PREPARED:
        importlib.import_module(name)
    while True:
        text, files, _, _ = socket.recv_fds(orders, _MOST, 2)
        if not text:
            return
        child = os.fork()
        if child == 0:
            orders.close()
            _become(json.loads(text), files)
        for file in files:
            os.close(file)
        _, status = os.waitpid(child, 0)
        orders.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(order: dict[str, object], files: list[int]) -> NoReturn:
    """Be the command."""
    from acme_iid import cli  # noqa: PLC0415 - as above

    code = 1
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
