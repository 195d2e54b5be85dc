"""Our CA in Pebble's place as suites start it, and its management endpoints."""

from __future__ import annotations

import base64
import hmac
import json
import os
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interop.harness import ExternalAccount, listens, openssl, running, until
from ports import free_port
from wire import Account, Key, Wire, b64, problem

PEBBLE = Path(__file__).resolve().parents[2] / "suites" / "pebble_mode" / "pebble"


@dataclass
class Mode:
    """A test mode, and its management endpoints.

    :ivar process: while it runs.
    """

    home: Path
    port: int = field(default_factory=free_port)
    management_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def directory(self) -> str:
        return f"https://127.0.0.1:{self.port}/dir"

    @property
    def root(self) -> Path:
        return self.home / "minica.pem"

    @property
    def issuing_root(self) -> Path:
        path = self.home / "issuing.pem"
        path.write_bytes(self.get("roots/0"))
        return path

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def addresses(self) -> dict[str, str]:
        """Where it listens, as its configuration says it."""
        return {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management_port}",
        }

    def certify(self) -> dict[str, str]:
        """Make the TLS certificate of a root of the suite's; returns what the configuration says of it."""
        new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
        certificate, key = self.home / "cert.pem", self.home / "key.pem"
        openssl(*new, "-keyout", self.home / "minica.key", "-out", self.root, "-subj", "/CN=minica")
        openssl(*new, "-keyout", key, "-out", certificate, "-subj", "/CN=localhost",
                "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:false",
                "-CA", self.root, "-CAkey", self.home / "minica.key")  # fmt: skip
        return {"certificate": str(certificate), "privateKey": str(key)}

    def _open(self, url: str, body: bytes | None = None) -> bytes:
        context = ssl.create_default_context(cafile=str(self.root))
        with urllib.request.urlopen(url, data=body, context=context, timeout=10) as answer:
            return bytes(answer.read())

    def get(self, path: str) -> bytes:
        return self._open(f"https://localhost:{self.management_port}/{path}")

    def post(self, path: str, **members: str) -> None:
        self._open(f"https://localhost:{self.management_port}/{path}", json.dumps(members).encode())

    def acme(self, name: str) -> Any:
        return json.loads(self._open(self.directory))[name]

    def renewal_info(self, certificate_id: str) -> Any:
        return json.loads(self._open(f"{self.acme('renewalInfo')}/{certificate_id}"))

    def status(self, serial: int) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.get(f"cert-status-by-serial/{serial:x}"))
        return shown

    def revoked(self, serial: int) -> bool:
        return bool(self.status(serial)["Status"] == "Revoked")


@contextmanager
def started(mode: Mode, resolver: str, configuration: Mapping[str, object], **env: str) -> Iterator[Mode]:
    """Start the mode as a suite does, by a Pebble configuration."""
    (mode.home / "pebble.json").write_text(json.dumps({"pebble": configuration}))
    command = (PEBBLE, "-config", mode.home / "pebble.json", "-dnsserver", resolver, "-strict")
    with running(*command, env={**os.environ, "PEBBLE_PYTHON": sys.executable, **env}, log=mode.log) as process:
        until(lambda: listens(mode.port) or process.poll() is not None, "the test mode")
        assert process.poll() is None, mode.log.read_text()
        mode.process = process
        yield mode


def bound_account(wire: Wire, external: ExternalAccount) -> Account:
    """An account made with the external account key; tried again while the nonce is told to be bad."""
    key, url = Key(), wire.directory["newAccount"]
    first, second = (
        b64(json.dumps({"alg": "HS256", "kid": external.kid, "url": url}).encode()),
        b64(json.dumps(key.jwk).encode()),
    )
    secret = base64.urlsafe_b64decode(external.key + "==")
    mac = b64(hmac.digest(secret, f"{first}.{second}".encode(), "sha256"))
    binding = {"protected": first, "payload": second, "signature": mac}
    for _ in range(20):
        answer = wire.post(url, {"termsOfServiceAgreed": True, "externalAccountBinding": binding}, key)
        if answer.status_code == 201:
            return Account(wire, key, answer.headers["Location"])
        assert problem(answer) == "badNonce"
    raise AssertionError("twenty nonces were bad")
