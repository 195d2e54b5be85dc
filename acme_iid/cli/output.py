"""Lists for people as columns, or line by line where columns do not fit the terminal; for scripts as JSON."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import click

from acme_iid.terminal import tables
from acme_iid.terminal.printable import printable

_WORD = re.compile(r"(?:'[^']*'|[^\s'])+")
"""A word of a command, in which blanks may be quoted."""


def show(rows: Sequence[Mapping[str, object]], *, as_json: bool, empty: str) -> None:
    """Print ``rows``, which all have the same keys: as JSON, or as columns under their keys.

    Nothing is shortened: on a terminal that is narrower than the columns, each row is printed a line a fact.

    :param empty: the sentence for a person when there are no rows.
    """
    if as_json:
        click.echo(json.dumps(list(rows), indent=2))
        return
    if not rows:
        click.echo(empty, err=True)
        return
    heads = list(rows[0])
    cells = [[plain(row[head]) for head in heads] for row in rows]
    lines = tables.columns([head.replace("_", " ").upper() for head in heads], cells)
    if not fits(lines):
        click.echo("\n\n".join(_lines(row) for row in rows))
        return
    for line in lines:
        click.echo(line)


@contextmanager
def rows_progress(rows: int) -> Iterator[Callable[[str, int], None]]:
    """Show a bar on a terminal for so many rows; yields a function that takes a step's name and its number of rows."""
    with click.progressbar(
        length=rows,
        file=sys.stderr,
        item_show_func=lambda item: item or "",
        hidden=not sys.stderr.isatty(),
    ) as bar:
        yield lambda what, more: bar.update(more, what)


def columns() -> int | None:
    """The columns of the terminal that output goes to; None if it goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fits(lines: Sequence[str]) -> bool:
    """Whether lines fit the terminal; anywhere else all do."""
    width = columns()
    return width is None or max(map(len, lines)) <= width


def folded(label: str, text: str, width: int | None) -> str:
    """A label and a text, which goes on below its beginning where a terminal has no room; words stay whole.

    :param width: the terminal's columns; None for one line.
    """
    if width is None or len(label) + len(text) <= width:
        return label + text
    indent = " " * len(label)
    lines = textwrap.wrap(text, max(20, width - len(label)), break_long_words=False, break_on_hyphens=False)
    return label + f"\n{indent}".join(lines)


def command_lines(text: str, indent: int, width: int) -> Iterator[str]:
    """A command, on as many lines as it needs, that can be copied to a shell as it stands."""
    line = " " * indent
    for word in _WORD.findall(text):
        if len(line) + len(word) + 3 > width and line.strip():
            yield f"{line} \\"
            line = " " * (indent + 2)
        line += word if not line.strip() else f" {word}"
    yield line


def show_one(row: Mapping[str, object], *, as_json: bool) -> None:
    """Print one thing: as JSON, or a line a fact."""
    click.echo(json.dumps(dict(row), indent=2) if as_json else _lines(row))


def _lines(row: Mapping[str, object]) -> str:
    width = max(len(head) for head in row) + 1
    return "\n".join(
        folded(f"{(head.replace('_', ' ') + ':').ljust(width)} ", plain(value), columns()).rstrip()
        for head, value in row.items()
    )


def plain(value: object) -> str:
    """A value as text for people, on one line."""
    if value is None:
        return "-"
    text = ", ".join(str(entry) for entry in value) if isinstance(value, list) else str(value)
    # Text from outside must not move a terminal's cursor, nor look like something else.
    return printable(text)
