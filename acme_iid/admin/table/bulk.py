"""Acts on many certificates or instances at once: counted, confirmed by the number, and done by a task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NotRequired

from acme_iid.admin import kinds, problems
from acme_iid.admin.acts import Accepted, Act, Context
from acme_iid.admin.filters import DURATION, MOMENT, WORD, Filters, wanted, without
from acme_iid.admin.kinds import FLAG
from acme_iid.admin.parameters import Nothing, group, taken
from acme_iid.admin.problems import Problem, ProblemError
from acme_iid.admin.roles import Role
from acme_iid.admin.table.certificates import CLOSING, OVER, REASON
from acme_iid.admin.tasks import TaskRow
from acme_iid.authority import revocation
from acme_iid.operations import bulk, criteria
from acme_iid.operations.bulk import Step, Task
from acme_iid.operations.descriptions import bulk as described
from acme_iid.operations.descriptions.bulk import CountedAct, RebuiltRow
from acme_iid.operations.descriptions.pages import Page
from acme_iid.store.listing import Filter
from acme_iid.terminal import durations

MOST_LISTED = 1000
_OF_CERTIFICATES = without("kind", "remote", "bulk", "limit", "before")
_OF_INSTANCES = without("kind", "remote", "bulk", "limit", "before", "profile", "since", "until")
_HOW = (
    " A dry run says on how many it would be; confirm has to be that number. It goes on as a task, in transactions of "
    "a hundred, and leaves an event for each, which the filter bulk of events finds by the task's id."
)


class Counted(CountedAct):
    """An act that was counted and not done.

    :ivar instances: of a release, the instances that it is on and those that it leaves out; at most 1000 of them.
    """

    instances: NotRequired[list[RebuiltRow]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What all acts on many take."""

    dry_run: bool = field(default=False, metadata=taken(FLAG, "Only say on how many it would be."))
    confirm: int | None = field(
        default=None,
        metadata=taken(kinds.number(0, 10**9), "On how many it is, as a dry run said; another number is refused."),
    )
    every: bool = field(
        default=False, metadata=taken(FLAG, "All that there are, without a filter that leaves some out.", name="all")
    )
    ticket: str | None = field(default=None, metadata=taken(kinds.REASON, "The ticket behind it; each event has it."))
    go_on: str | None = field(
        default=None, metadata=taken(WORD, "Go on with the task of this id, which was stopped, under the same id.")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation(Order):
    """What the revocation of many takes."""

    reason: int = field(metadata=taken(REASON, CLOSING, default="unspecified"))
    filters: Filters = field(default_factory=Filters, metadata=group(_OF_CERTIFICATES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal(Order):
    """What asking for many renewals takes."""

    over: int = field(metadata=OVER)
    filters: Filters = field(default_factory=Filters, metadata=group(_OF_CERTIFICATES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Block(Order):
    """What a block of many takes."""

    revoke: bool = field(default=False, metadata=taken(FLAG, "Also revoke their certificates (keyCompromise)."))
    filters: Filters = field(default_factory=Filters, metadata=group(_OF_INSTANCES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(Order):
    """What a release of many takes."""

    refused_since: int = field(metadata=taken(MOMENT, "The refusals that count: those since then.", default="24h"))
    also_unbound: bool = field(
        default=False,
        metadata=taken(FLAG, "Also where the evidence was not bound to the new key: whoever had a copy of the document "
        "could have sent it."),
    )  # fmt: skip
    seconds: int = field(
        metadata=taken(DURATION, "How long the releases last if they are not used.", name="for", default="1h")
    )
    revoke: bool = field(default=False, metadata=taken(FLAG, "Also revoke the instances' certificates."))
    filters: Filters = field(default_factory=Filters, metadata=group(_OF_INSTANCES))


@dataclass(frozen=True, slots=True)
class One:
    """One task."""

    id: str = field(metadata=taken(WORD, "The task's id."))


def _task(context: Context, order: Order) -> Task:
    if order.go_on is None:
        return Task.new(order.ticket)
    return Task.stopped(context.database, order.go_on, order.ticket)


def _wanted(context: Context, order: Order, filters: Filters) -> Filter:
    """What an order is on.

    :raises ProblemError: if that is everything, and the order does not say so.
    """
    found = wanted(context.database, filters)
    try:
        criteria.require_some(found, every=order.every)
    except ValueError as error:
        raise problems.of_parameter("all", str(error), "true without filters, or left out with some") from None
    return found


def _begun(
    context: Context, order: Order, act: str, task: Task, count: int, what: str, steps: Iterator[Step]
) -> object:
    """Begin an act if its number is confirmed.

    :param what: the act, with {} for the number.
    :raises ProblemError: if it is not.
    """
    if order.dry_run:
        return described.counted(count)
    sentence = what.format(count)
    if order.confirm is None:
        error = problems.of_parameter(
            "confirm", f"this would {sentence}; confirm it by that number, or ask for a dry run", f"{count}"
        )
        error.members["count"] = count
        raise error
    if order.confirm != count:
        detail = f"this would {sentence}, and {order.confirm} were confirmed; nothing was done"
        raise ProblemError(Problem.CONFLICT, detail, {"count": count})
    return Accepted(context.tasks.begin(act, task, count, steps))


def _revoke(context: Context, asked: Revocation) -> object:
    found, task = _wanted(context, asked, asked.filters), _task(context, asked)
    count = bulk.count_certificates(context.database, found, context.now)
    steps = bulk.revoke(context.database, found, asked.reason, task, context.now)
    what = f"revoke {{}} certificates ({revocation.REASONS[asked.reason]})"
    return _begun(context, asked, "bulk.revoke", task, count, what, steps)


def _renew_now(context: Context, asked: Renewal) -> object:
    found, task = _wanted(context, asked, asked.filters), _task(context, asked)
    count = bulk.count_certificates(context.database, bulk.left(context.database, found, task), context.now)
    steps = bulk.renew_now(context.database, found, asked.over, task, context.now)
    what = f"ask for the renewal of {{}} certificates over {durations.text(asked.over)}"
    return _begun(context, asked, "bulk.renew_now", task, count, what, steps)


def _block(context: Context, asked: Block) -> object:
    found, task = _wanted(context, asked, asked.filters), _task(context, asked)
    count = bulk.count_instances(context.database, found)
    steps = bulk.block(context.database, found, context.reason, task, context.now, revoke=asked.revoke)
    what = "block {} instances" + (" and revoke their certificates (keyCompromise)" if asked.revoke else "")
    return _begun(context, asked, "bulk.block", task, count, what, steps)


def _release(context: Context, asked: Release) -> object:
    meant, task = _wanted(context, asked, asked.filters), _task(context, asked)
    found = bulk.rebuilt(context.database, meant, asked.refused_since, also_unbound=asked.also_unbound, now=context.now)
    count = sum(entry.left_out is None for entry in found)
    if asked.dry_run:
        return Counted(**described.counted(count), instances=described.rebuilt(found[:MOST_LISTED]))
    steps = bulk.release(context.database, found, asked.seconds, task, context.now, revoke=asked.revoke)
    what = "release {} instances, each to the key that was refused for it"
    return _begun(context, asked, "bulk.release", task, count, what, steps)


def _tasks(context: Context, _asked: Nothing) -> Page[TaskRow]:
    return {"items": context.tasks.every(), "next": None}


def _show(context: Context, asked: One) -> TaskRow:
    return context.tasks.get(asked.id)


def _stop(context: Context, asked: One) -> TaskRow:
    return context.tasks.stop(asked.id)


ACTS = (
    Act(
        "bulk.revoke", "POST", "/bulk/revoke", Role.OPERATOR, "Revoke certificates.", _revoke, Counted, Revocation,
        f"Their names are closed to their instances. Certificates that are issued later are left as they are.{_HOW}",
        accepted=TaskRow, why="note",
    ),
    Act(
        "bulk.renew_now", "POST", "/bulk/renew-now", Role.OPERATOR,
        "Have clients renew certificates, one after another.", _renew_now, Counted, Renewal,
        f"Each gets a moment of its own within the time.{_HOW}",
        accepted=TaskRow,
    ),
    Act(
        "bulk.block", "POST", "/bulk/block", Role.OPERATOR, "Shut instances out.", _block, Counted, Block,
        f"What they have proven ends; those that are blocked stay as they are.{_HOW}",
        accepted=TaskRow,
    ),
    Act(
        "bulk.release", "POST", "/bulk/release", Role.OPERATOR, "Let rebuilt VMs in again.", _release, Counted, Release,
        "Each the one key that was refused for it because the instance belongs to another. An instance is left out "
        f"where several keys have come for it, or the evidence was not bound to the key.{_HOW}",
        accepted=TaskRow,
    ),
    Act(
        "task.list", "GET", "/tasks", Role.VIEWER, "The acts on many that go on, or ended within the last hour.",
        _tasks, Page[TaskRow],
    ),
    Act(
        "task.show", "GET", "/tasks/{id}", Role.VIEWER, "How far an act on many is.", _show, TaskRow, One,
    ),
    Act(
        "task.stop", "POST", "/tasks/{id}/stop", Role.OPERATOR, "Have an act on many stop.", _stop, TaskRow, One,
        "It stops after the transaction that it is in; what was done stays done, and go_on of the same act goes on.",
    ),
)  # fmt: skip
