"""``acme-iid-ca serve``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acme_iid.cli import Home
from acme_iid.cli.acting import here, reason_option
from acme_iid.cli.parameters import Checked, password, password_file
from acme_iid.config.secret_files import DIRECTORY_VARIABLE

if TYPE_CHECKING:
    from acme_iid.config.settings import Config
    from acme_iid.protocol.addresses import Listen


@click.command(short_help="Run the ACME server.")
@click.option(
    "--listen",
    type=Checked("listen_address", keep=False),
    metavar="HOST:PORT",
    help="Where to listen, instead of what ca.toml says; port 0 is any free one.",
)
@click.option(
    "--plain-http",
    is_flag=True,
    help="No TLS: for use behind a proxy that ends it, reachable from nowhere else.",
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="How many processes answer requests."
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json", "logfmt"]),
    default="text",
    show_default=True,
    help="The form of the log's lines, which go to standard error.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="The lowest level of lines to write; debug has a line for each request.",
)
@password_file
@reason_option()
@click.pass_obj
def serve(
    home: Home,
    *,
    act_reason: str | None,
    listen: Listen | None,
    plain_http: bool,
    workers: int,
    log_format: str,
    log_level: str,
    password_file: Path | None,
) -> None:
    """Run the ACME server until SIGTERM or ctrl-C; SIGHUP reads ca.toml again.

    TLS uses a certificate from the CA itself, which is renewed while the server runs. systemd can give the password as
    the credential "password" in place of --password-file.
    """
    from acme_iid.admin import companion
    from acme_iid.operations.configuration_record import ServerRecord

    # The files that the server writes are nobody else's.
    os.umask(0o077)
    password_file = password_file or _credential(os.environ)
    config = home.config()
    # Before anything of a key is read: what is forked later has it in its memory.
    with companion.begun(config, plain_http=plain_http, log_format=log_format, log_level=log_level) as beside:
        from acme_iid.app import create_app
        from acme_iid.serving import server

        server.run(
            config,
            ServerRecord(here(act_reason)).following(create_app),
            password=password(password_file),
            password_file=password_file,
            listen=listen,
            plain_http=plain_http,
            check=_require_right_clock,
            companion=beside,
            workers=workers,
            log_format=log_format,
            log_level=log_level,
        )


def _credential(environment: Mapping[str, str]) -> Path | None:
    """The password that systemd has given the server, LoadCredential=password; None if it has given none."""
    folder = environment.get(DIRECTORY_VARIABLE)
    file = Path(folder, "password") if folder else None
    return file if file is not None and file.exists() else None


def _require_right_clock(config: Config) -> None:
    """Refuse a machine whose clock is too far from that of the database's; a file is on this machine.

    :raises StoreUnavailableError: if it is, or the store cannot answer now.
    """
    from acme_iid.store.database import connect

    with closing(connect(config.store.url)) as database:
        if config.store.path is None:
            from acme_iid.store.postgresql import PostgreSQL

            assert isinstance(database, PostgreSQL)
            database.require_right_clock()
