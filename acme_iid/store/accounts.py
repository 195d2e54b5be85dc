"""Accounts (RFC 8555 section 7.1.2)."""

from __future__ import annotations

import json

from acme_iid.protocol.resources import Account
from acme_iid.store.listing import Filter
from acme_iid.store.writes import Question, Reader, Row, Statement, Verdict, again, ask

_MOST_EARLIER = 100
"""Thumbprints of former keys that an account keeps."""


def _account(row: Row) -> Account:
    return Account(
        id=row["id"],
        jwk=row["jwk"],
        thumbprint=row["thumbprint"],
        contact=() if row["contact"] == "[]" else tuple(json.loads(row["contact"])),
        created_at=row["created_at"],
        deactivated_at=row["deactivated_at"],
        terms_agreed=row["terms_agreed"],
        external_key_id=row["external_key_id"],
        external_account_binding=row["external_account_binding"],
        enrolment_id=row["enrolment_id"],
        made_from=row["made_from"],
        proven_at=row["proven_at"],
        key_since=row["key_since"],
        earlier_thumbprints=() if row["earlier_keys"] == "[]" else tuple(json.loads(row["earlier_keys"])),
    )


def get(reader: Reader, account_id: str) -> Account | None:
    """The account with this id."""
    rows = ask(reader, question(account_id))
    return _account(rows[0]) if rows else None


def question(account_id: str) -> Question:
    """The question of :func:`get`."""
    return Question("SELECT * FROM accounts WHERE id = :id", {"id": account_id})


def by_thumbprint(reader: Reader, thumbprint: str) -> Account | None:
    """The account whose key has this RFC 7638 thumbprint."""
    rows = ask(reader, question_of_thumbprint(thumbprint))
    return _account(rows[0]) if rows else None


def question_of_thumbprint(thumbprint: str) -> Question:
    """The question of :func:`by_thumbprint`."""
    return Question("SELECT * FROM accounts WHERE thumbprint = :thumbprint", {"thumbprint": thumbprint})


def delegates(reader: Reader, enrolment_id: str) -> list[Account]:
    """The accounts that were made with an enrolment's keys, the oldest first."""
    rows = reader.rows(
        "SELECT * FROM accounts WHERE enrolment_id = :enrolment_id ORDER BY created_at, id", enrolment_id=enrolment_id
    )
    return [_account(row) for row in rows]


def page(reader: Reader, criteria: Filter) -> list[Account]:
    """Accounts, newest first."""
    rows = criteria.page(reader, "SELECT * FROM accounts", {}, time="created_at", key="id")
    return [_account(row) for row in rows]


def add(account: Account) -> Statement:
    """Add an account, if no other has the same key."""
    return Statement(
        """INSERT INTO accounts (id, jwk, thumbprint, contact, created_at, key_since, terms_agreed, external_key_id,
                                 external_account_binding, enrolment_id, made_from, proven_at)
           VALUES (:id, :jwk, :thumbprint, :contact, :created_at, :created_at, :terms_agreed, :external_key_id,
                   :external_account_binding, :enrolment_id, :made_from, :proven_at) ON CONFLICT DO NOTHING""",
        {
            "id": account.id,
            "jwk": account.jwk,
            "thumbprint": account.thumbprint,
            "contact": json.dumps(account.contact),
            "created_at": account.created_at,
            "terms_agreed": account.terms_agreed,
            "external_key_id": account.external_key_id,
            "external_account_binding": account.external_account_binding,
            "enrolment_id": account.enrolment_id,
            "made_from": account.made_from,
            "proven_at": account.proven_at,
        },
        again,
    )


def unproven_before(reader: Reader, made_from: str, since: int, most: int) -> int | None:
    """When the oldest was made of the newest accounts of an address that have proven nothing, one more than ``most``.

    :param since: only accounts that were made after that moment.
    :returns: None if there are no more than ``most``.
    """
    rows = reader.rows(
        """SELECT created_at FROM accounts
           WHERE made_from = :made_from AND proven_at IS NULL AND created_at > :since
           ORDER BY created_at DESC LIMIT 1 OFFSET :most""",
        made_from=made_from,
        since=since,
        most=most,
    )
    return rows[0]["created_at"] if rows else None


def in_force(account: Account, verdict: Verdict = again) -> Statement:
    """Rely on it that an account is active, and still has the key that signed the request."""
    return Statement(
        "SELECT 1 FROM accounts WHERE id = :id AND thumbprint = :thumbprint AND deactivated_at IS NULL",
        {"id": account.id, "thumbprint": account.thumbprint},
        verdict,
        shared=True,
    )


def still_active(account_id: str) -> Statement:
    """Rely on it that an account is active, whatever its key is."""
    return Statement(
        "SELECT 1 FROM accounts WHERE id = :id AND deactivated_at IS NULL", {"id": account_id}, again, shared=True
    )


def none_with(thumbprint: str) -> Statement:
    """Rely on it that no active account has the key with this thumbprint."""
    return Statement(
        """SELECT 1 WHERE NOT EXISTS
           (SELECT 1 FROM accounts WHERE thumbprint = :thumbprint AND deactivated_at IS NULL)""",
        {"thumbprint": thumbprint},
        again,
    )


def set_proven(account: Account, now: int, verdict: Verdict = again) -> Statement:
    """Note that an account has proven a name, its first; and rely on all that :func:`in_force` relies on.

    Both in one: of two that have a row as shared, neither could go on to change it.
    """
    return Statement(
        """UPDATE accounts SET proven_at = COALESCE(proven_at, :now)
           WHERE id = :id AND thumbprint = :thumbprint AND deactivated_at IS NULL""",
        {"id": account.id, "thumbprint": account.thumbprint, "now": now},
        verdict,
    )


def set_contact(account: Account, contact: tuple[str, ...]) -> Statement:
    """Replace the contacts of an account that is not deactivated."""
    return Statement(
        "UPDATE accounts SET contact = :contact WHERE id = :id AND deactivated_at IS NULL",
        {"id": account.id, "contact": json.dumps(contact)},
        again,
    )


def set_terms_agreed(account: Account, terms: str) -> Statement:
    """Note which terms an account that is not deactivated has agreed to."""
    return Statement(
        "UPDATE accounts SET terms_agreed = :terms WHERE id = :id AND deactivated_at IS NULL",
        {"id": account.id, "terms": terms},
        again,
    )


def set_key(account: Account, jwk: str, thumbprint: str, now: int) -> Statement:
    """Give an account that is not deactivated another key, in place of the one that it has, if it is no account's."""
    earlier = (account.thumbprint, *(one for one in account.earlier_thumbprints if one != account.thumbprint))
    return Statement(
        """UPDATE accounts SET jwk = :jwk, thumbprint = :thumbprint, key_since = :now, earlier_keys = :earlier
           WHERE id = :id AND thumbprint = :old AND deactivated_at IS NULL""",
        {
            "id": account.id,
            "old": account.thumbprint,
            "jwk": jwk,
            "thumbprint": thumbprint,
            "earlier": json.dumps(earlier[:_MOST_EARLIER]),
            "now": now,
        },
        again,
        unique="accounts.thumbprint",
    )


def deactivate(account_id: str, now: int) -> Statement:
    """Deactivate an account, once."""
    return Statement(
        "UPDATE accounts SET deactivated_at = :now WHERE id = :id AND deactivated_at IS NULL",
        {"id": account_id, "now": now},
        again,
    )
