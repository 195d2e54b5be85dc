"""A server that is killed or stopped while it looks at a slow host: the next one completes the validation."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from responders import Listener, Names, add_hosts, settled, standard
from running import CA
from wire import Account, Wire

from acme_iid.store.database import open_store


class Slow:
    """A host that keeps its first caller waiting for ever, and answers the others."""

    def __init__(self) -> None:
        self.answer = b""
        self.called = threading.Event()
        self.listener = Listener(self._serve)

    def _serve(self, stream: socket.socket) -> None:
        stream.recv(4096)
        if not self.called.is_set():
            self.called.set()
            while stream.recv(4096):
                pass
            return
        stream.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + self.answer)


@pytest.fixture
def slow(own_ca: CA) -> Iterator[Slow]:
    """A CA with a slow host."""
    names, host = Names(), Slow()
    names.set("foo.local", "A", "127.0.0.1")
    add_hosts(own_ca, names, host.listener.port)
    own_ca.start()
    with contextlib.closing(names), contextlib.closing(host.listener):
        yield host


def under_way(ca: CA, slow: Slow) -> tuple[Account, str, str]:
    """An account, its order and the challenge that the server looks for just now."""
    account = ca.account()
    order = account.order("foo.local")
    challenge = standard(account, order.json(), "http-01")
    slow.answer = f"{challenge['token']}.{account.key.thumbprint}".encode()
    assert account.post(challenge["url"], {}).json()["status"] == "processing"
    assert slow.called.wait(30)
    return account, order.headers["Location"], challenge["url"]


def test_a_kill_in_the_middle_of_a_validation_is_survived(own_ca: CA, slow: Slow) -> None:
    account, order, challenge = under_way(own_ca, slow)
    own_ca.kill()
    own_ca.start()
    again = Account(Wire(own_ca.directory, own_ca.root), account.key, account.url)
    assert again.post(challenge).json()["status"] == "processing"
    assert settled(again, challenge).json()["status"] == "valid"
    assert again.post(order).json()["status"] == "ready"


def test_a_server_stops_without_waiting_for_a_slow_host(own_ca: CA, slow: Slow) -> None:
    under_way(own_ca, slow)
    assert own_ca.stop() == 0
    # Had it waited for the attempt's own end, that would have been written down.
    with contextlib.closing(open_store(own_ca.store_url)) as store:
        (attempt,) = store.rows("SELECT leased_until, error FROM attempts")
    assert attempt["leased_until"] is not None
    assert attempt["error"] is None
