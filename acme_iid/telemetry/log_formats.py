"""The three forms of a line of the log: text, JSON and logfmt.

A record's facts are the mapping ``facts`` in its ``extra``. Whatever stands in a message or a fact, it makes one line,
which is bounded, and secrets that can be told by their form are masked.
"""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
from collections.abc import Mapping
from functools import lru_cache

from acme_iid.telemetry import request_ids
from acme_iid.telemetry.masking import masked, without_opaque

MOST_MESSAGE = 2000
"""Characters of a message."""
MOST_FACT = 300
"""Characters of a fact's value."""
MOST_FACTS = 2000
"""Characters of all facts of a record."""
MOST_TRACEBACK = 12_000
"""Characters of a traceback, of which the end is kept."""

_PLAIN = re.compile(r"[\w./:@+,*-]+", re.ASCII)
_KEY, _NO_KEY = re.compile(r"[\w.-]+", re.ASCII), re.compile(r"[^\w.-]", re.ASCII)
_LEVELS = {logging.CRITICAL: "critical", logging.ERROR: "error", logging.WARNING: "warning", logging.INFO: "info",
           logging.DEBUG: "debug"}  # fmt: skip

Value = str | int | float | bool


def printable(text: str) -> str:
    """The text with an escape for each character that does not print: line ends, control characters, halves of one."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def quoted(value: str) -> str:
    """The value as it stands behind ``key=``: in quotes unless it is one plain word."""
    if _PLAIN.fullmatch(value):
        return value
    return '"' + printable(value.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def cut(text: str, most: int) -> str:
    """The text, or the beginning of a longer one with a mark."""
    return text if len(text) <= most else f"{text[:most]}…"


def plain_facts(facts: Mapping[str, object]) -> dict[str, Value]:
    """The facts as they are shown: without those that are None, each bounded, and all together.

    Members of an object are named with a dot, and the values of a list are joined with commas.
    """
    shown: dict[str, Value] = {}
    room = MOST_FACTS
    for name, value in _flat("", facts):
        shown[name] = value
        room -= len(name) + (len(value) if isinstance(value, str) else 8)
        if room < 0:
            shown["cut"] = True
            break
    return shown


def _flat(prefix: str, facts: Mapping[str, object]) -> list[tuple[str, Value]]:
    found: list[tuple[str, Value]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            found += _flat(f"{prefix}{name}.", value)
        elif isinstance(value, bool | int | float):
            found.append((prefix + name, value))
        elif isinstance(value, list | tuple):
            found.append((prefix + name, _text(",".join(map(str, value[:MOST_FACT])))))
        elif value is not None:
            found.append((prefix + name, _text(str(value))))
    return found


def _text(value: str) -> str:
    # Cut last: a form that is cut in the middle is not known any more.
    return cut(masked(value[: 4 * MOST_FACT]), MOST_FACT)


class Formatter(logging.Formatter):
    """What the three have in common."""

    def message(self, record: logging.LogRecord) -> str:
        """The record's message in one bounded line."""
        return cut(printable(masked(record.getMessage()[: 4 * MOST_MESSAGE])), MOST_MESSAGE)

    def facts(self, record: logging.LogRecord) -> dict[str, Value]:
        """The record's facts."""
        facts = getattr(record, "facts", None)
        return plain_facts(facts) if isinstance(facts, Mapping) else {}

    def traceback(self, record: logging.LogRecord) -> str:
        """The traceback of the record's exception; "" without one.

        The places are ours. What the exceptions say may quote a request, so it is shown without long words.
        """
        if not record.exc_info or record.exc_info[1] is None:
            return ""
        lines: list[str] = []
        # Lines of source follow a place, and are told by their indentation.
        for text in traceback.format_exception(record.exc_info[1]):
            bounded = text[: 4 * MOST_TRACEBACK]
            lines += [bounded] if text.startswith("  File ") else [cut(without_opaque(bounded), MOST_TRACEBACK)]
        whole = "".join(lines).rstrip("\n")
        return whole if len(whole) <= MOST_TRACEBACK else f"…{whole[-MOST_TRACEBACK:]}"


class TextFormatter(Formatter):
    """For people: the time, the message, facts as ``key=value``, and ``request=`` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; behind it, each line of a traceback begins with a tab."""
        parts = [self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), self.message(record)]
        parts += pairs(self.facts(record))
        if (request := request_ids.current()) is not None:
            parts.append(f"request={request}")
        line = " ".join(parts)
        if trace := self.traceback(record):
            line += "".join(f"\n\t{printable(part)}" for part in trace.splitlines())
        return line


class LogfmtFormatter(Formatter):
    """Everything as ``key=value``, also a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return " ".join(pairs(_members(self, record)))


class JSONFormatter(Formatter):
    """An object of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, which is ASCII."""
        return json.dumps(_members(self, record))


FORMATS: Mapping[str, type[Formatter]] = {"text": TextFormatter, "json": JSONFormatter, "logfmt": LogfmtFormatter}
"""The formats by their names."""


@lru_cache(maxsize=2)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


def _members(formatter: Formatter, record: logging.LogRecord) -> dict[str, Value]:
    own: dict[str, Value] = {
        "time": f"{_second(int(record.created))}.{int(record.msecs):03}Z",
        "level": _LEVELS.get(record.levelno, "info"),
        "logger": record.name,
    }
    if (request := request_ids.current()) is not None:
        own["request"] = request
    own["message"] = formatter.message(record)
    further = {name if name not in own else f"{name}_": fact for name, fact in formatter.facts(record).items()}
    trace = formatter.traceback(record)
    return {**own, **further, **({"traceback": trace} if trace else {})}


def pairs(facts: Mapping[str, Value]) -> list[str]:
    """Facts as ``key=value``, each value in quotes where it has to be."""
    words = {True: "true", False: "false"}
    return [
        f"{_key(name)}={words[value] if isinstance(value, bool) else quoted(str(value))}"
        for name, value in facts.items()
    ]


def _key(name: str) -> str:
    """A fact's name as one word: a provisioner's, which has blanks and what its operator liked, can be a part of it."""
    return name if _KEY.fullmatch(name) else _NO_KEY.sub("_", name)
