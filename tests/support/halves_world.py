"""What the model of interleaved halves knows, and the CA that it is compared with (tests/stories/races)."""

from __future__ import annotations

import functools
import shutil
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import postgresql
from relays import Relay
from responders import Listener, Names, add_hosts
from running import ACCOUNT, CA, PROVISIONER
from wire import Key

from acme_iid.attestation.registry import trust_store
from acme_iid.authority import Authority
from acme_iid.config import ca_toml
from acme_iid.issuance.home import load as load_ca
from acme_iid.protocol.identifiers import Identifier
from acme_iid.simulator import aws
from acme_iid.store import attempts
from acme_iid.store.chain import Event
from acme_iid.store.database import Database, SQLite, open_store
from acme_iid.store.front import Front
from acme_iid.store.writes import Committed, Outcome, Write

FOO, BAR = NAMES = (Identifier("dns", "foo.local"), Identifier("dns", "bar.local"))
DELISTED = "210987654321"
"""The AWS account that only the first configuration lists."""
_CONFLICT = """CREATE FUNCTION conflict(always BOOLEAN) RETURNS BIGINT AS $$ DECLARE number BIGINT; BEGIN
    SELECT nextval('conflicts') INTO number;
    IF always OR number % 2 = 1 THEN RAISE EXCEPTION 'another goes first' USING ERRCODE = '40001'; END IF;
    RETURN number; END $$ LANGUAGE plpgsql"""


class Host:
    """The web server of each name: it has what was put there."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.listener = Listener(self._serve)

    def _serve(self, stream: socket.socket) -> None:
        path = stream.recv(4096).split(b" ")[1].decode()
        found = self.files.get(path.rpartition("/")[2])
        stream.sendall(b"HTTP/1.1 404 None\r\n\r\n" if found is None else b"HTTP/1.1 200 OK\r\n\r\n" + found.encode())


@dataclass(frozen=True)
class Ruling:
    """A configuration in force, and what the model says that it gives.

    :ivar accounts: whose instances are admitted.
    :ivar names: which names they may hold.
    :ivar hosts: whether hosts prove names by the standard challenges.
    """

    authority: Authority
    accounts: tuple[str, ...]
    names: tuple[Identifier, ...]
    hosts: bool

    def gives(self, name: Identifier, machine: Machine | None) -> bool:
        """Whether a name may be held: by an instance, or by a host (None)."""
        if machine is None:
            return self.hosts
        return machine.cloud.account in self.accounts and name in self.names


class Home:
    """The CA of this test process: one store, and configurations that SIGHUP swaps."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="acme-iid-halves-"))
        self.names, self.host = Names(), Host()
        for name in NAMES:
            self.names.set(name.value, "A", "127.0.0.1")
        ca = CA(self.folder / "ca")
        ca.init("--aws-account", DELISTED)
        add_hosts(ca, self.names, self.host.listener.port)
        url = ca_toml.load(ca.home).store.url
        self.relay: Relay | None = None
        if postgresql.is_wanted():
            self.relay = Relay(urlsplit(url).port or 0)
            url = self.relay.url(url)
        self.database = open_store(url)
        with self.database.transaction() as transaction:
            transaction.run("CREATE TABLE ballast (id TEXT PRIMARY KEY, octets TEXT)")
            if self.relay is not None:
                transaction.run("CREATE SEQUENCE conflicts")
                transaction.run(_CONFLICT)
        self.rulings = [self._ruling(ca, (ACCOUNT, DELISTED), NAMES, hosts=True)]
        ca.cli("provisioner", "remove", PROVISIONER)
        self.rulings.append(self._ruling(ca, (), (), hosts=True))
        roots = ca.home / "test-roots.pem"
        ca.cli("provisioner", "add", PROVISIONER, "--type", "AWS", "--aws-account", ACCOUNT, "--allow", FOO.value,
               "--iid-roots", roots)  # fmt: skip
        ca.cli("provisioner", "remove", "Racks")
        self.rulings.append(self._ruling(ca, (ACCOUNT,), (FOO,), hosts=False))

    def _ruling(self, ca: CA, accounts: tuple[str, ...], names: tuple[Identifier, ...], *, hosts: bool) -> Ruling:
        loaded = ca_toml.load(ca.home)
        made = Authority(loaded, self.database, load_ca(ca.home), trust_store(loaded.given_keys))
        return Ruling(made, accounts, names, hosts)

    def close(self) -> None:
        """End all of it, and remove its files."""
        self.database.close()
        self.names.close()
        self.host.listener.close()
        if self.relay is not None:
            self.relay.close()
        shutil.rmtree(self.folder)


