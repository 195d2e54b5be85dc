"""Parts that commands share: the opened store of those that work in the home, and the filters and pages of lists."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import click

from acme_iid.cli.output import show
from acme_iid.policy.clouds import CLOUD_TYPES, one_of

if TYPE_CHECKING:
    from acme_iid.cli import Home
    from acme_iid.operations.descriptions.pages import Page
    from acme_iid.store.database import Database

P = ParamSpec("P")

Filters = dict[str, Any]
"""What a list is asked for by: the options as they were typed, None where they were not."""

as_json = click.option("--json", "as_json", is_flag=True, help="For scripts.")


class Criterion(click.ParamType[str]):
    """What something is looked for by; the command takes the text as it was typed.

    :param name: of the function of :mod:`acme_iid.operations.criteria` that reads it.
    :param timed: whether that takes the time of now as well.
    """

    def __init__(self, name: str, *, timed: bool = False) -> None:
        self.name = name
        self._timed = timed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, which stands for something."""
        from acme_iid.operations import criteria

        text: str = value
        read = getattr(criteria, self.name)
        try:
            if self._timed:
                read(text, int(time.time()))
            else:
                read(text)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return text


MOMENT = Criterion("moment", timed=True)
"""A time in RFC 3339, a day (its beginning, UTC), or how long ago it was."""
MOMENT_AHEAD = Criterion("moment_ahead", timed=True)
"""The same, where a duration says how long it is until then."""
_CLOUDS = [entry.cloud for entry in CLOUD_TYPES.values()]
_OWNERS = [entry.owner for entry in CLOUD_TYPES.values()]
_OPTIONS: Mapping[str, Callable[[Callable[..., None]], Callable[..., None]]] = {
    "cloud": click.option(
        "--cloud",
        type=click.Choice([*_CLOUDS, "acme"]),
        help="Only this cloud's.",
    ),
    "owner": click.option("--owner", type=Criterion("owner"), metavar="ID", help=f"Only of this {one_of(_OWNERS)}."),
    "account": click.option("--account", metavar="ID", help="Only of this ACME account: its id or key thumbprint."),
    "instance": click.option(
        "--instance",
        metavar="ID",
        help="Only what concerns this instance: its whole id, or the cloud's own, also if it was only ever refused.",
    ),
    "name": click.option(
        "--name", type=Criterion("name"), metavar="NAME", help="Only with this name in a certificate or order."
    ),
    "kind": click.option("--kind", metavar="KIND", help="Only events of this kind, such as challenge.refused."),
    "remote": click.option(
        "--remote", type=Criterion("address"), metavar="ADDRESS", help="Only requests from this address."
    ),
    "bulk": click.option("--bulk", metavar="ID", help="Only what this act on many has done."),
    "image": click.option("--image", metavar="ID", help="Only of instances that were started from this image."),
    "region": click.option("--region", metavar="REGION", help="Only of instances in this region."),
    "profile": click.option("--profile", metavar="NAME", help="Only for this certificate profile."),
    "provisioner": click.option("--provisioner", metavar="NAME", help="Only under this provisioner."),
    "since": click.option(
        "--since", type=MOMENT, metavar="TIME", help="Not before: a day, RFC 3339, or an age such as 2h."
    ),
    "until": click.option(
        "--until", type=MOMENT, metavar="TIME", help="Before: a day, RFC 3339, or an age such as 2h."
    ),
    "limit": click.option(
        "--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="How many at most."
    ),
    "before": click.option(
        "--before", type=Criterion("place"), metavar="PLACE", help="The next page: where this one ended."
    ),
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


def filtered(*without: str) -> Callable[[Callable[Concatenate[Filters, P], None]], Callable[..., None]]:
    """Give a list its filters: the command takes those that the options ask for.

    :param without: the options that the list does not have.
    """
    offered = [name for name in _OPTIONS if name not in without]

    def decorate(command: Callable[Concatenate[Filters, P], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def listing(*args: Any, **kwargs: Any) -> None:
            command({name: kwargs.pop(name) for name in offered}, *args, **kwargs)

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


def require_number(filters: Filters) -> None:
    """Refuse a place that is none in a list whose places are numbers.

    :raises UsageError: if it is none.
    """
    from acme_iid.operations import criteria
    from acme_iid.store.listing import Filter

    before = filters["before"]
    try:
        criteria.numbered(Filter(before=None if before is None else criteria.place(before)))
    except ValueError as error:
        raise click.UsageError(f"{error}; --before takes the place at the end of a page.") from error


def show_page(page: Page[Any], *, as_json: bool, empty: str) -> None:
    """Print a page, and where the next one begins if there is one."""
    show(page["items"], as_json=as_json, empty=empty)
    if page["next"] is not None:
        click.echo(f"There are more; the next page: --before {page['next']}", err=True)
