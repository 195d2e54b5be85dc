"""``acme-iid-ca prune``."""

from __future__ import annotations

import json
import time

import click

from acme_iid.cli import Home
from acme_iid.cli.acting import operated, reason_option
from acme_iid.cli.filters import as_json as json_option


@click.command(short_help="Remove what ended long ago from the store.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@reason_option()
@json_option
@click.pass_obj
def prune(home: Home, act_reason: str | None, *, dry_run: bool, as_json: bool) -> None:
    """Remove what ended long ago, as a running server does by itself once an hour.

    What that is, [retention] in ca.toml says: orders that led to no certificate 7 days after their end, certificates
    with their orders 90 days after theirs. What is open, valid or needed by something that is stays; so do accounts,
    instances, blocks and closed names. Events are a chain, and go otherwise if [retention] says so.
    """
    from acme_iid.operations import pruning
    from acme_iid.store.database import open_store

    config, now = home.config(), int(time.time())
    database = operated(open_store(config.store.url), act_reason)
    try:
        removed = pruning.count(config, database, now) if dry_run else pruning.prune(config, database, "operator", now)
    finally:
        database.close()
    if as_json:
        click.echo(json.dumps(removed.counts, indent=2))
    elif any(removed.counts.values()):
        click.echo(f"{'Would remove' if dry_run else 'Removed'}: {removed}.")
    else:
        click.echo("Nothing has ended long enough ago.")
