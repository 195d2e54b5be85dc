"""External account keys for operators: made, shown once, revoked (RFC 8555 section 7.3.4)."""

from __future__ import annotations

import secrets
from functools import partial

from acme_iid.errors import ConflictError, NotFoundError, RequestError
from acme_iid.protocol.resources import ExternalKey
from acme_iid.store import external_keys
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.writes import Reader, Write, perform

_SECRET_BYTES = 32
MAX_LABEL_LENGTH = 100


def add(database: Database, label: str | None, seconds: int | None, now: int, *, reusable: bool) -> ExternalKey:
    """Make a key.

    :param label: the operator's words for the person or the purpose that it is for.
    :param seconds: the seconds for which it may be used; None for ever.
    :param reusable: whether more than one account may be made with it.
    :raises RequestError: if the label is empty, too long or not printable.
    """
    if label is not None and (not label or len(label) > MAX_LABEL_LENGTH or not label.isprintable()):
        raise RequestError(f"a label is printable text of 1 to {MAX_LABEL_LENGTH} characters")
    key = new_key(label, seconds, now, reusable=reusable)
    event = Event("external_key.added", now, detail={"external_key": key.id, "label": label, "reusable": reusable})
    return perform(database, lambda _reader: Write([external_keys.add(key)], lambda _rows: key, [event]))


def new_key(
    label: str | None, seconds: int | None, now: int, *, reusable: bool, enrolment_id: str | None = None
) -> ExternalKey:
    """A key that nobody has had, not stored yet; the parameters are as for :func:`add`.

    :param enrolment_id: the enrolment whose delegate the account will be.
    """
    return ExternalKey(
        id=_random_text(16),
        secret=_random_text(_SECRET_BYTES),
        label=label,
        reusable=reusable,
        created_at=now,
        expires_at=None if seconds is None else now + seconds,
        enrolment_id=enrolment_id,
    )


def _random_text(octets: int) -> str:
    """Random base64url without a dash at its beginning: clients' command lines would take that for an option."""
    while (text := secrets.token_urlsafe(octets)).startswith("-"):
        pass
    return text


def revoke(database: Database, key_id: str, now: int) -> ExternalKey:
    """Let a key make no further account. The accounts that were made with it stay.

    :raises RequestError: if there is no such key, or it was revoked before.
    """
    return perform(database, partial(_revoke, key_id=key_id, now=now))


def _revoke(reader: Reader, key_id: str, now: int) -> Write[ExternalKey]:
    key = external_keys.get(reader, key_id)
    if key is None:
        raise NotFoundError(f"there is no external account key {key_id!r}; 'acme-iid-ca eab list' shows all")
    if key.revoked_at is not None:
        raise ConflictError(f"the external account key {key_id} was revoked before")
    event = Event("external_key.revoked", now, account_id=key.account_id, detail={"external_key": key_id})
    return Write([external_keys.revoke(key_id, now)], lambda _rows: key, [event])
