"""acme-iid health."""

from __future__ import annotations

from pathlib import Path

import click

from acme_iid_client.cli import options
from acme_iid_client.places import Places


@click.command("health")
@options.ca_url
@options.root
@options.timeout
@click.pass_obj
def command(where: Places, ca_url: str | None, root: Path | None, timeout: float) -> None:
    """Ask whether the CA is well, and whether this machine trusts it: prints ok."""
    from acme_iid_client import authority
    from acme_iid_client.cli.terminal import printable
    from acme_iid_client.trust import Deadline

    click.echo(printable(authority.load(where, ca_url, root).check_health(Deadline(timeout))))
