"""``acme-iid-ca store``: the database as a whole."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING

import click

from acme_iid.cli.acting import here, reason_option
from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import rows_progress, show

if TYPE_CHECKING:
    from acme_iid.cli import Home


@click.group(short_help="The database as a whole.")
def store() -> None:
    """Look after the CA's database."""


@store.command(short_help="Copy the store into PostgreSQL.")
@click.option(
    "--to",
    "url",
    metavar="URL",
    required=True,
    help="An empty database, such as postgresql://acme_iid@db.internal/acme_iid. Give the password in PGPASSWORD or "
    "~/.pgpass: others can see a command's arguments.",
)
@reason_option()
@json_option
@click.pass_context
def migrate(context: click.Context, url: str, act_reason: str | None, *, as_json: bool) -> None:
    """Copy the store from its SQLite file into a database of PostgreSQL's.

    Stop the server first: what it would write meanwhile is not copied, and the command then says so and fails.
    Everything is copied, the key of the nonces and other secrets too, and then compared row by row. When the command is
    interrupted, the same command goes on where it was. The file stays as it is.
    """
    from acme_iid.errors import RequestError
    from acme_iid.store import copying, events
    from acme_iid.store.chain import Event
    from acme_iid.store.database import connect, migrate, open_store
    from acme_iid.telemetry import reports

    home: Home = context.obj
    settings = home.config().store
    if settings.path is None:
        raise RequestError("this CA's store is in PostgreSQL already; ca.toml says so in [store] url")
    if not settings.path.exists():
        raise RequestError(f"{settings.path} does not exist: there is nothing to copy")
    if not url.startswith(("postgresql://", "postgres://")):
        raise click.UsageError("--to takes a URL that begins with postgresql://")
    source = open_store(settings.url)
    try:
        target = connect(url)
        try:
            migrate(target)
            # Each row is copied, and then compared.
            with rows_progress(2 * copying.count(source)) as progress:
                head = str(events.head(source))
                moved = here(act_reason).sign(Event("store.moved", int(time.time()), detail={"head": head}))
                done = copying.copy(source, target, progress, partial(events.append, event=moved))
        finally:
            target.close()
    finally:
        source.close()
    reports.report([moved])
    rows = sum(copied.rows for copied in done)
    if as_json:
        click.echo(json.dumps({"rows": rows, "tables": {copied.table: copied.rows for copied in done}}, indent=2))
        return
    click.echo(f"Copied and compared {rows} rows of {len(done)} tables.")
    click.echo("Now give that URL as url in [store] of ca.toml, and start the server.")


@store.command(short_help="How far each sink is.")
@json_option
def sinks(*, as_json: bool) -> None:
    """List the sinks that events were ever sent to, with the last event that each has taken.

    A sink that ca.toml no longer has is listed until another store begins.
    """
    from acme_iid.cli.asking import ask

    show(ask("sink.list")["items"], as_json=as_json, empty="There are no sinks.")


@store.command(short_help="Which servers run.")
@json_option
def servers(*, as_json: bool) -> None:
    """List the processes of servers that share the store and run now, each by a random id.

    A process that was killed is listed for half a minute more.
    """
    from acme_iid.cli.asking import ask

    show(ask("server.list")["items"], as_json=as_json, empty="No server runs.")
