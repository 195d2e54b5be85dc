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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click

from acme_iid.errors import RequestError
from acme_iid.protocol import identifiers

_READY_TIMEOUT = 20.0
_COMMAND_TIMEOUT = 30.0
_MODULES = {"acme-iid-ca": "acme_iid.cli", "acme-iid": "acme_iid_client"}


@dataclass(frozen=True, slots=True)
class _Cloud:
    """The texts and commands of the story for a cloud.

    :ivar owner: the owner of the admitted instances, as the end of a sentence.
    :ivar metadata: the options of the stand-in.
    :ivar admission: the options of the provisioner.
    """

    title: str
    owner: str
    metadata: tuple[str, ...]
    admission: tuple[str, ...]

    @property
    def provisioner(self) -> str:
        """Its provisioner's name."""
        return f"{self.title} IID Provisioner"


_CLOUDS: Mapping[str, _Cloud] = {
    "aws": _Cloud(
        "AWS",
        "one AWS account",
        ("--account", "123456789042", "--iid-roots-out", "simulator.pem"),
        ("--aws-account", "123456789042", "--iid-roots", "simulator.pem"),
    ),
    "gcp": _Cloud(
        "GCP",
        "one Google Cloud project",
        ("--project", "my-project", "--jwks-out", "simulator.json"),
        ("--gcp-project", "my-project", "--jwks", "simulator.json"),
    ),
    "azure": _Cloud(
        "Azure",
        "one Azure subscription",
        ("--subscription", "8a205152-b25a-417f-a676-80465535a6c9", "--iid-roots-out", "simulator.pem"),
        ("--azure-subscription-id", "8a205152-b25a-417f-a676-80465535a6c9", "--iid-roots", "simulator.pem"),
    ),
}


@click.command(short_help="See the whole way of a certificate, in one terminal.")
@click.option("--cloud", type=click.Choice(list(_CLOUDS)), default="aws", show_default=True, help="Whose VM it is.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
def demo(cloud: str, names: tuple[str, ...]) -> None:
    """Make a throw-away CA and a stand-in for a cloud, and let a client get a certificate for the NAMEs, or foo.local.

    Everything runs on this machine's loopback interface, in a temporary directory that is removed at the end.
    """
    try:
        ordered = list(dict.fromkeys(identifiers.dns(name) for name in names or ("foo.local",)))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from error
    if any(identifier.wildcard for identifier in ordered):
        raise click.BadParameter("the demo asks for names, not for wildcards", param_hint="NAME")
    _end_in_order()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="acme-iid-demo-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _Demo(stack, folder, _CLOUDS[cloud], [identifier.value for identifier in ordered]).run()


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
    cloud: _Cloud
    names: list[str]

    def run(self) -> None:
        """Play all of it.

        :raises RequestError: if a step does not do what it should.
        """
        port, cloud = _free_port(), self.cloud
        url = f"https://127.0.0.1:{port}"
        name, *more = self.names
        crt, key = f"{name}.crt", f"{name}.key"
        domains = dict.fromkeys(parent or own for own, _, parent in (name.partition(".") for name in self.names))
        self._say("A throw-away CA")
        self._do("acme-iid-ca", "init", "--name", "My CA", *_each("--domain", domains), "--url", url,
                 "--listen", f"127.0.0.1:{port}")  # fmt: skip
        self._say(f"A stand-in for {cloud.title}'s metadata service, which signs with throw-away keys")
        metadata = self._start("Metadata service: ", "acme-iid-ca", "metadata", "--cloud", cloud.title.lower(),
                               *cloud.metadata)  # fmt: skip
        self._say(f"Whose instances get certificates: those of {cloud.owner}")
        self._do("acme-iid-ca", "provisioner", "add", cloud.provisioner, "--type", cloud.title.upper(),
                 *cloud.admission)  # fmt: skip
        self._say("The ACME server")
        self._start("Listening on ", "acme-iid-ca", "serve")
        self._say("On a fresh VM: trust this CA, by its fingerprint")
        fingerprint = self._run("acme-iid-ca", "fingerprint").stdout.strip()
        self._do("acme-iid", "bootstrap", "--ca-url", url, "--fingerprint", fingerprint)
        self._say("A key and a certificate, for proving which instance this is")
        self._do("acme-iid", "order", name, crt, key, *_each("--san", more), "--provisioner", cloud.provisioner,
                 "--metadata-url", metadata)  # fmt: skip
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
        clouds = ("ACME_IID_", "AWS_", "AZURE_", "GCE_")
        return {name: value for name, value in os.environ.items() if not name.startswith(clouds)} | own


def _each(option: str, values: Iterable[str]) -> list[str]:
    return [text for value in values for text in (option, value)]


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
        # Its further output must not fill the pipe and stop it.
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
