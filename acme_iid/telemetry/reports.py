"""Reports of what was committed, to whoever listens: counters, and the line that each act leaves in the log.

A fact is reported once, by the process that committed it, after the commit: what came to nothing is never reported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

_log = logging.getLogger(__name__)


class Instance(Protocol):
    """The instance that a fact is about."""

    @property
    def id(self) -> str:
        """Its id, as the store has it."""

    @property
    def cloud(self) -> str:
        """The short name of its cloud."""


class Fact(Protocol):
    """What happened: an event of the record, or a refusal that was only counted there, since it is a repetition."""

    @property
    def kind(self) -> str:
        """The event's kind, such as ``challenge.refused``."""

    @property
    def at(self) -> int:
        """When it was decided, in seconds."""

    @property
    def account_id(self) -> str | None:
        """The account that it is about."""

    @property
    def instance(self) -> Instance | None:
        """The instance that it is about."""

    @property
    def cloud(self) -> str | None:
        """The short name of its cloud, where no instance says it."""

    @property
    def name(self) -> str | None:
        """The one name that it is about."""

    @property
    def detail(self) -> Mapping[str, object]:
        """Further facts by name; those that are None count as absent."""


Listener = Callable[[Fact], None]
"""Called in the thread that has committed, which may be that of the event loop: it waits for nothing."""

_listeners: tuple[Listener, ...] = ()


def listen(listener: Listener) -> None:
    """Have ``listener`` called with each fact from now on; once, however often it is given."""
    global _listeners  # noqa: PLW0603 - the process has one record of what it commits
    if listener not in _listeners:
        _listeners = (*_listeners, listener)


def cease(listener: Listener) -> None:
    """No longer call ``listener``."""
    global _listeners  # noqa: PLW0603 - see listen
    _listeners = tuple(other for other in _listeners if other != listener)


def report(facts: Iterable[Fact]) -> None:
    """Report what was committed. A listener that raises is logged, and changes nothing for anybody else."""
    listeners = _listeners
    if not listeners:
        return
    for fact in facts:
        for listener in listeners:
            try:
                listener(fact)
            except Exception:  # noqa: BLE001 - it is committed, whatever befalls whoever hears of it
                _log.exception("%s was committed, and one who listens for it failed", fact.kind)
