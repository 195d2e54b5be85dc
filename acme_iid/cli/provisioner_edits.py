"""Edits of ca.toml: one at a time, whole or not at all, and nothing outside the edited table is touched.

Only the lines of one ``[[provisioner]]`` are parsed and written anew, so that comments and the order of
everything else stay as an operator wrote them. An edit is made twice, in the text and in what the text means, and
is kept only if both come to the same.
"""

from __future__ import annotations

import fcntl
import os
import re
import tomllib
from collections.abc import Callable, Iterator, MutableMapping, MutableSequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import tomlkit
from tomlkit.exceptions import TOMLKitError

from acme_iid.cli import Home
from acme_iid.config import ca_toml
from acme_iid.config.settings import Config
from acme_iid.config.table import ConfigError
from acme_iid.durable import replace_file

Edit = Callable[[MutableMapping[str, Any]], None]
"""Changes one ``[[provisioner]]``, given as a mapping."""

# Not str.splitlines, which ends lines where TOML does not.
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_HEADER = re.compile(r"[ \t]*\[\[[ \t]*provisioner[ \t]*\]\]")
_OTHER_HEADER = re.compile(r"[ \t]*\[(?!\[?[ \t]*provisioner[ \t]*\.)")


def add(home: Home, values: MutableMapping[str, Any]) -> Config:
    """Add a provisioner at the end and return the configuration that ca.toml now is.

    :raises ConfigError: if it is invalid; the file is then as it was.
    """
    with _locked(home.path):
        if values["name"] in home.config().names:
            raise click.ClickException(f"there is a provisioner named {values['name']!r} already; names are unique")
        text = _read(home)
        return _write(home, f"{text.rstrip()}\n\n{tomlkit.dumps({'provisioner': [values]})}")


def change(home: Home, name: str, edit: Callable[[Config], Edit]) -> Config:
    """Change the provisioner ``name`` and return the configuration that ca.toml now is.

    :param edit: makes the edit from the configuration as it is.
    :raises ConfigError: if the outcome is invalid; the file is then as it was.
    """
    with _locked(home.path):
        config = home.config()
        number, text = _number(config, name), _read(home)
        start, end = _lines(text, number)
        document = tomllib.loads(text)
        made = edit(config)
        made(document["provisioner"][number])
        try:
            table = tomlkit.parse(text[start:end])
        except TOMLKitError as error:
            raise _by_hand() from error
        made(_entries(table)[0])
        return _write(home, text[:start] + table.as_string() + text[end:], document)


def remove(home: Home, name: str) -> Config:
    """Remove the provisioner ``name``, with the comment directly above it, and return the configuration that is left.

    :raises ConfigError: if no provisioner has this name.
    """
    with _locked(home.path):
        number, text = _number(home.config(), name), _read(home)
        start, end = _lines(text, number)
        document = tomllib.loads(text)
        del document["provisioner"][number]
        if not document["provisioner"]:
            del document["provisioner"]
        above = _LINE.findall(text[:start])
        while above and above[-1].lstrip().startswith("#"):
            above.pop()
        rest = text[end:]
        # An empty line on each side of what is gone; one is enough.
        if rest.startswith("\n") and (not above or not above[-1].strip()):
            rest = rest.removeprefix("\n")
        return _write(home, "".join(above) + rest, document)


def _number(config: Config, name: str) -> int:
    if name not in config.names:
        listed = ", ".join(map(repr, config.names)) or "none"
        raise click.ClickException(f"there is no provisioner named {name!r}; there is {listed}")
    return config.names.index(name)


def _lines(text: str, number: int) -> tuple[int, int]:
    """The span of the provisioner with this number, in characters; empty lines and comments after it are outside."""
    spans: list[tuple[int, int]] = []
    inside, offset = False, 0
    for line in _LINE.findall(text):
        if _OTHER_HEADER.match(line):
            inside = _HEADER.match(line) is not None
            if inside:
                spans.append((offset, offset))
        offset += len(line)
        if inside and line.strip() and not line.lstrip().startswith("#"):
            spans[-1] = (spans[-1][0], offset)
    if number >= len(spans):
        raise _by_hand()
    return spans[number]


def _entries(table: MutableMapping[str, Any]) -> MutableSequence[MutableMapping[str, Any]]:
    entries: MutableSequence[MutableMapping[str, Any]] = table["provisioner"]
    return entries


def _by_hand() -> ConfigError:
    return ConfigError("ca.toml is written in a form that this command would not keep; edit it by hand")


def _read(home: Home) -> str:
    return home.file.read_bytes().decode()


def _write(home: Home, text: str, expected: object = None) -> Config:
    """Check what ca.toml is to be, replace it, and return what it then is."""
    try:
        kept = expected is None or tomllib.loads(text) == expected
    except tomllib.TOMLDecodeError:
        kept = False
    if not kept:
        raise _by_hand()
    data = text.encode()
    result = ca_toml.parse(data, home.path, home.file)
    file = home.file.resolve()
    replace_file(file, data, file.stat().st_mode & 0o777)
    return result


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold others who edit the same file until we are done."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(f"there is no CA in {folder} ({error.strerror}); 'acme-iid-ca init' makes one") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
