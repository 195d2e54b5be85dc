"""Three servers of one CA behind nginx, on one PostgreSQL: killed and restarted, with clients that do not give up.

Clients are the raw one of ``wire.py`` with what every ACME client does: after a 5xx, a cut connection or a bad nonce it
looks where its order stands and goes on.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import postgresql
import requests
from interop.harness import until
from nginx import nginx
from ports import free_port
from running import ACCOUNT, CA, answer
from wire import Account, Key, Wire, b64, csr

from acme_iid.authority import reading
from acme_iid.simulator import aws
from acme_iid.store import certificates, events
from acme_iid.store.database import Database, open_store

T = TypeVar("T")

REPLICAS = 3
_CONTESTED_ONE_IN = 10
_PATIENCE = 120.0
_HTTP = """
    upstream replicas {{
        {servers}
        keepalive 16;
    }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {home}/chain.pem;
        ssl_certificate_key {home}/key.pem;
        location / {{
            proxy_pass http://replicas;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_connect_timeout 2s;
        }}
    }}
"""


@dataclass
class Replica(CA):
    """One of the servers; clients know it by the address that all have in common."""

    public_port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.public_port}"


@dataclass
class Fleet:
    """The replicas, and their database's URL."""

    replicas: Sequence[CA]
    store_url: str

    @classmethod
    @contextmanager
    def serving(cls, folder: Path) -> Iterator[Fleet]:
        """Make a CA, copy its files to each replica, and serve behind nginx."""
        url = postgresql.cluster().create()
        first = Replica(folder / "replica0")
        first.init()
        toml = first.home / "ca.toml"
        text = toml.read_text().replace(f'url = "{first.store_url}"', f'url = "{url}"')
        toml.write_text(text.replace('url = "sqlite:ca.db"', f'url = "{url}"'))
        replicas = [first]
        for number in range(1, REPLICAS):
            other = Replica(folder / f"replica{number}", public_port=first.public_port)
            shutil.copytree(first.home, other.home)
            copied = other.home / "ca.toml"
            copied.write_text(copied.read_text().replace(f"127.0.0.1:{first.port}", f"127.0.0.1:{other.port}"))
            replicas.append(other)
        with ExitStack() as stack:
            for replica in replicas:
                replica.start("--plain-http", "--workers", "1")
                stack.callback(_end, replica)
            stack.enter_context(_balancer(first, [replica.port for replica in replicas], folder / "nginx"))
            yield cls(replicas, url)

    @contextmanager
    def store(self) -> Iterator[Database]:
        """The store, behind the servers' backs."""
        with closing(open_store(self.store_url)) as opened:
            yield opened

    def restart(self, number: int) -> None:
        """Kill a replica with SIGKILL, and start it again."""
        self.replicas[number].kill()
        time.sleep(0.5)
        self.replicas[number].start("--plain-http", "--workers", "1")


def _end(replica: Replica) -> None:
    if replica.process is not None:
        replica.kill()


@contextmanager
def _balancer(ca: Replica, ports: list[int], home: Path) -> Iterator[None]:
    home.mkdir()
    ca.cli("serving-certificate", "--key", home / "key.pem", "--out", home / "chain.pem")
    servers = "\n        ".join(f"server 127.0.0.1:{port} max_fails=1 fail_timeout=1s;" for port in ports)
    with nginx(home, ca.public_port, _HTTP.format(home=home, port=ca.public_port, servers=servers)):
        yield


@dataclass
class Outcome:
    """What one order came to, as its client was told."""

    account: str
    instance: str
    order: str = ""
    certificate: str = ""
    chain: str = ""
    refused: bool = False
    finalize: tuple[str, Mapping[str, object]] | None = None


