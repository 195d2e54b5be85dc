"""``acme-iid-ca events --follow``: the record as it grows, for a reader that makes the hashes itself."""

from __future__ import annotations

import json
import select
import sys
from typing import TYPE_CHECKING, TextIO

import click

from acme_iid.admin_client.errors import UnavailableError
from acme_iid.cli.asking import ask
from acme_iid.errors import RequestError, StoreUnavailableError
from acme_iid.store.stream import AT_ONCE

if TYPE_CHECKING:
    from acme_iid.admin.table.events import ChainEnd

POLL_SECONDS = 1.0
"""The seconds between two questions to the store while nothing comes."""
_MUCH = 512 * 1024
"""Octets of few events behind which more may be there already."""
INTERRUPTED = 130
"""The exit status after ctrl-C."""


def follow(after: int | None) -> None:
    """Write events as NDJSON, each within about a second of its sealing, until ctrl-C or until nobody reads them.

    Between two pages nothing of the store is held: a reader that stops reading keeps nobody from writing.

    :param after: the number of the event to begin behind; None for the latest one.
    :raises RequestError: if there is no such place in the chain.
    """
    end: ChainEnd = ask("events.head")
    head, first = int(end["head"].partition(":")[0]), end["removed"]
    last = head if after is None else after
    if last > head:
        raise RequestError(f"the chain ends at event {head}; --after takes a number up to that")
    if last < first:
        raise RequestError(f"events 1 to {first} were exported and removed; begin with --after {first}")
    try:
        _run(last, sys.stdout)
    except KeyboardInterrupt:
        click.get_current_context().exit(INTERRUPTED)


def _run(last: int, out: TextIO) -> None:
    reading = select.poll()
    reading.register(out, 0)  # nothing but its end
    away = False
    while True:
        try:
            lines: list[str] = ask("events.stream", after=last, limit=AT_ONCE).splitlines(keepends=True)
            away = False
        except (StoreUnavailableError, UnavailableError) as error:
            lines = []
            if not away:
                click.echo(f"The store does not answer; waiting: {error}", err=True)
            away = True
        if lines:
            out.write("".join(lines))
            out.flush()
            last = json.loads(lines[-1])["seq"]
        if len(lines) < AT_ONCE and sum(map(len, lines)) < _MUCH and reading.poll(POLL_SECONDS * 1000):
            return  # whoever read this has gone
