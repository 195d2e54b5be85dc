"""The programs, started by processes that have imported them already.

A command takes half a second of a core to import what it needs, and a server more than one. One process imports all of
a program once, and forks for each start of it: that is a process of its own all the same, with its own arguments,
environment, folder and files. What is to run below another program, with another Python, or in an environment that
Python or the loader reads at their start, is started as a person starts it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import NoReturn

_ONLY_THEMSELVES = ("__main__", "build_backend")
"""Modules that are not for being imported."""
_READ_AT_STARTS = ("LD_", "LANG", "LC_", "OPENSSL_", "PYTHON", "TZ")
"""The beginnings of the names of variables that have done their work when a program begins."""
_MOST = 1 << 20


class Starter:
    """The process that has imported a program, for one process of tests.

    :param package: the program, as ``python -m`` has it.
    """

    def __init__(self, package: str) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "warm_starts", package, str(theirs.fileno())],
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

    def start(self, order: Mapping[str, object], read: int, out: int, errors: int) -> Started:
        """Start a command, in a process group of its own, with three descriptors."""
        result, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._ours, [json.dumps(order).encode()], [read, out, errors, theirs.fileno()])
        return Started(result)


class Started:
    """A process that was started so, with what tests use of ``subprocess.Popen``."""

    def __init__(self, result: socket.socket) -> None:
        self._result = result
        self.pid = int(result.recv(100))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status, negative for a signal, if it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, for so many seconds at most; returns its exit status.

        :raises subprocess.TimeoutExpired: if it still runs then.
        """
        if self.returncode is None:
            self._result.settimeout(timeout)
            try:
                self.returncode = int(self._result.recv(100))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
            self._result.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            # It may have ended just now, which is not known yet.
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send it SIGTERM, if it runs."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL, if it runs."""
        self.send_signal(signal.SIGKILL)


@cache
def _starter(package: str, python_path: str | None) -> Starter:
    del python_path  # in its environment
    return Starter(package)


def _must_be_cold(env: Mapping[str, str]) -> bool:
    """Whether an environment differs from that of the tests in what is read only when a program begins."""
    return any(
        name.startswith(_READ_AT_STARTS) and env.get(name) != os.environ.get(name) for name in {*env, *os.environ}
    )


def start(
    package: str,
    arguments: Sequence[str],
    env: Mapping[str, str],
    files: tuple[int, int, int],
    *,
    prefix: Sequence[str] = (),
    python: str = sys.executable,
    folder: Path | None = None,
) -> Started | subprocess.Popen[bytes]:
    """Start a program, in a process group of its own.

    :param package: the program, as ``python -m`` has it.
    :param env: its environment, whole.
    :param files: the descriptors of its input, its output and its errors.
    :param prefix: the program that it is to run below, with that one's arguments.
    :param folder: its working directory; by default that of the tests.
    """
    if prefix or python != sys.executable or _must_be_cold(env):
        read, out, errors = files
        command = [*prefix, python, "-m", package, *arguments]
        return subprocess.Popen(
            command, stdin=read, stdout=out, stderr=errors, env=env, cwd=folder, process_group=0
        )  # fmt: skip
    order = {"arguments": [*arguments], "environment": dict(env), "folder": str(folder or Path.cwd())}
    # Where Python finds modules may have been changed since.
    return _starter(package, os.environ.get("PYTHONPATH")).start(order, *files)


def run(
    package: str,
    arguments: Sequence[str],
    env: Mapping[str, str],
    *,
    seconds: float,
    stdin: bytes = b"",
    folder: Path | None = None,
) -> tuple[int, bytes, bytes]:
    """Run a program; returns its exit status, and what it wrote.

    :raises subprocess.TimeoutExpired: if it takes longer than so many seconds; it is ended.
    """
    with ExitStack() as opened:
        read, out, errors = (opened.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        read.write(stdin)
        read.seek(0)
        started = start(package, arguments, env, (read.fileno(), out.fileno(), errors.fileno()), folder=folder)
        try:
            code = started.wait(seconds)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
            raise
        out.seek(0)
        errors.seek(0)
        return code, out.read(), errors.read()


def _serve(package: str, orders: socket.socket) -> None:
    for name in _modules(package):
        importlib.import_module(name)
    # What has been imported is looked at by no collection of a process that is forked: its pages stay shared.
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        text, files, _, _ = socket.recv_fds(orders, _MOST, 4)
        if not text:
            return
        if os.fork() == 0:
            orders.close()
            _look_after(package, json.loads(text), files)
        for file in files:
            os.close(file)


def _look_after(package: str, order: dict[str, object], files: list[int]) -> NoReturn:
    """Start the command, and say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with socket.socket(fileno=files.pop()) as result:
        child = os.fork()
        if child == 0:
            result.close()
            _become(package, order, files)
        result.send(str(child).encode())
        _, status = os.waitpid(child, 0)
        result.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(package: str, order: dict[str, object], files: list[int]) -> NoReturn:
    """Be the command."""
    code = 1
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        os.setpgid(0, 0)
        for number, file in enumerate(files):
            os.dup2(file, number)
        environment, arguments = order["environment"], order["arguments"]
        assert isinstance(environment, dict)
        assert isinstance(arguments, list)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(str(order["folder"]))
        tempfile.tempdir = None
        sys.argv[1:] = arguments
        try:
            runpy.run_module(package, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # noqa: BLE001 - what any program does with it
            traceback.print_exc()
        # What Python does at the end of any program: a thread that never ends is found by whoever waits for it.
        threading._shutdown()  # type: ignore[attr-defined]  # it has no other name
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _modules(package: str) -> Iterator[str]:
    """All modules of the distribution's package that a program is in."""
    top = importlib.import_module(package.partition(".")[0])
    for module in pkgutil.walk_packages(top.__path__, f"{top.__name__}."):
        if module.name.rpartition(".")[2] not in _ONLY_THEMSELVES:
            yield module.name


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
