"""A copy of a SQLite store as it is at one moment, and what a store that came from one is told."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from acme_iid.errors import StoreUnavailableError
from acme_iid.store.database import Transaction

NUMBERS_BETWEEN = 86_400
"""How far list numbers go on above the time at which a copy is put to use: more than were ever ahead of it."""


def write(source: Path, target: Path) -> None:
    """Copy the store in ``source`` as it is now to ``target``, which is empty; writers are not kept waiting.

    :raises StoreUnavailableError: if it cannot be read, or the copy not be written.
    """
    try:
        connection = sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
        try:
            # One read transaction, from which writers in the log are kept by nothing (sqlite.org/lang_vacuum.html).
            connection.execute("VACUUM INTO ?", (str(target),))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreUnavailableError(f"the database {source} cannot be copied: {error}") from error


def put_to_use(transaction: Transaction, now: int) -> None:
    """Let lists be signed anew, with numbers above all that the store may have published since it was copied."""
    transaction.run(
        """UPDATE revocation_lists SET next_update = 0,
                  number = CASE WHEN number > :now THEN number ELSE :now END + :between""",
        now=now,
        between=NUMBERS_BETWEEN,
    )
