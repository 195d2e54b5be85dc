"""acme-iid trust: other programs of this machine trust the CA, or no more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from acme_iid_client.cli import options
from acme_iid_client.storage.directories import Directories

if TYPE_CHECKING:
    from acme_iid_client.acme.system_trust import Changes


@click.group("trust")
def command() -> None:
    """Have other programs trust the CA's roots: those of this system, or stores of their own."""


@command.command("install", short_help="Have this system trust the CA.")
@options.ca_url
@options.json
@click.pass_obj
def install(where: Directories, ca_url: str | None, as_json: bool) -> None:
    """Have every program that uses this system's store trust the CA: curl, git, Python's ssl and more.

    The store is Debian's: each root becomes a file in /usr/local/share/ca-certificates, and update-ca-certificates is
    run. Only root may do this.

    The store follows when the CA's roots change, by each 'acme-iid renew' of root's, with --daemon too, and by
    'acme-iid bootstrap'. 'acme-iid trust remove' ends it.
    """
    from acme_iid_client.acme import known_ca, system_trust
    from acme_iid_client.cli.terminal import notice
    from acme_iid_client.storage import trust_store

    # Another user knows other CAs, or none.
    trust_store.require()
    ca = known_ca.load(where, ca_url)
    changes = system_trust.install(where, ca, notice)
    if as_json:
        _print(changes)
        return
    click.echo(f"This system trusts {ca.ca_url} {'now' if changes.added else 'already'}.")
    _list(changes)


@command.command("remove", short_help="Have this system trust the CA no more.")
@options.ca_url
@options.json
@click.pass_obj
def remove(where: Directories, ca_url: str | None, as_json: bool) -> None:
    """Take the roots that 'acme-iid trust install' has put into this system's store out of it again.

    Without --ca-url these are the roots of all CAs. What others have put there stays.
    """
    from acme_iid_client.acme import known_ca, system_trust
    from acme_iid_client.cli.terminal import notice
    from acme_iid_client.errors import ClientError

    try:
        asked = None if ca_url is None else known_ca.parse_url(ca_url)
    except ClientError as error:
        raise click.UsageError(str(error)) from error
    changes = system_trust.remove(where, asked, notice)
    if as_json:
        _print(changes)
    elif changes.removed:
        click.echo(f"This system trusts {asked or 'what acme-iid has put there'} no more.")
        _list(changes)
    else:
        click.echo("Nothing was removed.")


@command.command("bundle", short_help="Print the CA's roots as other stores take them.")
@click.option(
    "--format",
    "name",
    type=click.Choice(["pem", "java", "pkcs12", "nss", "rhel"]),
    default="pem",
    show_default=True,
    help="The store: PEM, Java's own keystore, a PKCS #12 file for Java, NSS (Firefox, Chrome), RHEL and Fedora.",
)
@options.ca_url
@options.root
@click.pass_obj
def bundle(where: Directories, name: str, ca_url: str | None, root: Path | None) -> None:
    """Print the CA's roots: in PEM, or as the commands that put them into a store, which a shell runs on any machine.

    'acme-iid trust bundle --format nss | sh' does it here. No such store follows when the CA's roots change: run the
    commands again then.
    """
    from acme_iid_client.acme import known_ca
    from acme_iid_client.cli.trust_snippets import FORMATS

    click.echo(FORMATS[name](known_ca.load(where, ca_url, root).roots), nl=False)


def _print(changes: Changes) -> None:
    import json

    facts = {
        "installed": [str(path) for path in changes.installed],
        "added": [str(path) for path in changes.added],
        "removed": [str(path) for path in changes.removed],
    }
    click.echo(json.dumps(facts, indent=2))


def _list(changes: Changes) -> None:
    for path in changes.added:
        click.echo(f"Added: {path}")
    for path in changes.removed:
        click.echo(f"Removed: {path}")
