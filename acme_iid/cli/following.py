"""``acme-iid-ca events --follow``: the record as it grows, for a reader that makes the hashes itself."""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING, TextIO

import click

from acme_iid.errors import RequestError, StoreUnavailableError
from acme_iid.store import events, stream

if TYPE_CHECKING:
    from acme_iid.store.database import Database

POLL_SECONDS = 1.0
"""The seconds between two questions to the store while nothing comes."""
INTERRUPTED = 130
"""The exit status after ctrl-C."""


def follow(database: Database, after: int | None) -> None:
    """Write events as NDJSON, each within about a second of its sealing, until ctrl-C or until nobody reads them.

    Between two pages nothing of the store is held: a reader that stops reading keeps nobody from writing.

    :param after: the number of the event to begin behind; None for the latest one.
    :raises RequestError: if there is no such place in the chain.
    """
    head = events.head(database).seq
    last = head if after is None else after
    if last > head:
        raise RequestError(f"the chain ends at event {head}; --after takes a number up to that")
    first = events.removed(database).seq
    if last < first:
        raise RequestError(f"events 1 to {first} were exported and removed; begin with --after {first}")
    try:
        _run(database, last, sys.stdout)
    except KeyboardInterrupt:
        click.get_current_context().exit(INTERRUPTED)


def _run(database: Database, last: int, out: TextIO) -> None:
    reading = select.poll()
    reading.register(out, 0)  # nothing but its end
    away = False
    while True:
        try:
            database.seal(waits=False)
            page = stream.after(database, last)
            away = False
        except StoreUnavailableError as error:
            page = []
            if not away:
                click.echo(f"The store does not answer; waiting: {error}", err=True)
            away = True
        if page:
            out.write(stream.lines(page))
            out.flush()
            last = page[-1].entry.seq
        if len(page) < stream.AT_ONCE and reading.poll(POLL_SECONDS * 1000):
            return  # whoever read this has gone
