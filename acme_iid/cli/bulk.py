"""``acme-iid-ca bulk``: acts on many certificates or instances at once."""

from __future__ import annotations

import functools
import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from acme_iid.cli.acting import Reason
from acme_iid.cli.filters import MOMENT, Filters, filtered
from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import show
from acme_iid.cli.parameters import Checked
from acme_iid.terminal import durations

if TYPE_CHECKING:
    from acme_iid.admin.table.bulk import Counted
    from acme_iid.cli.carrying_out import Work
    from acme_iid.operations.bulk import Task

_SHOWN = 20
_ATTEMPTS = 5
"""How often an act is begun whose number is another one than a moment ago."""


@click.group(short_help="Act on many certificates or instances at once.")
def bulk() -> None:
    """Act on many certificates or instances at once: by owner, image, region, account, provisioner or name.

    Each act says first on how many it is, and is confirmed by that number, or by --yes. It goes in transactions of a
    hundred, and leaves an event for each, which --bulk of 'acme-iid-ca events' finds. Ctrl-C stops it after the
    transaction that it is in; what was done stays done.
    """


@dataclass(frozen=True)
class _Order:
    """The options that all acts have.

    :ivar go_on: the id of an act that was stopped, which this one goes on with.
    """

    dry_run: bool
    yes: bool
    every: bool
    ticket: str | None
    go_on: str | None
    why: str | None
    as_json: bool

    def require_some(self, filters: Filters) -> None:
        """Refuse an act on everything that nobody has asked for, and a filter that a script has left empty."""
        from acme_iid.operations import criteria
        from acme_iid.store.listing import Filter

        wanted = Filter(**{name: value for name, value in filters.items() if name in criteria.ABOUT})
        try:
            criteria.require_some(wanted, every=self.every, prefix="--")
        except ValueError as error:
            raise click.UsageError(str(error)) from error


