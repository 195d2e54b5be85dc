"""One table of a TOML file, read strictly: every value is taken once, and what is left over is an error."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from acme_iid.telemetry.masking import masked

T = TypeVar("T")
V = TypeVar("V")


class ConfigError(Exception):
    """The configuration cannot be used; the text names the file, the table, the key and what would be right.

    :param table: the table's label, where the error is about one key in it.
    :param key: that key.
    :param reason: the error about it.
    """

    def __init__(self, text: str, *, table: str = "", key: str = "", reason: str = "") -> None:
        super().__init__(text)
        self.table = table
        self.key = key
        self.reason = reason


class Table:
    """One table of the file ``file``; ``label`` is what its errors call it ("" for the top level)."""

    def __init__(self, file: str, label: str, values: Mapping[str, Any]) -> None:
        self._file = file
        self._label = label
        self._left = dict(values)
        self._known: list[str] = []

    def error(self, key: str, message: str) -> ConfigError:
        """The error about the value of ``key``, for a person who has the file before them."""
        where = f"{self._label} {key}" if self._label else key
        return ConfigError(f"{self._file}: {where}: {message}", table=self._label, key=key, reason=message)

    def file_error(self, message: str) -> ConfigError:
        """The error with a sentence that itself names the table and the key."""
        return ConfigError(f"{self._file}: {message}")

    def look(self, key: str) -> object:
        """Look at the value of ``key`` without taking it: it may be of any type, or missing (None)."""
        return self._left.get(key)

    def skip(self, key: str) -> None:
        """Note that ``key`` is valid, and missing."""
        self._known.append(key)

    def take(self, key: str, type_: type[T], what: str) -> T | None:
        """Take the value of ``key``, None if it is missing; ``what`` describes a right one."""
        self._known.append(key)
        value = self._left.pop(key, None)
        # bool is an int to Python, never to a reader of TOML.
        if value is not None and type(value) is not type_:
            # A list with a URL in it, or a number: what was to be a secret is shown nowhere.
            raise self.error(key, f"{self._shown(key, value)} is not {what}")
        return value

    def text(self, key: str, what: str, parse: Callable[[str], T], default: T | None = None) -> T:
        """Take a string that ``parse`` accepts; without a default the key is required."""
        value = self.take(key, str, f"a string; it is {what}")
        if value is None:
            if default is None:
                near = difflib.get_close_matches(key, self._left, 1)
                raise self.error(key, f"is missing; it is {what}" + (f" (is {near[0]!r} meant?)" if near else ""))
            return default
        return self.parsed(key, value, parse)

    def texts(self, key: str, what: str, parse: Callable[[str], T]) -> tuple[T, ...] | None:
        """Take a list of distinct strings that ``parse`` accepts, None if it is missing."""
        values = self.take(key, list, f"a list; it is {what}")
        if values is None:
            return None
        items: list[T] = []
        for value in values:
            if not isinstance(value, str):
                raise self.error(key, f"{value!r} is not a string; the list is {what}")
            item = self.parsed(key, value, parse)
            if item in items:
                raise self.error(key, f"{value!r} is listed twice")
            items.append(item)
        return tuple(items)

    def flag(self, key: str) -> bool:
        """Take true or false; false if it is missing."""
        return self.take(key, bool, "true or false") or False

    def parsed(self, key: str, value: V, parse: Callable[[V], T]) -> T:
        """Return what ``parse`` makes of ``value``; its ValueError is the sentence that says what is wrong."""
        try:
            return parse(value)
        except ValueError as error:
            raise self.error(key, str(error)) from error

    def table(self, key: str) -> Table:
        """Take the table ``key``; one that is missing is empty, and what it must hold is then missing."""
        return Table(self._file, self._below(f"[{key}]"), self.take(key, dict, "a table") or {})

    def named_tables(self, key: str) -> dict[str, Table]:
        """Take the tables ``[key.NAME]`` by their names, in the order of the file."""
        values = self.take(key, dict, f"a table of tables; each begins with [{key}.NAME]") or {}
        for name, value in values.items():
            if not isinstance(value, dict):
                raise self.error(f"{key}.{name}", f"is not a table; it begins with [{key}.{name}]")
        return {name: Table(self._file, self._below(f"[{key}.{name}]"), value) for name, value in values.items()}

    def tables(self, key: str) -> list[Table]:
        """Take the tables of the array ``key``, each labelled with its name or its number."""
        values = self.take(key, list, f"a list of tables; each begins with [[{key}]]") or []
        if not all(isinstance(value, dict) for value in values):
            raise ConfigError(f"{self._file}: {key} is not a list of tables; each begins with [[{key}]]")
        return [
            Table(self._file, self._below(f"[[{key}]] {value.get('name', f'number {number}')!r}"), value)
            for number, value in enumerate(values, 1)
        ]

    def one_or_more(self, key: str, what: str) -> tuple[str, ...] | None:
        """Take a string or a list of strings, None if it is missing."""
        self._known.append(key)
        value = self._left.pop(key, None)
        values = value if isinstance(value, list) else [value]
        if value is None:
            return None
        if not values or not all(isinstance(entry, str) and entry for entry in values):
            raise self.error(key, f"{value!r} is not {what}")
        return tuple(values)

    def inner(self, label: str, values: Mapping[str, Any]) -> Table:
        """A table inside this one; its errors name both."""
        return Table(self._file, self._below(label), values)

    @staticmethod
    def _shown(key: str, value: object) -> str:
        return masked(f"{key} = {value!r}").partition(" = ")[2]

    def _below(self, label: str) -> str:
        return f"{self._label} {label}" if self._label else label

    def done(self) -> None:
        """Refuse whatever was not taken."""
        for key, value in self._left.items():
            where = f"in {self._label}" if self._label else "at the top level"
            near = difflib.get_close_matches(key, self._known, 1, cutoff=0.0)
            what = "table" if isinstance(value, dict) else "key"
            raise ConfigError(f"{self._file}: unknown {what} {key!r} {where}; the nearest known one is {near[0]!r}")
