"""What the interop tests stand on: names and challenges to answer, an ACME server, and other people's clients.

Names come from ``pebble-challtestsrv``: every name is 127.0.0.1, and TXT records are what clients' hooks set. A server
under test validates http-01 and tls-alpn-01 at two loopback ports; a client (or what stands in for its web server)
listens there while it is being validated, one client at a time.
"""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from ports import free_port
from running import Outcome

DOMAIN = "example.test"
"""All names that clients ask for are below this one."""
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where the distribution's own programs are, and nobody else's."""


@dataclass(frozen=True)
class ExternalAccount:
    """An external account key, as an operator hands it to a client (RFC 8555 section 7.3.4)."""

    kid: str
    key: str
    """base64url, without padding"""


class Server(Protocol):
    """An ACME server that clients are pointed at."""

    @property
    def directory(self) -> str:
        """The directory's URL."""

    @property
    def root(self) -> Path:
        """The PEM file with the one root that its own TLS certificate leads to."""

    @property
    def issuing_root(self) -> Path:
        """The PEM file with the root that the certificates which it issues lead to."""

    def revoked(self, serial: int) -> bool:
        """What the server's record says of a certificate."""


def with_mounted(source: Path, target: str) -> list[str | Path]:
    """What to put before a command that is to find ``source`` where ``target`` is: a mount namespace of its own."""
    return ["unshare", "--mount", "sh", "-c", f'mount --bind "$0" {target} && exec "$@"', source]


@contextmanager
def running(*command: str | Path, env: Mapping[str, str] | None = None, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as it is needed; it is asked to end, then made to."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*map(str, command)], env=env, stdout=output, stderr=output, stdin=subprocess.DEVNULL, process_group=0
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(condition: Callable[[], bool], what: str, seconds: float = 180) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} took more than {seconds} seconds"
        time.sleep(0.05)


