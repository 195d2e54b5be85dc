"""A copy of a store as it is at one moment, in a SQLite file, and what a store that came from one is told."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from acme_iid.errors import StoreUnavailableError
from acme_iid.store import copying, sealing
from acme_iid.store.chain import Event
from acme_iid.store.database import Database, Transaction, open_store
from acme_iid.store.writes import Write

NUMBERS_BETWEEN = 86_400
"""The distance of list numbers above the time at which a copy is put to use: more than were ever ahead of it."""

_CHAINED_AT_ONCE = 1000


def of_server(url: str, target: Path) -> None:
    """Copy the store in PostgreSQL as it is now into the SQLite file ``target``, which does not exist.

    :raises StoreUnavailableError: if it cannot be read, or the copy not be written.
    :raises CopyError: if the copy is not whole.
    """
    with closing(open_store(url)) as source:
        from acme_iid.store.postgresql import PostgreSQL  # noqa: PLC0415 - SQLite needs no psycopg

        assert isinstance(source, PostgreSQL)
        source.seal()
        with closing(open_store(f"sqlite:{target}")) as copy, source.snapshot() as snapshot:
            copying.save(snapshot, copy)
            # Events that came since it was sealed.
            waiting = sealing.events(snapshot.rows("SELECT entry FROM event_inbox ORDER BY id"))
            _chain(copy, [Event.of(columns._asdict()) for columns in waiting])


def _chain(copy: Database, events: Sequence[Event]) -> None:
    """Chain the events that were not chained yet where they were copied from."""
    for start in range(0, len(events), _CHAINED_AT_ONCE):
        copy.commit(Write((), lambda _rows: None, events[start : start + _CHAINED_AT_ONCE]))


def of_file(source: Path, target: Path) -> None:
    """Copy the store in the SQLite file ``source`` as it is now to ``target``, which is empty; writers go on.

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


def put_to_use(transaction: Transaction, now: int, due: int) -> None:
    """Let lists be signed anew, with numbers above all that the store may have published since it was copied.

    Until then they are what they were: the key that signs may be elsewhere, and away.

    :param due: the end of a list that is to be signed now, seconds.
    """
    transaction.run(
        """UPDATE revocation_lists SET next_update = CASE WHEN next_update < :due THEN next_update ELSE :due END,
                  number = CASE WHEN number > :now THEN number ELSE :now END + :between""",
        now=now,
        due=due,
        between=NUMBERS_BETWEEN,
    )
