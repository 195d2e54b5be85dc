"""Lists for people as columns, or line by line where columns do not fit the terminal; for scripts as JSON."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import click

from acme_iid.terminal import tables


def timestamp(seconds: int | None) -> str | None:
    """A time for people and scripts: RFC 3339, UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
    if sys.stdout.isatty() and max(map(len, lines)) > shutil.get_terminal_size().columns:
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


def show_one(row: Mapping[str, object], *, as_json: bool) -> None:
    """Print one thing: as JSON, or a line a fact."""
    click.echo(json.dumps(dict(row), indent=2) if as_json else _lines(row))


def _lines(row: Mapping[str, object]) -> str:
    width = max(len(head) for head in row) + 1
    return "\n".join(
        f"{(head.replace('_', ' ') + ':').ljust(width)} {plain(value)}".rstrip() for head, value in row.items()
    )


def plain(value: object) -> str:
    """A value as text for people, on one line."""
    if value is None:
        return "-"
    text = ", ".join(str(entry) for entry in value) if isinstance(value, list) else str(value)
    # Text from outside must not move a terminal's cursor, nor look like something else.
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