@dataclass
class Load:
    """Orders by many clients at once, and what they were told.

    :ivar count: how many orders there are at least.
    """

    fleet: Fleet
    count: int
    threads: int = 8
    outcomes: list[Outcome] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    _instances: dict[int, aws.Instance] = field(default_factory=dict)
    _disturbed: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, disturb: Callable[[Load], None]) -> None:
        """Place all orders, and as many more as it takes, while ``disturb`` does its worst; returns when it is done."""
        with ThreadPoolExecutor(self.threads) as pool:
            working = [pool.submit(self._client, number) for number in range(self.threads)]
            try:
                disturb(self)
            finally:
                self._disturbed.set()
            for work in working:
                work.result()

    def _instance(self, order: int) -> aws.Instance:
        """Whose order it is: now and then the one of the order before it, which another client places."""
        contested = order - order % _CONTESTED_ONE_IN
        of = contested if order == contested + 1 else order
        with self._lock:
            return self._instances.setdefault(of, aws.Instance(account=ACCOUNT))

    @property
    def done(self) -> int:
        """How many orders have come to their end."""
        return len(self.outcomes)

    def wait_for(self, share: float) -> None:
        """Wait until this share of the orders has come to its end."""
        until(lambda: self.done >= share * self.count, f"{share:.0%} of the orders", 1800)

    def _client(self, number: int) -> None:
        first = self.fleet.replicas[0]
        wire = self._persist(lambda: Wire(first.directory, first.root))
        key = Key()
        account = self._persist(lambda: _registered(wire, key))
        order = number
        while order < self.count or not self._disturbed.is_set():
            instance = self._instance(order)
            order += self.threads
            outcome = Outcome(account.url.rpartition("/")[2], instance.instance_id)
            request = {"csr": b64(csr("foo.local")[1])}
            evidence = answer(instance)
            self._persist(lambda: _go_on(account, outcome, evidence, request))  # noqa: B023 - called before the next
            with self._lock:
                self.outcomes.append(outcome)

    def _persist(self, step: Callable[[], T]) -> T:
        """Do a step again until it succeeds."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return step()
            except (AgainError, requests.ConnectionError, requests.Timeout) as error:
                if time.monotonic() > deadline:
                    raise
                with self._lock:
                    self.troubles.append(str(error) if isinstance(error, AgainError) else type(error).__name__)
                time.sleep(0.2)


class AgainError(Exception):
    """The server could not do it now, or took no such nonce; the text is its answer."""


def _checked(response: requests.Response) -> requests.Response:
    """The response, if it is no reason to ask again."""
    if response.status_code in (502, 503, 504):
        # What does not come from nginx itself says when to come back.
        assert response.headers["Content-Type"].startswith("text/html") or response.headers["Retry-After"]
        raise AgainError(f"{response.status_code}")
    if response.status_code == 400 and response.json()["type"].endswith(":badNonce"):
        raise AgainError("badNonce")
    assert response.status_code < 400, response.text
    return response


def _registered(wire: Wire, key: Key) -> Account:
    made = _checked(wire.post(wire.directory["newAccount"], {"termsOfServiceAgreed": True}, key))
    return Account(wire, key, made.headers["Location"])


def _go_on(account: Account, outcome: Outcome, evidence: Mapping[str, str], request: Mapping[str, str]) -> None:
    """Look where an order stands, and bring it to its end."""
    if not outcome.order:
        outcome.order = _checked(account.order("foo.local")).headers["Location"]
    order = _checked(account.post(outcome.order)).json()
    if order["status"] == "pending":
        authorization = _checked(account.post(order["authorizations"][0])).json()
        challenge = next(entry for entry in authorization["challenges"] if entry["type"] == "iid-01")
        _checked(account.post(challenge["url"], dict(evidence)))
        order = _checked(account.post(outcome.order)).json()
    if order["status"] == "ready":
        finalize = order["finalize"]
        body = account.wire.body(finalize, dict(request), account.key, account.url)
        order = _checked(account.wire.send(finalize, body)).json()
        # Acknowledged from here on.
        outcome.certificate = order["certificate"]
        outcome.finalize = (finalize, body)
    if order["status"] == "invalid":
        outcome.refused = True
        return
    assert order["status"] == "valid", order
    assert outcome.certificate in ("", order["certificate"])
    outcome.certificate = order["certificate"]
    outcome.chain = _checked(account.post(outcome.certificate)).text
    if outcome.finalize is not None:
        _require_refused(account.wire, *outcome.finalize)


def _require_refused(wire: Wire, url: str, body: Mapping[str, object]) -> None:
    """Send a request once more, whichever replica gets it: its nonce was spent."""
    again = wire.send(url, body)
    if again.status_code < 500:
        assert again.status_code == 400, again.text
        assert again.json()["type"].endswith(":badNonce"), again.text


def check(load: Load, trouble: str = "503") -> None:
    """Nothing acknowledged is lost, nothing was given twice, and the record is whole.

    :param trouble: what clients saw of what was done to the servers.
    """
    assert load.done >= load.count
    # Clients saw that something was the matter, and that it passed.
    assert trouble in load.troubles, load.troubles
    by_instance: dict[str, list[Outcome]] = {}
    for outcome in load.outcomes:
        by_instance.setdefault(outcome.instance, []).append(outcome)
    for outcomes in by_instance.values():
        # Of two accounts that wanted one instance, one got it.
        assert len([outcome for outcome in outcomes if not outcome.refused]) == 1, outcomes
    issued = [outcome for outcome in load.outcomes if not outcome.refused]
    with load.fleet.store() as store:
        for outcome in issued:
            found = certificates.get(store, outcome.certificate.rpartition("/")[2])
            assert found is not None
            assert (found.id, found.account_id) == (outcome.order.rpartition("/")[2], outcome.account)
            assert outcome.chain.startswith(reading.pem(found))
        assert not store.rows("SELECT serial FROM certificates GROUP BY serial HAVING count(*) > 1")
        assert not store.rows(
            "SELECT instance_id FROM certificates GROUP BY instance_id HAVING count(DISTINCT account_id) > 1"
        )
        assert not store.rows(
            """SELECT c.n FROM certificates c JOIN instances i ON i.id = c.instance_id
               WHERE i.account_id <> c.account_id"""
        )
        store.seal()
        assert len(list(events.check(store))) >= load.count


def kill_and_restart(load: Load) -> None:
    """Kill each replica once and start it again, and restart the database in between."""
    cluster = postgresql.cluster()
    for number in range(REPLICAS):
        load.wait_for((number + 1) / (REPLICAS + 2))
        load.fleet.restart(number)
        if number == 1:
            cluster.stop()
            # Short enough, and nobody notices.
            until(lambda: "503" in load.troubles, "a client that sees that the database is away", 60)
            cluster.start()
