"""``acme-iid-ca issuer roots``: from one root to the next, without a client being touched."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acme_iid.cli import Home
from acme_iid.cli.acting import acting
from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.filters import on_store
from acme_iid.cli.output import show
from acme_iid.cli.parameters import password, password_file, root_crl_url
from acme_iid.operations.descriptions.times import timestamp

if TYPE_CHECKING:
    from acme_iid.store.database import Database

_file = click.Path(dir_okay=False, path_type=Path)


@click.group(short_help="The roots that clients trust.")
def roots() -> None:
    """Announce a new root, have it be the one in use, and drop the former one when nothing rests on it any more.

    Clients look at the list of roots once a day. They take up a new one by its link, which the former root's key has
    signed, and trust both until the former one is dropped.
    """


@roots.command(short_help="Sign the link from a root to the next, offline.")
@click.argument("new", type=_file)
@click.option("--root-cert", type=_file, required=True, metavar="FILE", help="The former root's certificate, PEM.")
@click.option("--root-key", type=_file, required=True, metavar="FILE", help="The former root's private key, PEM.")
@click.option(
    "--out", type=_file, required=True, metavar="FILE", help="Where to write the link; a file that is not there."
)
@root_crl_url
@password_file
@click.pass_obj
def link(
    home: Home,
    new: Path,
    root_cert: Path,
    root_key: Path,
    out: Path,
    root_crl_url: str | None,
    password_file: Path | None,
) -> None:
    """Sign the root in NEW, a PEM file, with the former root's key: what clients of the former root take it up by.

    NEW is the certificate of the new root; its key is not needed. This works wherever the former root's key is kept,
    and needs no CA there. Then say with --root-crl-url where the former root's revocation list is: programs that check
    every certificate of a chain check the link by it.
    """
    from acme_iid.durable import write_new
    from acme_iid.issuance import ceremony, keys, links
    from acme_iid.issuance.home import load_certificate
    from acme_iid.issuance.issuer import Signer
    from acme_iid.issuance.roots import to_pem
    from acme_iid.operations import root_lists

    now = int(time.time())
    former = Signer(load_certificate(root_cert), keys.load(root_key, password(password_file)))
    url = root_lists.url_of(former.certificate, root_crl_url, home.location)
    signed = ceremony.link(former, links.load_root(new, now), now, url)
    try:
        write_new(out, to_pem(signed).encode(), 0o644)
    except FileExistsError as error:
        raise click.ClickException(f"{out} exists; choose another file") from error
    if url is None:
        click.echo(
            "The link does not say where the former root's revocation list is. Programs that check every certificate "
            "of a chain refuse it then; --root-crl-url says it."
        )
    else:
        click.echo(f"The link says that the former root's revocation list is at {url}.")
    click.echo(f"The link is in {out}. On the CA: acme-iid-ca issuer roots add {new} {out}")


@roots.command(short_help="Announce a new root.")
@click.argument("new", type=_file)
@click.argument("link", type=_file, required=False)
@click.option("--without-link", is_flag=True, help="The former key is lost: clients bootstrap the new root themselves.")
@acting()
@click.pass_obj
def add(home: Home, database: Database, new: Path, link: Path | None, *, without_link: bool) -> None:
    """Announce the root in NEW, which clients take up by LINK; both are PEM files.

    Nothing is under the new root yet: 'issuer rotate prepare --root-cert NEW --root-key KEY' makes an issuer under it.
    """
    from acme_iid.operations import roots

    now = int(time.time())
    if (link is None) != without_link:
        raise click.UsageError(
            "give the link to the new root as well ('issuer roots link' makes it); or --without-link if the former "
            "root's key is lost, and every client is to bootstrap the new root by its fingerprint"
        )
    fingerprint = roots.add(home.config(), database, new, link, now)
    click.echo(f"The root {fingerprint} is announced.")
    if link is None:
        click.echo(f"No client takes it up by itself. On each: acme-iid bootstrap --fingerprint {fingerprint} ...")
    else:
        click.echo(f"Clients of acme-iid trust it by {_looked(now)}.")


@roots.command(short_help="Have an announced root be the one in use.")
@click.argument("root", metavar="FINGERPRINT")
@acting()
@click.pass_obj
def use(home: Home, database: Database, root: str) -> None:
    """Have the root with FINGERPRINT, or these first digits of it, be the one in use.

    It stands first in certs/root_ca.crt, and 'fingerprint' prints it first. Both roots are trusted.
    """
    from acme_iid.operations import roots

    fingerprint = roots.use(home.config(), database, root, int(time.time()))
    click.echo(f"The root {fingerprint} is in use. An issuer under it signs after 'issuer rotate activate'.")


@roots.command(short_help="Have clients trust a root no more.")
@click.argument("root", metavar="FINGERPRINT")
@acting()
@click.pass_obj
def drop(home: Home, database: Database, root: str) -> None:
    """Have clients trust the root with FINGERPRINT, or these first digits of it, no more.

    Refused for the root in use, and while an issuer under it signs or certificates under it are valid. A client that
    has not looked since the new root was announced has to bootstrap again.
    """
    from acme_iid.operations import roots

    now = int(time.time())
    fingerprint = roots.drop(home.config(), database, root, now)
    click.echo(f"The root {fingerprint} is dropped. Clients of acme-iid trust it no more by {_looked(now)}.")


def _looked(now: int) -> str | None:
    """When every client has looked at the list of roots, for people."""
    from acme_iid.operations.root_documents import CLIENTS_LOOK_SECONDS

    return timestamp(now + CLIENTS_LOOK_SECONDS)


@roots.command("list", short_help="The roots, one a line.")
@json_option
@on_store
def list_roots(database: Database, *, as_json: bool) -> None:
    """List the roots of the CA, the one in use first."""
    from acme_iid.operations.descriptions.issuers import roots

    show(
        roots(database),
        as_json=as_json,
        empty="No server of this CA has ever started: its roots are those in its home.",
    )
