"""acme-iid health."""

from __future__ import annotations

from pathlib import Path

import click

from acme_iid_client.cli import options
from acme_iid_client.storage.directories import Directories


@click.command("health")
@options.ca_url
@options.root
@options.timeout
@options.json
@click.pass_obj
def command(where: Directories, ca_url: str | None, root: Path | None, timeout: float, as_json: bool) -> None:
    """Ask whether the CA is well, and whether this machine trusts it: prints ok."""
    from acme_iid_client.acme import known_ca
    from acme_iid_client.cli.terminal import printable
    from acme_iid_client.deadline import Deadline

    ca = known_ca.load(where, ca_url, root)
    answer = ca.check_health(Deadline(timeout))
    if as_json:
        import json

        click.echo(json.dumps({"ca": ca.ca_url, "status": answer}))
    else:
        click.echo(printable(answer))
