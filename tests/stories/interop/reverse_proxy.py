"""Debian's nginx in front of a CA: TLS ends there, at another host name, and the CA's paths begin with a prefix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from interop.harness import with_mounted
from interop.ours import Ours
from nginx import nginx
from ports import free_port

HOST = "acme.example.test"
PREFIX = "/pki"
_HTTP = """
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name {host};
        ssl_certificate {home}/chain.pem;
        ssl_certificate_key {home}/key.pem;
        location {prefix}/ {{
            proxy_pass http://127.0.0.1:{backend}/;
        }}
    }}
"""


@dataclass
class ProxiedCA(Ours):
    """A CA whose clients know it by its proxy's address; it listens on plain HTTP itself."""

    public_port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.public_port}{PREFIX}"

    @contextmanager
    def behind_nginx(self, home: Path) -> Iterator[None]:
        """Serve, with nginx in front, which shows a certificate that is marked as this CA's."""
        self.cli("serving-certificate", "--key", home / "key.pem", "--out", home / "chain.pem")
        http = _HTTP.format(home=home, port=self.public_port, backend=self.port, host=HOST, prefix=PREFIX)
        with self.served("--plain-http"), nginx(home, self.public_port, http):
            yield


def knowing(home: Path) -> list[str | Path]:
    """What to put before a command that is to find the proxy by its name."""
    hosts = home / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {HOST}\n")
    return with_mounted(hosts, "/etc/hosts")
