"""Parts that the commands over the store share: the opened store, and the filters and pages of their lists."""

from __future__ import annotations

import functools
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import click

from acme_iid.cli.output import show
from acme_iid.policy.clouds import CLOUD_TYPES, is_owner, one_of

if TYPE_CHECKING:
    from acme_iid.cli import Home
    from acme_iid.store.database import Database
    from acme_iid.store.listing import Filter, Position

P = ParamSpec("P")

as_json = click.option("--json", "as_json", is_flag=True, help="For scripts.")


_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


class Moment(click.ParamType[int]):
    """A time in RFC 3339, a day (its beginning, UTC), or how long ago it was; converted to seconds since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the seconds."""
        from acme_iid.config import parsers

        try:
            return int(time.time()) - parsers.duration(value)
        except ValueError:
            pass
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is not None and _DAY.fullmatch(value):
            moment = moment.replace(tzinfo=UTC)
        if moment is None or moment.tzinfo is None:
            self.fail(f"{value!r} is no time; write for example 2h, 7d, 2030-01-02 or 2030-01-02T03:04:05Z", param, ctx)
        return int(moment.timestamp())


class Ahead(Moment):
    """A time in RFC 3339, a day (its beginning, UTC), or how long it is until then; converted to seconds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the seconds."""
        from acme_iid.config import parsers

        try:
            return int(time.time()) + parsers.duration(value)
        except ValueError:
            return super().convert(value, param, ctx)


class _Name(click.ParamType[str]):
    """A name as it stands in certificates, converted to its canonical form."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the canonical name."""
        from acme_iid.protocol.identifiers import from_text

        try:
            return from_text(value).value
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Address(click.ParamType[str]):
    """An address of a client."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the address in its one spelling."""
        import ipaddress

        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            self.fail(f"{value!r} is no IP address", param, ctx)


class _Owner(click.ParamType[str]):
    """An owner of instances. By its name, such as a project's, nothing would be found, as if there was nothing."""

    name = "owner"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the owner's id as events have it."""
        owner: str = value if is_owner(value) else value.lower()
        if not is_owner(owner):
            self.fail(f"{value!r} is no {one_of(_OWNERS)}", param, ctx)
        return owner


class _Place(click.ParamType["Position"]):
    """The place where a page ended: TIME.KEY, as the page before printed it."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Position:
        """Return the place."""
        from acme_iid.store.listing import Position

        seconds, _, key = value.partition(".")
        if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 12 and key):
            self.fail(f"{value!r} is no place in a list; copy it from the end of the page before", param, ctx)
        return Position(int(seconds), key)


_LATER = ("kind", "remote", "image", "region", "profile", "provisioner")
"""Filters that older events may not be found by until they were followed again."""
_CLOUDS = [entry.cloud for entry in CLOUD_TYPES.values()]
_OWNERS = [entry.owner for entry in CLOUD_TYPES.values()]
_OPTIONS: Mapping[str, Callable[[Callable[..., None]], Callable[..., None]]] = {
    "cloud": click.option(
        "--cloud",
        type=click.Choice([*_CLOUDS, "acme"]),
        help="Only this cloud's.",
    ),
    "owner": click.option("--owner", type=_Owner(), metavar="ID", help=f"Only of this {one_of(_OWNERS)}."),
    "account": click.option("--account", metavar="ID", help="Only of this ACME account: its id or key thumbprint."),
    "instance": click.option(
        "--instance",
        metavar="ID",
        help="Only what concerns this instance: its whole id, or the cloud's own, also if it was only ever refused.",
    ),
    "name": click.option("--name", type=_Name(), metavar="NAME", help="Only with this name in a certificate or order."),
    "kind": click.option("--kind", metavar="KIND", help="Only events of this kind, such as challenge.refused."),
    "remote": click.option("--remote", type=_Address(), metavar="ADDRESS", help="Only requests from this address."),
    "bulk": click.option("--bulk", metavar="ID", help="Only what this act on many has done."),
    "image": click.option("--image", metavar="ID", help="Only of instances that were started from this image."),
    "region": click.option("--region", metavar="REGION", help="Only of instances in this region."),
    "profile": click.option("--profile", metavar="NAME", help="Only for this certificate profile."),
    "provisioner": click.option("--provisioner", metavar="NAME", help="Only under this provisioner."),
    "since": click.option(
        "--since", type=Moment(), metavar="TIME", help="Not before: a day, RFC 3339, or an age such as 2h."
    ),
    "until": click.option(
        "--until", type=Moment(), metavar="TIME", help="Before: a day, RFC 3339, or an age such as 2h."
    ),
    "limit": click.option(
        "--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="How many at most."
    ),
    "before": click.option("--before", type=_Place(), metavar="PLACE", help="The next page: where this one ended."),
}

ABOUT = tuple(name for name in _OPTIONS if name not in ("since", "until", "limit", "before"))
"""The filters that are about instances, certificates and events, which other lists do not have."""


def on_store(command: Callable[Concatenate[Database, P], None]) -> Callable[..., None]:
    """Open the CA's store for a command, as its first argument."""

    @click.pass_context
    @functools.wraps(command)
    def opened(context: click.Context, /, *args: P.args, **kwargs: P.kwargs) -> None:
        from acme_iid.store.database import open_store

        home: Home = context.obj
        database = open_store(home.config().store.url)
        try:
            command(database, *args, **kwargs)
        finally:
            database.close()

    return opened


