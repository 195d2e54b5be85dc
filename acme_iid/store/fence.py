"""The fence: which programs may still write to a store that a newer release has changed.

A store has a number, ``min_writer``; a program's own is that of the latest schema file that it knows. A program with a
lower one does not open the store, and each transaction that writes looks again: a server that ran already when the
number was raised writes nothing from then on (rfc-notes/decisions/0046-expand-contract-fence.md).
"""

from __future__ import annotations

from acme_iid.errors import FencedError
from acme_iid.store import schema
from acme_iid.store.writes import Reader

FILE = "20_fence.sql"
"""The schema file from which on a store has one."""
WRITER = schema.number(schema.latest())
"""This program's number."""
CHECK = f"SELECT 1 FROM fence WHERE min_writer <= {WRITER}"  # noqa: S608 - a number of ours
"""What gives a row where this program may write.

In PostgreSQL, whoever raises the number waits for the end of each transaction that has asked, and nobody asks meanwhile
(:func:`~acme_iid.store.migration.migrate`).
"""


def require(reader: Reader) -> None:
    """Refuse a store that this program may not write to.

    :raises FencedError: if it may not.
    """
    if not reader.rows(CHECK):
        raise FencedError(refusal(min_writer(reader)))


def min_writer(reader: Reader) -> int:
    """The number in a store.

    :raises StoreUnavailableError: if the store cannot answer now.
    """
    number: int = reader.rows("SELECT min_writer FROM fence")[0]["min_writer"]
    return number


def refusal(number: int) -> str:
    """The sentence for a program that may not write.

    :param number: the one in the store.
    """
    return (
        f"a newer acme-iid has changed the database, and only programs that know its schema file {number} may write to "
        f"it; this one knows {WRITER}. Install that version here, or restore a backup from before the upgrade"
    )