def listens(port: int) -> bool:
    """Whether something accepts connections at a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Names:
    """A ``pebble-challtestsrv`` that answers DNS, and what it is told through its management port."""

    log: Path
    dns_port: int = field(default_factory=free_port)
    management_port: int = field(default_factory=free_port)

    @property
    def management(self) -> str:
        return f"http://127.0.0.1:{self.management_port}"

    @property
    def resolver(self) -> str:
        return f"127.0.0.1:{self.dns_port}"

    def tell(self, what: str, **members: object) -> None:
        """POST to the management port."""
        urllib.request.urlopen(f"{self.management}/{what}", data=json.dumps(members).encode(), timeout=10).close()

    @contextmanager
    def serve(self, http_port: int = 0, tls_port: int = 0) -> Iterator[Names]:
        """Run it; with ports, it answers http-01 and tls-alpn-01 there as well."""
        command = [
            "/usr/bin/pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "",
            "-dns01", self.resolver, "-management", f"127.0.0.1:{self.management_port}", "-https01", "",
            "-http01", f"127.0.0.1:{http_port}" if http_port else "",
            "-tlsalpn01", f"127.0.0.1:{tls_port}" if tls_port else "",
        ]  # fmt: skip
        with running(*command, log=self.log) as process:
            for port in filter(None, (self.management_port, http_port, tls_port)):
                until(lambda port=port: process.poll() is not None or listens(port), f"challtestsrv on {port}")  # type: ignore[misc]
            assert process.poll() is None, self.log.read_text()
            yield self


@dataclass
class Site:
    """The machine that a client runs on: the ports where it is validated, the names it has, and an empty home.

    :ivar http_port: where the server under test looks for http-01.
    :ivar tls_port: where it looks for tls-alpn-01.
    :ivar prepared: a folder for what is built or installed once for all tests.
    :ivar stack: what runs until the test ends.
    :ivar before: what is put before every command, such as a mount namespace.
    """

    http_port: int
    tls_port: int
    names: Names
    home: Path
    prepared: Path
    stack: ExitStack
    before: Sequence[str | Path] = ()

    def env(self, **more: str | Path) -> dict[str, str]:
        """A client's whole environment: no certificates are trusted but those that ``more`` names."""
        nothing = self.home / "no-certificates"
        nothing.mkdir(exist_ok=True)
        return {
            "PATH": SYSTEM_PATH,
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "SSL_CERT_DIR": str(nothing),
            "CHALLTESTSRV": self.names.management,
            **{name: str(value) for name, value in more.items()},
        }

    def try_run(self, *command: str | Path, env: Mapping[str, str], timeout: int = 120) -> Outcome:
        """Run a client's command, whatever comes of it."""
        done = subprocess.run(
            [*map(str, (*self.before, *command))],
            env=env,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        with (self.home / "transcript").open("a") as transcript:
            print(*command, done.stdout, done.stderr, done.returncode, sep="\n", file=transcript)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def run(self, *command: str | Path, env: Mapping[str, str], timeout: int = 120) -> Outcome:
        """Run a client's command; it must succeed."""
        outcome = self.try_run(*command, env=env, timeout=timeout)
        said = f"{' '.join(map(str, command))}: {outcome.code}\n{outcome.stdout}\n{outcome.stderr}"
        assert outcome.code == 0, said
        return outcome

    def script(self, name: str, text: str) -> Path:
        """An executable for a client's hooks."""
        path = self.home / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def trusting(self, root: Path) -> list[str | Path]:
        """What to put before a command that knows no other roots than the system's.

        In its mount namespace, the system's roots are this one.
        """
        folder = self.home / "system-roots"
        if not folder.exists():
            folder.mkdir()
            for name in ("ca-certificates.crt", "root.pem"):
                (folder / name).write_bytes(root.read_bytes())
            openssl("rehash", folder)
        return with_mounted(folder, "/etc/ssl/certs")

    def webroot(self) -> Path:
        """A document root that is served at the http-01 port from now on; returns its challenge folder."""
        root = self.home / "webroot"
        folder = root / ".well-known" / "acme-challenge"
        folder.mkdir(parents=True)
        self.stack.enter_context(
            running("/usr/bin/python3", "-m", "http.server", str(self.http_port), "--bind", "127.0.0.1",
                    "--directory", root, log=self.home / "webroot.log")
        )  # fmt: skip
        until(lambda: listens(self.http_port), "the web server")
        return folder

    def challenge_server(self) -> str:
        """A challtestsrv at the validation ports from now on, for clients that leave answering to a program."""
        answers = Names(self.home / "challenge-server.log")
        self.stack.enter_context(answers.serve(self.http_port, self.tls_port))
        return answers.management


@dataclass(frozen=True)
class Files:
    """Where a client has put a certificate.

    :ivar leaf: the certificate; other certificates may follow it.
    :ivar chain: the certificates that follow the leaf, in any file that holds them.
    :ivar key: its private key.
    """

    leaf: Path
    chain: Path
    key: Path


def set_txt(name: str, value: str) -> str:
    """A line of shell that sets a TXT record; both are shell words, such as ``$2``."""
    return f"""curl -fsS "$CHALLTESTSRV/set-txt" -d "{{\\"host\\": \\"{name}\\", \\"value\\": \\"{value}\\"}}" >&2"""


class Client(ABC):
    """One of other people's clients, at a site, pointed at a server.

    :param root: what it trusts, and nothing else; the server's own root unless a test wants it refused.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    """Debian's package, unless ``installed`` says otherwise"""
    version: ClassVar[str]
    """of the client; of what Debian follows upstream with, only the beginning"""
    program: ClassVar[str]
    """what is run"""
    file: ClassVar[str]
    """what of it belongs to the package; the program itself, but for libraries and modules"""
    challenges: ClassVar[tuple[str, ...]]
    renews_by: ClassVar[str]
    revokes_by: ClassVar[str | None]
    """how; None for a client that cannot: then the certificate's key revokes"""
    binds: ClassVar[bool] = True
    """whether it knows external account keys"""
    joins_names: ClassVar[bool] = True
    """whether several names make one certificate"""

    def __init__(
        self, site: Site, server: Server, *, root: Path | None = None, eab: ExternalAccount | None = None
    ) -> None:
        self.site = site
        self.server = server
        self.root = root or server.root
        self.eab = eab

    def __init_subclass__(cls) -> None:
        """Most clients are programs."""
        if "program" in cls.__dict__ and "file" not in cls.__dict__:
            cls.file = cls.program

    def installed(self) -> str:
        """The version of the package that ``file`` belongs to."""
        owner = subprocess.run(["dpkg", "--search", self.file], capture_output=True, text=True, check=True).stdout
        assert owner == f"{self.package}: {self.file}\n"
        query = ["dpkg-query", "--show", "--showformat", "${source:Upstream-Version}", self.package]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.partition("+")[0]

    @abstractmethod
    def issue(self, names: Sequence[str], challenge: str, key: str) -> Files:
        """Register and get a certificate; ``key`` is ``ec`` or ``rsa``."""

    @abstractmethod
    def renew(self) -> Files:
        """Renew what was issued, before it is due."""

    def revoke(self) -> None:
        """Revoke what was issued last."""
        raise NotImplementedError(self.revokes_by)


def openssl(*arguments: str | Path, stdin: str | None = None) -> str:
    """What openssl prints."""
    done = subprocess.run(
        ["/usr/bin/openssl", *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, f"openssl {' '.join(map(str, arguments))}: {done.stdout} {done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Seen:
    """What openssl sees in a certificate that a client has put somewhere."""

    serial: int
    names: frozenset[str]
    algorithm: str


def examine(files: Files, root: Path) -> Seen:
    """Check with openssl that the chain leads to the root, is for servers, and is of the key beside it."""
    openssl("verify", "-purpose", "sslserver", "-CAfile", root, "-untrusted", files.chain, files.leaf)
    public = openssl("x509", "-in", files.leaf, "-noout", "-pubkey")
    assert public == openssl("pkey", "-in", files.key, "-pubout")
    text = openssl("x509", "-in", files.leaf, "-noout", "-serial", "-ext", "subjectAltName")
    serial = next(line for line in text.splitlines() if line.startswith("serial="))
    names = next(line for line in text.splitlines() if "DNS:" in line)
    kind = openssl("pkey", "-pubin", "-noout", "-text", stdin=public)
    return Seen(
        int(serial.removeprefix("serial="), 16),
        frozenset(entry.strip().removeprefix("DNS:") for entry in names.split(",")),
        "rsa" if "Modulus" in kind else "ec",
    )


def new_names(count: int = 1) -> list[str]:
    """Names that nobody has asked for yet."""
    return [f"{secrets.token_hex(4)}.{DOMAIN}" for _ in range(count)]
