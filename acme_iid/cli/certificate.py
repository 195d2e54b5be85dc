"""``acme-iid-ca certificate``: what was issued, shown and revoked."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acme_iid.cli import Home
from acme_iid.cli.acting import Reason, acting, operated
from acme_iid.cli.filters import MOMENT_AHEAD, Criterion, filtered, numbered, on_store, show_page
from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import show_one
from acme_iid.cli.parameters import Checked

if TYPE_CHECKING:
    from acme_iid.store.certificates import Status
    from acme_iid.store.database import Database
    from acme_iid.store.listing import Filter

_serial = click.argument("serial", type=Criterion("serial_number"))


@click.group(short_help="The certificates that were issued.")
def certificate() -> None:
    """List the certificates that were issued here, show one, and revoke them."""


@certificate.command("list", short_help="The certificates that were issued last.")
@click.option("--status", "status_", type=click.Choice(["valid", "expired", "revoked"]), help="Only these.")
@click.option(
    "--expires-before", type=MOMENT_AHEAD, metavar="TIME", help="Only valid ones that end within this time, such as 4h."
)
@click.option(
    "--overdue", is_flag=True, help="Only valid ones whose time for renewal has passed, and that have no successor."
)
@json_option
@filtered("kind", "remote", "bulk")
def list_(
    database: Database,
    filter_: Filter,
    *,
    status_: Status | None,
    expires_before: int | None,
    overdue: bool,
    as_json: bool,
) -> None:
    """List issued certificates, the latest first; --since and --until are about when they were issued."""
    from acme_iid.operations.descriptions import certificates

    if status_ not in (None, "valid") and (overdue or expires_before is not None):
        raise click.UsageError("--overdue and --expires-before are about valid certificates.")
    page = certificates.listed(
        database,
        numbered(filter_),
        int(time.time()),
        of_status=status_,
        ends_before=expires_before,
        overdue=overdue,
    )
    show_page(page, as_json=as_json, empty="No such certificate has been issued yet.")


@certificate.command("show", short_help="One certificate in full.")
@_serial
@click.option("--pem", is_flag=True, help="Print the certificate and its chain instead.")
@json_option
@on_store
def show_certificate(database: Database, serial: int, *, pem: bool, as_json: bool) -> None:
    """Show the certificate with SERIAL (decimal, or hexadecimal after 0x), and who got it."""
    from acme_iid.authority.reading import with_chain
    from acme_iid.operations import criteria
    from acme_iid.operations.descriptions import certificates

    certificate = criteria.certificate(database, serial)
    if pem:
        click.echo(with_chain(database, certificate), nl=False)
        return
    show_one(certificates.whole(certificate, int(time.time())), as_json=as_json)


@certificate.command("renew-now", short_help="Have clients renew certificates, one after another.")
@click.option(
    "--over",
    default="1h",
    show_default=True,
    type=Checked("duration", keep=False),
    metavar="TIME",
    help="The time to spread the renewals over.",
)
@click.option("--reason", type=Reason(), metavar="TEXT", help="The reason; the event has it, beside your name.")
@json_option
@filtered("instance", "limit", "before", "since", "until", "kind", "remote", "bulk")
def renew_now(database: Database, filter_: Filter, *, over: int, reason: str | None, as_json: bool) -> None:
    """Ask the clients of valid certificates to renew them (RFC 9773), spread evenly over a time.

    Clients that ask the CA when to renew see it within minutes; each certificate gets a moment of its own.
    """
    from acme_iid.operations import bulk
    from acme_iid.operations.descriptions.certificates import RenewalsAsked

    store = operated(database, reason)
    asked = sum(step.done for step in bulk.renew_now(store, filter_, over, bulk.Task.new(), int(time.time())))
    done: RenewalsAsked = {"certificates": asked, "seconds": over}
    if as_json:
        click.echo(json.dumps(done))
    else:
        click.echo(f"Asked for the renewal of {asked} certificates over {over} seconds.")


@certificate.command("revoke", short_help="Revoke a certificate.")
@click.argument("serial", type=Criterion("serial_number"), required=False)
@click.option(
    "--cert",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The certificate itself, PEM, instead of SERIAL: one that a restored store does not know can be revoked too.",
)
@click.option(
    "--reason",
    default="unspecified",
    show_default=True,
    help="The reason of RFC 5280, by name such as keyCompromise or by code. superseded closes no names.",
)
@acting("--note")
@click.pass_obj
def revoke(home: Home, database: Database, serial: int | None, file: Path | None, reason: str) -> None:
    """Revoke the certificate with SERIAL (decimal, or hexadecimal after 0x) and close its names to its instance.

    Of a certificate that the store does not know, no name is closed: whose it was is not known.
    """
    from acme_iid.authority import revocation
    from acme_iid.operations import criteria

    if (serial is None) == (file is None):
        raise click.UsageError("give the certificate's serial number, or its file with --cert")
    code, now = revocation.reason_of_text(reason), int(time.time())
    if file is not None:
        serial = _revoke_file(home, database, file, code, now)
    elif serial is not None:
        revocation.revoke_by_operator(database, criteria.certificate(database, serial), code, now)
    click.echo(f"Certificate with Serial Number {serial} has been revoked.")


def _revoke_file(home: Home, database: Database, file: Path, code: int, now: int) -> int:
    """Revoke the first certificate in a file; its serial number."""
    from cryptography.hazmat.primitives.serialization import Encoding

    from acme_iid.authority import revocation, unrecorded
    from acme_iid.issuance.home import issuing_certificates, load_certificates
    from acme_iid.store import certificates

    leaf = load_certificates(file)[0]
    known = certificates.by_serial(database, f"{leaf.serial_number:x}")
    if known is not None and known.der == leaf.public_bytes(Encoding.DER):
        revocation.revoke_by_operator(database, known, code, now)
    else:
        unrecorded.revoke(database, leaf, issuing_certificates(home.path), code, now)
    return leaf.serial_number
