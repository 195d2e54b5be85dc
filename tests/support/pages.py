"""The pages that people read, README.md and docs/, and the blocks on them: commands and settings that tests run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = (
    "CONTRIBUTING.md",
    "README.md",
    *sorted(path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs").rglob("*.md")),
)
"""The pages for users and contributors, by their paths in the repository."""


class Block(NamedTuple):
    """A fenced block of a page.

    :ivar language: the word behind the fence, such as ``sh`` or ``toml``.
    :ivar name: the word after that; empty if there is none.
    """

    page: str
    language: str
    name: str
    text: str


def page(name: str) -> str:
    """The text of a page."""
    return (REPOSITORY / name).read_text("utf-8")


def blocks(language: str, *names: str) -> Iterator[Block]:
    """The blocks in a language, of the pages that are named or of all pages."""
    for name in names or PAGES:
        for found in re.finditer(r"^```(\w+) ?(\S*)\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL):
            if found[1] == language:
                yield Block(name, found[1], found[2], found[3])


def commands(name: str) -> str:
    """The commands of the one block that has this name."""
    (found,) = (block for block in blocks("sh") if block.name == name)
    return found.text


def table(text: str, first: str) -> list[list[str]]:
    """The rows of the first table whose head begins with ``first``; a row is its cells."""
    return next(tables(text, first))


def tables(text: str, first: str) -> Iterator[list[list[str]]]:
    """The rows of each table whose head begins with ``first``."""
    for found in re.finditer(rf"^\| {re.escape(first)} \|.*\n\|.*\n((?:\|.*\n?)+)", text, re.MULTILINE):
        yield [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip())[1:-1]] for row in found[1].splitlines() if row
        ]
