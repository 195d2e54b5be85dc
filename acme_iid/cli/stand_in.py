"""The part of ``acme-iid-ca metadata`` that each cloud has: its options, and the service that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from acme_iid.simulator.listener import Service

Option = Callable[[Callable[..., Any]], Callable[..., Any]]
"""A decorator that gives a command an option."""


@dataclass(frozen=True, slots=True)
class StandIn:
    """A service that is ready to be served.

    :ivar summary: from the service's URL, the facts that ``--json`` prints beside it.
    :ivar lines: from the service's URL, the lines that are printed otherwise.
    """

    service: Service
    summary: Callable[[str], Mapping[str, str]] = field(default=lambda _url: {})
    lines: Callable[[str], list[str]] = field(default=lambda _url: [])


@dataclass(frozen=True, slots=True)
class Cloud:
    """A cloud's part of the command.

    :ivar options: the options that only this cloud has.
    :ivar takes: the parameters that go with it, its own and shared ones, by their Python names.
    :ivar make: the service that signs with throw-away keys: from the directory for those and the options given.
    :ivar replay: the service that has a recording, from its bytes and the options given.
    :ivar goes_with_replay: the parameters that say nothing of the instance or its keys.
    """

    options: tuple[Option, ...]
    takes: frozenset[str]
    make: Callable[[Path | None, Mapping[str, Any]], StandIn]
    replay: Callable[[bytes, Mapping[str, Any]], StandIn]
    goes_with_replay: frozenset[str] = frozenset()


def utc_time(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Read a time as the options take it, in seconds."""
    if value is None:
        return None
    try:
        return int(datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
    except ValueError as error:
        raise click.BadParameter("give a time in UTC, like 2026-01-31T12:00:00Z", context, parameter) from error
