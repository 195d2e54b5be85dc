"""Output for people: check marks, notices, questions."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acme_iid.terminal import tables
from acme_iid_client.errors import ClientError

if TYPE_CHECKING:
    from acme_iid_client.acme.order import Issued


def printable(text: str) -> str:
    """Text from elsewhere without control characters, which could rewrite what stands on a terminal."""
    return "".join(character if character == "\n" or character.isprintable() else "?" for character in text)


def check(label: str, value: object) -> None:
    """A line of what was achieved, on stderr: green on a terminal unless NO_COLOR is set (no-color.org)."""
    mark = "✔"
    try:
        mark.encode(sys.stderr.encoding or "ascii")
    except UnicodeEncodeError:
        mark = "*"
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    click.echo(f"{click.style(mark, fg='green') if colour else mark} {label}: {printable(str(value))}", err=True)


def achieved(ca_url: str, issued: Issued, files: tuple[Path, Path | None], as_json: bool) -> None:
    """Print the result of an order or a renewal: check marks on stderr and, for scripts, JSON on stdout.

    :param files: the certificate's and, if it was written, the key's, as the person spelled them.
    """
    from acme_iid_client.x509 import certificates

    provisioner = certificates.provisioner_of(issued.leaf)
    if provisioner is not None:
        check("Provisioner", f"{provisioner.name} ({provisioner.type})")
    check("CA", ca_url)
    check("Certificate", files[0])
    if files[1] is not None:
        check("Private Key", files[1])
    if as_json:
        facts = {"ca": ca_url, "certificate": str(files[0]), "key": None if files[1] is None else str(files[1])}
        click.echo(json.dumps(facts | certificates.facts(issued.leaf), indent=2))


def notice(text: str) -> None:
    """A sentence on stderr that is neither result nor error."""
    click.echo(printable(text), err=True)


def table(rows: Sequence[Mapping[str, str]]) -> None:
    """Print rows, which all have the same keys, as columns under their keys; the last one may be of any width."""
    heads = list(rows[0])
    for line in tables.columns(heads, [[printable(row[head]) for head in heads] for row in rows]):
        click.echo(line)


def may_overwrite(existing: list[Path], force: bool) -> None:
    """Ask before files are overwritten, or refuse where nobody can be asked.

    :raises ClientError: if they are to stay.
    """
    if not existing or force:
        return
    named = " and ".join(str(path) for path in existing)
    verb = "exists" if len(existing) == 1 else "exist"
    if not sys.stdin.isatty():
        raise ClientError(f"{named} {verb} already. Use --force to overwrite.")
    if not click.confirm(f"{named} {verb} already. Overwrite?", err=True):
        raise ClientError("Nothing was changed.")


def confirm(question: str, force: bool) -> None:
    """Ask before something that cannot be undone, or refuse where nobody can be asked.

    :param question: a sentence that says what will be, and ends with a full stop.
    :raises ClientError: if it is not to be.
    """
    if force:
        return
    if not sys.stdin.isatty():
        raise ClientError(f"{question} Use --force if that is what you want.")
    if not click.confirm(f"{question} Go on?", err=True):
        raise ClientError("Nothing was changed.")
