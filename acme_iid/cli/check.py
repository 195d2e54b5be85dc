"""``acme-iid-ca check``."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import show
from acme_iid.cli.parameters import password_file

if TYPE_CHECKING:
    from pathlib import Path

    from acme_iid.cli import Home
    from acme_iid.config.findings import Finding
    from acme_iid.config.settings import Config


class _UnusableError(click.ClickException):
    """A file that cannot be used, so that the configuration cannot be checked."""

    exit_code = 2


@click.command(short_help="Say what is unsafe in the configuration.")
@password_file
@json_option
@click.pass_obj
def check(home: Home, password_file: Path | None, *, as_json: bool) -> None:
    """Say what is unsafe in ca.toml, and in the files that the CA rests on, and which of its certificates end soon.

    The server says the same in its log when it starts and when it reads ca.toml again, and what ends soon when a
    quarter and when a tenth of its life is left. Nothing is changed, and no running server is asked; a store that
    cannot be asked is passed over. A finding is unsafe if somebody may get a certificate or a right that belongs to
    another, and a remark if somebody is left without one. The exit status is 0 without findings, 1 with some, and 2 if
    ca.toml or a file that it names cannot be used.
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
    all_findings = [*findings.of_configuration(config), *findings.of_files(config, password_file), *_ending(config)]
    if as_json:
        show([asdict(finding) for finding in all_findings], as_json=True, empty="")
    elif not all_findings:
        click.echo(f"Nothing unsafe in {config.home / 'ca.toml'}.")
    for finding in () if as_json else all_findings:
        click.echo(f"{finding.severity}: {finding} [{finding.code}]")
    if all_findings:
        click.get_current_context().exit(1)


def _ending(config: Config) -> list[Finding]:
    """What ends soon, as far as it can be found out."""
    from acme_iid.errors import StoreUnavailableError
    from acme_iid.issuance.keys import CAFileError
    from acme_iid.operations import expiry
    from acme_iid.store.existing import existing

    now = int(time.time())
    try:
        try:
            with existing(config.store.url) as database:
                return expiry.findings(config.home, database, now)
        except StoreUnavailableError as error:
            click.echo(f"The store was not asked: {error}", err=True)
            return expiry.findings(config.home, None, now)
    except CAFileError as error:
        raise _UnusableError(str(error)) from error
