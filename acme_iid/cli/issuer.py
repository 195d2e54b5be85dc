"""``acme-iid-ca issuer``: the intermediates that sign, from the root down."""

from __future__ import annotations

import time
from pathlib import Path

import click

from acme_iid.cli import Home
from acme_iid.cli.acting import reason_option, record_act
from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.issuer_root_crl import root_crl
from acme_iid.cli.issuer_roots import roots
from acme_iid.cli.issuer_rotate import rotate
from acme_iid.cli.output import show
from acme_iid.cli.parameters import password, password_file


@click.group(short_help="The intermediates that sign.")
def issuer() -> None:
    """List the CA's issuers, see how long they last, and take up certificates that a root elsewhere signed."""


issuer.add_command(rotate)
issuer.add_command(root_crl)
issuer.add_command(roots)


@issuer.command("import", short_help="Take up the answer to the CA's request.")
@click.argument("chain", type=click.Path(dir_okay=False, path_type=Path))
@password_file
@reason_option()
@click.pass_obj
def import_chain(home: Home, chain: Path, password_file: Path | None, act_reason: str | None) -> None:
    """Take up CHAIN, a PEM file: the certificate that was signed for this CA's key, those above it, the root last.

    A root that the CA knows may be left out. All is tried first, a TLS handshake included; a chain that does not fit
    changes nothing.
    """
    from acme_iid.operations import importing
    from acme_iid.store.chain import Event

    now = int(time.time())
    imported = importing.take_up(home.config(), chain, password(password_file), now)
    detail = {"issuer": imported.issuer_id, "root": imported.fingerprint}
    record_act(home, act_reason, Event("issuer.imported", now, detail=detail))
    click.echo(f"The issuer {imported.issuer_id[:16]} is in {imported.folder}.")
    click.echo(f"Root fingerprint: {imported.fingerprint}")
    for purpose in imported.closed_purposes:
        click.echo(f"The chain leaves out {purpose}: strict clients refuse its certificates for that purpose.")
    for name in imported.hosts:
        click.echo(
            f"Java takes the common name of {name} for a host's, which the constraints above do not permit: it refuses "
            "every certificate below. Have it signed with a common name of two words."
        )


@issuer.command("list", short_help="The issuers, one a line.")
@json_option
@click.pass_obj
def list_issuers(home: Home, *, as_json: bool) -> None:
    """List the issuers in the home: who signed them, until when they last, and where their keys are."""
    from acme_iid.operations.descriptions.issuers import listed

    show(listed(home.path), as_json=as_json, empty="There is no issuer yet.")


@issuer.command("status", short_help="Every certificate up to the root, with its days left.")
@json_option
@click.pass_obj
def status(home: Home, *, as_json: bool) -> None:
    """Show each certificate from the issuers up to the roots, the OCSP responders, and the revocation lists.

    STATE is an issuer's: prepared, signing, former, retired or compromised; before a server has started all are
    prepared. SERVERS are those that run and hold its key. WARNING is 25 or 10 once no more percent of a life are left.
    ANSWERS says whether a key in a token or behind a program gave a signature just now. FAULT is why it did not, or why
    clients would refuse the answers of a responder.
    """
    from acme_iid.cli import asking
    from acme_iid.operations.descriptions.issuers import statuses
    from acme_iid.store.existing import existing

    # A server asks no key for a signature, and says of no key where it is. In the home no store is needed.
    if asking.server(home) is None:
        with existing(home.config().store.url) as database:
            rows = statuses(home.path, database, int(time.time()))
    else:
        rows = asking.ask("issuer.status")["items"]
    show(rows, as_json=as_json, empty="There is no issuer yet.")
