"""The meaning of PostgreSQL's errors here: whose fault they are, and what they leave open."""

from __future__ import annotations

import re

import psycopg
from psycopg import errors

from acme_iid.errors import StoreBusyError, StoreConflictError, StoreUnavailableError
from acme_iid.store.writes import Statement

_LOST = re.compile(r"08|57P0[1-5]|25006|25P03")
"""The SQLSTATEs after which a connection is of no more use: it ended, or leads to a server that takes no writes."""
_UNDECIDED = re.compile(r"08|57|40003")
"""The SQLSTATEs that do not say whether a COMMIT took place."""


class NoAnswerError(psycopg.OperationalError):
    """The server did not answer in time; what it was asked may be done or not, and the connection is closed."""


def store_error(name: str, error: psycopg.Error) -> Exception:
    """The error that the rooms above get for one of psycopg's; itself if it is a fault of ours.

    :param name: the database, for messages.
    """
    if isinstance(error, errors.SerializationFailure | errors.DeadlockDetected):
        return StoreConflictError(f"{name} let another transaction go first: {text_of(error)}")
    if isinstance(error, errors.LockNotAvailable):
        return StoreBusyError(f"others have been writing to {name} all the time: {text_of(error)}")
    if isinstance(error, errors.InsufficientPrivilege):
        return StoreUnavailableError(f"{name} does not let us do that: {text_of(error)}")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return StoreUnavailableError(f"{name} takes no writes now: {text_of(error)}")
    ours = psycopg.IntegrityError | psycopg.ProgrammingError | psycopg.DataError | psycopg.NotSupportedError
    if isinstance(error, ours):
        return error
    return StoreUnavailableError(f"{name} cannot be used now: {text_of(error)}")


def is_verdict(error: psycopg.Error, statement: Statement) -> bool:
    """Whether the error of a guard says that it found no row, or that its constraint is hurt."""
    if isinstance(error, errors.UniqueViolation) and statement.unique is not None:
        return error.diag.constraint_name == f"{statement.unique.replace('.', '_')}_key"
    return isinstance(error, errors.DivisionByZero)


def is_undecided(error: psycopg.Error) -> bool:
    """Whether ``error``, where a COMMIT had been sent, leaves open if it took place."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return _UNDECIDED.match(error.sqlstate) is not None


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection that failed with ``error`` is of no more use: it ended, or leads where nobody writes."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return _LOST.match(error.sqlstate) is not None


def text_of(error: psycopg.Error) -> str:
    """The server's words in one line; none of them is a password."""
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
