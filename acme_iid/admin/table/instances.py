"""Acts on instances: listed, shown, released, blocked and let in again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict

from acme_iid.admin import kinds
from acme_iid.admin.acts import Act, Context
from acme_iid.admin.filters import DURATION, NAME, WORD, Filters, following, wanted, without
from acme_iid.admin.kinds import FLAG
from acme_iid.admin.parameters import group, taken
from acme_iid.admin.roles import Role
from acme_iid.operations import criteria
from acme_iid.operations import instances as use_cases
from acme_iid.operations.descriptions import instances
from acme_iid.operations.descriptions.instances import (
    BlockedInstance,
    InstanceDescription,
    InstanceRow,
    ReleasedInstance,
    UnblockedInstance,
)
from acme_iid.operations.descriptions.pages import Page
from acme_iid.store import lookups

_ID = taken(WORD, "The instance: its whole id, or the cloud's own if that is unique.")
_REVOKING = {"revoke": Role.OPERATOR}


class ReopenedName(TypedDict):
    """What the opening of a name has done.

    :ivar instance: the whole id.
    :ivar name: the name that the instance may hold again.
    """

    instance: str
    name: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list of instances takes."""

    blocked: bool = field(
        default=False, metadata=taken(FLAG, "Those that are blocked, the latest first, whether ever used or not.")
    )
    filters: Filters = field(
        default_factory=Filters, metadata=group(without("instance", "kind", "remote", "bulk", "profile"))
    )


@dataclass(frozen=True, slots=True)
class One:
    """One instance."""

    id: str = field(metadata=_ID)


@dataclass(frozen=True, slots=True)
class Release:
    """What a release takes."""

    id: str = field(metadata=_ID)
    to: str = field(metadata=taken(kinds.text("a key thumbprint", 43), "The account key's thumbprint."))
    seconds: int = field(metadata=taken(DURATION, "How long it lasts if it is not used.", name="for", default="1h"))
    revoke: bool = field(default=False, metadata=taken(FLAG, "Also revoke the instance's certificates."))


@dataclass(frozen=True, slots=True)
class Block:
    """What a block takes."""

    id: str = field(metadata=_ID)
    revoke: bool = field(default=False, metadata=taken(FLAG, "Also revoke its certificates (keyCompromise)."))


@dataclass(frozen=True, slots=True)
class Reopening:
    """What the opening of a name takes."""

    id: str = field(metadata=_ID)
    name: str = field(metadata=taken(NAME, "The name that revocation closed."))


def _list(context: Context, asked: Listing) -> Page[InstanceRow]:
    return instances.listed(context.database, wanted(context, asked.filters), blocked=asked.blocked)


def _show(context: Context, asked: One) -> InstanceDescription:
    lookups.follow(context.database)
    whole = criteria.instance_called(context.database, asked.id, following(context))
    return instances.whole(context.database, whole, context.now)


def _release(context: Context, asked: Release) -> ReleasedInstance:
    now, until = context.now, context.now + asked.seconds
    whole, ended = use_cases.release(context.database, asked.id, asked.to, asked.seconds, revoke=asked.revoke, now=now)
    return instances.released(whole, asked.to, until, ended)


def _block(context: Context, asked: Block) -> BlockedInstance:
    whole, ended = use_cases.block(context.database, asked.id, context.reason, revoke=asked.revoke, now=context.now)
    return instances.blocked(whole, ended)


def _unblock(context: Context, asked: One) -> UnblockedInstance:
    return instances.unblocked(*use_cases.unblock(context.database, asked.id, context.now))


def _reopen(context: Context, asked: Reopening) -> ReopenedName:
    instance = use_cases.find(context.database, asked.id)
    use_cases.reopen(context.database, instance, asked.name, context.now)
    return {"instance": instance.id, "name": asked.name}


ACTS = (
    Act(
        "instance.list", "GET", "/instances", Role.VIEWER, "The instances that were used here.", _list,
        Page[InstanceRow], Listing,
        "The latest first use is the first. since and until are about the first use (of those that are blocked, the "
        "block); name finds the instances that got a certificate for it.",
    ),
    Act(
        "instance.show", "GET", "/instances/{id}", Role.VIEWER, "One instance in full.", _show,
        InstanceDescription, One,
        "Also one that was only ever refused.",
    ),
    Act(
        "instance.release", "POST", "/instances/{id}/release", Role.HELPDESK,
        "Let one new account key use an instance.", _release, ReleasedInstance, Release,
        "For a VM that was rebuilt and lost its account key, or one that is too old for its first use. The key, and no "
        "other, may use it next.",
        raised=_REVOKING,
    ),
    Act(
        "instance.block", "POST", "/instances/{id}/block", Role.HELPDESK, "Shut an instance out.", _block,
        BlockedInstance, Block,
        "What it has proven ends. The whole id may be one that was never used here. The instance is not told the "
        "reason.",
        raised=_REVOKING,
    ),
    Act(
        "instance.unblock", "POST", "/instances/{id}/unblock", Role.OPERATOR, "Let a blocked instance in again.",
        _unblock, UnblockedInstance, One,
    ),
    Act(
        "instance.reopen", "POST", "/instances/{id}/reopen", Role.HELPDESK, "Open a name that revocation closed.",
        _reopen, ReopenedName, Reopening,
    ),
)  # fmt: skip
