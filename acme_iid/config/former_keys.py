"""Keys of ca.toml that a release has given another name: for one release more they are read under both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from acme_iid.config.finding import Finding
from acme_iid.config.table import ConfigError


@dataclass(frozen=True, slots=True)
class FormerKey:
    """A name that a key had.

    :ivar table: the key's table, such as ``ca``, ``provisioner`` or ``admin.role``: each one of that name.
    :ivar key: the former name.
    :ivar successor: the name by now, in the same table and for the same values.
    :ivar until: the first release that no longer reads the former one.
    """

    table: str
    key: str
    successor: str
    until: str


FORMER_KEYS: tuple[FormerKey, ...] = ()
"""Those that this release reads."""


def take_up(file: str, document: dict[str, Any]) -> tuple[FormerKey, ...]:
    """Give the values in a document the names of now.

    :param file: the document's, for errors.
    :param document: a whole ca.toml. It is changed.
    :returns: the former names that it has.
    :raises ConfigError: if a table has both names.
    """
    return tuple(former for former in FORMER_KEYS if _is_taken_up(file, document, former))


def _is_taken_up(file: str, document: dict[str, Any], former: FormerKey) -> bool:
    """Give one key its name of now; whether it was there by its former one."""
    found = [values for values in _tables(document, former.table.split(".")) if former.key in values]
    for values in found:
        if former.successor in values:
            reason = f"stands beside {former.successor}, which is its name by now; leave it out"
            raise ConfigError(
                f"{file}: [{former.table}] {former.key}: {reason}",
                table=f"[{former.table}]",
                key=former.key,
                reason=reason,
            )
        values[former.successor] = values.pop(former.key)
    return bool(found)


def _tables(values: object, path: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The tables of a name, below others."""
    if isinstance(values, list):
        for entry in values:
            yield from _tables(entry, path)
    elif isinstance(values, dict):
        if path:
            yield from _tables(values.get(path[0]), path[1:])
        else:
            yield values


def findings(used: Iterable[FormerKey]) -> Iterator[Finding]:
    """The findings about former names that a ca.toml has."""
    for former in used:
        yield Finding(
            "former-key",
            "remark",
            f"{former.table}.{former.key}",
            f"{former.key} in [{former.table}] is called {former.successor} by now; {former.until} will refuse the "
            "former name.",
            f"Write {former.successor} in its place.",
        )
