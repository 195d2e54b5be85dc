"""acme-iid list."""

from __future__ import annotations

from pathlib import Path

import click

from acme_iid_client.cli import options
from acme_iid_client.storage.directories import Directories


@click.command("list")
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(exists=True, readable=False, path_type=Path))
@options.json
@click.pass_obj
def command(where: Directories, paths: tuple[Path, ...], as_json: bool) -> None:
    """List the certificates that this machine has ordered, or those in the given files and directories.

    The status is read out of the files: valid, due for renewal, expired, early (valid only later), mismatched (the key
    beside it is another certificate's), missing, unreadable (the certificate or the key), or revoked, if it was revoked
    from here. Only the CA knows of other revocations.
    """
    import json
    from datetime import UTC, datetime

    from acme_iid_client.cli.terminal import notice, table
    from acme_iid_client.renewal import inventory, schedule
    from acme_iid_client.x509 import certificates

    now = datetime.now(UTC)
    entries = inventory.in_paths(where.state, paths, now) if paths else inventory.ordered(where.state, now, notice)
    if as_json:
        rows = [
            {
                "certificate": str(item.certificate),
                "key": None if item.key is None else str(item.key),
                "ca": item.ca_url,
                "status": item.status,
                "exec": item.command,
                "due": None if item.leaf is None else certificates.rfc3339(schedule.planned_at(item.leaf)),
                **({} if item.leaf is None else certificates.facts(item.leaf)),
            }
            for item in entries
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    if not entries:
        notice("There is no certificate in these paths." if paths else "This machine has ordered no certificate yet.")
        return
    table(
        [
            {
                "NAMES": "-" if item.leaf is None else ", ".join(certificates.names_in(item.leaf)) or "-",
                "SERIAL": "-" if item.leaf is None else certificates.abbreviate(str(item.leaf.serial_number)),
                "UNTIL": "-" if item.leaf is None else certificates.rfc3339(item.leaf.not_valid_after_utc),
                "STATUS": item.status,
                "FILE": str(item.certificate),
            }
            for item in entries
        ]
    )
