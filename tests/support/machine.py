"""A machine with the client: its directories and environment, its cloud's metadata service, and acme-iid run on it."""

from __future__ import annotations

import json
import os
import queue
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import stand_ins
from running import CA, Outcome, run_module

from acme_iid.simulator import aws

MODULE = "acme_iid_client"


@dataclass
class Machine:
    """A machine.

    :ivar metadata: where its cloud's service answers; "" if the environment does not say so.
    :ivar env: what else its programs find in the environment.
    """

    folder: Path
    metadata: str = ""
    env: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What its programs find in the environment, besides what the tests' own processes do."""
        metadata = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.metadata} if self.metadata else {}
        return {
            "ACME_IID_CONFIG_DIR": str(self.folder / "config"),
            "ACME_IID_STATE_DIR": str(self.folder / "state"),
            "NO_PROXY": "*",
            **metadata,
            **self.env,
        }

    @property
    def crt(self) -> Path:
        return self.folder / "foo.crt"

    @property
    def key(self) -> Path:
        return self.folder / "foo.key"

    def try_(self, *arguments: str | Path, stdin: str = "", env: Mapping[str, str] | None = None) -> Outcome:
        """Run acme-iid, whatever comes of it."""
        return run_module(MODULE, *arguments, env={**self.environment, **(env or {})}, stdin=stdin)

    def run(self, *arguments: str | Path) -> Outcome:
        """Run acme-iid; it must succeed."""
        done = self.try_(*arguments)
        assert done.code == 0, done.stderr
        return done

    def json(self, *arguments: str | Path) -> Any:
        """Run acme-iid with --json; what it says."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def bootstrap(self, ca: CA, *options: str) -> Outcome:
        return self.run("bootstrap", "--ca-url", ca.url, "--fingerprint", ca.fingerprint, *options)

    def order(self, *options: str | Path) -> Outcome:
        """Order foo.local into the machine's usual files."""
        return self.run("order", "foo.local", self.crt, self.key, "--force", *options)

    def begin(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Begin to run acme-iid; what it says is read by whoever waits for its end."""
        return subprocess.Popen(
            _command(arguments),
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def under(self, program: Sequence[str | Path], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Have another program run acme-iid: strace, faketime, setpriv."""
        return subprocess.run(
            [*map(str, program), *_command(arguments)],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def stay(
        self, *arguments: str | Path, env: Mapping[str, str] | None = None, under: Sequence[str | Path] = ()
    ) -> Staying:
        """Run acme-iid renew --daemon, by another program if one is given."""
        command = [*map(str, under), *_command(("renew", "--daemon", *arguments))]
        return Staying(command, {**os.environ, **self.environment, **(env or {})})

    def check_pair(self) -> None:
        """See that a TLS server can be started with the pair as it is on the disk right now."""
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.crt, self.key)


def _command(arguments: Sequence[str | Path]) -> list[str]:
    return [sys.executable, "-m", MODULE, *map(str, arguments)]


@contextmanager
def ec2_machine(folder: Path, instance: aws.Instance) -> Iterator[Machine]:
    """A machine that is an EC2 instance which the test CAs believe."""
    folder.mkdir(exist_ok=True)
    with stand_ins.ec2(instance) as service:
        yield Machine(folder, service.url)


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
