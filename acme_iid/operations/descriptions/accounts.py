"""ACME accounts, as operators are shown them."""

from __future__ import annotations

from typing import TypedDict

from acme_iid.authority import accounts as use_cases
from acme_iid.authority import delegates
from acme_iid.operations.descriptions.pages import Page, one_more, page
from acme_iid.operations.descriptions.times import timestamp
from acme_iid.protocol.resources import Account
from acme_iid.store import accounts, instances
from acme_iid.store.listing import Filter, Position
from acme_iid.store.writes import Reader

MOST_INSTANCES = 100
"""The instances that an account is shown with."""


class AccountRow(TypedDict):
    """An account in a list.

    :ivar account: its id.
    :ivar key_thumbprint: the thumbprint of its key (RFC 7638).
    :ivar contact: URLs.
    :ivar external_key: the id of the external account key that it was made with.
    :ivar enrolment: the id of the enrolment that it is a delegate of.
    :ivar created: a time.
    :ivar deactivated: the time since which it can do nothing.
    """

    account: str
    key_thumbprint: str
    contact: list[str]
    external_key: str | None
    enrolment: str | None
    created: str
    deactivated: str | None


class AccountDescription(AccountRow):
    """An account in full; what begins with ``enrol`` is a delegate's, and None for others.

    :ivar instances: the ids of the latest 100 instances that belong to it.
    :ivar enrolled_by: the id of the account that enrolled it.
    :ivar enrolled_instance: the id of the instance by which that account may.
    :ivar enrolled_names: the names that it may get.
    :ivar enrolled_until: the time at which the enrolment ends by itself.
    :ivar enrolment_ended: the reason why the enrolment ended before.
    """

    instances: list[str]
    enrolled_by: str | None
    enrolled_instance: str | None
    enrolled_names: list[str] | None
    enrolled_until: str | None
    enrolment_ended: str | None


def row(account: Account) -> AccountRow:
    """An account in a list."""
    return {
        "account": account.id,
        "key_thumbprint": account.thumbprint,
        "contact": list(account.contact),
        "external_key": account.external_key_id,
        "enrolment": account.enrolment_id,
        "created": timestamp(account.created_at),
        "deactivated": timestamp(account.deactivated_at),
    }


def listed(reader: Reader, criteria: Filter) -> Page[AccountRow]:
    """A page of the accounts, the latest first."""
    found = accounts.page(reader, one_more(criteria))
    return page([(Position(entry.created_at, entry.id), row(entry)) for entry in found], criteria)


def whole(reader: Reader, word: str) -> AccountDescription:
    """An account in full.

    :param word: its id, or its key's thumbprint.
    :raises RequestError: if there is no such account.
    """
    account = use_cases.by_id_or_thumbprint(reader, word)
    enrolment = delegates.enrolment_of(reader, account)
    held = instances.page(reader, Filter(account=account.id, limit=MOST_INSTANCES))
    return {
        **row(account),
        "instances": [entry.id for entry in held],
        "enrolled_by": None if enrolment is None else enrolment.account_id,
        "enrolled_instance": None if enrolment is None else enrolment.instance_id,
        "enrolled_names": None if enrolment is None else [name.value for name in enrolment.names],
        "enrolled_until": None if enrolment is None else timestamp(enrolment.expires_at),
        "enrolment_ended": None if enrolment is None else enrolment.reason,
    }


def has_further_instances(reader: Reader, account_id: str) -> bool:
    """Whether an account has more instances than it is shown with."""
    return len(instances.page(reader, Filter(account=account_id, limit=MOST_INSTANCES + 1))) > MOST_INSTANCES
