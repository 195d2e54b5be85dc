"""``acme-iid-ca demo``: the whole way of a certificate, in one terminal, with the real programs."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click

from acme_iid.errors import RequestError
from acme_iid.protocol import identifiers

_ACCOUNT = "123456789042"
_PROVISIONER = "AWS IID Provisioner"
_READY_TIMEOUT = 20.0
_COMMAND_TIMEOUT = 30.0
_MODULES = {"acme-iid-ca": "acme_iid.cli", "acme-iid": "acme_iid_client"}


@click.command(short_help="See the whole way of a certificate, in one terminal.")
@click.argument("name", default="foo.local")
def demo(name: str) -> None:
    """Make a throw-away CA and a stand-in for AWS, and let a client get a certificate for NAME.

    Everything runs on this machine's loopback interface, in a temporary directory that is removed at the end.
    """
    try:
        identifier = identifiers.dns(name)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from error
    if identifier.wildcard:
        raise click.BadParameter("the demo asks for one name, not for a wildcard", param_hint="NAME")
    _end_in_order()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="acme-iid-demo-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _Demo(stack, folder, identifier.value).run()


def _end_in_order() -> None:
    """Let SIGTERM end the demo as ctrl-C does, with everything cleaned up."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


@dataclass
class _Demo:
    """One demonstration; what it starts and makes is undone when ``stack`` is left."""

    stack: ExitStack
    folder: Path
    name: str

    def run(self) -> None:
        """Play all of it.

        :raises RequestError: if a step does not do what it should.
        """
        port, parent = _free_port(), self.name.partition(".")[2]
        url = f"https://127.0.0.1:{port}"
        crt, key = f"{self.name}.crt", f"{self.name}.key"
        self._say("A throw-away CA")
        self._do("acme-iid-ca", "init", "--name", "My CA", "--domain", parent or self.name, "--url", url,
                 "--listen", f"127.0.0.1:{port}")  # fmt: skip
        self._say("A stand-in for AWS's metadata service, which signs with throw-away keys")
        metadata = self._start("Metadata service: ", "acme-iid-ca", "metadata", "--cloud", "aws", "--account", _ACCOUNT,
                               "--iid-roots-out", "simulator.pem")  # fmt: skip
        self._say("Whose instances get certificates: those of one AWS account")
        self._do("acme-iid-ca", "provisioner", "add", _PROVISIONER, "--type", "AWS", "--aws-account", _ACCOUNT,
                 "--iid-roots", "simulator.pem")  # fmt: skip
        self._say("The ACME server")
        self._start("Listening on ", "acme-iid-ca", "serve")
        self._say("On a fresh VM: trust this CA, by its fingerprint")
        fingerprint = self._run("acme-iid-ca", "fingerprint").stdout.strip()
        self._do("acme-iid", "bootstrap", "--ca-url", url, "--fingerprint", fingerprint)
        self._say("A key and a certificate, for proving which instance this is")
        self._do("acme-iid", "order", self.name, crt, key, "--provisioner", _PROVISIONER, "--metadata-url", metadata)
        self._do("acme-iid", "inspect", "--short", crt)
        self._say("A new certificate before the old one runs out")
        self._do("acme-iid", "renew", "--force", crt, key, "--metadata-url", metadata)
        self._say("The end of it: after revocation the name is closed to this instance")
        self._do("acme-iid", "revoke", "--cert", crt, "--key", key)
        self._do("acme-iid", "renew", "--force", crt, key, "--metadata-url", metadata, refused=True)
        self._say("Done. The last command was refused, as it should be")

    def _say(self, text: str) -> None:
        click.echo("\n" + click.style(f"# {text}.", bold=True))

    def _do(self, program: str, *arguments: str, refused: bool = False) -> None:
        """Type a command for the audience, and insist on its outcome."""
        click.echo(f"$ {shlex.join([program, *arguments])}")
        done = self._run(program, *arguments)
        click.echo((done.stdout + done.stderr).rstrip())
        if (done.returncode != 0) != refused:
            raise RequestError(f"the demo's command ended with status {done.returncode}, which it should not")

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                _command(program, arguments),
                cwd=self.folder,
                env=self._environment(),
                capture_output=True,
                text=True,
                timeout=_COMMAND_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RequestError(f"{program} did not end within {_COMMAND_TIMEOUT:.0f} seconds") from error

    def _start(self, ready: str, program: str, *arguments: str) -> str:
        """Start a server for the length of the demo; returns what it says after ``ready``."""
        click.echo(f"$ {shlex.join([program, *arguments])} &")
        return self.stack.enter_context(_running(_command(program, arguments), self.folder, self._environment(), ready))

    def _environment(self) -> Mapping[str, str]:
        # The demo's own homes, so that nothing of this machine's is read or changed, and no proxy on the way to it.
        own = {
            "ACME_IID_CA_HOME": str(self.folder / "ca"),
            "ACME_IID_CONFIG_DIR": str(self.folder / "config"),
            "ACME_IID_STATE_DIR": str(self.folder / "state"),
            "NO_PROXY": "127.0.0.1",
            "PYTHONUNBUFFERED": "1",
        }
        return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | own


def _command(program: str, arguments: Sequence[str]) -> list[str]:
    # By this interpreter, so that the demo shows what is installed here and not what PATH finds.
    return [sys.executable, "-m", _MODULES[program], *arguments]


@contextmanager
def _running(command: list[str], folder: Path, environment: Mapping[str, str], ready: str) -> Iterator[str]:
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    watchdog = threading.Timer(_READY_TIMEOUT, process.kill)
    try:
        watchdog.start()
        assert process.stdout is not None
        seen: list[str] = []
        for line in process.stdout:
            seen.append(line)
            if ready in line:
                break
        else:
            raise RequestError(f"{' '.join(command[2:])} did not start: {''.join(seen) or 'it said nothing'}")
        watchdog.cancel()
        click.echo(line.rstrip())
        # Whatever it goes on to say must not fill the pipe and stop it.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield line.partition(ready)[2].strip()
    finally:
        watchdog.cancel()
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
