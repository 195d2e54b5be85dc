"""A server whose application is a test's own, as a process: started, signalled and killed, spoken to over TLS."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import requests
from cryptography import x509

PROGRAM = """
import os, sys, time
from pathlib import Path
import flask
from acme_iid import errors
from acme_iid.config import ca_toml, parsers
from acme_iid.serving import server
from acme_iid.issuance.home import load as load_ca
from acme_iid.issuance.keys import CAFileError
from acme_iid.web.application import Application

def application(settings, password):
    if settings.ca.name == "unusable":
        raise ValueError("the app cannot work with this name")
    if (settings.home / "broken").exists():
        raise ValueError("the app is broken")
    app = Application("test")
    app.ca = load_ca(settings.home, password)
    app.add_url_rule("/pid", view_func=lambda: str(os.getpid()), endpoint="pid")
    app.add_url_rule("/name", view_func=lambda: settings.ca.name, endpoint="name")
    own = " ".join(sorted(name.value for name in settings.namespace.reserved))
    app.add_url_rule("/own", view_func=lambda: own, endpoint="own")
    app.add_url_rule("/slow", view_func=lambda: (time.sleep(1), settings.ca.name)[1], endpoint="slow")
    app.add_url_rule("/much", view_func=lambda: "much" * (1 << 20), endpoint="much")
    app.add_url_rule("/crash", view_func=lambda: os._exit(3), endpoint="crash")
    fields = lambda: {name: value for name, value in flask.request.headers.items()}
    app.add_url_rule("/fields", view_func=fields, endpoint="fields")
    return app

try:
    server.run(
        ca_toml.load(Path(sys.argv[1])),
        listen=parsers.listen_address(sys.argv[2]) if sys.argv[2] else None,
        plain_http="plain" in sys.argv[4:],
        workers=2 if "two-workers" in sys.argv[4:] else 1,
        serving_lifetime=int(sys.argv[3]),
        application=application,
    )
except (errors.ServerError, CAFileError) as error:
    sys.exit(f"refused: {error}")
"""
DEADLINE = 60


@dataclass
class Running:
    """The server, and what it has written."""

    process: subprocess.Popen[str]
    root: Path
    lines: list[str] = field(default_factory=list)
    url: str = ""
    follower: threading.Thread | None = None

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.root)
        return session

    def get(self, path: str) -> str:
        with self.session() as session:
            return session.get(self.url + path, timeout=DEADLINE).text

    def connect(self) -> socket.socket:
        """A connection of one's own, with TLS."""
        context = ssl.create_default_context(cafile=str(self.root))
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)
        return context.wrap_socket(plain, server_hostname="127.0.0.1")

    def serial(self) -> int:
        with self.connect() as stream:
            assert isinstance(stream, ssl.SSLSocket)
            der = stream.getpeercert(binary_form=True)
            assert der is not None
            return x509.load_der_x509_certificate(der).serial_number

    def wait_for(self, pattern: str, *, count: int = 1) -> re.Match[str]:
        """Wait until so many lines match; returns the last match."""
        found: list[re.Match[str]] = []

        def seen() -> bool:
            found[:] = filter(None, (re.search(pattern, line) for line in list(self.lines)))
            return len(found) >= count

        wait_until(seen)
        return found[-1]

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        self.process.send_signal(signal_number)
        return self.process.wait(DEADLINE)

    def end(self) -> None:
        """End it whatever it does."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.follower is not None:
            self.follower.join(DEADLINE)
            # A process that outlived its server holds the other end; closing ours would wait for it.
            assert not self.follower.is_alive(), "a process of the server is still running"
        assert self.process.stderr is not None
        self.process.stderr.close()


def run(
    home: Path,
    *flags: str,
    listen: str = "127.0.0.1:0",
    lifetime: int = 3600,
    prefix: tuple[str, ...] = (),
    pass_fds: tuple[int, ...] = (),
    env: Mapping[str, str] | None = None,
    program: str = PROGRAM,
) -> Running:
    """Start the server, whose lines are followed from then on."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", program, str(home), listen, str(lifetime), *flags],
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=pass_fds,
        env={**os.environ, **(env or {})},
    )
    running = Running(process, home / "certs/root_ca.crt")

    def follow() -> None:
        assert process.stderr is not None
        running.lines.extend(process.stderr)

    running.follower = threading.Thread(target=follow, daemon=True)
    running.follower.start()
    return running


class Start(Protocol):
    """Starts a server, and waits until it says that it listens."""

    def __call__(self, *flags: str, **how: Any) -> Running: ...


def rename_ca(home: Path, old: str, new: str) -> None:
    """Change ca.toml."""
    file = home / "ca.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
