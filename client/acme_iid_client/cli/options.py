"""Options that several commands have, spelled and explained once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

FILE = click.Path(dir_okay=False, path_type=Path)


def _resource(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    from acme_iid_client.acme.known_ca import parse_resource
    from acme_iid_client.errors import ClientError

    try:
        return None if value is None else parse_resource(value)
    except ClientError as error:
        raise click.UsageError(str(error)) from error


def _account_key(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    """Hand the file on with the directories where things are kept, so that all that sign find it there."""
    if value is not None:
        context.obj = replace(context.obj, account_key=value)


def account_conditions(command: Callable[..., None]) -> Callable[..., None]:
    """Options for the conditions that a CA may set for an account, handed on with the directories."""

    @click.option("--agree-tos", is_flag=True, help="Agree to the CA's terms of service as they are now.")
    @click.option(
        "--eab-kid", metavar="ID", help="The id of an external account key, where the CA wants one for an account."
    )
    @click.option(
        "--eab-hmac-key-file", type=FILE, help="The file that holds the external account key itself, in base64url."
    )
    @wraps(command)
    def with_conditions(
        *args: Any, agree_tos: bool, eab_kid: str | None, eab_hmac_key_file: Path | None, **kwargs: Any
    ) -> None:
        from acme_iid_client.storage.account_options import AccountOptions, read_external_key

        if (eab_kid is None) != (eab_hmac_key_file is None):
            raise click.UsageError("--eab-kid and --eab-hmac-key-file go together.")
        key = None if eab_kid is None or eab_hmac_key_file is None else read_external_key(eab_kid, eab_hmac_key_file)
        context = click.get_current_context()
        context.obj = replace(context.obj, account_options=AccountOptions(agree_tos, key))
        command(*args, **kwargs)

    return with_conditions


ca_url = click.option(
    "--ca-url",
    metavar="URL",
    envvar="ACME_IID_CA_URL",
    show_envvar=True,
    help="The CA's address, if it is not this machine's default CA.",
)
root = click.option(
    "--root",
    type=FILE,
    envvar="ACME_IID_ROOT",
    show_envvar=True,
    help="A PEM file with the CA's root certificate, or with several roots, if not the bootstrapped one.",
)
account_key = click.option(
    "--account-key",
    type=FILE,
    envvar="ACME_IID_ACCOUNT_KEY",
    show_envvar=True,
    expose_value=False,
    callback=_account_key,
    help="Sign with the account key in this PEM file, not with the one that this machine made for itself.",
)
metadata_url = click.option(
    "--metadata-url",
    metavar="URL",
    envvar="ACME_IID_METADATA_URL",
    show_envvar=True,
    help="The address of the cloud's metadata service, if not the usual one.",
)
token_resource = click.option(
    "--azure-resource",
    "token_resource",
    metavar="URI",
    envvar="ACME_IID_AZURE_RESOURCE",
    show_envvar=True,
    callback=_resource,
    help="On Azure, the resource for which the CA takes managed identity tokens: api://...",
)


def _verbose(_context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        import logging

        log = logging.getLogger("acme_iid_client")
        log.addHandler(logging.StreamHandler())
        log.setLevel(logging.DEBUG)


def timeout(command: Callable[..., None]) -> Callable[..., None]:
    """The options of commands that ask the CA."""
    verbose = click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, callback=_verbose, help="Print each request on stderr."
    )
    return click.option(
        "--timeout",
        type=click.FloatRange(1, 86400),
        default=60.0,
        metavar="SECONDS",
        help="Give up after this time, also when the CA is away (default: 60).",
    )(verbose(command))


json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
provisioner = click.option(
    "--provisioner", metavar="NAME", help="Ask to be admitted by this provisioner of the CA only."
)
profile = click.option(
    "--profile", metavar="NAME", help="The kind of certificate, one of the CA's profiles; also for its renewals."
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
own_execute = click.option(
    "--exec",
    "execute",
    metavar="COMMAND",
    help="Run this now and after each renewal of this certificate, without a shell. It sees ACME_IID_CERTIFICATE, "
    "_KEY, _NAMES, _SERIAL, _NOT_AFTER.",
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
pid_file = click.option("--pid-file", type=FILE, help="Send the signal to the process with the id in this file.")
mode = click.option(
    "--mode", metavar="OCTAL", help="The files' mode (default 0600). Others never get access to the key."
)
owner = click.option("--owner", metavar="USER", help="The files' owner.")
group = click.option("--group", metavar="GROUP", help="The files' group.")
