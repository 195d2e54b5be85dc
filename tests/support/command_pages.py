"""The reference's pages of commands, ``docs/reference/commands``, out of the commands themselves.

``python tests/support/command_pages.py`` writes them anew.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

import click
from pages import REPOSITORY

import acme_iid.cli
import acme_iid_client.cli

FOLDER = "docs/reference/commands/"
_WIDTH = 118
_LISTED = "docs/reference/commands.md"
_COMMANDS = "## All commands\n"
_CLIENT = ("acme-iid", acme_iid_client.cli.cli)
_SERVER = ("acme-iid-ca", acme_iid.cli.main)
_PAGES: dict[str, tuple[str, tuple[str, click.Command], tuple[str, ...]]] = {
    "vm-certificates": (
        "acme-iid: certificates",
        _CLIENT,
        ("bootstrap", "order", "renew", "rekey", "needs-renewal", "revoke", "list"),
    ),
    "vm-others": (
        "acme-iid: accounts, trust, and a look at things",
        _CLIENT,
        ("account", "enroll", "trust", "health", "evidence", "inspect", "fingerprint", "verify"),
    ),
    "ca": (
        "acme-iid-ca: making and serving a CA",
        _SERVER,
        ("init", "serve", "check", "reload", "fingerprint", "serving-certificate", "cross-sign", "metadata", "demo"),
    ),
    "provisioner": ("acme-iid-ca: provisioners", _SERVER, ("provisioner", "policy")),
    "issuer": ("acme-iid-ca: issuers and roots", _SERVER, ("issuer",)),
    "fleet": (
        "acme-iid-ca: instances, certificates, accounts",
        _SERVER,
        ("instance", "certificate", "account", "eab", "why"),
    ),
    "many": ("acme-iid-ca: many at once, and what happened", _SERVER, ("bulk", "events", "status", "console")),
    "store": ("acme-iid-ca: store and backups", _SERVER, ("store", "backup", "restore", "prune")),
}
"""Each page's title, and the program with those of its commands that are on it."""


class Entry(NamedTuple):
    """A command that does something, and no group of others.

    :ivar page: the page that it is on; None if it is on none.
    """

    page: str | None
    path: str
    command: click.Command
    context: click.Context


def entries() -> Iterator[Entry]:
    """All commands of both programs."""
    places = {(owner[0], word): page for page, (_, owner, words) in _PAGES.items() for word in words}
    for name, command in (_CLIENT, _SERVER):
        for path, found, context in _below(command, click.Context(command, info_name=name), name):
            yield Entry(places.get((name, path.split()[1])), path, found, context)


def _below(
    command: click.Command, context: click.Context, path: str
) -> Iterator[tuple[str, click.Command, click.Context]]:
    if not isinstance(command, click.Group):
        yield path, command, context
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        yield from _below(child, click.Context(child, info_name=name, parent=context), f"{path} {name}")


def written() -> dict[str, str]:
    """What the pages hold; of the page that lists all commands, its end."""
    every = list(entries())
    texts = {_LISTED: f"{_COMMANDS}\n| command | what it does |\n|---|---|\n{''.join(map(_row, every))}"}
    for page, (title, (program, _), _) in _PAGES.items():
        beginning = f"Options that each command of `{program}` takes are in [Commands](../commands.md#{program})."
        parts = [f"# {title}\n", f"{beginning}\n", *(_section(one) for one in every if one.page == page)]
        texts[f"{FOLDER}{page}.md"] = "\n".join(parts)
    return texts


def _row(entry: Entry) -> str:
    link = f"[`{entry.path}`](commands/{entry.page}.md#{_anchor(entry.path)})"
    return f"| {link} | {_escaped(entry.command.get_short_help_str(200))} |\n"


def _section(entry: Entry) -> str:
    usage = " ".join(entry.command.collect_usage_pieces(entry.context))
    parts = [f"## {entry.path}\n", f"`{entry.path} {usage}`\n"]
    for paragraph in re.split(r"\n\s*\n", (entry.command.help or "").replace("\b", "").replace("\f", "")):
        text = _escaped(" ".join(paragraph.split()))
        parts.append(f"{textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)}\n")
    rows = [_option(one, entry.context) for one in entry.command.get_params(entry.context)
            if isinstance(one, click.Option) and not one.hidden and "--help" not in one.opts]  # fmt: skip
    if rows:
        parts.append(f"| option | meaning |\n|---|---|\n{''.join(rows)}")
    unlisted = [f"`{one.opts[0]}`" for one in entry.command.get_params(entry.context)
                if isinstance(one, click.Option) and one.hidden]  # fmt: skip
    names = ", ".join(unlisted)
    if names:
        parts.append(
            f"{textwrap.fill(f'Options that the help leaves out: {names}.', _WIDTH, break_on_hyphens=False)}\n"
        )
    return "\n".join(parts)


def _option(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    assert record is not None, option.name
    names, meaning = record
    return f"| `{_cell(names)}` | {_cell(_escaped(' '.join(meaning.split())))} |\n"


def _escaped(text: str) -> str:
    """Words that Markdown takes as they are."""
    return re.sub(r"([<*`]|\b_|_\b|\[(?=[^]]*\]\())", r"\\\1", text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def whole(name: str, text: str) -> str:
    """A page with what is written by hand above it."""
    if name != _LISTED:
        return text
    by_hand = (REPOSITORY / name).read_text("utf-8")
    return by_hand[: by_hand.index(_COMMANDS)] + text


if __name__ == "__main__":
    (REPOSITORY / FOLDER).mkdir(exist_ok=True)
    for page, content in written().items():
        (REPOSITORY / page).write_text(whole(page, content), "utf-8")
