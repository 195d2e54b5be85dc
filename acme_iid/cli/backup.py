"""``acme-iid-ca backup`` and ``acme-iid-ca restore``."""

from __future__ import annotations

import json
import os
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acme_iid.cli import Home
from acme_iid.cli.acting import here, operated, reason_option
from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import rows_progress
from acme_iid.cli.parameters import password, password_file
from acme_iid.operations.descriptions.times import timestamp

if TYPE_CHECKING:
    from acme_iid.config.settings import Config
    from acme_iid.operations.backup import Backup

_KEYS = "It holds the private keys of the CA's issuers: keep it as you keep those."
_OUTSIDE = "Not in it are files outside the home that ca.toml or an issuer names: "
_ELSEWHERE = "Not in it are keys of issuers that do not leave their place: "
_LEFT_OUT = "Not in it are private keys of roots, which --with-root-keys puts there: "
_file = click.Path(dir_okay=False, path_type=Path)


@click.command(short_help="Write the CA into one file, while it runs.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.option("--with-root-keys", "root_keys", is_flag=True, help="Private keys of roots, too.")
@click.option(
    "--recipient",
    type=_file,
    metavar="CERT",
    help="Encrypt it for the RSA key of this certificate, PEM (CMS, AES-256).",
)
@reason_option()
@json_option
@click.pass_obj
def backup(
    home: Home,
    file: Path,
    act_reason: str | None,
    *,
    force: bool,
    root_keys: bool,
    recipient: Path | None,
    as_json: bool,
) -> None:
    """Write the whole CA into FILE, a tar file: ca.toml, certificates, private keys and the database.

    The server may run; the database is in it as it is at one moment, be it a file or PostgreSQL's. FILE holds the
    private keys and is readable by its owner only. It has its name when it is whole and on the disk; 'acme-iid-ca
    restore' proves and unpacks it.

    A root's private key is left out: whoever has it is the CA for good. An encrypted key that no issuer
    has counts as one. A key in a token or behind a program does not leave it, and is named.
    """
    from acme_iid.operations import backup, envelopes

    os.umask(0o077)
    config = home.config()
    made = backup.write(
        config,
        file.absolute(),
        int(time.time()),
        force=force,
        root_keys=root_keys,
        recipient=None if recipient is None else envelopes.load_certificate(recipient),
    )
    size = file.stat().st_size
    _record(config, made, size, act_reason, encrypted=recipient is not None)
    if as_json:
        summary = {
            "file": str(file.absolute()),
            "made_at": timestamp(made.made_at),
            "bytes": size,
            "files": list(made.files),
            "head": made.head,
            "private_keys": True,
            "outside": list(made.outside),
            "left_out": list(made.left_out),
            "elsewhere": dict(made.elsewhere),
            "encrypted": recipient is not None,
        }
        click.echo(json.dumps(summary, indent=2))
        return
    click.echo(f"The CA is in {file}: {len(made.files)} files, {size} bytes. {_KEYS}")
    click.echo(f"Its last event is {made.head}.")
    if made.outside:
        click.echo(_OUTSIDE + ", ".join(made.outside))
    if made.left_out:
        click.echo(_LEFT_OUT + ", ".join(made.left_out))
    if made.elsewhere:
        click.echo(_ELSEWHERE + _places(made))


def _record(config: Config, made: Backup, size: int, reason: str | None, *, encrypted: bool) -> None:
    from acme_iid.errors import StoreUnavailableError
    from acme_iid.operations import backup
    from acme_iid.store.database import open_store

    try:
        with closing(operated(open_store(config.store.url), reason)) as database:
            backup.record(database, made, size, encrypted=encrypted)
    except StoreUnavailableError as error:
        click.echo(f"The backup is whole. Its event could not be stored: {error}", err=True)


@click.command(short_help="Make a home from a backup.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--to",
    "url",
    metavar="URL",
    help="An empty database of PostgreSQL's for the store, such as postgresql://acme_iid@db.internal/acme_iid. Without "
    "it the store is a file in the home.",
)
@click.option("--recipient", type=_file, metavar="CERT", help="The certificate that FILE was encrypted for, PEM.")
@click.option("--key", type=_file, metavar="KEY", help="The private key of --recipient, PEM.")
@password_file
@reason_option()
@click.pass_obj
def restore(
    home: Home,
    file: Path,
    url: str | None,
    recipient: Path | None,
    key: Path | None,
    password_file: Path | None,
    act_reason: str | None,
) -> None:
    """Make the CA's home and its ca.toml from FILE, which 'acme-iid-ca backup' wrote.

    The home is empty, or not there yet, and there is no ca.toml.

    Every file's sum and the chain of events are proven first; where something does not fit, no home is left behind.
    With --to the database is compared with the backup row by row before it opens as a store. When the command is
    interrupted, the same command goes on where it was. Keys that are in a token or behind a program are asked whether
    they answer on this machine; without them the CA starts, and issues nothing.
    """
    from acme_iid.operations import envelopes, restore

    if (recipient is None) != (key is None):
        raise click.UsageError("--recipient and --key go together: a certificate and its private key")
    if url is not None and not url.startswith(("postgresql://", "postgres://")):
        raise click.UsageError("--to takes a URL that begins with postgresql://")
    os.umask(0o077)
    owner = None
    if recipient is not None and key is not None:
        owner = envelopes.load_recipient(recipient, key, password(password_file))
    restored = restore.restore(
        file, home.working_location, int(time.time()), url, rows_progress, owner, here(act_reason)
    )
    made = timestamp(restored.made_at)
    where = "its store is a file, ca.db" if url is None else "its store is in the database"
    click.echo(f"The CA as it was at {made} is in {home.path}; {where}.")
    if restored.outside:
        click.echo(_OUTSIDE + ", ".join(restored.outside))
    if restored.left_out:
        click.echo("Not in it were private keys of roots: " + ", ".join(restored.left_out))
    if restored.elsewhere:
        _tell_of_keys(home, restored)
    click.echo(f"""
What happened after {made} is not known here:
- Certificates issued since stay valid until they end, and cannot be revoked here; OCSP does not know them.
- Revocations, blocks, releases and closed names since are undone: do them again. The revocation list is signed anew,
  with a number above the former ones.
- Roots that were announced, used or dropped since are as they were then: do it again. Clients take up no older list
  of roots than they know, and the next change makes a later one.
- Accounts made since are made again by their clients. Instances used first since belong to nobody yet.
Make sure that the former server never runs again, and start this one:
  acme-iid-ca{home.options} serve""")


def _places(backup: Backup) -> str:
    return ", ".join(f"{place} (issuer {issuer})" for issuer, place in backup.elsewhere.items())


def _tell_of_keys(home: Home, restored: Backup) -> None:
    """Say which keys are elsewhere, and what to do if they do not answer on this machine."""
    from acme_iid.errors import StoreUnavailableError
    from acme_iid.issuance.keys import CAFileError
    from acme_iid.operations.overview import overview
    from acme_iid.store.existing import existing

    click.echo("Not in it were keys of issuers that do not leave their place: " + _places(restored))
    try:
        with existing(home.config().store.url) as database:
            lines = overview(home.path, database, int(time.time()))
    except (CAFileError, StoreUnavailableError) as error:
        click.echo(f"These keys were not asked whether they answer: {error}")
        return
    silent = [line for line in lines if line.answers is False]
    for line in silent:
        click.echo(f"The key of the issuer {line.id} does not answer on this machine: {line.fault}")
    if silent:
        click.echo(
            "Without it the server starts, and serves revocation lists and OCSP answers that need no new signature, if "
            "[status] in ca.toml has a listener for plain HTTP. It issues nothing, not even its own TLS certificate. "
            "Install here what opens the key: the PKCS #11 module and the PIN's file, or the program. The server goes "
            "on by itself once the key answers, which this shows:"
        )
        click.echo(f"  acme-iid-ca{home.options} issuer status")
