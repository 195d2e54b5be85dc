"""Debian's Pebble as the server: for checking that a client's commands are right when our server refuses them."""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from interop.harness import listens, openssl, running, until
from ports import free_port


@dataclass
class Pebble:
    home: Path
    http_port: int
    tls_port: int
    port: int = field(default_factory=free_port)
    management_port: int = field(default_factory=free_port)

    @property
    def directory(self) -> str:
        return f"https://127.0.0.1:{self.port}/dir"

    @property
    def root(self) -> Path:
        return self.home / "root.pem"

    @property
    def issuing_root(self) -> Path:
        return self.home / "issuing.pem"

    def _get(self, path: str) -> bytes:
        context = ssl.create_default_context(cafile=str(self.root))
        with urllib.request.urlopen(f"https://127.0.0.1:{self.management_port}/{path}", context=context) as answer:
            return bytes(answer.read())

    def revoked(self, serial: int) -> bool:
        return bool(json.loads(self._get(f"cert-status-by-serial/{serial:x}"))["Status"] == "Revoked")

    @contextmanager
    def serve(self, resolver: str) -> Iterator[None]:
        home = self.home
        openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            home / "root.key",
            "-out",
            self.root,
            "-subj",
            "/CN=test root",
            "-days",
            "9",
        )
        openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            home / "tls.key",
            "-out",
            home / "tls.pem",
            "-subj",
            "/CN=pebble",
            "-days",
            "9",
            "-addext",
            "subjectAltName=IP:127.0.0.1,DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:false",
            "-CA",
            self.root,
            "-CAkey",
            home / "root.key",
        )
        (home / "config.json").write_text(
            json.dumps(
                {
                    "pebble": {
                        "listenAddress": f"127.0.0.1:{self.port}",
                        "managementListenAddress": f"127.0.0.1:{self.management_port}",
                        "certificate": str(home / "tls.pem"),
                        "privateKey": str(home / "tls.key"),
                        "httpPort": self.http_port,
                        "tlsPort": self.tls_port,
                    }
                }
            )
        )
        env = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
        with running(
            "/usr/bin/pebble", "-config", home / "config.json", "-dnsserver", resolver, env=env, log=home / "log"
        ):
            until(lambda: listens(self.management_port) and listens(self.port), "pebble")
            self.issuing_root.write_bytes(self._get("roots/0"))
            yield
