"""Acts on external account keys, which let their holder make an account: listed, made, revoked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from acme_iid.admin import kinds
from acme_iid.admin.acts import Act, Context
from acme_iid.admin.filters import DURATION, PAGE, WORD, Filters, wanted
from acme_iid.admin.kinds import FLAG
from acme_iid.admin.parameters import group, taken
from acme_iid.admin.roles import Role
from acme_iid.authority import external_keys as use_cases
from acme_iid.authority.external_keys import MAX_LABEL_LENGTH
from acme_iid.operations.descriptions import external_keys
from acme_iid.operations.descriptions.external_keys import ExternalKeyRow, NewExternalKey
from acme_iid.operations.descriptions.pages import Page

_LABEL = kinds.text(f"printable text of 1 to {MAX_LABEL_LENGTH} characters", MAX_LABEL_LENGTH)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list of keys takes."""

    filters: Filters = field(default_factory=Filters, metadata=group(PAGE))


@dataclass(frozen=True, slots=True)
class One:
    """One key."""

    id: str = field(metadata=taken(WORD, "The key's id."))


@dataclass(frozen=True, slots=True)
class Adding:
    """What a new key takes."""

    label: str | None = field(default=None, metadata=taken(_LABEL, "Whom or what it is for."))
    expires: int | None = field(
        default=None, metadata=taken(DURATION, "How long it may be used; without it, for ever.")
    )
    reusable: bool = field(default=False, metadata=taken(FLAG, "More than one account may be made with it."))


def _list(context: Context, asked: Listing) -> Page[ExternalKeyRow]:
    return external_keys.listed(context.database, wanted(context, asked.filters))


def _add(context: Context, asked: Adding) -> NewExternalKey:
    key = use_cases.add(context.database, asked.label, asked.expires, context.now, reusable=asked.reusable)
    return external_keys.new(key)


def _revoke(context: Context, asked: One) -> ExternalKeyRow:
    revoked = use_cases.revoke(context.database, asked.id, context.now)
    return external_keys.row(replace(revoked, revoked_at=context.now))


ACTS = (
    Act(
        "eab.list", "GET", "/eab", Role.VIEWER, "The external account keys, newest first.", _list,
        Page[ExternalKeyRow], Listing, "Each with the account that was last made with it, and without its secret.",
    ),
    Act(
        "eab.add", "POST", "/eab", Role.OPERATOR, "Make an external account key.", _add, NewExternalKey, Adding,
        "The MAC key is in the answer, and is not shown again.",
    ),
    Act(
        "eab.revoke", "POST", "/eab/{id}/revoke", Role.OPERATOR, "Let a key make no further account.", _revoke,
        ExternalKeyRow, One, "The accounts that were made with it stay.",
    ),
)  # fmt: skip
