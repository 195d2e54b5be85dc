"""More requests than a server has room for: told to come later, before their nonce is spent, and what has begun first.

The server is stopped while all of them are sent, so that it sees them at the same moment.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests
import serving
from processes import thread_states
from serving import DEADLINE, Running, wait_until
from wire import JOSE, Account, Key, Wire

from acme_iid.errors import AcmeError
from acme_iid.web.capacity import Capacity

PROGRAM = """
import sys
from functools import partial
from pathlib import Path
from acme_iid import app
from acme_iid.config import ca_toml, parsers
from acme_iid.serving import server

server.run(
    ca_toml.load(Path(sys.argv[1])),
    listen=parsers.listen_address(sys.argv[2]),
    plain_http=True,
    application=partial(app.create_app, most=16),
)
"""

LASTED = int(DEADLINE)
"""Seconds: a server whose test has begun refuses no longer than that, and sends nobody away for longer."""


class Client:
    """A connection, the request that was sent on it, and the answer."""

    def __init__(self, port: int, path: str, body: bytes | None) -> None:
        self.stream = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        head = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", "Host: ca", f"Content-Type: {JOSE}"]
        head += [f"Content-Length: {len(body or b'')}", "", ""]
        self.request = "\r\n".join(head).encode() + (body or b"")
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    def send(self) -> None:
        self.stream.sendall(self.request)

    def read(self) -> None:
        text = b""
        while b"\r\n\r\n" not in text:
            text += self.stream.recv(65536)
        head, _, self.body = text.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        while len(self.body) < int(self.headers.get("content-length", "0")):
            self.body += self.stream.recv(65536)


class Crowd:
    """Clients of one account that ask at the same moment."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._stack = ExitStack()
        self.wire = PlainWire(running)
        self.account = Account.new(self.wire)
        self.account.order("outside.example")
        self.clients: dict[str, list[Client]] = {}

    def add(self, what: str, count: int) -> None:
        for _ in range(count):
            path, payload, key, kid = {
                "order": ("/acme/new-order", {"identifiers": [{"type": "dns", "value": "a.local"}]}, self.account.key,
                          self.account.url),
                "account": ("/acme/new-account", {"termsOfServiceAgreed": True}, Key(), None),
                "look": (f"/acme/account/{self.account.url.rpartition('/')[2]}/orders", None, self.account.key,
                         self.account.url),
            }[what]  # fmt: skip
            body = json.dumps(self.wire.body(f"https://127.0.0.1{path}", payload, key, kid)).encode()
            self._add(what, Client(self._running.port, path, body))

    def add_get(self, path: str) -> None:
        self._add(path, Client(self._running.port, path, None))

    def _add(self, what: str, client: Client) -> None:
        self._stack.enter_context(client.stream)
        self.clients.setdefault(what, []).append(client)

    def ask(self) -> None:
        """Send all requests while the server is stopped, in the order in which they were added; read the answers."""
        everybody = [client for clients in self.clients.values() for client in clients]
        # Each connection has been accepted once its first answer was read.
        for client in everybody:
            client.stream.sendall(b"GET /health HTTP/1.1\r\nHost: ca\r\n\r\n")
            client.read()
            assert client.status == 200
        pid = self._running.process.pid
        os.kill(pid, signal.SIGSTOP)
        # A thread on another core goes on until it learns of the signal, and would answer the first of them.
        wait_until(lambda: set(thread_states(pid)) == {"T"})
        try:
            for client in everybody:
                client.send()
        finally:
            os.kill(pid, signal.SIGCONT)
        for client in everybody:
            client.read()

    def statuses(self, what: str) -> list[int]:
        return [client.status for client in self.clients[what]]

    def close(self) -> None:
        self._stack.close()


class PlainWire(Wire):
    """A client of a CA whose URLs are a proxy's, and which itself has no TLS."""

    def __init__(self, running: Running) -> None:
        self.session = requests.Session()
        self.session.trust_env = False
        self._base = running.url
        self.directory = {
            name: f"https://127.0.0.1/acme/{path}"
            for name, path in (("newAccount", "new-account"), ("newOrder", "new-order"))
        }

    def nonce(self) -> str:
        return self.session.head(f"{self._base}/acme/new-nonce", timeout=DEADLINE).headers["Replay-Nonce"]

    def send(self, url: str, body: object, content_type: str = JOSE) -> requests.Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.session.post(
            url.replace("https://127.0.0.1", self._base), data, headers={"Content-Type": content_type}, timeout=DEADLINE
        )


@pytest.fixture
def crowd(home: Path) -> Iterator[Crowd]:
    file = home / "ca.toml"
    file.write_text(f'{file.read_text()}\n[limits]\naccounts_per_address = "off"\norders_per_account = "off"\n')
    running = serving.run(home, program=PROGRAM)
    try:
        running.url = running.wait_for(r"Listening on (\S+), for")[1]
        made = Crowd(running)
        yield made
        made.close()
        made.wire.session.close()
        assert not [line for line in running.lines if "unexpected" in line or "Traceback" in line]
    finally:
        running.end()


