"""``acme-iid-ca events --check``: the chain of events walked and proven, in the CA's home and at its server."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click

from acme_iid.errors import RequestError
from acme_iid.operations import criteria
from acme_iid.operations.descriptions.chain import ChainCheck, check
from acme_iid.store import checkpoints
from acme_iid.store.database import open_store

if TYPE_CHECKING:
    from acme_iid.admin.table.events import ChainEnd, ChainPart
    from acme_iid.cli import Home
    from acme_iid.store.chain import Link

_LONG = 20_000
"""Events whose walk takes long enough for a person to wonder."""

Checked = tuple[ChainCheck, str | None]
"""What a walk has found, and the id of the issuer that has signed its checkpoint."""


def here(home: Home, first: int | None, expect: str | None) -> Checked:
    """Walk the chain in the store.

    :param first: the number of the event to begin at; None for the first that is there.
    :param expect: a place that was kept.
    :raises BrokenChainError, RequestError: see :func:`~acme_iid.operations.descriptions.chain.check`.
    """
    kept = None if expect is None else criteria.head(expect)
    with closing(open_store(home.config().store.url)) as database:
        checked = check(home.path, database, first, kept, _watched)
        signed = checkpoints.latest(database)
    return checked, None if signed is None else signed.issuer_id


def there(first: int | None, expect: str | None) -> Checked:
    """Have a server walk the chain, a part at a time.

    :param first: as in :func:`here`.
    :param expect: a place that was kept, with its number.
    :raises UsageError: if it has no number.
    :raises RequestError: if something does not follow, or the place is not in the chain.
    """
    from acme_iid.cli.asking import ask

    if expect is not None:
        if criteria.head(expect).seq is None:
            raise click.UsageError("a server is asked with --expect NUMBER:HASH; the hash alone is for the CA's home")
        _require(ask("events.check", after=expect, limit=1))
    end: ChainEnd = ask("events.head")
    last, gone = int(end["head"].partition(":")[0]), end["removed"]
    begin = gone + 1 if first is None else first
    after = None if begin == gone + 1 else _place(begin - 1, last)
    done = 0
    with _bar(last - begin + 1) as advance:
        while True:
            part = _require(ask("events.check", after=after))
            done, after = done + part["events"], part["until"]
            advance(part["events"])
            if not part["more"]:
                break
    return {
        "events": done,
        "head": part["until"],
        "unsealed": part["unsealed"],
        "removed": part["removed"],
        "checkpoint": part["checkpoint"],
    }, part["signed_by"]


def _require(part: ChainPart) -> ChainPart:
    if part["fault"] is not None:
        raise RequestError(part["fault"])
    return part


def _place(number: int, last: int) -> str:
    """The place of an event, as the record has it.

    :param last: the number of the last event.
    :raises RequestError: if there is no such event.
    """
    from acme_iid.cli.asking import ask

    if number > last:
        raise RequestError(f"there is no event {number} to begin after: the last event is {last}")
    found = [json.loads(line) for line in ask("events.stream", after=max(0, number - 1), limit=1).splitlines()]
    if not found or found[0]["seq"] != number:
        raise RequestError(f"event {number} was removed")
    return f"{number}:{found[0]['hash']}"


@contextmanager
def _bar(count: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal if there are many events."""
    hidden = count < _LONG or not sys.stderr.isatty()
    with click.progressbar(
        length=count, label="Checking events", file=sys.stderr, update_min_steps=1000, hidden=hidden
    ) as bar:
        yield bar.update


def _watched(links: Iterator[Link], count: int) -> Iterator[Link]:
    """The same links, with a bar."""
    with _bar(count) as advance:
        for link in links:
            yield link
            advance(1)
