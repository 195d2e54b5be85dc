"""The commands of a program, as its parser has them."""

from __future__ import annotations

from collections.abc import Iterator

import click


def commands(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Each command below a group that is no group itself, by the words that call it."""
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from commands(command, f"{above}{name} ")
            else:
                yield f"{above}{name}", command
