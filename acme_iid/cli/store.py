"""``acme-iid-ca store``: the database as a whole."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from acme_iid.cli.acting import here, reason_option
from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import rows_progress, show

if TYPE_CHECKING:
    from acme_iid.cli import Home
    from acme_iid.store.database import Database


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
    interrupted, the same command goes on where it was. The file stays as it is. A CA that has used no
    store yet gets an empty one.
    """
    from acme_iid.errors import RequestError
    from acme_iid.store import copying, events
    from acme_iid.store.chain import Event
    from acme_iid.store.database import connect
    from acme_iid.store.migration import migrate
    from acme_iid.telemetry import reports

    home: Home = context.obj
    settings = home.config().store
    if settings.path is None:
        raise RequestError("this CA's store is in PostgreSQL already; ca.toml says so in [store] url")
    if not url.startswith(("postgresql://", "postgres://")):
        raise click.UsageError("--to takes a URL that begins with postgresql://")
    with _source(home, settings.path) as source, closing(connect(url)) as target:
        migrate(target)
        # Each row is copied, and then compared.
        with rows_progress(2 * copying.count(source)) as progress:
            head = str(events.head(source))
            moved = here(act_reason).sign(Event("store.moved", int(time.time()), detail={"head": head}))
            done = copying.copy(source, target, progress, partial(events.append, event=moved))
    reports.report([moved])
    rows = sum(copied.rows for copied in done)
    if as_json:
        click.echo(json.dumps({"rows": rows, "tables": {copied.table: copied.rows for copied in done}}, indent=2))
        return
    click.echo(f"Copied and compared {rows} rows of {len(done)} tables.")
    click.echo("Now give that URL as url in [store] of ca.toml, and start the server.")


@contextmanager
def _source(home: Home, path: Path) -> Iterator[Database]:
    """The store in a file; one with nothing but the CA's making if it has used none since.

    :raises RequestError: if the file is missing, though there was one.
    """
    from acme_iid.errors import RequestError
    from acme_iid.operations import waiting_acts
    from acme_iid.store.database import open_store

    if path.exists():
        with closing(open_store(f"sqlite:{path}")) as database:
            yield database
        return
    if not waiting_acts.is_unused(home.path):
        raise RequestError(f"{path} does not exist, and this CA has had a store: there is nothing to copy")
    with TemporaryDirectory() as folder, closing(open_store(f"sqlite:{folder}/{path.name}")) as database:
        # Its first event is that the CA was made.
        waiting_acts.take_up(home.path, database, stay=True)
        yield database


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
