"""A console over a real store that a busy and a hostile day have filled, and a visitor without a browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import postgresql
import requests
from click.testing import CliRunner
from console_source import StoreSource
from issued import DAY, issue, prepare, vm
from writing import key, put

from acme_iid.cli import main
from acme_iid.config import ca_toml
from acme_iid.console.server import Running, listening
from acme_iid.operations import fleet_sampling, instances
from acme_iid.protocol.resources import Instance
from acme_iid.store import certificates
from acme_iid.store import instances as stored
from acme_iid.store.actor import Actor, OperatorStore
from acme_iid.store.chain import Event
from acme_iid.store.database import Database, open_store

HOUR = 3600
MARKUP = "<img src=x onerror=alert(1)>\"'</bdi></title>"
HOSTILE = f"{MARKUP}\u202egpj.exe\x1b[2J\u200b\u2066 \u05e9\u05dc\u05d5\u05dd"
"""Markup, an override that turns what follows round, a terminal's command, a blank without width, and Hebrew."""
REASON = f"{MARKUP} \u05e9\u05dc\u05d5\u05dd"
"""What an operator may write as a reason: it prints."""
LONG = ".".join(("a" * 63, "b" * 63, "c" * 63, "d" * 61))
"""The longest name that there is: 253 octets."""
VM, BLOCKED, REFUSED = vm(1), vm(2), "gcp:4711:42"
"""An instance with a long story, one that is blocked, and one that was only ever refused."""
THUMBPRINT = "A" * 43
RELEASE = f"acme-iid-ca instance release {VM} --to {THUMBPRINT}"


def made_home(folder: Path) -> Path:
    """A CA's home with a store of its own."""
    made = CliRunner().invoke(main, ["--home", str(folder), "init"])
    assert made.exit_code == 0, made.output
    postgresql.place_store(folder)
    return folder


def opened(home: Path) -> Database:
    """The store of a home."""
    return open_store(ca_toml.load(home).store.url)


@dataclass
class Told:
    """Events of an instance, as requests would have left them."""

    database: Database
    instance: str

    def proven(self, at: int, *names: str, **facts: object) -> None:
        for name in names:
            detail = {"identifiers": list(names), "provisioner": "AWS", "rule": "allow *.local", "remote": "192.0.2.1"}
            event = Event("challenge.valid", at, "a", key(self.instance), name=name, detail={**detail, **facts})
            put(self.database, events=[event])

    def refused(self, at: int, name: str, reason: str, **facts: object) -> None:
        detail = {"identifiers": [name], "reason": reason, "step": "names", "remote": "192.0.2.1", **facts}
        put(self.database, events=[Event("challenge.refused", at, "a", key(self.instance), name=name, detail=detail)])

    def used(self, at: int) -> None:
        """Belong to the account ``a``."""
        cloud, owner = self.instance.split(":")[0], key(self.instance).owner
        own = self.instance.rpartition(":")[2]
        used = Instance(self.instance, cloud, owner, own, "a", "t", at - DAY, at, at)
        put(self.database, stored.use(used))


def fill(database: Database, now: int) -> None:
    """Have a fleet, refusals of all kinds, texts that attack whoever shows them, and operators who act."""
    prepare(database, now - 30 * DAY)
    story = Told(database, VM)
    story.refused(now - 21 * DAY, "web.local", "this CA has no provisioner", step="admission")
    began = now - 20 * DAY
    story.used(began)
    story.proven(began, "web.local", HOSTILE, LONG, image=HOSTILE, region="us-west-2")
    names, life = ("web.local", HOSTILE, LONG), 2 * DAY - HOUR
    got = [
        issue(database, *names, at=began + day * DAY + 60, life=life, instance=VM, provisioner="AWS")
        for day in range(20)
    ]
    revoked = got[-2]
    reason = f"this instance belongs to another account key since its first use. An operator lets it in with: {RELEASE}"
    story.refused(now - 2 * HOUR, LONG, reason, step="first use")
    story.refused(now - HOUR, HOSTILE, HOSTILE, step=HOSTILE, refused=1204)
    put(OperatorStore(database, operator()), certificates.revoke(revoked, 1, "operator", now - 1800), events=[
        Event("certificate.revoked", now - 1800, "a", key(VM), detail={
            "serial": revoked.serial, "names": ["web.local"], "by": "operator", "reason": "keyCompromise"}),
    ])  # fmt: skip
    other = Told(database, BLOCKED)
    other.used(now - 3 * DAY)
    other.proven(now - 3 * DAY, "other.local")
    issue(database, "other.local", at=now - DAY, life=DAY + 2 * HOUR, instance=BLOCKED)
    instances.block(OperatorStore(database, operator()), BLOCKED, REASON, revoke=False, now=now - 60)
    Told(database, REFUSED).refused(now - 300, "db.local", "the signature is wrong", step="signature", proven=False)
    issue(database, "host.local", at=now - 60, life=10 * HOUR)
    for hours in (30, 20, 10, 0):
        fleet_sampling.sample(database, now - hours * HOUR)


def operator() -> Actor:
    """An operator whose name and reason attack whoever shows them."""
    return Actor("socket", user=f"eve{HOSTILE}", uid=1001, host="bastion", role="operator", reason=REASON)


def crowd(database: Database, now: int, size: int) -> None:
    """Give one instance so many refusals and certificates."""
    prepare(database, now - 9000)
    told = Told(database, VM)
    told.used(now - 8000)
    for number in range(size):
        told.refused(now - 8000 + number, f"n{number}.local", f"reason {number}")
        issue(database, f"n{number}.local", at=now - 8000 + number, instance=VM)


@contextmanager
def console(home: Path) -> Iterator[tuple[Running, StoreSource]]:
    """A console over the store of a home, and what it reads."""
    with closing(opened(home)) as database:
        source = StoreSource(home, database)
        with listening(source) as running:
            yield running, source


class Visitor:
    """Somebody with a browser that runs nothing, who has followed the link."""

    def __init__(self, running: Running) -> None:
        self.session = requests.Session()
        entered = self.session.get(running.link, timeout=60)
        assert not entered.url.startswith(running.link), entered.text
        self.base = entered.url

    def get(self, path: str = "", **query: str) -> requests.Response:
        """Ask for a page."""
        return self.session.get(self.base + path, params=query, timeout=60)


def now() -> int:
    """The time."""
    return int(time.time())
