"""Bringing a store's schema up to date, and what a store may have that this program does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acme_iid.errors import StoreUnavailableError
from acme_iid.store import fence, schema
from acme_iid.store.writes import Reader

if TYPE_CHECKING:
    from acme_iid.store.database import Database

_APPLIED = "SELECT name FROM schema_migrations"


def migrate(database: Database) -> None:
    """Bring the schema up to date: each numbered file under schema/ once, in order, all in one transaction.

    ``NUMBER_NAME.sql`` is for every database, ``NUMBER_NAME.DIALECT.sql`` for those of one dialect. A store that a
    newer release has expanded is left as it is. While files are applied, all who write wait.

    :raises FencedError: if a newer release has changed the store so that this one may not write to it.
    :raises StoreUnavailableError: if the store cannot be used now, or is from before the first release.
    """
    dialect = database.dialect()
    with database.migration() as transaction:
        transaction.run(
            "CREATE TABLE IF NOT EXISTS schema_migrations (name TEXT PRIMARY KEY)",
        )
        applied = {row["name"] for row in transaction.rows(_APPLIED)}
        if any(name.startswith("00") for name in applied):
            raise StoreUnavailableError(
                "the database was written by an acme-iid from before the first release, whose stores are not carried "
                "over; make a new CA with 'acme-iid-ca init', in another home or database"
            )
        if fence.FILE in applied:
            fence.require(transaction)
        pending = [entry for entry in schema.files(dialect) if entry.name not in applied]
        if pending and fence.FILE in applied and dialect == "postgresql":
            # Who writes has read it, and keeps it until the end: before any table, so that nobody waits for the other.
            transaction.run("LOCK TABLE fence IN ACCESS EXCLUSIVE MODE")
        for entry in pending:
            for statement in entry.read_text(encoding="ascii").split(";\n"):
                if statement.strip():
                    transaction.run(schema.translate(statement, dialect))
            transaction.run("INSERT INTO schema_migrations (name) VALUES (:name)", name=entry.name)


def latest_applied(reader: Reader) -> str:
    """The latest schema file that a store has, which this program may not know.

    :raises StoreUnavailableError: if the store cannot answer now.
    """
    # The order of the names is that of their numbers, whatever the database sorts by.
    name: str = max(row["name"] for row in reader.rows(_APPLIED))
    return name


def is_newer(reader: Reader) -> bool:
    """Whether a newer release has changed a store: it may hold what this program does not know.

    :raises StoreUnavailableError: if the store cannot answer now.
    """
    return schema.number(latest_applied(reader)) > fence.WRITER