def filtered(*without: str) -> Callable[[Callable[Concatenate[Database, Filter, P], None]], Callable[..., None]]:
    """Give a list its filters: the command takes the store and the :class:`Filter` that the options ask for.

    :param without: the options that the list does not have.
    """
    offered = [name for name in _OPTIONS if name not in without]

    def decorate(command: Callable[Concatenate[Database, Filter, P], None]) -> Callable[..., None]:
        @on_store
        @functools.wraps(command)
        def listing(database: Database, /, *args: Any, **kwargs: Any) -> None:
            from acme_iid.store import lookups
            from acme_iid.store.listing import Filter

            lookups.follow(database)
            options = {name: kwargs.pop(name) for name in offered}
            if any(options.get(name) is not None for name in _LATER):
                follow_again(database)
            if options.get("account") is not None:
                from acme_iid.authority import accounts

                options["account"] = accounts.by_id_or_thumbprint(database, options["account"]).id
            if options.get("instance") is not None:
                options["instance"] = instance_called(database, options["instance"])
            command(database, Filter(**options), *args, **kwargs)

        decorated: Callable[..., None] = listing
        for name in reversed(offered):
            decorated = _OPTIONS[name](decorated)
        return decorated

    return decorate


def follow_again(database: Database) -> None:
    """Have all events of before an upgrade be found by what this version writes of them, with a bar on a terminal.

    A server does so by itself, in time.
    """
    from acme_iid.store import lookups

    behind = lookups.following(database).behind
    if not behind:
        return
    click.echo(f"Once after the upgrade, {behind} older events are read again for this.", err=True)
    with click.progressbar(length=behind, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        lookups.follow_again(database, progress=bar.update)


def instance_called(database: Database, word: str) -> str:
    """The whole id of an instance that was used, blocked or refused here.

    :param word: the whole id, which is taken as it is, or the cloud's own.
    :raises RequestError: if it is no one instance.
    """
    from acme_iid.operations import instances

    if ":" in word:
        return word
    if not instances.called(database, word):
        follow_again(database)
    return instances.one_called(database, word)


def numbered(filter_: Filter) -> Filter:
    """The filter of a list whose places are numbers."""
    from acme_iid.store.listing import Position

    if filter_.before is None:
        return filter_
    key = str(filter_.before.key)
    if not (key.isascii() and key.isdigit() and len(key) <= 18):
        raise click.UsageError(f"{key!r} is no number of this list; --before takes the place at the end of a page.")
    return replace(filter_, before=Position(filter_.before.time, int(key)))


def one_more(filter_: Filter) -> Filter:
    """The same list and one row more, which tells whether there is a next page."""
    return replace(filter_, limit=filter_.limit + 1)


def show_page(
    rows: Sequence[tuple[Position, Mapping[str, object]]], filter_: Filter, *, as_json: bool, empty: str
) -> None:
    """Print a page, and where the next one begins if there is one.

    :param rows: the rows of :func:`one_more`, each with its place in the list.
    """
    page = rows[: filter_.limit]
    show([row for _, row in page], as_json=as_json, empty=empty)
    if len(rows) > len(page):
        last = page[-1][0]
        click.echo(f"There are more; the next page: --before {last.time}.{last.key}", err=True)
