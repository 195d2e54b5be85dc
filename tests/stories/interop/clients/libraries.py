"""ACME libraries, each driven by a small program of ours beside this folder: node's and Ruby's acme-client, Go's acme.

The programs leave answering challenges to the challenge server. They renew by ordering again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from interop.harness import Client, Files

PROGRAMS = Path(__file__).parent.parent / "programs"


class Library(Client):
    renews_by = "another order"
    revokes_by = "revokeCert"
    _settings: dict[str, str | Path]

    def _command(self) -> list[str | Path]:
        """The program, ready to run."""
        raise NotImplementedError

    def _run(self, action: str) -> Files:
        self.site.run(*self._command(), action, env=self.site.env(SSL_CERT_FILE=self.root, **self._settings))
        home = self.site.home
        return Files(home / "cert.pem", home / "cert.pem", home / "key.pem")

    def issue(self, names: Sequence[str], challenge: str, key: str) -> Files:
        self._settings = {
            "DIRECTORY": self.server.directory,
            "NAMES": ",".join(names),
            "CHALLENGE": challenge,
            "KEY": key,
            "ANSWERS": self.site.names.management if challenge == "dns-01" else self.site.challenge_server(),
        }
        if self.eab:
            self._settings |= {"EAB_KID": self.eab.kid, "EAB_KEY": self.eab.key}
        return self._run("issue")

    def renew(self) -> Files:
        return self._run("renew")

    def revoke(self) -> None:
        self._run("revoke")


class Node(Library):
    name = "acme-client (node)"
    package = "acme-client, of npm"
    version = "5.4.0"
    program = "/usr/bin/node"
    challenges = ("http-01", "dns-01", "tls-alpn-01")

    def _command(self) -> list[str | Path]:
        # Node trusts its own list of roots unless it is told to use OpenSSL's, which SSL_CERT_FILE replaces.
        self._settings |= {"NODE_PATH": self._modules()}
        return [self.program, "--use-openssl-ca", PROGRAMS / "order.js"]

    def _modules(self) -> Path:
        folder = self.site.prepared / "node"
        if not folder.is_dir():
            # By itself npm waits five minutes for an answer that does not come; and half of an installation is none.
            patience = ("--fetch-timeout=20000", "--fetch-retries=5", "--fetch-retry-mintimeout=1000")
            whole, wanted = self.site.prepared / "node-whole", f"acme-client@{self.version}"
            command = ("npm", "install", "--no-audit", "--no-fund", *patience, "--prefix", whole, wanted)
            self.site.run(*command, env=dict(os.environ), timeout=240)
            whole.rename(folder)
        return folder / "node_modules"

    def installed(self) -> str:
        package = json.loads((self._modules() / "acme-client" / "package.json").read_text())
        return str(package["version"])


class Ruby(Library):
    name = "acme-client (Ruby)"
    package = "ruby-acme-client"
    version = "2.0.9"
    program = "/usr/bin/ruby"
    file = "/usr/share/rubygems-integration/all/gems/acme-client-2.0.9/lib/acme-client.rb"
    challenges = ("http-01", "dns-01")
    binds = False

    def _command(self) -> list[str | Path]:
        return [self.program, PROGRAMS / "order.rb"]


class Go(Library):
    name = "x/crypto/acme (Go)"
    package = "golang-golang-x-crypto-dev"
    version = "0.4.0"
    program = "/usr/bin/go"
    file = "/usr/share/gocode/src/golang.org/x/crypto/acme/acme.go"
    challenges = ("http-01", "dns-01", "tls-alpn-01")

    def _command(self) -> list[str | Path]:
        built = self.site.prepared / "order"
        if not built.exists():
            packaged = self.site.env(
                GOPATH="/usr/share/gocode", GO111MODULE="off", GOCACHE=self.site.prepared / "go-cache"
            )
            self.site.run(self.program, "build", "-o", built, PROGRAMS / "order.go", env=packaged)
        return [built]
