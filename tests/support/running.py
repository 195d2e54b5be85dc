"""The real parts that tests run: a CA that the command line made, served over TLS, and what instances answer."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import forge
import postgresql
import warm_starts
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from ports import free_port
from processes import children, runs
from wire import Account, Wire

from acme_iid.config import ca_toml
from acme_iid.config.limit_settings import Limits
from acme_iid.issuance.home import CERTIFICATE, CHAIN, FOLDER, ROOT_CERTIFICATE, ROOT_KEY, key_file_of
from acme_iid.policy.setting import OFF
from acme_iid.simulator import aws

Run = Callable[..., subprocess.CompletedProcess[str]]
"""Runs a command with arguments, and waits for its end."""

PROGRAM = "acme_iid.cli"
"""The CA's, as ``python -m`` has it."""
ACCOUNT = "123456789042"
PROVISIONER = "AWS IID Provisioner"
SECONDS = 180
"""The longest that a command, a start or a stop takes on a machine that has much else to do."""
UNLIMITED = "\n".join(f'{field.name} = "{OFF}"' for field in fields(Limits))
"""A table [limits] with all of them off."""


@dataclass
class Outcome:
    """What a command did."""

    code: int
    stdout: str
    stderr: str


def run_module(module: str, *arguments: str | Path, env: dict[str, str] | None = None, stdin: str = "") -> Outcome:
    """Run a command of ours as a process of its own.

    :param module: the program, as ``python -m`` has it.
    :param env: what its environment has beside that of the tests.
    """
    whole = {**os.environ, **(env or {})}
    code, out, errors = warm_starts.run(module, [*map(str, arguments)], whole, seconds=SECONDS, stdin=stdin.encode())
    outcome = Outcome(code, out.decode(), errors.decode())
    assert "Traceback" not in outcome.stderr, outcome.stderr
    return outcome


