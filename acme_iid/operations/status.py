"""The state of the CA and its fleet for ``acme-iid-ca status``: what is wrong, the worst first, and the facts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from acme_iid.binding import CLOCK_SKEW
from acme_iid.operations import backup, expiry, follower, overview
from acme_iid.operations.overview import Line
from acme_iid.operations.presence import SEEN_SECONDS
from acme_iid.operations.sinks import LATE_SECONDS
from acme_iid.store import events, fence, fleet, issuers, migration, servers, sinks
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.fleet import Counts
from acme_iid.store.listing import Filter, Position
from acme_iid.store.refusals import KINDS
from acme_iid.store.servers import Server

Severity = Literal["red", "yellow"]
MOST_REFUSALS = 5000
"""Events of refusals that are looked at."""
_DAY = 86400
_MANY_OVERDUE = 20
"""The share of certificates in use, as its denominator, from which on overdue ones are the fleet's trouble."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that somebody should look at.

    :ivar text: a sentence.
    :ivar command: the command that shows more, or mends it; None without one.
    """

    severity: Severity
    text: str
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The state at one time.

    :ivar troubles: the red ones first.
    :ivar lines: the certificates of the CA, its responders and lists.
    :ivar backed_up_at: when the latest backup was made, seconds; None if there was none.
    :ivar refusals: the events of refusals of the last day, of each kind the latest first.
    :ivar schema: the latest schema file that the store has.
    :ivar min_writer: the number of the least one that a program has to know to write to the store.
    """

    troubles: tuple[Trouble, ...]
    lines: tuple[Line, ...]
    counts: Counts
    backed_up_at: int | None
    refusals: tuple[Event, ...]
    servers: tuple[Server, ...]
    schema: str
    min_writer: int


def collect(
    folder: Path, database: Database, receivers: Collection[str], now: int, *, without_keys: bool = False
) -> Status:
    """Find out the state.

    :param folder: the CA's home.
    :param receivers: the names of the sinks.
    :param without_keys: whether no key may be asked, and no file with one opened.
    :raises CAFileError: if the home's certificates cannot be read.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    lines = tuple(overview.overview(folder, database, now, without_keys=without_keys))
    counts = fleet.count(database, now)
    running = tuple(servers.seen(database, now, SEEN_SECONDS))
    oldest = database.unsealed().oldest
    backed_up_at = backup.last(database)
    troubles = [*_of_ca(lines, now), *_of_servers(running), *_of_fleet(counts)]
    troubles += _of_sinks(sinks.waiting_since(database, receivers), now)
    troubles += _of_backups(backed_up_at, database, now)
    if oldest is not None and now - oldest > follower.OLD_SECONDS:
        troubles.append(Trouble("red", f"An event has waited for {now - oldest} seconds to be chained."))
    troubles.sort(key=lambda trouble: trouble.severity != "red")
    refusals = tuple(_refusals(database, now))
    schema, min_writer = migration.latest_applied(database), fence.min_writer(database)
    return Status(tuple(troubles), lines, counts, backed_up_at, refusals, running, schema, min_writer)


def _of_ca(lines: Sequence[Line], now: int) -> Iterator[Trouble]:
    command = "acme-iid-ca issuer status"
    for line in lines:
        if line.state in ("retired", "compromised", "prepared"):
            continue
        if line.fault is not None:
            yield Trouble("red", f"The {line.lifetime.role} {line.lifetime.name}: {line.fault}", command)
        text = expiry.sentence(line.lifetime, now)
        if text is not None:
            severity: Severity = "red" if line.warning == min(expiry.THRESHOLDS) else "yellow"
            yield Trouble(severity, text[0].upper() + text[1:], command)
        if line.servers == () and line.state == "signing":
            text = "No server that runs has the key of the issuer that signs."
            yield Trouble("red", text, "acme-iid-ca store servers")


def _of_servers(running: Sequence[Server]) -> Iterator[Trouble]:
    command = "acme-iid-ca store servers"
    if not running:
        yield Trouble("red", "No server runs.", "acme-iid-ca serve")
    if (text := servers.difference(running)) is not None:
        yield Trouble("yellow", text, command)
    versions = sorted({server.version for server in running})
    if len(versions) > 1:
        yield Trouble("yellow", f"Servers of different versions run: {', '.join(versions)}.", command)
    wrong = max((abs(server.clock - server.seen_at) for server in running), default=0)
    if wrong > CLOCK_SKEW:
        yield Trouble("red", f"A server's clock is {wrong} seconds off the store's.", command)


def _of_fleet(counts: Counts) -> Iterator[Trouble]:
    command = "acme-iid-ca certificate list --overdue"
    if counts.overdue:
        severity: Severity = "red" if counts.overdue * _MANY_OVERDUE >= counts.used else "yellow"
        verb = "is" if counts.overdue == 1 else "are"
        yield Trouble(severity, f"{_number(counts.overdue)} {verb} overdue for renewal.", command)
    if counts.lapsed:
        command = "acme-iid-ca certificate list --status expired"
        yield Trouble("yellow", f"{_number(counts.lapsed)} ended in the last day without a successor.", command)


def _of_sinks(waiting: Mapping[str, int | None], now: int) -> Iterator[Trouble]:
    for name, since in waiting.items():
        if since is not None and now - since > LATE_SECONDS:
            yield Trouble("yellow", f"The sink {name} has not taken an event of {(now - since) // 60} minutes ago.")


def _of_backups(last: int | None, database: Database, now: int) -> Iterator[Trouble]:
    """That the latest backup is late; where there was none, the time since the first issuer began to sign counts."""
    command = "acme-iid-ca backup FILE"
    if last is None:
        began = min((entry.activated_at for entry in issuers.every(database) if entry.activated_at), default=now)
        severity: Severity = "red" if now - began > backup.OLD_SECONDS else "yellow"
        yield Trouble(severity, "There was never a backup of this CA.", command)
    elif now - last > backup.LATE_SECONDS:
        severity = "red" if now - last > backup.OLD_SECONDS else "yellow"
        yield Trouble(severity, f"The last backup was made {(now - last) // 3600} hours ago.", command)


def _number(count: int) -> str:
    return "1 certificate" if count == 1 else f"{count} certificates"


def _refusals(database: Database, now: int) -> Iterator[Event]:
    """The refusals of the last day."""
    for kind in KINDS:
        before: Position | None = None
        for _ in range(MOST_REFUSALS // 500):
            page = events.page(database, Filter(kind=kind, since=now - _DAY, limit=500, before=before))
            yield from (event for _, event in page)
            if len(page) < 500:
                break
            before = Position(page[-1][1].at, page[-1][0])
