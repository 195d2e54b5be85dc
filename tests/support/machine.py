"""A machine whose certificates are renewed, by commands or by a daemon, and a clock of its own."""

from __future__ import annotations

import os
import queue
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vms import VM


@dataclass
class Machine(VM):
    """One whose daemon can be run, and whose pair can be looked at."""

    def check_pair(self) -> None:
        """See that a TLS server can be started with the pair as it is on the disk right now."""
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.crt, self.key)

    def stay(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Staying:
        """Run acme-iid renew --daemon."""
        return Staying(
            [sys.executable, "-m", "acme_iid_client", "renew", "--daemon", *map(str, arguments)],
            {**os.environ, **self.environment, **(env or {})},
        )


class Staying:
    """A daemon while it runs. Used in a ``with``, whose end kills it if it still runs."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines: list[str] = []
        self._news: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))
                self._news.put(line)
        self._news.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=30)
        self._reader.join(timeout=30)

    def wait_for(self, text: str, seconds: float = 60, *, count: int = 1) -> str:
        """Wait until ``count`` lines from here on have ``text``; returns the last of them."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._news.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{text!r} was not said in {seconds} seconds: {self.lines}") from None
            assert line is not None, f"the daemon ended: {self.lines}"
            count -= text in line
            if count <= 0:
                return line.rstrip("\n")

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.send(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        self._reader.join(timeout=30)
        return code


class Clock:
    """A clock of one's own (libfaketime) for the processes that are started with ``env``."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def set(self, seconds: int) -> None:
        """Be so many seconds ahead of the real time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)

    @property
    def env(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).parent / "faketime"), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
        }