@dataclass
class CA:
    """A CA's home, and its server while it runs."""

    home: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | warm_starts.Started | None = None
    log: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def directory(self) -> str:
        return f"{self.url}/acme/directory"

    @property
    def root(self) -> Path:
        return self.home / ROOT_CERTIFICATE

    @property
    def root_key(self) -> Path:
        return self.home / ROOT_KEY

    @property
    def issuer_folder(self) -> Path:
        """The folder of the one issuer that ``init`` made."""
        (folder,) = (self.home / FOLDER).iterdir()
        return folder

    @property
    def issuer_id(self) -> str:
        """The beginning of its id, by which its files and URLs are called."""
        return self.issuer_folder.name

    @property
    def intermediate(self) -> Path:
        """Its certificate."""
        return self.issuer_folder / CERTIFICATE

    @property
    def intermediate_key(self) -> Path:
        return self.home / key_file_of(self.issuer_id)

    def replace_intermediate(self, certificate: x509.Certificate) -> None:
        """Write another certificate of the issuer's key, which a root signed."""
        for name in (CERTIFICATE, CHAIN):
            (self.issuer_folder / name).write_bytes(certificate.public_bytes(Encoding.PEM))

    @property
    def store_url(self) -> str:
        return ca_toml.load(self.home).store.url

    @property
    def fingerprint(self) -> str:
        return self.cli("fingerprint").stdout.strip()

    def cli(self, *arguments: str | Path) -> Outcome:
        """Run acme-iid-ca on this home; it must succeed."""
        outcome = self.try_cli(*arguments)
        assert outcome.code == 0, outcome.stderr
        return outcome

    def try_cli(self, *arguments: str | Path) -> Outcome:
        """Run acme-iid-ca on this home, whatever comes of it."""
        return run_module(PROGRAM, "--home", self.home, *arguments)

    def init(
        self,
        *options: str,
        in_a_file: bool = False,
        in_postgresql: bool = False,
        limits: str = UNLIMITED,
        constrained: bool = False,
        made_with: tuple[str, ...] = (),
    ) -> None:
        """Make the CA, and a provisioner that believes the forge's keys.

        :param in_a_file: its store is a SQLite file, whatever the environment says; ``in_postgresql`` likewise.
        :param limits: the table [limits]; "" for the defaults. Tests make many accounts from one address.
        :param constrained: the intermediate has the name constraints that ``init`` gives; without them, ``domains`` in
            ca.toml can be changed to any others.
        :param made_with: further options of ``init``.
        """
        free = () if constrained else ("--no-name-constraints",)
        self.cli("init", "--name", "My CA", "--domain", "local", "--domain", "internal", "--url", self.url,
                 "--listen", f"127.0.0.1:{self.port}", *free, *made_with)  # fmt: skip
        if not in_a_file:
            postgresql.place_store(self.home, always=in_postgresql)
        if limits:
            file = self.home / "ca.toml"
            file.write_text(f"{file.read_text()}\n[limits]\n{limits}\n")
        roots = self.home / "test-roots.pem"
        roots.write_bytes(forge.keys().certificates)
        self.cli("provisioner", "add", PROVISIONER, "--type", "AWS", "--aws-account", ACCOUNT, "--iid-roots", roots,
                 *options)  # fmt: skip

    def start(
        self,
        *options: str,
        prefix: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        """Serve, with one worker unless ``options`` say otherwise; returns when the server has said that it listens."""
        workers = () if "--workers" in options else ("--workers", "1")
        arguments = ["--home", str(self.home), "serve", *workers, *options]
        read_end, write_end = os.pipe()
        with os.fdopen(write_end, "wb") as errors:
            self.process = warm_starts.start(
                PROGRAM,
                arguments,
                {**os.environ, **(env or {})},
                (0, errors.fileno(), errors.fileno()),
                prefix=prefix,
                python=python,
            )
        lines: queue.Queue[str] = queue.Queue()

        def read() -> None:
            with os.fdopen(read_end) as stream:
                for line in stream:
                    self.log.append(line)
                    lines.put(line)
            lines.put("")

        threading.Thread(target=read, daemon=True).start()
        while "Listening on" not in (line := lines.get(timeout=SECONDS)):
            assert line, f"the server ended: {self.log}"

    def until_logged(self, *sentences: str) -> None:
        """Wait until the server has written a line with one of the sentences; it writes beside its answers."""
        deadline = time.monotonic() + SECONDS
        while not any(sentence in line for line in list(self.log) for sentence in sentences):
            assert time.monotonic() < deadline, self.log
            time.sleep(0.01)

    def start_refused(self) -> str:
        """Try to serve what cannot be served; what it says."""
        outcome = self.try_cli("serve", "--workers", "1")
        assert outcome.code == 1, outcome.stderr
        return outcome.stderr

    def stop(self) -> int:
        """Stop gracefully; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=SECONDS)
        self.process = None
        return code

    def workers(self) -> list[int]:
        """The processes that answer requests now."""
        assert self.process is not None
        # One that has no children answers by itself.
        return children(self.process.pid) or [self.process.pid]

    def kill(self) -> None:
        """End the server and its workers with SIGKILL, at once."""
        assert self.process is not None
        found: list[int] = []
        with suppress(ProcessLookupError):  # it may have ended, or be ending now
            found = self.workers()
        self.process.kill()
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=30)
        self.process = None
        deadline = time.monotonic() + 10
        while any(map(runs, found)) and time.monotonic() < deadline:
            time.sleep(0.01)

    def wire(self, source: str | None = None) -> Wire:
        """A raw client that trusts this CA's root and nothing else.

        :param source: the address that it connects from, where it matters.
        """
        return Wire(self.directory, self.root, source)

    def account(self) -> Account:
        """A new account."""
        return Account.new(self.wire())


def answer(instance: aws.Instance, keys: aws.Keys | None = None) -> dict[str, str]:
    """An iid-01 answer with the instance's rsa2048 document."""
    served = aws.tree(instance, keys or forge.keys())[aws.IDENTITY + "rsa2048"]
    return {"format": "aws-rsa2048", "evidence": served().decode()}


def restarted(instance: aws.Instance, seconds: int) -> aws.Instance:
    """The same instance, started ``seconds`` later."""
    return replace(instance, pending_time=instance.pending_time + seconds)
