"""How questions for signatures went in this process: for those who count them, and for readiness."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from acme_iid.errors import SignerBusyError, SignerError
from acme_iid.signing.places import ProgramPlace, TokenPlace

Watcher = Callable[[float, bool], None]
"""Told of each question: its seconds, and whether the right signature came; it raises nothing."""

_watchers: list[Watcher] = []
# Of the process, and not of a key that was opened: a configuration that is reloaded opens it again.
_latest: dict[str, bool] = {}


def watch(watcher: Watcher) -> None:
    """Have ``watcher`` told of each question from now on; once, however often it is given."""
    if watcher not in _watchers:
        _watchers.append(watcher)


def latest(place: TokenPlace | ProgramPlace) -> bool | None:
    """Whether the latest question to a key got the right signature; None if there was none."""
    return _latest.get(str(place))


@contextmanager
def noted(place: TokenPlace | ProgramPlace) -> Iterator[None]:
    """Note how a question to a key goes, from asking it until its answer is verified.

    One for which too many wait already is none: it says nothing of the key.
    """
    began = time.monotonic()
    try:
        yield
    except SignerBusyError:
        raise
    except SignerError:
        _note(place, time.monotonic() - began, is_good=False)
        raise
    _note(place, time.monotonic() - began, is_good=True)


def _note(place: TokenPlace | ProgramPlace, seconds: float, *, is_good: bool) -> None:
    _latest[str(place)] = is_good
    for watcher in _watchers:
        watcher(seconds, is_good)
