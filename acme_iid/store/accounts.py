"""Accounts (RFC 8555 section 7.1.2)."""

from __future__ import annotations

import json

from acme_iid.protocol.resources import Account
from acme_iid.store.database import Reader, Row, Transaction
from acme_iid.store.listing import Filter


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
    )


def get(reader: Reader, account_id: str) -> Account | None:
    """The account with this id."""
    rows = reader.rows("SELECT * FROM accounts WHERE id = :id", id=account_id)
    return _account(rows[0]) if rows else None


def by_thumbprint(reader: Reader, thumbprint: str) -> Account | None:
    """The account whose key has this RFC 7638 thumbprint."""
    rows = reader.rows("SELECT * FROM accounts WHERE thumbprint = :thumbprint", thumbprint=thumbprint)
    return _account(rows[0]) if rows else None


def delegates(reader: Reader, enrolment_id: str) -> list[Account]:
    """The accounts that were made with an enrolment's keys, the oldest first."""
    rows = reader.rows(
        "SELECT * FROM accounts WHERE enrolment_id = :enrolment_id ORDER BY created_at, id", enrolment_id=enrolment_id
    )
    return [_account(row) for row in rows]


def page(reader: Reader, wanted: Filter) -> list[Account]:
    """Accounts, newest first."""
    rows = wanted.page(reader, "SELECT * FROM accounts", {}, time="created_at", key="id")
    return [_account(row) for row in rows]


def add(transaction: Transaction, account: Account) -> bool:
    """Add an account; False, and nothing changed, if another has the same key."""
    return bool(
        transaction.run(
            """INSERT INTO accounts (id, jwk, thumbprint, contact, created_at, terms_agreed, external_key_id,
                                     external_account_binding, enrolment_id, made_from, proven_at)
               VALUES (:id, :jwk, :thumbprint, :contact, :created_at, :terms_agreed, :external_key_id,
                       :external_account_binding, :enrolment_id, :made_from, :proven_at) ON CONFLICT DO NOTHING""",
            id=account.id,
            jwk=account.jwk,
            thumbprint=account.thumbprint,
            contact=json.dumps(account.contact),
            created_at=account.created_at,
            terms_agreed=account.terms_agreed,
            external_key_id=account.external_key_id,
            external_account_binding=account.external_account_binding,
            enrolment_id=account.enrolment_id,
            made_from=account.made_from,
            proven_at=account.proven_at,
        )
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


def set_proven(transaction: Transaction, account_id: str, now: int) -> None:
    """Note that an account has proven a name; only its first proof is noted."""
    transaction.run("UPDATE accounts SET proven_at = :now WHERE id = :id AND proven_at IS NULL", id=account_id, now=now)


def set_contact(transaction: Transaction, account_id: str, contact: tuple[str, ...]) -> bool:
    """Replace the contacts of an account that is not deactivated."""
    return bool(
        transaction.run(
            "UPDATE accounts SET contact = :contact WHERE id = :id AND deactivated_at IS NULL",
            id=account_id,
            contact=json.dumps(contact),
        )
    )


def set_terms_agreed(transaction: Transaction, account_id: str, terms: str) -> bool:
    """Note which terms an account that is not deactivated has agreed to."""
    return bool(
        transaction.run(
            "UPDATE accounts SET terms_agreed = :terms WHERE id = :id AND deactivated_at IS NULL",
            id=account_id,
            terms=terms,
        )
    )


def set_key(transaction: Transaction, account_id: str, old: str, jwk: str, thumbprint: str, now: int) -> bool:
    """Give an account that is not deactivated another key, in place of the one with the thumbprint ``old``.

    One statement, so that of two changes that race one wins.

    :returns: False, and nothing changed, if its key is another by now, or the new key is an account's.
    """
    changed = bool(
        transaction.run(
            """UPDATE accounts SET jwk = :jwk, thumbprint = :thumbprint
               WHERE id = :id AND thumbprint = :old AND deactivated_at IS NULL
                 AND NOT EXISTS (SELECT 1 FROM accounts WHERE thumbprint = :thumbprint)""",
            id=account_id,
            old=old,
            jwk=jwk,
            thumbprint=thumbprint,
        )
    )
    if changed:
        transaction.run(
            """INSERT INTO former_keys (account_id, thumbprint, replaced_at) VALUES (:account_id, :old, :now)
               ON CONFLICT (account_id, thumbprint) DO UPDATE SET replaced_at = excluded.replaced_at""",
            account_id=account_id,
            old=old,
            now=now,
        )
    return changed


def earlier_thumbprints(reader: Reader, account_id: str) -> tuple[str, ...]:
    """The thumbprints of the keys that an account had before its present one, the latest first; a hundred at most."""
    rows = reader.rows(
        """SELECT thumbprint FROM former_keys WHERE account_id = :account_id
           ORDER BY replaced_at DESC, thumbprint LIMIT 100""",
        account_id=account_id,
    )
    return tuple(row["thumbprint"] for row in rows)


def deactivate(transaction: Transaction, account_id: str, now: int) -> bool:
    """Deactivate an account, once."""
    return bool(
        transaction.run(
            "UPDATE accounts SET deactivated_at = :now WHERE id = :id AND deactivated_at IS NULL",
            id=account_id,
            now=now,
        )
    )
