"""certbot as people have it, on a machine with it and the client."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from machine import Machine
from pages import REPOSITORY
from running import CA, Outcome
from stand_ins import StandIn


def source(folder: Path) -> Path:
    """The source without what a checkout has besides, to install from."""
    for name in ("acme_iid", "client"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    return folder


def bash(text: str, folder: Path, env: dict[str, str]) -> Outcome:
    """Type commands."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Program:
    """A certbot that has the plugin.

    :ivar newest: whether it is PyPI's, and not Debian's.
    :ivar env: the whole environment that its user has.
    """

    newest: bool
    path: str
    python: str
    env: dict[str, str]


def environment(home: Path, path: str) -> dict[str, str]:
    """A user's whole environment, with nothing of this one's trust in it."""
    kept = ("LANG", "PIP_CERT", "PIP_CONFIG_FILE", "PIP_INDEX_URL")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "HOME": str(home),
        "PATH": f"{path}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "NO_PROXY": "*",
    }


@dataclass
class CertbotMachine:
    """An instance with certbot on it.

    :ivar folder: where certbot runs, and keeps its files.
    """

    program: Program
    folder: Path
    ca: CA
    stand_in: StandIn | None = None

    @property
    def client(self) -> Machine:
        """The same instance as one with acme-iid on it, whose configuration certbot's plugin can read."""
        return Machine(self.folder)

    def certbot(self, *arguments: str | Path, env: dict[str, str] | None = None) -> Outcome:
        """Run certbot, whatever comes of it."""
        places = ("--config-dir", "etc", "--work-dir", "var", "--logs-dir", "log", "--non-interactive")
        more = {} if self.stand_in is None else self.stand_in.env
        done = subprocess.run(
            [self.program.path, *map(str, arguments), *places],
            cwd=self.folder,
            env=self.program.env | more | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        assert "Skipping ARI" not in done.stderr
        assert "ACME Renewal Information" not in done.stderr, "the CA is trusted before certbot asks it for anything"
        return Outcome(done.returncode, done.stdout, done.stderr)

    def certonly(self, *arguments: str | Path, env: dict[str, str] | None = None) -> Outcome:
        """Ask for a certificate."""
        options = ["--authenticator", "acme-iid", "--server", self.ca.directory, "--agree-tos",
                   "--register-unsafely-without-email"]  # fmt: skip
        if self.stand_in is not None:
            options += ["--acme-iid-metadata-url", self.stand_in.url]
        return self.certbot("certonly", *options, *arguments, env=env)

    def order(self, *names: str, options: tuple[str | Path, ...] = ()) -> Outcome:
        """Get a certificate: it must succeed."""
        done = self.certonly(*(text for name in names for text in ("-d", name)), *self.bundle, *options)
        assert done.code == 0, done.stdout + done.stderr
        return done

    def renew(self, *arguments: str | Path, env: dict[str, str] | None = None) -> Outcome:
        """Renew what is due, at once."""
        return self.certbot("renew", "--no-random-sleep-on-renew", *arguments, env=env)

    @property
    def bundle(self) -> tuple[str | Path, ...]:
        return ("--acme-iid-ca-bundle", self.ca.root)

    def live(self, name: str, file: str = "fullchain.pem") -> Path:
        """A file of a certificate."""
        return self.folder / "etc" / "live" / name / file

    def configuration(self, name: str) -> Path:
        """What certbot remembers of a certificate."""
        return self.folder / "etc" / "renewal" / f"{name}.conf"

    def leaf(self, name: str) -> x509.Certificate:
        """A certificate, which must verify under the CA's root."""
        cert, chain = self.live(name, "cert.pem"), self.live(name, "chain.pem")
        command = ["openssl", "verify", "-CAfile", str(self.ca.root), "-untrusted", str(chain), str(cert)]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
        return x509.load_pem_x509_certificate(cert.read_bytes())

    def names(self, name: str) -> set[str]:
        """The names in a certificate."""
        found = self.leaf(name).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return {str(each.value) for each in found}
