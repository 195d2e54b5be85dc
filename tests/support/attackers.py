"""A CA for hosts on loopback, attackers who have it look at hosts that never answer, and a host that does."""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from responders import Listener, Names, Page, Web, add_hosts, settled
from running import CA
from wire import Account

_TOKENS = "/.well-known/acme-challenge/"


def _keep(stream: socket.socket) -> None:
    """Take a connection and whatever is sent, and answer nothing."""
    while stream.recv(4096):
        pass


@dataclass
class Site:
    """A CA that serves, the names that it can look up, and a web server beside a silent one."""

    ca: CA
    names: Names
    web: Web
    silent: Listener
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    @contextlib.contextmanager
    def serving(cls, ca: CA, *options: str) -> Iterator[Site]:
        """Serve a CA that was made."""
        names, web = Names(), Web()
        silent = Listener(_keep, "127.0.0.2", web.port)
        add_hosts(ca, names, web.port)
        ca.start(*options)
        with contextlib.closing(names), contextlib.closing(web), contextlib.closing(silent):
            yield cls(ca, names, web, silent)

    def attack(self, source: str, count: int) -> None:
        """Let so many accounts, all from one address, each ask for a look at a silent host with a name of its own."""
        wire = self.ca.wire(source)
        for _ in range(count):
            self._answer(Account.new(wire), f"dead{next(self._numbers)}.local", "127.0.0.2")

    def prove(self, source: str, seconds: float) -> float:
        """Prove a name by http-01 from an address, within so many seconds; the seconds that it took."""
        account = Account.new(self.ca.wire(source))
        begun = time.monotonic()
        url = self._answer(account, f"host{next(self._numbers)}.local", "127.0.0.1")
        done = settled(account, url, seconds)
        assert done.json()["status"] == "valid", done.text
        return time.monotonic() - begun

    def _answer(self, account: Account, name: str, address: str) -> str:
        """Answer the http-01 challenge for a name; its URL."""
        self.names.set(name, "A", address)
        wanted = {"identifier": {"type": "dns", "value": name}}
        made = account.post(account.wire.directory["newAuthz"], wanted).json()
        challenge = next(entry for entry in made["challenges"] if entry["type"] == "http-01")
        token = challenge["token"]
        self.web.pages[_TOKENS + token] = Page(f"{token}.{account.key.thumbprint}".encode())
        assert account.post(challenge["url"], {}).json()["status"] == "processing"
        return str(challenge["url"])
