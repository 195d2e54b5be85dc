"""The state of the CA and its fleet, as operators are shown it."""

from __future__ import annotations

from typing import TypedDict

from acme_iid.operations.descriptions import issuers, refusals
from acme_iid.operations.descriptions.issuers import CARow
from acme_iid.operations.descriptions.refusals import RuleRow
from acme_iid.operations.descriptions.times import timestamp
from acme_iid.operations.status import Severity, Status


class TroubleRow(TypedDict):
    """Something that somebody should look at.

    :ivar severity: red or yellow.
    :ivar text: a sentence.
    :ivar command: the command that shows more, or mends it; None without one.
    """

    severity: Severity
    text: str
    command: str | None


class FleetCounts(TypedDict):
    """Numbers of certificates.

    :ivar valid: those that have not ended and were not revoked.
    :ivar replaced: those among the valid that have a successor.
    :ivar due: those in use that are in their time for renewal.
    :ivar overdue: those in use whose time for renewal has passed.
    :ivar lapsed: those that ended in the last day without a successor.
    :ivar used: the valid ones without a successor, which are in use.
    """

    valid: int
    replaced: int
    due: int
    overdue: int
    lapsed: int
    used: int


class RunningServer(TypedDict):
    """A process of a server.

    :ivar id: random; another one each time it starts.
    :ivar version: of its code.
    :ivar config: the SHA-256 of its ca.toml, in hex.
    :ivar clock_ahead: the seconds that its clock is ahead of the store's.
    :ivar seen: the time at which it was last there.
    """

    id: str
    version: str
    config: str
    clock_ahead: int
    seen: str


class StoreRow(TypedDict):
    """What the store has for programs of several versions.

    :ivar schema: the latest of the schema's files that it has.
    :ivar min_writer: the number of the least one that a program has to know to write to it.
    """

    schema: str
    min_writer: int


class StatusDescription(TypedDict):
    """The state at one time.

    :ivar at: that time.
    :ivar troubles: the red ones first.
    :ivar ca: the certificates of the CA, its responders and lists.
    :ivar backup: the time of the latest backup; None if there was none.
    :ivar fleet: its certificates in numbers.
    :ivar refused: the rules that refused something in the last day, those that did so most first.
    :ivar servers: those that run.
    :ivar store: what the store has for programs of several versions.
    """

    at: str
    troubles: list[TroubleRow]
    ca: list[CARow]
    backup: str | None
    fleet: FleetCounts
    refused: list[RuleRow]
    servers: list[RunningServer]
    store: StoreRow


def describe(state: Status, now: int) -> StatusDescription:
    """The state at one time.

    :param now: that time, seconds.
    """
    counts = state.counts
    return {
        "at": timestamp(now),
        "troubles": [
            {"severity": trouble.severity, "text": trouble.text, "command": trouble.command}
            for trouble in state.troubles
        ],
        "ca": [issuers.row(line, now) for line in state.lines],
        "backup": timestamp(state.backed_up_at),
        "fleet": {
            "valid": counts.valid,
            "replaced": counts.replaced,
            "due": counts.due,
            "overdue": counts.overdue,
            "lapsed": counts.lapsed,
            "used": counts.used,
        },
        "refused": refusals.by_rule(state.refusals),
        "servers": [
            {
                "id": server.id,
                "version": server.version,
                "config": server.config_hash,
                "clock_ahead": server.clock - server.seen_at,
                "seen": timestamp(server.seen_at),
            }
            for server in state.servers
        ],
        "store": {"schema": state.schema, "min_writer": state.min_writer},
    }
