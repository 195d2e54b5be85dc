"""Events about the servers themselves: another ca.toml, a start, a reload."""

from __future__ import annotations

import hashlib
import logging
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from acme_iid.config import differences
from acme_iid.config.settings import Config
from acme_iid.errors import StoreUnavailableError
from acme_iid.operations import waiting_acts
from acme_iid.store import configurations
from acme_iid.store.actor import Actor
from acme_iid.store.chain import Event
from acme_iid.store.configurations import Recorded
from acme_iid.store.database import connect
from acme_iid.store.writes import Committing, Reader, Write, perform

MAX_LINES = 100
"""Lines of a difference that are recorded; a last one says how many more there were."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


def sha256(data: bytes) -> str:
    """The name of a ca.toml in the record: its SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def changes(reader: Reader, file: Path) -> list[str]:
    """The lines ``- key = value`` and ``+ key = value`` by which ca.toml differs from the one that was recorded last.

    :returns: none where it is the same, or where none was recorded yet; secrets are masked.
    :raises OSError: if it cannot be read.
    """
    before, data = configurations.latest(reader), file.read_bytes()
    if before is None or before.sha256 == sha256(data):
        return []
    return _difference(before.content.split("\n"), _lines(data))


def _lines(data: bytes) -> list[str]:
    """The values of a ca.toml alone: comments may hold anything."""
    return [line.removeprefix("+ ") for line in differences.between(b"", data)]


def note(database: Committing, data: bytes, now: int) -> bool:
    """Record a ca.toml if it is another one than the one that was recorded last; whether it is.

    :param data: its octets.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    return perform(database, partial(_note, data=data, now=now), attempts=10)


def _note(reader: Reader, data: bytes, now: int) -> Write[bool] | bool:
    before, after = configurations.latest(reader), recorded(data)
    if before is not None and before.sha256 == after.sha256:
        return False
    return Write([configurations.record(before, after)], lambda _rows: True, [changed(before, after, now)])


def recorded(data: bytes) -> Recorded:
    """A ca.toml as it is recorded.

    :param data: its octets.
    """
    return Recorded(sha256(data), "\n".join(_lines(data)))


def changed(before: Recorded | None, after: Recorded, now: int) -> Event:
    """The event that one ca.toml took the place of another.

    :param before: None if none was recorded yet.
    """
    difference = None if before is None else _difference(before.content.split("\n"), after.content.split("\n"))
    detail: dict[str, object] = {
        "before": None if before is None else before.sha256,
        "after": after.sha256,
        "difference": difference,
        "host": socket.gethostname(),
    }
    return Event("configuration.changed", now, detail=detail)


def _difference(before: list[str], after: list[str]) -> list[str]:
    """The values that went and came, in the order of their keys."""
    old, new = set(before), set(after)
    changed = [(line, "-") for line in before if line and line not in new]
    changed += [(line, "+") for line in after if line not in old]
    changed.sort(key=lambda entry: (entry[0].partition(" = ")[0], entry[1] == "+"))
    lines = [f"{sign} {line}" for line, sign in changed]
    more = len(lines) - MAX_LINES
    return lines if more <= 0 else [*lines[:MAX_LINES], f"… and {more} more"]


class ServerRecord:
    """Records that a server was started and reloaded, once for all of its processes.

    It is made before they are; each makes its applications by :meth:`following`.

    :param actor: whoever starts it.
    """

    def __init__(self, actor: Actor | None = None) -> None:
        self._actor = actor
        self._run = secrets.token_urlsafe(12)
        self._runs_here = False

    def following(self, factory: Callable[[Config, str | None], T]) -> Callable[[Config, str | None], T]:
        """The same factory of applications, which records each that it made: the first is a start.

        If that cannot be recorded now, the log says so, and the application is made all the same.
        """

        def made(config: Config, password: str | None) -> T:
            application = factory(config, password)
            try:
                data = config.file.read_bytes()
                with closing(connect(config.store.url, 1)) as database:
                    waiting_acts.take_up(config.home, database)
                    self._record(database, data, int(time.time()))
            except (OSError, StoreUnavailableError) as error:
                _log.warning("The record does not say that this server took up its configuration: %s", error)
            return application

        return made

    def _record(self, database: Committing, data: bytes, now: int) -> None:
        note(database, data, now)
        perform(database, partial(self._reloaded if self._runs_here else self._started, digest=sha256(data), now=now))
        self._runs_here = True

    def _started(self, reader: Reader, digest: str, now: int) -> Write[None] | None:
        if configurations.is_started(reader, self._run):
            return None
        event = Event("server.started", now, detail=self._detail(digest))
        if self._actor is not None:
            event = self._actor.sign(event)
        return Write(configurations.started(self._run, digest, now), lambda _rows: None, [event])

    def _reloaded(self, reader: Reader, digest: str, now: int) -> Write[None] | None:
        if configurations.has_taken_up(reader, self._run, digest, now):
            return None
        event = Event("server.reloaded", now, detail=self._detail(digest))
        return Write([configurations.reloaded(self._run, digest, now)], lambda _rows: None, [event])

    def _detail(self, digest: str) -> dict[str, object]:
        return {"run": self._run, "host": socket.gethostname(), "version": version("acme-iid"), "configuration": digest}
