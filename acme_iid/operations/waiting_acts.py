"""Operators' acts that wait in the CA's home for its store: it is not there before it is first used, and may be away.

Making the CA is such an act. Each is a file of its own. Whoever uses the store next, a server that starts or a command
that changes something, records these acts first; one that another copy of the home has recorded is not recorded again.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from acme_iid.durable import replace_file, sync_names
from acme_iid.store import acts, configurations
from acme_iid.store.chain import Event
from acme_iid.store.configurations import Recorded
from acme_iid.store.writes import Committing, Reader, Write, perform

FOLDER = Path("acts")
"""Where they are in a home."""
MODE = 0o600
_UNREADABLE = (OSError, ValueError, KeyError, TypeError)
"""What reading a file may end with that was damaged, or that nobody may read."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Act:
    """What an operator did.

    :ivar id: its own; ids sort by the time at which the acts were done.
    :ivar event: what the record is to say, with the actor.
    :ivar configuration: the ca.toml that it left, where it changed that.
    """

    id: str
    event: Event
    configuration: Recorded | None = None

    @classmethod
    def new(cls, event: Event, configuration: Recorded | None = None) -> Act:
        """One that was done just now."""
        return cls(f"{time.time_ns():020d}-{secrets.token_hex(6)}", event, configuration)

    @property
    def file(self) -> Path:
        """Its file, below the home."""
        return FOLDER / f"{self.id}.json"

    def content(self) -> bytes:
        """What is in the file."""
        content = {"event": self.event.columns()._asdict(), "configuration": self.configuration}
        return json.dumps(content, indent=1).encode()


def waiting(home: Path) -> list[Path]:
    """The files of the acts that wait in a home, the first one first."""
    return sorted((home / FOLDER).glob("*.json"))


def is_unused(home: Path) -> bool:
    """Whether nobody has used a store since the CA in a home was made: that it was made still waits there."""
    try:
        return any(_read(path).event.kind == "ca.made" for path in waiting(home)[:1])
    except _UNREADABLE:
        return False


def configuration(home: Path) -> Recorded | None:
    """The ca.toml that the acts which wait in a home have left; None if none of them changed it, or one is damaged."""
    for path in reversed(waiting(home)):
        try:
            left = _read(path).configuration
        except _UNREADABLE:
            return None
        if left is not None:
            return left
    return None


def keep(home: Path, act: Act) -> None:
    """Have an act wait in a home.

    :raises OSError: if it cannot be written.
    """
    (home / FOLDER).mkdir(mode=0o700, exist_ok=True)
    replace_file(home / act.file, act.content(), MODE)
    sync_names(home)


def take_up(home: Path, database: Committing, *, stay: bool = False) -> None:
    """Record the acts that wait in a home.

    :param stay: have them wait on: the store may come to nothing.
    :raises StoreUnavailableError: if the store cannot be used now; what was not recorded waits on.
    """
    for path in waiting(home):
        try:
            act = _read(path)
        except FileNotFoundError:
            continue  # another process was faster
        except _UNREADABLE as error:
            _log.warning("The record does not say what was done: %s cannot be read: %s", path, error)
            continue
        record(database, act)
        # Where only the server's user may write, the file stays: the act is recorded once all the same.
        if not stay:
            with suppress(OSError):
                path.unlink()


def _read(path: Path) -> Act:
    content = json.loads(path.read_bytes())
    configuration = content["configuration"]
    return Act(path.stem, Event.of(content["event"]), None if configuration is None else Recorded(*configuration))


def record(database: Committing, act: Act) -> None:
    """Record an act, unless it was recorded before.

    :param database: the store itself: the event names its actor already.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    perform(database, partial(_record, act=act), attempts=10)


def _record(reader: Reader, act: Act) -> Write[None] | None:
    if acts.is_recorded(reader, act.id):
        return None
    statements = [acts.recorded(act.id)]
    if act.configuration is not None:
        latest = configurations.latest(reader)
        # Where somebody has recorded another one meanwhile, that is what the next difference is made of.
        if latest is None or latest.sha256 == act.event.detail.get("before"):
            statements.append(configurations.record(latest, act.configuration))
    return Write(statements, lambda _rows: None, [act.event])
