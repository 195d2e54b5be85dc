"""Acts of the admin API as commands have them done: in the CA's home by a user who may open it, or by its server.

What a command prints is the same either way. One that a server was asked for says so on standard error.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import click

from acme_iid.admin.acts import Act, Context
from acme_iid.admin.filters import MOST_ROWS
from acme_iid.admin.problems import Problem, ProblemError
from acme_iid.admin.table import named
from acme_iid.admin_client.errors import AdminError
from acme_iid.cli import Home, ways
from acme_iid.cli.acting import here, operated
from acme_iid.cli.filters import follow_again
from acme_iid.cli.output import plain

if TYPE_CHECKING:
    from acme_iid.admin.table.callers import CallerDescription
    from acme_iid.admin_client.places import Place
    from acme_iid.cli.carrying_out import Work
    from acme_iid.config.settings import Config
    from acme_iid.operations.descriptions.pages import Page
    from acme_iid.store.database import Database

_KEY = f"{__name__}.way"


class Way(Protocol):
    """How acts are done."""

    def ask(self, act: Act[Any], given: Mapping[str, object]) -> Any:
        """Have an act done.

        :param given: its parameters, as JSON has them.
        :returns: its answer.
        :raises ProblemError: if it is refused.
        :raises AdminError: if a server refuses it.
        """

    def begin(self, act: Act[Any], given: Mapping[str, object]) -> Work:
        """Begin an act on many; raises what :meth:`ask` does."""


class Direct:
    """Acts are done by this process, in the CA's home.

    :param home: one that this user may open.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    def ask(self, act: Act[Any], given: Mapping[str, object]) -> Any:
        """See :meth:`Way.ask`."""
        from acme_iid.admin.tasks import Tasks

        return self._run(act, given, Tasks())

    def begin(self, act: Act[Any], given: Mapping[str, object]) -> Work:
        """See :meth:`Way.begin`."""
        from acme_iid.cli.carrying_out import Held, Here

        held = Held()
        self._run(act, given, held)
        return Here(held)

    def _run(self, act: Act[Any], given: Mapping[str, object], tasks: Any) -> Any:
        now = int(time.time())
        parameters, reason = act.read(given, now), act.reason(given, now)
        database = operated(self._database, reason) if act.is_change else self._database
        context = Context(database, self._config, now, tasks, here(reason), reason, follow_again=follow_again)
        return act.run(context, parameters)

    @cached_property
    def _config(self) -> Config:
        return self._home.config()

    @cached_property
    def _database(self) -> Database:
        from acme_iid.store.database import open_store

        database = open_store(self._config.store.url)
        click.get_current_context().find_root().call_on_close(database.close)
        return database


class Remote:
    """Acts are done by a server.

    :param home: whose server it is.
    :ivar place: where it is asked.
    :ivar caller: this user there.
    :raises AdminError: if it does not answer, or this user has no role there.
    """

    def __init__(self, home: Home, place: Place) -> None:
        self.place = place
        try:
            self._client = ways.client(home, place)
            click.get_current_context().find_root().call_on_close(self._client.close)
            self.caller: CallerDescription = self.ask(named("caller.show"), {})
        except AdminError as error:
            if error.status is None and home.admin.url is None and ways.look(home.location).is_denied:
                raise click.ClickException(f"you may not open the CA's home {home.folder}, and {error}") from error
            raise
        user = self.caller["user"] or f"uid {self.caller['uid']}"
        told = f"Asked at {place} as {user}, with the role {self.caller['role']}."
        click.echo(plain(told), err=True)

    def ask(self, act: Act[Any], given: Mapping[str, object]) -> Any:
        """See :meth:`Way.ask`."""
        path = "/".join(
            quote(str(given[part[1:-1]]), safe=":") if part.startswith("{") else part for part in ("", *act.segments)
        )
        rest = {name: value for name, value in given.items() if name not in act.in_path}
        return self._client.ask(act.method, path, rest)

    def begin(self, act: Act[Any], given: Mapping[str, object]) -> Work:
        """See :meth:`Way.begin`."""
        from acme_iid.cli.carrying_out import There

        return There(self, self.ask(act, given))


def ask(name: str, /, **parameters: object) -> Any:
    """Have an act done.

    :param name: the act's.
    :param parameters: its own, as JSON has them; those that are None or False are left out.
    :returns: its answer.
    :raises UsageError: if a parameter is wrong.
    :raises AdminError: if it is refused in another way that acts have a word for.
    """
    act = named(name)
    try:
        return _way().ask(act, _given(parameters))
    except (ProblemError, AdminError) as error:
        raise told(error) from error


def begin(name: str, /, **parameters: object) -> Work:
    """Begin an act on many; as :func:`ask`."""
    act = named(name)
    try:
        return _way().begin(act, _given(parameters))
    except (ProblemError, AdminError) as error:
        raise told(error) from error


def page(name: str, /, **parameters: Any) -> Page[Any]:
    """A list, asked for a part at a time.

    :param name: the act's.
    :param parameters: its own, with ``limit`` and ``before``.
    """
    limit, before = parameters.pop("limit"), parameters.pop("before")
    items: list[Any] = []
    while True:
        part = ask(name, **parameters, limit=min(limit - len(items), MOST_ROWS), before=before)
        items += part["items"]
        before = part["next"]
        if before is None or len(items) >= limit:
            return {"items": items, "next": before}


def server(home: Home) -> Remote | None:
    """The server that is asked; None if this user may open the home.

    :raises AdminError: see :class:`Remote`.
    """
    found = way(home)
    return found if isinstance(found, Remote) else None


def way(home: Home) -> Way:
    """How acts are done for a home.

    :raises AdminError: see :class:`Remote`.
    """
    try:
        return _way(home)
    except AdminError as error:
        raise told(error) from error


def ask_server(name: str, /, **parameters: object) -> Any:
    """Have an act done that only a server can do, also for those who may open the home; as :func:`ask`."""
    home = _home()
    act = named(name)
    try:
        return Remote(home, ways.server_of(home)).ask(act, _given(parameters))
    except AdminError as error:
        raise told(error) from error


def _way(home: Home | None = None) -> Way:
    """The way of this command, found once."""
    meta = click.get_current_context().find_root().meta
    if _KEY not in meta:
        home = home or _home()
        place = ways.place_of(home)
        meta[_KEY] = Direct(home) if place is None else Remote(home, place)
    found: Way = meta[_KEY]
    return found


def _home() -> Home:
    home = click.get_current_context().find_object(Home)
    assert home is not None
    return home


def _given(parameters: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in parameters.items() if value is not None and value is not False}


def told(refusal: ProblemError | AdminError) -> Exception:
    """A refusal, the same whoever has refused; wrong usage is as click has it."""
    error = as_admin_error(refusal)
    if error.type == Problem.BAD_PARAMETER.urn:
        return click.UsageError(plain(error.detail.removeprefix(f"{error.members.get('parameter')}: ")))
    return error


def as_admin_error(refusal: ProblemError | AdminError) -> AdminError:
    """A refusal as a server has told it, or would have."""
    if isinstance(refusal, AdminError):
        return refusal
    problem = refusal.problem
    return AdminError(
        refusal.detail, type=problem.urn, title=problem.title, status=problem.status, members=refusal.members
    )
