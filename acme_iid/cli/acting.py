"""Commands that change something: who runs them and why, for the record of events."""

from __future__ import annotations

import functools
import os
import pwd
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import click

from acme_iid.cli.filters import on_store

if TYPE_CHECKING:
    from acme_iid.cli import Home
    from acme_iid.operations.waiting_acts import Act
    from acme_iid.store.actor import Actor, OperatorStore
    from acme_iid.store.chain import Event
    from acme_iid.store.configurations import Recorded
    from acme_iid.store.database import Database

P = ParamSpec("P")

_MAX_NAME_LENGTH = 64


class Reason(click.ParamType[str]):
    """The reason for an act: one line."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the line."""
        from acme_iid.operations import criteria

        try:
            return criteria.reason(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def reason_option(name: str = "--reason") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option that says why, for commands that change something."""
    return click.option(
        name, "act_reason", type=Reason(), metavar="TEXT", help="The reason; the event has it, beside your name."
    )


def here(reason: str | None, environment: Mapping[str, str] = os.environ) -> Actor:
    """Whoever runs this process: the one place that says so for commands.

    The user is the real one, which no program in between can choose. SUDO_USER is anybody's to set: it is only claimed.
    """
    from acme_iid.store.actor import Actor

    uid = os.getuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = None  # a container's user often has no name
    return Actor(
        "direct", _line(user), uid, _line(socket.gethostname()), None, _line(environment.get("SUDO_USER")), reason
    )


def operated(database: Database, reason: str | None) -> OperatorStore:
    """The store as whoever runs this command uses it; what waits for it in the CA's home is recorded first."""
    from acme_iid.cli import Home
    from acme_iid.operations import waiting_acts
    from acme_iid.store.actor import OperatorStore

    home = click.get_current_context().find_object(Home)
    assert home is not None
    waiting_acts.take_up(home.path, database)
    return OperatorStore(database, here(reason))


def record_act(home: Home, reason: str | None, event: Event, configuration: Recorded | None = None) -> None:
    """Record an act that was done without the store; where that is not there, or is away, the act waits in the home.

    :param configuration: the ca.toml that it left, if it changed that.
    """
    from acme_iid.errors import StoreUnavailableError
    from acme_iid.operations import waiting_acts
    from acme_iid.operations.waiting_acts import Act
    from acme_iid.store.existing import existing

    act = Act.new(here(reason).sign(event), configuration)
    try:
        with existing(home.config().store.url) as database:
            if database is not None:
                waiting_acts.take_up(home.path, database)
                waiting_acts.record(database, act)
                return
    except StoreUnavailableError as error:
        click.echo(f"This was done, and waits in the home for the record: {error}", err=True)
    _keep(home, act)


def _keep(home: Home, act: Act) -> None:
    from acme_iid.operations import waiting_acts

    try:
        waiting_acts.keep(home.path, act)
    except OSError as error:
        click.echo(f"This was done, and the record will not have it: {error.filename}: {error.strerror}", err=True)


@contextmanager
def recording(home: Home, reason: str | None) -> Iterator[None]:
    """Record what a command changes in ca.toml.

    A change of before that nobody has recorded is recorded first, and is not this operator's.
    """
    from acme_iid.errors import StoreUnavailableError
    from acme_iid.operations import configuration_record as record
    from acme_iid.operations import waiting_acts
    from acme_iid.operations.waiting_acts import Act
    from acme_iid.store.existing import existing

    before = home.file.read_bytes() if home.file.exists() else b""
    yield
    after, now = home.file.read_bytes(), int(time.time())
    with suppress(StoreUnavailableError), existing(home.config().store.url) as database:
        if database is not None:
            operator = operated(database, reason)
            record.note(database, before, now)
            record.note(operator, after, now)
            return
    if before == after:
        return
    former, latter = record.recorded(before), record.recorded(after)
    last = waiting_acts.configuration(home.path)
    if last is not None and last.sha256 != former.sha256:
        _keep(home, Act.new(record.changed(last, former, now), former))
    record_act(home, reason, record.changed(former, latter, now), latter)


def _line(text: str | None) -> str | None:
    """A name as it goes into the record; None without one."""
    if not text:
        return None
    return "".join(character if character.isprintable() else "?" for character in text[:_MAX_NAME_LENGTH])


def acting(
    option: str = "--reason", *, passed: bool = False
) -> Callable[[Callable[Concatenate[OperatorStore, P], None]], Callable[..., None]]:
    """Open the CA's store for a command that changes something: what it commits names who runs it, and why.

    :param option: the name of the option that says why, where --reason is something else.
    :param passed: whether the command takes the reason as well, as ``reason``.
    """

    def decorate(command: Callable[Concatenate[OperatorStore, P], None]) -> Callable[..., None]:
        @reason_option(option)
        @on_store
        @functools.wraps(command)
        def acted(database: Database, /, *args: Any, act_reason: str | None, **kwargs: Any) -> None:
            if passed:
                kwargs["reason"] = act_reason
            command(operated(database, act_reason), *args, **kwargs)

        return acted

    return decorate
