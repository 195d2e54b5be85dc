"""A machine with the client on it, as people and service managers run it."""

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from running import CA, Outcome, run_module


@dataclass
class Machine:
    """A folder for its files, and where its cloud's metadata service answers."""

    folder: Path
    metadata: str
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "ACME_IID_CONFIG_DIR": str(self.folder / "config"),
            "ACME_IID_STATE_DIR": str(self.folder / "state"),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.metadata,
            "NO_PROXY": "*",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.extra,
        }

    @property
    def crt(self) -> Path:
        return self.folder / "foo.crt"

    @property
    def key(self) -> Path:
        return self.folder / "foo.key"

    def run(self, *arguments: str | Path, stdin: str = "") -> Outcome:
        """Run acme-iid, whatever comes of it."""
        return run_module("acme_iid_client", *arguments, env=self.environment, stdin=stdin)

    def must(self, *arguments: str | Path) -> Outcome:
        """Run acme-iid; it must succeed."""
        done = self.run(*arguments)
        assert done.code == 0, done.stderr
        return done

    def bootstrap(self, ca: CA) -> None:
        self.must("bootstrap", "--ca-url", ca.url, "--fingerprint", ca.fingerprint)

    def order(self, name: str = "foo.local", *options: str | Path) -> None:
        """Order foo.crt and foo.key."""
        self.must("order", name, self.crt, self.key, *options)

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
