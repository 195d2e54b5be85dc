"""``acme-iid-ca check``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

import click

from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import show
from acme_iid.cli.parameters import password, password_file

if TYPE_CHECKING:
    from pathlib import Path

    from acme_iid.cli import Home
    from acme_iid.config.finding import Finding
    from acme_iid.config.settings import Config
    from acme_iid.store.writes import Reader

T = TypeVar("T")


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
    from acme_iid.config import findings
    from acme_iid.config.table import ConfigError
    from acme_iid.operations import issuers

    try:
        config = home.config()
        issuers.require_permitting(config)
        if password_file is not None:
            password_file.read_bytes()
    except (ConfigError, OSError) as error:
        raise _UnusableError(str(error)) from error
    if reloading:
        _try_reload(config, password_file, as_json=as_json)
        return
    all_findings = [
        *findings.of_configuration(config), *findings.of_files(config, password_file), *_ending(config),
        *_of_servers(config),
    ]  # fmt: skip
    if as_json:
        show([asdict(finding) for finding in all_findings], as_json=True, empty="")
    elif not all_findings:
        click.echo(f"Nothing unsafe in {config.home / 'ca.toml'}.")
    for finding in () if as_json else all_findings:
        click.echo(f"{finding.severity}: {finding} [{finding.code}]")
    if all_findings:
        click.get_current_context().exit(1)


def _try_reload(config: Config, password_file: Path | None, *, as_json: bool) -> None:
    """Say what a server would do on SIGHUP."""
    from acme_iid.operations.reloading import outlook

    found = _asked(config, lambda reader: outlook(config, reader, password(password_file)))
    if as_json:
        click.echo(json.dumps(found._asdict(), indent=2))
    if found.untried is not None:
        click.echo(f"Not tried: {found.untried}", err=True)
    if found.refusal is not None:
        raise _UnusableError(f"a reload would be refused, and what runs would stay in force: {found.refusal}")
    if as_json:
        return
    click.echo("A reload would take up ca.toml." if found.changes else "A reload would change nothing in ca.toml.")
    for line in found.changes:
        click.echo(f"  {line}" + ("  (takes a restart)" if line in found.restart else ""))


def _of_servers(config: Config) -> list[Finding]:
    """That servers which run have different configurations."""
    from acme_iid.config.finding import Finding
    from acme_iid.operations.presence import SEEN_SECONDS
    from acme_iid.store import servers

    def look(reader: Reader | None) -> str | None:
        running = [] if reader is None else servers.seen(reader, int(time.time()), SEEN_SECONDS)
        return servers.difference(running)

    text = _asked(config, look, quiet=True)
    remedy = "Copy ca.toml to all of them, and reload them."
    return [] if text is None else [Finding("servers-differ", "remark", "servers", text, remedy)]


def _asked(config: Config, look: Callable[[Reader | None], T], *, quiet: bool = False) -> T:
    """What a function finds in the store, or without it where it cannot be asked.

    :param quiet: say nothing of that.
    """
    from acme_iid.errors import StoreUnavailableError
    from acme_iid.store.existing import existing

    try:
        with existing(config.store.url) as database:
            return look(database)
    except StoreUnavailableError as error:
        if not quiet:
            click.echo(f"The store was not asked: {error}", err=True)
        return look(None)


def _ending(config: Config) -> list[Finding]:
    """What ends soon, as far as it can be found out."""
    from acme_iid.issuance.keys import CAFileError
    from acme_iid.operations import expiry

    now = int(time.time())
    try:
        return _asked(config, lambda reader: expiry.findings(config.home, reader, now))
    except CAFileError as error:
        raise _UnusableError(str(error)) from error