def test_what_has_no_room_is_told_to_wait_and_keeps_its_nonce(crowd: Crowd) -> None:
    crowd.add("look", 40)
    crowd.ask()
    statuses = crowd.statuses("look")
    assert statuses.count(200) >= 16
    refused = [client for client in crowd.clients["look"] if client.status != 200]
    assert len(refused) > 8
    for client in refused:
        problem = json.loads(client.body)
        assert (client.status, problem["type"].rpartition(":")[2]) == (503, "serverInternal")
        assert int(client.headers["retry-after"]) in range(3, 12)
        assert client.headers["replay-nonce"]
        client.send()
        client.read()
        assert client.status == 200
    assert len({client.headers["retry-after"] for client in refused if "retry-after" in client.headers}) != 1


def test_a_client_that_comes_back_too_early_needs_another_connection(crowd: Crowd) -> None:
    crowd.add("look", 40)
    crowd.ask()
    refused = [client for client in crowd.clients["look"] if client.status == 503]
    assert len(refused) > 8
    assert not [client for client in crowd.clients["look"] if "connection" in client.headers]
    crowd.ask()
    again = [client for client in refused if client.status == 503]
    assert again
    for client in crowd.clients["look"]:
        assert (client.headers.get("connection") == "close") == (client in again)


@pytest.mark.parametrize("new", ["order", "account"])
def test_new_orders_and_accounts_are_refused_before_orders_under_way(crowd: Crowd, new: str) -> None:
    # They have come before the others, and count after them all the same.
    crowd.add(new, 10)
    crowd.add("look", 10)
    crowd.ask()
    assert crowd.statuses("look") == [200] * 10
    assert crowd.statuses(new) == [503] * 10
    for client in crowd.clients[new]:
        assert int(client.headers["retry-after"]) in range(3, 12 + LASTED)


def test_new_orders_alone_get_a_quarter_of_the_room(crowd: Crowd) -> None:
    crowd.add("order", 20)
    crowd.ask()
    statuses = crowd.statuses("order")
    # There is no provisioner, so those that were let in are refused for another reason.
    assert statuses.count(400) >= 4
    assert statuses.count(503) >= 8
    assert statuses.count(400) + statuses.count(503) == 20


@pytest.mark.parametrize("path", ["/health", "/acme/directory", "/acme/new-nonce"])
def test_a_server_with_much_to_do_is_no_broken_one(crowd: Crowd, path: str) -> None:
    crowd.add("look", 40)
    for _ in range(4):
        crowd.add_get(path)
    crowd.ask()
    assert set(crowd.statuses(path)) <= {200, 204}
    assert 503 in crowd.statuses("look")


class Hall:
    """A room with a clock that is set by hand."""

    def __init__(self, most: int) -> None:
        self.now = 1000.0
        self.capacity = Capacity(most, lambda: self.now, random.Random(1))
        self.capacity.note_turn(0.2)

    def enters(self, endpoint: str) -> bool:
        """Whether a request is let in; it has its answer at once."""
        with suppress(AcmeError), self.capacity.entered(endpoint):
            return True
        return False

    def connections(self) -> int:
        """How many connections are accepted now, of a thousand that wait."""
        return next((count for count in range(1000) if not self.capacity.takes_connection()), 1000)


def test_orders_that_have_begun_come_to_their_end_before_others_begin() -> None:
    hall = Hall(16)
    assert [hall.enters("acme.new_order") for _ in range(9)] == [True] * 8 + [False]
    assert not hall.enters("acme.new_account")
    assert hall.enters("acme.finalize")
    assert [hall.enters("acme.new_order") for _ in range(2)] == [True, False]


def test_an_order_whose_client_has_left_takes_no_room_for_long() -> None:
    hall = Hall(16)
    assert [hall.enters("acme.new_order") for _ in range(9)][-1] is False
    hall.now += 1
    hall.capacity.note_turn(0.2)
    assert not hall.enters("acme.new_order")
    hall.now += 2
    hall.capacity.note_turn(0.2)
    assert [hall.enters("acme.new_order") for _ in range(9)] == [True] * 8 + [False]


def test_a_server_that_is_quick_takes_orders_that_nobody_brings_to_an_end() -> None:
    hall = Hall(16)
    hall.now += 1
    hall.capacity.note_turn(0.05)
    assert all(hall.enters("acme.new_order") for _ in range(100))
    hall.capacity.note_turn(0.2)
    assert not hall.enters("acme.new_order")


def test_an_order_that_was_refused_for_another_reason_is_none_under_way() -> None:
    hall = Hall(16)
    for _ in range(20):
        with pytest.raises(ZeroDivisionError), hall.capacity.entered("acme.new_order"):
            raise ZeroDivisionError
    assert hall.enters("acme.new_order")


def test_connections_are_accepted_by_load_and_always_at_least_a_few() -> None:
    hall = Hall(16)
    hall.capacity.note_turn(0.001)
    assert hall.connections() == 16
    hall.now += 0.1
    # The turn of the beginning was a long one, and is forgotten by now.
    assert hall.connections() == 16
    hall.now += 1 / 64
    assert hall.connections() == 6
    hall.capacity.note_turn(0.03)
    hall.now += 1 / 32
    assert hall.connections() == 1
    hall.now += 1 / 64
    assert hall.connections() == 1
    hall.now += 60
    assert hall.connections() == 16
