"""External account keys, as operators are shown them."""

from __future__ import annotations

from typing import Literal, TypedDict

from acme_iid.operations.descriptions.pages import Page, one_more, page
from acme_iid.operations.descriptions.times import timestamp
from acme_iid.protocol.resources import ExternalKey
from acme_iid.store import external_keys
from acme_iid.store.listing import Filter, Position
from acme_iid.store.writes import Reader


class ExternalKeyRow(TypedDict):
    """An external account key in a list.

    :ivar key_id: its id.
    :ivar label: whom or what it is for.
    :ivar reusable: whether more than one account may be made with it.
    :ivar created: a time.
    :ivar expires: the time from which on no account is made with it.
    :ivar used: the time at which an account was last made with it.
    :ivar account: the id of that account.
    :ivar revoked: the time of its revocation.
    """

    key_id: str
    label: str | None
    reusable: Literal["yes", "no"]
    created: str
    expires: str | None
    used: str | None
    account: str | None
    revoked: str | None


class NewExternalKey(TypedDict):
    """An external account key that was made just now.

    :ivar key_id: its id.
    :ivar hmac_key: the MAC key in base64url; it is not shown again.
    :ivar expires: the time from which on no account is made with it.
    """

    key_id: str
    hmac_key: str
    expires: str | None


def row(key: ExternalKey) -> ExternalKeyRow:
    """An external account key in a list."""
    return {
        "key_id": key.id,
        "label": key.label,
        "reusable": "yes" if key.reusable else "no",
        "created": timestamp(key.created_at),
        "expires": timestamp(key.expires_at),
        "used": timestamp(key.used_at),
        "account": key.account_id,
        "revoked": timestamp(key.revoked_at),
    }


def listed(reader: Reader, criteria: Filter) -> Page[ExternalKeyRow]:
    """A page of the external account keys, the latest first."""
    found = external_keys.page(reader, one_more(criteria))
    return page([(Position(key.created_at, key.id), row(key)) for key in found], criteria)


def new(key: ExternalKey) -> NewExternalKey:
    """A key that was made just now, with its secret."""
    return {"key_id": key.id, "hmac_key": key.secret, "expires": timestamp(key.expires_at)}
