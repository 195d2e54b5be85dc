"""Where the log goes, and from which level on: set up once, in one place, for a process and those that it forks.

Lines go to standard error. If that is the journal, each begins with its priority, as sd-daemon(3) describes it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

from acme_iid.telemetry.log_formats import FORMATS

LEVELS = ("debug", "info", "warning", "error")
"""The levels that can be asked for, from all lines to few."""

_OURS = "acme_iid"
_STDERR = 2
_log = logging.getLogger("acme_iid.telemetry")


def set_up(format_: str = "text", level: str = "info") -> None:
    """Have the log written to standard error.

    Other people's libraries are heard from warnings on, whatever ``level`` says: what they write below that quotes
    requests, and URLs with what is secret in them. What nobody caught becomes a line, too.

    :param format_: one of :data:`~acme_iid.telemetry.log_formats.FORMATS`.
    :param level: one of :data:`LEVELS`.
    """
    handler = Handler(journal=is_journal(os.environ, _STDERR))
    handler.setFormatter(FORMATS[format_]())
    number = logging.getLevelNamesMapping()[level.upper()]
    root, ours = logging.getLogger(), logging.getLogger(_OURS)
    for replaced in [one for one in root.handlers if isinstance(one, Handler)]:
        root.removeHandler(replaced)
        replaced.close()
    root.addHandler(handler)
    root.setLevel(max(number, logging.WARNING))
    ours.setLevel(number)
    logging.captureWarnings(True)
    sys.excepthook = _note_uncaught
    threading.excepthook = _note_thread


def is_journal(environment: Mapping[str, str], descriptor: int) -> bool:
    """Whether a file descriptor is the journal's stream that systemd names in ``JOURNAL_STREAM`` (systemd.exec(5))."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


class Handler(logging.StreamHandler[TextIO]):
    """Writes lines to standard error.

    :param journal: whether each line begins with its priority.
    """

    def __init__(self, *, journal: bool) -> None:
        super().__init__(sys.stderr)
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """The record's lines."""
        text = super().format(record)
        if not self._journal:
            return text
        prefix = f"<{priority(record.levelno)}>"
        return prefix + text.replace("\n", f"\n{prefix}")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A line that cannot be made or written is left out: logging's own report would show all that is in it."""


def priority(level: int) -> int:
    """The journal's priority of a level: from 2, critical, to 7, debug (syslog(3))."""
    for least, number in ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6)):
        if level >= least:
            return number
    return 7


def _note_uncaught(type_: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(type_, Exception):
        _log.critical("unexpected failure, the process ends", exc_info=error)
    else:
        sys.__excepthook__(type_, error, trace)


def _note_thread(what: threading.ExceptHookArgs) -> None:
    if isinstance(what.exc_value, Exception):
        _log.error("unexpected failure, a thread ends", exc_info=what.exc_value)
