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
kty = click.option("--kty", type=click.Choice(["EC", "RSA", "OKP"]), help="The kind of key (default EC).")
curve = click.option(
    "--curve", type=click.Choice(["P-256", "P-384", "P-521", "Ed25519"]), help="The key's curve (default P-256)."
)
size = click.option("--size", type=int, metavar="BITS", help="The size of an RSA key (default 2048).")
execute = click.option(
    "--exec",
    "execute",
    metavar="COMMAND",
    help="Run this after a renewal, without a shell. It sees ACME_IID_CERTIFICATE, _KEY, _NAMES, _SERIAL, _NOT_AFTER.",
)
exec_timeout = click.option(
    "--exec-timeout",
    type=click.FloatRange(0.1, 86400),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the command may take.",
)
signal = click.option("--signal", metavar="SIGNAL", help="The signal for --pid and --pid-file (default HUP).")
pid = click.option("--pid", type=click.IntRange(1), help="Send a signal to this process after a renewal.")
pid_file = click.option("--pid-file", type=FILE, help="Send it to the process whose id is in this file.")
mode = click.option("--mode", metavar="OCTAL", help="The files' mode (default 0600); the key gets no bits for others.")
owner = click.option("--owner", metavar="USER", help="The files' owner.")
group = click.option("--group", metavar="GROUP", help="The files' group.")
