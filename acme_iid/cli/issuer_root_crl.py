"""``acme-iid-ca issuer root-crl``: the revocation list of a root, which says what intermediates it revokes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acme_iid.cli import Home
from acme_iid.cli.acting import acting
from acme_iid.cli.parameters import Checked, password, password_file
from acme_iid.operations.descriptions.times import timestamp

if TYPE_CHECKING:
    from acme_iid.store.database import Database

_file = click.Path(dir_okay=False, path_type=Path)
_REASONS = ("cACompromise", "superseded", "cessationOfOperation", "affiliationChanged", "unspecified")


@click.group("root-crl", short_help="The revocation lists of roots.")
def root_crl() -> None:
    """Sign the revocation list of a root where its key is, and have this CA's servers hand it out."""


@root_crl.command("sign", short_help="Sign a root's list; this needs no CA and no store.")
@click.option("--root-cert", required=True, type=_file, metavar="FILE", help="The root's certificate, PEM.")
@click.option("--root-key", required=True, type=_file, metavar="FILE", help="Its private key, PEM.")
@click.option("--former", type=_file, metavar="FILE", help="The list before this one: what it revokes stays revoked.")
@click.option(
    "--revoke",
    "revoked",
    type=_file,
    multiple=True,
    metavar="FILE",
    help="An intermediate to revoke, PEM; may be repeated.",
)
@click.option(
    "--reason",
    type=click.Choice(_REASONS, case_sensitive=False),
    default=_REASONS[0],
    show_default=True,
    help="Why they are revoked.",
)
@click.option(
    "--lifetime",
    type=Checked("duration", keep=False),
    default="180d",
    show_default=True,
    help="How long the list can be relied on; sign the next one before its end.",
)
@click.option("--out", required=True, type=_file, metavar="FILE", help="Where to write the list, DER.")
@password_file
def sign(
    root_cert: Path,
    root_key: Path,
    former: Path | None,
    revoked: tuple[Path, ...],
    reason: str,
    lifetime: int,
    out: Path,
    password_file: Path | None,
) -> None:
    """Sign the list of a root with its key; of this machine only the files that are named are used.

    Give the list that is handed out now with --former. Then take the new one to a server of the CA, and hand it out
    with ``issuer root-crl import``.
    """
    from acme_iid.durable import write_new
    from acme_iid.issuance import keys
    from acme_iid.issuance import root_crl as lists
    from acme_iid.issuance.home import load_certificate
    from acme_iid.issuance.issuer import Signer

    now = int(time.time())
    root = Signer(load_certificate(root_cert), keys.load(root_key, password(password_file)))
    before = None if former is None else lists.read(former)
    der = lists.sign(root, [load_certificate(path) for path in revoked], reason, before, now, lifetime)
    try:
        write_new(out, der, 0o644)
    except FileExistsError as error:
        raise click.ClickException(f"{out} exists; choose another file") from error
    click.echo(f"The list is in {out}. It can be relied on until {timestamp(now + lifetime)}.")
    click.echo("Hand it out with: acme-iid-ca issuer root-crl import FILE")


@root_crl.command("import", short_help="Hand out a root's list from now on.")
@click.argument("file", type=_file)
@acting()
@click.pass_obj
def import_list(home: Home, database: Database, file: Path) -> None:
    """Check FILE, the list of one of this CA's roots in DER or PEM, and hand it out from now on.

    Refused is a list that another key signed, with a weak algorithm, one that is not valid now, and one that is older
    than the list that is handed out now.
    """
    from acme_iid.issuance import root_crl as lists
    from acme_iid.issuance.home import load_roots
    from acme_iid.operations import root_lists

    now = int(time.time())
    imported = root_lists.take_up(database, load_roots(home.path), lists.read(file), now)
    click.echo(
        f"The list {imported.number} of the root {imported.root_id[:16]} is handed out, until "
        f"{timestamp(imported.next_update)} at the latest."
    )
