"""Options that several commands have, spelled and explained once."""

from __future__ import annotations

from pathlib import Path

import click

FILE = click.Path(dir_okay=False, path_type=Path)


def _resource(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    from acme_iid_client.authority import parse_resource
    from acme_iid_client.errors import ClientError

    try:
        return None if value is None else parse_resource(value)
    except ClientError as error:
        raise click.UsageError(str(error)) from error


ca_url = click.option(
    "--ca-url", metavar="URL", envvar="ACME_IID_CA_URL", help="The CA's address, if not the bootstrapped one."
)
root = click.option(
    "--root", type=FILE, envvar="ACME_IID_ROOT", help="The CA's root certificate, if not the bootstrapped one."
)
metadata_url = click.option(
    "--metadata-url",
    metavar="URL",
    envvar="ACME_IID_METADATA_URL",
    help="The address of the cloud's metadata service, if not the usual one.",
)
azure_resource = click.option(
    "--azure-resource",
    metavar="URI",
    envvar="ACME_IID_AZURE_RESOURCE",
    callback=_resource,
    help="On Azure, the resource for which the CA takes managed identity tokens: api://...",
)
timeout = click.option(
    "--timeout",
    type=click.FloatRange(1, 86400),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="The time to be done in, waiting for a CA that is away included.",
)
json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
provisioner = click.option(
    "--provisioner", metavar="NAME", help="Be admitted by this provisioner of the CA, and no other."
)
not_after = click.option(
    "--not-after",
    metavar="TIME",
    help="When the certificate ends: a duration like 8h, or a time like 2030-01-31T12:00:00Z.",
)
mode = click.option("--mode", metavar="OCTAL", help="The files' mode (default 0600); the key gets no bits for others.")
owner = click.option("--owner", metavar="USER", help="The files' owner.")
group = click.option("--group", metavar="GROUP", help="The files' group.")