@functools.cache
def home() -> Home:
    """The one of this test process."""
    return Home()


class DecidedError(Exception):
    """What was about to be committed."""

    def __init__(self, write: Write[Any]) -> None:
        super().__init__()
        self.write = write


class Store(Front[Database]):
    """A store that notes the events of what it commits, in the order in which that happens."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.database = database
        self.events: list[Event] = []

    def commit(self, write: Write[Any]) -> Outcome:
        outcome = self.database.commit(write)
        if isinstance(outcome, Committed):
            self.events += write.events
        return outcome

    def commit_all(self, writes: Sequence[Write[Any]], *, waits: bool = True) -> list[Outcome | Exception]:
        assert isinstance(self.database, SQLite)
        outcomes = self.database.commit_all(writes, waits=waits)
        for write, outcome in zip(writes, outcomes, strict=True):
            if isinstance(outcome, Committed):
                self.events += write.events
        return outcomes


class FirstHalf(Store):
    """A store in which a command, or an attempt, gets as far as what it would commit.

    :param lists: whether what records nothing is committed: what follows the events, so that lists are up to date.
    """

    def __init__(self, database: Database, *, lists: bool) -> None:
        super().__init__(database)
        self._lists = lists

    def commit(self, write: Write[Any]) -> Outcome:
        if write.events or not self._lists:
            raise DecidedError(write)
        return self.database.commit(write)


@dataclass
class Holder:
    """An account, as the model knows it."""

    id: str
    key: Key
    active: bool = True
    enrolment: str | None = None


@dataclass
class Machine:
    """An instance, as the model knows it."""

    cloud: aws.Instance
    generation: int = 0
    blocked: bool = False
    holder: str | None = None
    released_to: str | None = None
    is_there: bool = False

    @property
    def id(self) -> str:
        return f"aws:aws:{self.cloud.account}:{self.cloud.region}:{self.cloud.instance_id}"


@dataclass
class Attempted:
    """A standard challenge that was answered: how often it was looked for and put off, and whether somebody has it."""

    asked: attempts.Asked
    challenge: str
    number: int = 0
    postponed: int = 0
    is_leased: bool = False


@dataclass
class Ordered:
    """An order, as the model knows it.

    :ivar proofs: what has proven its names: an instance, by its id, or a host (None).
    :ivar by_iid: the names that only an instance may prove.
    :ivar is_bound: whether the account still has the key that it asked with, to which instances' proofs are bound.
    :ivar attempts: by a name's place.
    """

    id: str
    account: Holder
    names: tuple[Identifier, ...]
    by_iid: frozenset[Identifier]
    proven: tuple[str, int] | None = None
    proofs: dict[Identifier, str | None] = field(default_factory=dict)
    attempts: dict[int, Attempted] = field(default_factory=dict)
    is_bound: bool = True
    ended: bool = False
    issued: bool = False

    @property
    def ready(self) -> bool:
        return set(self.proofs) == set(self.names)


@dataclass
class Handed:
    """An enrolment, as the model knows it."""

    account: Holder
    machine: Machine
    generation: int
    ended: bool = False


@dataclass(frozen=True)
class Decided:
    """A write that was decided.

    :ivar happens: what the model does of it, given its answer; it raises if that cannot be.
    :ivar at: how many writes had been committed when the oldest was read of what it was decided on.
    """

    what: str
    write: Write[Any]
    happens: Callable[[Any], None]
    at: int


@dataclass
class World:
    """What was committed."""

    holders: list[Holder] = field(default_factory=list)
    machines: list[Machine] = field(default_factory=list)
    orders: dict[str, Ordered] = field(default_factory=dict)
    enrolments: dict[str, Handed] = field(default_factory=dict)
    certificates: list[tuple[str, Key]] = field(default_factory=list)
    compromised: set[str] = field(default_factory=set)
