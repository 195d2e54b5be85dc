"""``acme-iid-ca check``."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import show
from acme_iid.cli.parameters import password, password_file

if TYPE_CHECKING:
    from acme_iid.admin.table.configuration import CheckedConfiguration
    from acme_iid.cli import Home
    from acme_iid.operations.descriptions.findings import FindingRow, ReloadOutlook


class _UnusableError(click.ClickException):
    """A file that cannot be used, so that the configuration cannot be checked."""

    exit_code = 2


@click.command(short_help="Say what is unsafe in the configuration.")
@password_file
@click.option("--reload", "reloading", is_flag=True, help="Only say what a running server would do on SIGHUP.")
@json_option
@click.pass_obj
def check(home: Home, password_file: Path | None, *, reloading: bool, as_json: bool) -> None:
    """Say what is unsafe in ca.toml, and in the files that the CA rests on, and which of its certificates end soon.

    The server says the same in its log when it starts and when it reads ca.toml again, and what ends soon when a
    quarter and when a tenth of its life is left. Nothing is changed, and no running server is asked; a store that
    cannot be asked is passed over. A finding is unsafe if somebody may get a certificate or a right that belongs to
    another, and a remark if somebody is left without one. The exit status is 0 without findings, 1 with some, and 2 if
    ca.toml or a file that it names cannot be used.

    With --reload it tries what a server does on SIGHUP: the exit status is 2 if that would be refused, and otherwise 0.
    Keys that need a password are tried only with --password-file.
    """
    from acme_iid.cli import asking
    from acme_iid.config.locations import file_of

    server = asking.server(home)
    if server is not None:
        if password_file is not None:
            raise click.UsageError(
                "--password-file is for the keys in the CA's home, and a server is not told of passwords"
            )
        if reloading:
            _tell_outlook(asking.ask("check.reload"), as_json=as_json)
            return
        found: CheckedConfiguration = asking.ask("check.findings")
        if found["unusable"] is not None:
            raise _UnusableError(found["unusable"])
        _tell(found["findings"], file_of(Path(server.caller["home"])), as_json=as_json)
        return
    _check_here(home, password_file, reloading=reloading, as_json=as_json)


def _check_here(home: Home, password_file: Path | None, *, reloading: bool, as_json: bool) -> None:
    """Look in the CA's home, with its keys."""
    from acme_iid.config.secret_files import NoCredentialError
    from acme_iid.config.table import ConfigError
    from acme_iid.issuance.keys import CAFileError
    from acme_iid.operations import issuers
    from acme_iid.operations.descriptions import findings

    try:
        config = home.config()
        issuers.require_permitting(config)
        if password_file is not None:
            password_file.read_bytes()
    except (ConfigError, OSError) as error:
        if reloading and isinstance(error.__cause__, NoCredentialError):
            # What a unit's ExecReload starts has no credentials; the server has.
            click.echo(f"Not tried: ca.toml as a whole, since {error.__cause__}", err=True)
            return
        raise _UnusableError(str(error)) from error
    if reloading:
        outlook, unasked = findings.reload(config, password(password_file))
        _tell_unasked(unasked)
        _tell_outlook(outlook, as_json=as_json)
        return
    try:
        rows, unasked = findings.check(config, password_file, int(time.time()))
    except CAFileError as error:
        raise _UnusableError(str(error)) from error
    _tell_unasked(unasked)
    _tell(rows, config.file, as_json=as_json)


def _tell(rows: Sequence[FindingRow], file: Path, *, as_json: bool) -> None:
    """Say what was found in a CA's ca.toml."""
    if as_json:
        show(rows, as_json=True, empty="")
    elif not rows:
        click.echo(f"Nothing unsafe in {file}.")
    for row in () if as_json else rows:
        click.echo(f"{row['severity']}: {row['sentence']} {row['remedy']} [{row['code']}]")
    if rows:
        click.get_current_context().exit(1)


def _tell_outlook(found: ReloadOutlook, *, as_json: bool) -> None:
    """Say what a server would do on SIGHUP."""
    if as_json:
        click.echo(json.dumps(found, indent=2))
    if found["untried"] is not None:
        click.echo(f"Not tried: {found['untried']}", err=True)
    if found["refusal"] is not None:
        raise _UnusableError(f"a reload would be refused, and what runs would stay in force: {found['refusal']}")
    if as_json:
        return
    changes = found["changes"]
    click.echo("A reload would take up ca.toml." if changes else "A reload would change nothing in ca.toml.")
    for line in changes:
        click.echo(f"  {line}" + ("  (takes a restart)" if line in found["restart"] else ""))


def _tell_unasked(reason: str | None) -> None:
    if reason is not None:
        click.echo(f"The store was not asked: {reason}", err=True)
