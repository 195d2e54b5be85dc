"""acme-iid: the command line. Each command is a module here, imported when it is called for."""

from __future__ import annotations

import importlib
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from acme_iid_client.errors import ClientError

_COMMANDS = {
    "bootstrap": "Trust a CA, by its root's fingerprint.",
    "order": "Get a certificate for a name, and its key.",
    "renew": "Renew a certificate that is due.",
    "rekey": "Renew a certificate with a new key.",
    "needs-renewal": "Say whether a certificate is due.",
    "enroll": "Let a client or user order without evidence.",
    "revoke": "Take a certificate back.",
    "list": "List this machine's certificates.",
    "inspect": "Show what is in a certificate.",
    "fingerprint": "Print a certificate's SHA-256 fingerprint.",
    "account": "Show, change or end this machine's account.",
    "evidence": "Show what this machine can prove to be.",
    "verify": "Check evidence as the CA would.",
    "health": "Ask whether the CA is well.",
}
"""The commands, in the order in which a person meets them; said here so that --help imports none of them."""

_WITHOUT_DIRECTORIES = frozenset({"needs-renewal", "inspect", "fingerprint", "verify", "evidence"})
"""Commands that keep nothing, and read nothing that was kept."""

_MODULES = {"needs-renewal": "needs_renewal", "list": "listing"}
"""Modules that are not called as their command is. One called list would hide Python's own list here."""

_AS_JSON = "acme_iid_client.as_json"

_LIBRARIES = {"acme": 5, "cryptography": 44, "josepy": 2}
"""The least versions that the commands work with; setup.cfg says why pip does not see to it."""


class _Commands(click.Group):
    """The commands, each a module that is imported when it is called for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's interface
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"acme_iid_client.cli.{_MODULES.get(cmd_name, cmd_name)}").command
        assert isinstance(command, click.Command)
        command.short_help = _COMMANDS[cmd_name]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """Write the commands and what each is for."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what went wrong ends as a sentence on stderr, and with --json as an object on stdout too."""
        from acme_iid_client.cli.terminal import printable

        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except ClientError as client_error:
            error = client_error
        except OSError as system_error:
            where = f"{system_error.filename}: " if system_error.filename else ""
            error = ClientError(f"{where}{system_error.strerror or system_error}.")
        if ctx.meta.get(_AS_JSON):
            click.echo(_as_json(error))
        click.ClickException(printable(str(error))).show()
        if error.request is not None:
            click.echo(f"The CA's log has more under request {printable(error.request)}.", err=True)
        raise click.exceptions.Exit(error.exit_status)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments; an error is told in the form that they ask for."""
        own = args[: args.index("--")] if "--" in args else args
        ctx.meta[_AS_JSON] = "--json" in own or "--format=json" in own or ("--format", "json") in pairwise(own)
        return super().parse_args(ctx, args)


def _as_json(error: ClientError) -> str:
    """An error for programs."""
    import json

    facts = {"error": error.code or "refused", "detail": str(error), "status": error.status, "exit": error.exit_status}
    return json.dumps(facts if error.request is None else {**facts, "request": error.request})


def _version(context: click.Context, parameter: click.Parameter, is_asked: bool) -> None:
    del parameter
    if is_asked and not context.resilient_parsing:
        from acme_iid.terminal.versions import lines

        click.echo(lines("acme-iid"))
        raise click.exceptions.Exit


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="ACME_IID_CONFIG_DIR",
    help="Where the CA's root and address are kept (default: ~/.config/acme-iid, for root /etc/acme-iid).",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="ACME_IID_STATE_DIR",
    help="Where account keys are kept (default: ~/.local/state/acme-iid, for root /var/lib/acme-iid).",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and exit."
)
@click.pass_context
def cli(context: click.Context, config_dir: Path | None, state_dir: Path | None) -> None:
    """Get certificates from an acme-iid CA: this machine proves itself with its cloud's identity document.

    Begin with 'acme-iid bootstrap', once. Then 'acme-iid order foo.local foo.crt foo.key' writes foo.crt and foo.key.

    Exit status: 0 is success, 2 wrong usage, 10 a refusal, 11 a CA that is away, 12 an error on this machine.
    """
    import os

    from acme_iid_client.storage import directories

    _check_libraries()
    try:
        context.obj = directories.find(os.environ, os.getuid(), config_dir, state_dir)
    except ClientError:
        # Some commands are about files alone.
        if context.invoked_subcommand not in _WITHOUT_DIRECTORIES:
            raise


def _check_libraries() -> None:
    """Say so where the libraries are those of an old system, which are enough for certbot's plugin alone."""
    from importlib.metadata import version

    for library, least in _LIBRARIES.items():
        there = version(library)
        if int(there.partition(".")[0]) < least:
            raise ClientError(
                f"acme-iid's commands need {library} {least} or newer, and this Python has {there}. Install acme-iid "
                "into a virtual environment; certbot's plugin works here."
            )


def main() -> None:
    """The entry point of the program."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot spell should not end a command.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    cli(prog_name="acme-iid")
