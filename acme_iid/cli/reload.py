"""``acme-iid-ca reload``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from acme_iid.cli.acting import reason_option
from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import show_one

if TYPE_CHECKING:
    from acme_iid.admin.table.configuration import ReloadAsked


@click.command(short_help="Have the server take ca.toml up again.")
@reason_option()
@json_option
def reload(*, act_reason: str | None, as_json: bool) -> None:
    """Have the running server take ca.toml up again, as on SIGHUP: it is asked at its admin socket, or by --admin-url.

    What cannot be used is refused by the server, and what runs stays in force: its log and its events say so. 'check
    --reload' says beforehand what would happen.
    """
    from acme_iid.cli.asking import ask_server

    done: ReloadAsked = ask_server("server.reload", reason=act_reason)
    if as_json:
        show_one(done, as_json=True)
    else:
        click.echo(f"The server was asked at {done['asked']}; its event server.reloaded says that it was done.")
