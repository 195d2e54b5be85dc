"""Acts on accounts: listed, shown, ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from acme_iid.admin.acts import Act, Context
from acme_iid.admin.filters import PAGE, WORD, Filters, wanted
from acme_iid.admin.parameters import group, taken
from acme_iid.admin.roles import Role
from acme_iid.authority import accounts as use_cases
from acme_iid.errors import ConflictError
from acme_iid.operations.descriptions import accounts
from acme_iid.operations.descriptions.accounts import AccountDescription, AccountRow
from acme_iid.operations.descriptions.pages import Page
from acme_iid.operations.descriptions.times import timestamp
from acme_iid.store.writes import perform


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list of accounts takes."""

    filters: Filters = field(default_factory=Filters, metadata=group(PAGE))


@dataclass(frozen=True, slots=True)
class One:
    """One account."""

    id: str = field(metadata=taken(WORD, "The account: its id, or its key's thumbprint."))


def _list(context: Context, asked: Listing) -> Page[AccountRow]:
    return accounts.listed(context.database, wanted(context, asked.filters))


def _show(context: Context, asked: One) -> AccountDescription:
    return accounts.whole(context.database, asked.id)


def _deactivate(context: Context, asked: One) -> AccountRow:
    account = use_cases.by_id_or_thumbprint(context.database, asked.id)
    if account.deactivated_at is not None:
        raise ConflictError(f"the account {account.id} was deactivated at {timestamp(account.deactivated_at)}")
    ending = partial(use_cases.deactivate, account=account, now=context.now, by="operator")
    return accounts.row(perform(context.database, ending))


ACTS = (
    Act(
        "account.list", "GET", "/accounts", Role.VIEWER, "The accounts, newest first.", _list, Page[AccountRow],
        Listing, "since and until are about when they were made.",
    ),
    Act(
        "account.show", "GET", "/accounts/{id}", Role.VIEWER, "One account in full.", _show, AccountDescription, One,
        "With the instances that belong to it.",
    ),
    Act(
        "account.deactivate", "POST", "/accounts/{id}/deactivate", Role.OPERATOR, "End an account.", _deactivate,
        AccountRow, One,
        "Its open orders end. Its certificates stay valid, and its instances stay its own until they are released.",
    ),
)  # fmt: skip