def _ordered(why: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of :class:`_Order`.

    :param why: the option that says why, for the record.
    """
    options = (
        click.option("--dry-run", is_flag=True, help="Only say how many it would be."),
        click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
        click.option("--all", "every", is_flag=True, help="All that there are, without a filter."),
        click.option("--ticket", type=Reason(), metavar="TEXT", help="The ticket behind it; each event has it."),
        click.option("--go-on", metavar="ID", help="Go on with an act that was stopped, under its id."),
        click.option(why, "why", type=Reason(), metavar="TEXT", help="The reason; each event has it."),
        json_option,
    )

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def ordered(*args: Any, **kwargs: Any) -> None:
            order = _Order(**{name: kwargs.pop(name) for name in _Order.__dataclass_fields__})
            command(*args, order, **kwargs)

        made: Callable[..., None] = ordered
        for option in reversed(options):
            made = option(made)
        return made

    return decorate


_OF_CERTIFICATES = ("kind", "remote", "bulk", "limit", "before")
_OF_INSTANCES = (*_OF_CERTIFICATES, "profile", "since", "until")


@bulk.command("revoke", short_help="Revoke certificates.")
@click.option(
    "--reason",
    default="unspecified",
    show_default=True,
    help="The reason of RFC 5280, by name such as keyCompromise or by code. superseded closes no names.",
)
@_ordered("--note")
@filtered(*_OF_CERTIFICATES)
def revoke(filters: Filters, order: _Order, *, reason: str) -> None:
    """Revoke valid certificates, and close their names to their instances.

    Certificates that are issued after the count are left as they are.
    """
    from acme_iid.authority import revocation

    order.require_some(filters)
    what = f"revoke {{}} certificates ({revocation.REASONS[revocation.reason_of_text(reason)]})"
    act = _Act("bulk.revoke", "certificates", what, {**filters, "reason": reason, "note": order.why})
    _carry_out(order, act, act.count(order)["count"])


@bulk.command("renew-now", short_help="Have clients renew certificates, one after another.")
@click.option(
    "--over",
    default="1h",
    show_default=True,
    type=Checked("duration"),
    metavar="TIME",
    help="The time to spread the renewals over.",
)
@_ordered("--reason")
@filtered(*_OF_CERTIFICATES)
def renew_now(filters: Filters, order: _Order, *, over: str) -> None:
    """Ask the clients of valid certificates to renew them (RFC 9773), spread evenly over a time.

    Clients that ask the CA when to renew see it within minutes; each certificate gets a moment of its own.
    """
    from acme_iid.config import parsers

    order.require_some(filters)
    what = f"ask for the renewal of {{}} certificates over {durations.text(parsers.duration(over))}"
    act = _Act("bulk.renew_now", "certificates", what, {**filters, "over": over, "reason": order.why})
    _carry_out(order, act, act.count(order)["count"])


@bulk.command("block", short_help="Shut instances out.")
@click.option("--revoke", is_flag=True, help="Also revoke their certificates (keyCompromise).")
@_ordered("--reason")
@filtered(*_OF_INSTANCES)
def block(filters: Filters, order: _Order, *, revoke: bool) -> None:
    """Refuse instances from now on, and end what they have proven; those that are blocked stay as they are.

    The reason is for operators; the instances are not told.
    """
    order.require_some(filters)
    what = "block {} instances" + (" and revoke their certificates (keyCompromise)" if revoke else "")
    act = _Act("bulk.block", "instances", what, {**filters, "revoke": revoke, "reason": order.why})
    _carry_out(order, act, act.count(order)["count"])


@bulk.command("release", short_help="Let rebuilt VMs in again.")
@click.option(
    "--refused-since",
    type=MOMENT,
    default="24h",
    show_default=True,
    metavar="TIME",
    help="The refusals that count: those since a day, a time, or an age.",
)
@click.option(
    "--also-unbound",
    is_flag=True,
    help="Also where the evidence was not bound to the new key: whoever had a copy of the document could have sent it.",
)
@click.option(
    "--for",
    "span",
    type=Checked("duration"),
    default="1h",
    show_default=True,
    help="How long the releases last if they are not used.",
)
@click.option("--revoke", is_flag=True, help="Also revoke the instances' certificates.")
@_ordered("--reason")
@filtered(*_OF_INSTANCES)
def release(
    filters: Filters, order: _Order, *, refused_since: str, also_unbound: bool, span: str, revoke: bool
) -> None:
    """Let VMs in again that were rebuilt and lost their account keys: each the one key that was refused for it.

    These are the instances that were refused lately because they belong to another account key. An instance is left
    out, and listed, where several keys have come for it, or where the evidence was not bound to the key; one whose own
    account has used it since is none of them. --dry-run lists all of them with their keys.
    """
    order.require_some(filters)
    given = {"refused_since": refused_since, "also_unbound": also_unbound, "for": span, "revoke": revoke}
    what = "release {} instances, each to the key that was refused for it"
    act = _Act("bulk.release", "instances", what, {**filters, **given, "reason": order.why})
    counted = act.count(order)
    found, left_out = counted["instances"], counted["left_out"]
    listed = found if order.dry_run else [row for row in found if row["left_out"] is not None][:_SHOWN]
    if listed and not order.as_json:
        show(listed, as_json=False, empty="")
        if order.dry_run and counted["count"] + left_out > len(listed):
            click.echo(f"{counted['count'] + left_out - len(listed)} more are not listed.", err=True)
        elif not order.dry_run and left_out > len(listed):
            click.echo(f"{left_out - len(listed)} more are left out; --dry-run lists them.", err=True)
    _carry_out(order, act, counted["count"])


@dataclass(frozen=True)
class _Act:
    """An act on many.

    :ivar name: in the table of acts.
    :ivar things: certificates or instances.
    :ivar what: what it does, with {} for the number.
    :ivar given: its own parameters.
    """

    name: str
    things: str
    what: str
    given: Mapping[str, object]

    def parameters(self, order: _Order) -> dict[str, object]:
        """All of them."""
        return {**self.given, "all": order.every, "ticket": order.ticket, "go_on": order.go_on}

    def count(self, order: _Order) -> Counted:
        """On how many it would be."""
        from acme_iid.cli.asking import ask

        counted: Counted = ask(self.name, dry_run=True, **self.parameters(order))
        return counted


def _carry_out(order: _Order, act: _Act, count: int) -> None:
    """Do an act, if it is confirmed."""
    from acme_iid.admin_client.errors import AdminError
    from acme_iid.cli import asking

    for left in reversed(range(_ATTEMPTS)):
        if not _confirmed(order, count, act.what):
            return
        try:
            work = asking.begin(act.name, confirm=count, **act.parameters(order))
        except AdminError as error:
            # In a CA that works, there may be more, or fewer, than a moment ago.
            now = error.members.get("count")
            if not left or not isinstance(now, int):
                raise
            count = now
        else:
            _run(order, work, count, act.things)
            return


def _confirmed(order: _Order, count: int, what: str) -> bool:
    """Say on how many an act is, and whether it is to be done.

    :param what: the act, with {} for the number.
    """
    from acme_iid.operations.descriptions.bulk import counted

    sentence = what.format(count)
    if order.dry_run or not count:
        if order.as_json:
            click.echo(json.dumps(counted(count)))
        else:
            click.echo(f"This would {sentence}." if count else "There is nothing to do.")
        return False
    if order.yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError(f"this would {sentence}; outside a terminal, --yes confirms it")
    click.echo(f"This will {sentence}.", err=True)
    typed: str = click.prompt(f"Type {count} to go on", default="", show_default=False, err=True)
    if typed.strip() != str(count):
        raise click.ClickException("nothing was done")
    return True


def _run(order: _Order, work: Work, count: int, things: str) -> None:
    """See an act through to its end, or until somebody or something stops it, and say what was done."""
    from acme_iid.admin_client.errors import UnavailableError
    from acme_iid.errors import OutcomeUnknownError, RequestError, StoreUnavailableError
    from acme_iid.operations.bulk import Task
    from acme_iid.operations.descriptions.bulk import done as described

    task = Task(work.id)
    done = left_out = 0
    stopped: str | None = None
    is_unknown = False
    if not order.as_json:
        click.echo(f"The id of this act is {task.id}.", err=True)
    try:
        with (
            _stopping() as asked,
            click.progressbar(length=count, file=sys.stderr, hidden=order.as_json or not sys.stderr.isatty()) as bar,
        ):
            for step in work.steps():
                done, left_out = done + step.done, left_out + step.left_out
                bar.update(step.done + step.left_out)
                if asked() and done + left_out < count:
                    work.stop()
    except (StoreUnavailableError, RequestError, UnavailableError) as error:
        stopped, is_unknown = str(error), isinstance(error, OutcomeUnknownError | UnavailableError)
    except Exception:
        click.echo(_done(task, done, left_out, count, things), err=True)
        raise
    if order.as_json:
        click.echo(json.dumps(described(task, count, done, left_out, stopped=stopped is not None)))
    else:
        click.echo(_done(task, done, left_out, count, things))
    if stopped is not None:
        # Of an act that has done nothing there is no event, by which it could go on.
        begun = done or order.go_on or is_unknown
        how = f"goes on with: --go-on {task.id}" if begun else "begins it anew"
        raise click.ClickException(f"{stopped}; the same command {how}")


def _done(task: Task, done: int, left_out: int, count: int, things: str) -> str:
    lines = [f"Done for {done} of {count} {things}."]
    if left_out:
        lines.append(f"{left_out} were left as they are: others had changed them, or they cannot be changed.")
    if done:
        lines.append(f"The record has them: acme-iid-ca events --bulk {task.id}")
    return "\n".join(lines)


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Keep ctrl-C, and SIGTERM, until a transaction has ended; yields whether one has come."""
    met: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        met.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(met)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
