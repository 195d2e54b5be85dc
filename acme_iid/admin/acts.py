"""An act: something that operators ask for, with its path, the role that it takes, its parameters and its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from acme_iid.admin import problems
from acme_iid.admin.kinds import REASON
from acme_iid.admin.parameters import Nothing, Parameter, parameters_of, read, value
from acme_iid.admin.problems import Problem, ProblemError
from acme_iid.admin.roles import Role
from acme_iid.config.locations import Location
from acme_iid.config.settings import Config
from acme_iid.store.database import Database

if TYPE_CHECKING:
    from acme_iid.admin.table.configuration import Look
    from acme_iid.admin.tasks import Tasks
    from acme_iid.operations.criteria import FollowAgain
    from acme_iid.store.actor import Actor

P = TypeVar("P")

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Context:
    """What acts work with.

    :ivar database: the store; of an act that changes something, as its operator uses it.
    :ivar config: the settings that are in force.
    :ivar now: seconds.
    :ivar caller: whoever asks.
    :ivar reason: why something is changed, in the operator's words.
    :ivar tasks: the acts on many that go on.
    :ivar reload: has the server take ca.toml up again, or raises a ServerError that says why not; None where no server
        can be asked.
    :ivar look: looks at ca.toml for this process; None where it may open what that names.
    :ivar follow_again: has events of before an upgrade be read again for as long as it takes; None where that may not
        take long.
    """

    database: Database
    config: Config
    now: int
    tasks: Tasks
    caller: Actor
    reason: str | None = None
    reload: Callable[[], None] | None = None
    look: Callable[[], Look] | None = None
    follow_again: FollowAgain | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether an answer has to come soon, and not be long: it is asked for over a connection."""
        return self.follow_again is None

    @property
    def home(self) -> Path:
        """The CA's home."""
        return self.config.home

    @property
    def location(self) -> Location:
        """Where the CA's files are."""
        return self.config.location


@dataclass(frozen=True, slots=True)
class Accepted:
    """An answer that says that an act goes on: its status is 202."""

    content: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Act(Generic[P]):
    """One act.

    :ivar name: ``subject.verb``.
    :ivar method: GET reads, POST changes something.
    :ivar path: with the names of parameters in braces.
    :ivar role: the least role that it takes.
    :ivar run: does it. What it returns is a value of ``answer``, a text, or :class:`Accepted`.
    :ivar answer: the type of the answer, of which its schema is made.
    :ivar parameters: the dataclass of what it takes.
    :ivar more: further sentences for the document.
    :ivar media: the answer's media type; other answers than JSON are texts.
    :ivar accepted: the type of an answer with the status 202.
    :ivar raised: the role that it takes where a parameter, by its name, is true.
    :ivar why: the parameter that says why something is changed.
    :ivar problems: further ones that it may end with.
    """

    name: str
    method: Literal["GET", "POST"]
    path: str
    role: Role
    summary: str
    run: Callable[[Context, P], object]
    answer: Any
    parameters: type[P] = Nothing  # type: ignore[assignment]
    more: str = ""
    media: str = JSON
    accepted: Any = None
    raised: Mapping[str, Role] = field(default_factory=dict)
    why: str = "reason"
    problems: tuple[Problem, ...] = ()

    @property
    def is_change(self) -> bool:
        """Whether it changes something."""
        return self.method == "POST"

    @property
    def segments(self) -> tuple[str, ...]:
        """The parts of its path."""
        return tuple(self.path.split("/")[1:])

    @property
    def in_path(self) -> frozenset[str]:
        """The parameters that its path has."""
        return frozenset(segment[1:-1] for segment in self.segments if segment.startswith("{"))

    def every_parameter(self) -> Iterator[Parameter]:
        """Its parameters, and the one that says why something is changed."""
        yield from parameters_of(self.parameters)
        if self.is_change:
            yield self._why

    @property
    def _why(self) -> Parameter:
        return Parameter(self.why, REASON, "The reason; the event has it, beside who acts.", False, None)

    def read(self, given: Mapping[str, object], now: int) -> P:
        """What was given, as :attr:`run` takes it.

        :param given: JSON values by the names of parameters.
        :param now: seconds.
        :raises ProblemError: if a parameter is unknown, wrong or missing.
        """
        known = {parameter.name for parameter in self.every_parameter()}
        for name in given:
            if name not in known:
                takes = f"one of {', '.join(sorted(known))}" if known else "no parameter"
                raise problems.of_parameter(name[:64], f"{name[:64]!a} is no parameter here", takes)
        return read(self.parameters, given, now)

    def reason(self, given: Mapping[str, object], now: int) -> str | None:
        """Why something is to be changed; None if that is not said.

        :raises ProblemError: if it is no reason.
        """
        if not self.is_change or self.why not in given:
            return None
        return str(value(self._why, given[self.why], now))

    def role_for(self, given: Mapping[str, object]) -> Role:
        """The least role that it takes, with these parameters."""
        return max([self.role, *(role for name, role in self.raised.items() if given.get(name) is True)])

    def require(self, role: Role | None, needed: Role) -> None:
        """Refuse somebody who may not do this.

        :param role: theirs; None if they have none.
        :param needed: see :meth:`role_for`.
        :raises ProblemError: naming the role that it takes.
        """
        if role is None or role < needed:
            yours = "you have none" if role is None else f"yours is {role.word}"
            detail = f"{self.name} takes the role {needed.word}, and {yours}"
            raise ProblemError(Problem.FORBIDDEN, detail, {"role": needed.word})
