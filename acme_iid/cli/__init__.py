"""``acme-iid-ca``: the CA's own commands.

A command is a line in ``COMMANDS`` and a module of this package; the module is imported when the command is run, so
that ``--help`` needs none of them. Commands raise what their rooms raise: what an operator can act on is printed
as ``Error: ...`` with exit status 1, wrong usage as click does with 2.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from acme_iid.config.locations import MACHINE, SERVICE_USER, Location, file_of, located, service_uid

if TYPE_CHECKING:
    from acme_iid.config.settings import Config
    from acme_iid.telemetry.reports import Fact
    from acme_iid.telemetry.system_log import SystemLog

COMMANDS: Mapping[str, tuple[str, str]] = {
    "init": ("acme_iid.cli.init:init", "Make a new CA."),
    "provisioner": ("acme_iid.cli.provisioner:provisioner", "Say whose instances get certificates."),
    "issuer": ("acme_iid.cli.issuer:issuer", "The intermediates that sign."),
    "cross-sign": ("acme_iid.cli.cross_sign:cross_sign", "Have another root sign the intermediate too."),
    "status": ("acme_iid.cli.status:status", "The CA and its fleet on one screen."),
    "console": ("acme_iid.cli.console:console", "Look at the CA and its fleet in a browser."),
    "policy": ("acme_iid.cli.policy:policy", "Who may hold what."),
    "check": ("acme_iid.cli.check:check", "Say what is unsafe in the configuration."),
    "reload": ("acme_iid.cli.reload:reload", "Have the server take ca.toml up again."),
    "serve": ("acme_iid.cli.serve:serve", "Run the ACME server."),
    "serving-certificate": (
        "acme_iid.cli.serving_certificate:serving_certificate",
        "Write the certificate of a proxy in front of the CA.",
    ),
    "demo": ("acme_iid.cli.demo:demo", "See the whole way of a certificate, in one terminal."),
    "fingerprint": ("acme_iid.cli.fingerprint:fingerprint", "Print the roots' fingerprints."),
    "instance": ("acme_iid.cli.instance:instance", "The instances that have certificates here."),
    "certificate": ("acme_iid.cli.certificate:certificate", "The certificates that were issued."),
    "account": ("acme_iid.cli.account:account", "The ACME accounts."),
    "bulk": ("acme_iid.cli.bulk:bulk", "Act on many certificates or instances at once."),
    "eab": ("acme_iid.cli.eab:eab", "Keys that let their holder make an account."),
    "events": ("acme_iid.cli.events:events", "What was decided, and why."),
    "why": ("acme_iid.cli.why:why", "Why something was refused, and what lets it in."),
    "prune": ("acme_iid.cli.prune:prune", "Remove what ended long ago from the store."),
    "backup": ("acme_iid.cli.backup:backup", "Write the CA into one file, while it runs."),
    "restore": ("acme_iid.cli.backup:restore", "Make a home from a backup."),
    "store": ("acme_iid.cli.store:store", "The database as a whole."),
    "metadata": ("acme_iid.cli.metadata:metadata", "Stand in for a cloud's metadata service."),
}
"""Each command's place, ``module:attribute``, and the line that ``--help`` shows for it."""


_MOVED = ("--home", "--config", "--admin-url", "--admin-cert", "--admin-key", "--admin-ca")
"""Options that people type behind the command, too."""
_INSIDE = f"{__name__}.inside"
"""What a command's context says once it works in the home."""


@dataclass(frozen=True, slots=True)
class AdminOptions:
    """Where a server is asked, and how it and the operator know each other.

    :ivar url: None where the home says it.
    :ivar is_typed: whether the URL stands in the command itself.
    """

    url: str | None = None
    is_typed: bool = False
    certificate: Path | None = None
    key: Path | None = None
    roots: Path | None = None


@dataclass(frozen=True, slots=True)
class Home:
    """The CA's home that a command works on, with its ca.toml; ``given`` if they were not found by default.

    :ivar location: where they are; commands that work in it take :attr:`path`.
    :ivar admin: how a server is asked by those who may not open it.
    """

    location: Location
    given: bool
    admin: AdminOptions = AdminOptions()

    @property
    def folder(self) -> Path:
        """The home, for a command that only looks."""
        return self.location.home

    @property
    def file(self) -> Path:
        """Its ca.toml."""
        return self.location.file

    @property
    def options(self) -> str:
        """The options that name it, for a command that is shown; each begins with a space."""
        home, file = self.location.home, self.location.file
        named = f" --home {shlex.quote(str(home))}"
        return named if file == file_of(home) else f"{named} --config {shlex.quote(str(file))}"

    @property
    def path(self) -> Path:
        """The home, for a command that works in it.

        :raises UsageError: if the command says that a server is to be asked.
        :raises ClickException: if the user is root, and what root writes there another user has to read.
        """
        if self.admin.is_typed:
            raise click.UsageError(
                "--admin-url is for what a server can be asked for; this is done in the CA's home, by a user who may "
                "open it"
            )
        if (context := click.get_current_context(silent=True)) is not None:
            context.meta[_INSIDE] = True
        _require_own(self.folder)
        return self.folder

    @property
    def working_location(self) -> Location:
        """The location, for a command that works there; see :attr:`path`."""
        return Location(self.path, self.file)

    def config(self) -> Config:
        """Read ca.toml.

        :raises ConfigError: if it cannot be used.
        """
        from acme_iid.config.ca_toml import load

        return load(self.path, self.file)


