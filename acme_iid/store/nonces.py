"""Spent nonces, and the key under which nonces are made.

Spent ones live in a database file of their own that no commit waits for the disk for: two processes
never accept the same nonce, and after a power failure the worst is that a request captured in the
minutes before could be sent again, to a server that has its own record of what was done.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from acme_iid.store.database import Database, SQLite

_KEY_BYTES = 32


def mac_key(database: Database) -> bytes:
    """The key that all processes of this CA make and check nonces with; made at the first call."""
    statement = "SELECT value FROM secrets WHERE name = 'nonce key'"
    if not database.rows(statement):
        with database.transaction() as transaction:
            transaction.run(
                "INSERT INTO secrets (name, value) VALUES ('nonce key', :value) ON CONFLICT DO NOTHING",
                value=secrets.token_hex(_KEY_BYTES),
            )
    value: str = database.rows(statement)[0]["value"]
    return bytes.fromhex(value)


def open_spent(folder: Path) -> Database:
    """Open the file of spent nonces in ``folder``, beside the store."""
    database = SQLite(folder / "nonces.db", durable=False)
    with database.transaction() as transaction:
        transaction.run("CREATE TABLE IF NOT EXISTS spent (nonce TEXT PRIMARY KEY, expires_at BIGINT NOT NULL)")
        transaction.run("CREATE INDEX IF NOT EXISTS spent_by_expiry ON spent (expires_at)")
    return database


def spend(database: Database, nonce: str, expires_at: int) -> bool:
    """Spend a nonce; False if it was spent before."""
    with database.transaction() as transaction:
        return bool(
            transaction.run(
                "INSERT INTO spent (nonce, expires_at) VALUES (:nonce, :expires_at) ON CONFLICT DO NOTHING",
                nonce=nonce,
                expires_at=expires_at,
            )
        )


def forget_expired(database: Database, now: int) -> int:
    """Forget nonces that are too old to be accepted anyway; how many."""
    with database.transaction() as transaction:
        return transaction.run("DELETE FROM spent WHERE expires_at <= :now", now=now)
