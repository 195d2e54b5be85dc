"""Use cases in two halves: decide without a lock, then write once.

The first half reads and decides. Its result is an answer, or a :class:`Write`: statements, each with the condition
under which it holds, the events that belong to them, and a function that makes the answer once all is committed. A
statement whose condition no longer holds (a guard that fails) lets nothing of its write happen; then the use case reads
and decides again, once more, and what was refused by then gets its reason from what is there by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast, overload

from acme_iid.errors import StoreConflictError
from acme_iid.store.chain import Event
from acme_iid.telemetry import reports

Row = Mapping[str, Any]
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")

ATTEMPTS = 3
"""The largest number of times that a use case is decided, where others change what it has read."""


class Question(NamedTuple):
    """A statement that reads, and its values."""

    text: str
    values: Mapping[str, object]


def ask(reader: Reader, question: Question) -> list[Row]:
    """The rows that answer a question."""
    return reader.rows(question.text, **question.values)


class Reader(Protocol):
    """The side of a store that answers questions: a database, or a transaction (which sees its own writes)."""

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        """The rows that ``statement`` gives; ``:name`` stands for the parameter ``name``.

        :raises StoreUnavailableError: if the store cannot answer now.
        """

    def ahead(self, *questions: Question) -> Reader:
        """A reader that is asked these questions soon: where each is a round trip, it asks all of them at once now.

        :raises StoreUnavailableError: as :meth:`rows` does.
        """


class Answered:
    """A reader for one decision, which has the answers to some questions already.

    :param reader: the reader that is asked everything else.
    """

    def __init__(self, reader: Reader, answers: Iterable[tuple[Question, list[Row]]]) -> None:
        self._reader = reader
        self._answers = {_key(*question): rows for question, rows in answers}

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        """See :meth:`Reader.rows`."""
        rows = self._answers.get(_key(statement, parameters))
        return self._reader.rows(statement, **parameters) if rows is None else rows

    def ahead(self, *questions: Question) -> Reader:
        """See :meth:`Reader.ahead`."""
        missing = [question for question in questions if _key(*question) not in self._answers]
        if not missing:
            return self
        further = Answered(self._reader.ahead(*missing), ())
        further._answers = self._answers
        return further


def _key(statement: str, values: Mapping[str, object]) -> tuple[str, frozenset[tuple[str, object]]]:
    return statement, frozenset(values.items())


Verdict = Callable[[Reader], "Exception | Write[Any] | None"]
"""Asked after a guard failed: the error that this means, or a refusal that is recorded; None to decide again."""


def again(_reader: Reader) -> None:
    """The verdict that says nothing: what was read has changed, and the use case is decided again."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of a write; ``:name`` in its text stands for the value ``name``.

    :ivar verdict: makes the statement a guard: if it changes, or gives, no row, nothing of the write happens.
    :ivar unique: the constraint, as ``table.column``, whose violation is the same as a guard's failure.
    :ivar shared: of a SELECT: the rows that it gives stay as they are until the write is committed.
    """

    text: str
    values: Mapping[str, object]
    verdict: Verdict | None = None
    unique: str | None = None
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Write(Generic[T_co]):
    """A decision's statements and events: all of them are committed, or nothing.

    :ivar statements: in the order accounts, instances, enrolments, orders, limits, so that no two writes wait for each
        other.
    :ivar answer: makes the answer after the commit, from the rows that statements with RETURNING gave. An error that it
        raises is an answer, too: what was refused, and recorded.
    :ivar events: those that are recorded.
    :ivar repeated: refusals that the statements only count, since the record has an event of the same already: as the
        events that they would be. They are reported, and are not stored.
    """

    statements: Sequence[Statement]
    answer: Callable[[Sequence[Row]], T_co]
    events: Sequence[Event] = ()
    repeated: Sequence[Event] = ()

    def then(self, function: Callable[[T_co], U]) -> Write[U]:
        """The same write, whose answer is made of this one's."""
        return Write(self.statements, lambda rows: function(self.answer(rows)), self.events, self.repeated)

    def report(self) -> None:
        """Report what was committed with this write."""
        reports.report((*self.events, *self.repeated))


Decision = Callable[[Reader], T | Write[T]]
"""The first half of a use case."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A write happened; ``rows`` are what its statements gave."""

    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Refused:
    """A guard failed, and nothing happened."""

    verdict: Verdict


Outcome = Committed | Refused


class Committing(Reader, Protocol):
    """A store that commits writes."""

    def commit(self, write: Write[Any]) -> Outcome:
        """Commit a write: it is durable when this returns :class:`Committed`.

        :raises StoreUnavailableError: if the store cannot take it now; nothing happened, unless it is an
            :class:`~acme_iid.errors.OutcomeUnknownError`.
        """


@overload
def then(decided: Write[T], function: Callable[[T], U]) -> Write[U]: ...


@overload
def then(decided: T | Write[T], function: Callable[[T], U]) -> U | Write[U]: ...


def then(decided: T | Write[T], function: Callable[[T], U]) -> U | Write[U]:
    """The decision, with ``function`` applied to its answer."""
    if isinstance(decided, Write):
        return decided.then(function)
    return function(decided)


def refuse(
    statements: Sequence[Statement],
    error: Exception,
    events: Sequence[Event] = (),
    repeated: Sequence[Event] = (),
) -> Write[Any]:
    """A refusal that leaves something behind: the write happens, and its answer is the error."""

    def answer(_rows: Sequence[Row]) -> Any:
        raise error

    return Write(statements, answer, events, repeated)


def is_empty(write: Write[Any]) -> bool:
    """Whether there is nothing to commit."""
    return not write.statements and not write.events


@overload
def perform(
    database: Committing, decide: Callable[[Reader], Write[T]], attempts: int = ATTEMPTS, first: Reader | None = None
) -> T: ...


@overload
def perform(
    database: Committing,
    decide: Callable[[Reader], T | Write[T]],
    attempts: int = ATTEMPTS,
    first: Reader | None = None,
) -> T: ...


def perform(
    database: Committing,
    decide: Callable[[Reader], T | Write[T]],
    attempts: int = ATTEMPTS,
    first: Reader | None = None,
) -> T:
    """Decide a use case, commit what it writes, and answer.

    :param attempts: the largest number of times that it is decided, where others change what it has read.
    :param first: the reader for the first decision: one of the database that has some answers already.
    :raises StoreConflictError: if others did so each time; nothing happened.
    :raises StoreUnavailableError: see :meth:`Committing.commit`.
    """
    reader = database if first is None else first
    for _ in range(attempts):
        decided = decide(reader)
        reader = database
        if not isinstance(decided, Write):
            return decided
        write = cast("Write[T]", decided)
        outcome = _commit(database, write)
        if isinstance(outcome, Committed):
            return write.answer(outcome.rows)
        verdict = outcome.verdict(database)
        if isinstance(verdict, Exception):
            raise verdict
        if verdict is not None:
            refused = _commit(database, verdict)
            if isinstance(refused, Committed):
                return cast("T", verdict.answer(refused.rows))
    raise StoreConflictError("others changed the same at the same moments, again and again; nothing was changed")


def _commit(database: Committing, write: Write[Any]) -> Outcome:
    """Commit a write, and report it."""
    if is_empty(write):
        return Committed(())
    outcome = database.commit(write)
    if isinstance(outcome, Committed):
        write.report()
    return outcome