class Main(click.Group):
    """Loads commands when they are needed, and turns errors into sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of ``COMMANDS``."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands with their lines, none of them imported."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments, with ``--home`` and its like moved to the front."""
        return super().parse_args(ctx, _home_first(args))

    def invoke(self, ctx: click.Context) -> object:
        """Run the command, and let whatever it raises end as a sentence."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # click's own business: the reader of our output has gone
            raise click.ClickException(f"{_sentence(error)}{_denied(ctx)}") from error


def _home_first(args: list[str]) -> list[str]:
    """Let ``--home`` and its like stand behind the command too, where people type them."""
    first: list[str] = []
    rest: list[str] = []
    index = 0
    while index < len(args) and args[index] != "--":
        name, is_joined, _ = args[index].partition("=")
        size = 0 if name not in _MOVED else 1 if is_joined else 2
        (first if size else rest).extend(args[index : index + (size or 1)])
        index += size or 1
    return [*first, *rest, *args[index:]]


def _require_own(home: Path) -> None:
    """Refuse root in the home of the service's user, who could not read what root writes there.

    :raises ClickException: with the command to type.
    """
    service = service_uid()
    if home == MACHINE.home and service and os.geteuid() == 0:
        command = shlex.join(["acme-iid-ca", *sys.argv[1:]])
        raise click.ClickException(
            f"the CA in {home} is the user {SERVICE_USER}'s, who could not read what root writes there; type this: "
            f"runuser -u {SERVICE_USER} -- {command}"
        )


def _denied(context: click.Context) -> str:
    """What to do where a command has failed in a home that this user may not open."""
    from acme_iid.cli import ways

    home = context.obj
    if isinstance(home, Home) and context.meta.get(_INSIDE, False) and ways.look(home.location).is_denied:
        return f"; this takes a user who may open the CA's home {home.folder}"
    return ""


def _sentence(error: Exception) -> str:
    if type(error).__module__.startswith("acme_iid."):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "acme_iid").startswith("acme_iid"):
        extra = "postgresql" if (error.name or "").startswith("psycopg") else "server"
        return (
            f"acme-iid-ca needs the module {error.name}, which comes with the extra {extra!r}: "
            f"pip install 'FROM[{extra}]', where FROM is the folder or wheel that acme-iid was installed from"
        )
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f", {Path(trace.tb_frame.f_code.co_filename).name} line {trace.tb_lineno}" if trace else ""
    return f"this is a fault in acme-iid-ca, please report it ({type(error).__name__}: {error}{where})"


def _log_act(fact: Fact) -> None:
    """Write the line of what a command did."""
    _system_log().write(fact)


@cache
def _system_log() -> SystemLog:
    from acme_iid.telemetry.system_log import SystemLog

    return SystemLog()


def _version(context: click.Context, parameter: click.Parameter, is_asked: bool) -> None:
    del parameter
    if is_asked and not context.resilient_parsing:
        from acme_iid.terminal.versions import lines

        click.echo(lines("acme-iid-ca"))
        context.exit(0)


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="ACME_IID_CA_HOME",
    help="Where the CA's keys and store are: ACME_IID_CA_HOME, or /var/lib/acme-iid-ca for root and the user "
    "acme-iid-ca, or acme-iid-ca in the user's configuration directory.",
)
@click.option(
    "--config",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="ACME_IID_CA_CONFIG",
    help="The CA's ca.toml: ACME_IID_CA_CONFIG, or the one in the home; /etc/acme-iid-ca/ca.toml for the home "
    "/var/lib/acme-iid-ca.",
)
@click.option(
    "--admin-url",
    envvar="ACME_IID_CA_ADMIN_URL",
    metavar="URL",
    help="Ask a server for what this command is about: unix:/PATH or https://HOST:PORT (ACME_IID_CA_ADMIN_URL). By "
    "default a user who may not open the home asks at [admin] socket, or at /run/acme-iid-ca/admin.sock.",
)
@click.option(
    "--admin-cert",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="ACME_IID_CA_ADMIN_CERT",
    help="With https: your certificate, PEM (ACME_IID_CA_ADMIN_CERT).",
)
@click.option(
    "--admin-key",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="ACME_IID_CA_ADMIN_KEY",
    help="Its key, PEM (ACME_IID_CA_ADMIN_KEY).",
)
@click.option(
    "--admin-ca",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="ACME_IID_CA_ADMIN_CA",
    help="The CA's roots, PEM, under which the server's certificate has to be (ACME_IID_CA_ADMIN_CA); by default those "
    "in the home.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and exit."
)
@click.pass_context
def main(
    context: click.Context,
    home: Path | None,
    file: Path | None,
    admin_url: str | None,
    admin_cert: Path | None,
    admin_key: Path | None,
    admin_ca: Path | None,
) -> None:
    """Run a private CA whose ACME server believes cloud instance identity documents."""
    from acme_iid.telemetry import reports

    # A server has a log of its own.
    if context.invoked_subcommand not in ("serve", "demo"):
        reports.listen(_log_act)
        context.call_on_close(_system_log().close)
        # When a signer is started again is for those who wait: a command ends with its error, which says why.
        asker = logging.getLogger("acme_iid.signing.asker")
        context.call_on_close(partial(asker.setLevel, asker.level))
        asker.setLevel(logging.ERROR)
    is_typed = context.get_parameter_source("admin_url") is ParameterSource.COMMANDLINE
    admin = AdminOptions(admin_url, is_typed, admin_cert, admin_key, admin_ca)
    is_given = home is not None or file is not None
    context.obj = Home(located(home, file, os.environ, os.geteuid()), given=is_given, admin=admin)
