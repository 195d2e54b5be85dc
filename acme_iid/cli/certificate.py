"""``acme-iid-ca certificate``: what was issued, shown and revoked."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acme_iid.cli import Home
from acme_iid.cli.acting import operated, reason_option
from acme_iid.cli.filters import MOMENT_AHEAD, Criterion, Filters, filtered, require_number, show_page
from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import show_one
from acme_iid.cli.parameters import Checked

if TYPE_CHECKING:
    from acme_iid.operations.descriptions.certificates import RenewalsAsked

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
def list_(filters: Filters, *, status_: str | None, expires_before: str | None, overdue: bool, as_json: bool) -> None:
    """List issued certificates, the latest first; --since and --until are about when they were issued."""
    from acme_iid.cli import asking

    if status_ not in (None, "valid") and (overdue or expires_before is not None):
        raise click.UsageError("--overdue and --expires-before are about valid certificates.")
    require_number(filters)
    page = asking.page("certificate.list", status=status_, expires_before=expires_before, overdue=overdue, **filters)
    show_page(page, as_json=as_json, empty="No such certificate has been issued yet.")


@certificate.command("show", short_help="One certificate in full.")
@_serial
@click.option("--pem", is_flag=True, help="Print the certificate and its chain instead.")
@json_option
def show_certificate(serial: str, *, pem: bool, as_json: bool) -> None:
    """Show the certificate with SERIAL (decimal, or hexadecimal after 0x), and who got it."""
    from acme_iid.cli.asking import ask

    if pem:
        click.echo(ask("certificate.pem", serial=serial), nl=False)
        return
    show_one(ask("certificate.show", serial=serial), as_json=as_json)


@certificate.command("renew-now", short_help="Have clients renew certificates, one after another.")
@click.option(
    "--over",
    default="1h",
    show_default=True,
    type=Checked("duration"),
    metavar="TIME",
    help="The time to spread the renewals over.",
)
@reason_option()
@json_option
@filtered("instance", "limit", "before", "since", "until", "kind", "remote", "bulk")
def renew_now(filters: Filters, *, over: str, act_reason: str | None, as_json: bool) -> None:
    """Ask the clients of valid certificates to renew them (RFC 9773), spread evenly over a time.

    Clients that ask the CA when to renew see it within minutes; each certificate gets a moment of its own.
    """
    from acme_iid.cli.asking import ask

    done: RenewalsAsked = ask("certificate.renew_now", over=over, reason=act_reason, **filters)
    if as_json:
        click.echo(json.dumps(done))
    else:
        click.echo(f"Asked for the renewal of {done['certificates']} certificates over {done['seconds']} seconds.")


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
@reason_option("--note")
@click.pass_obj
def revoke(home: Home, serial: str | None, file: Path | None, reason: str, act_reason: str | None) -> None:
    """Revoke the certificate with SERIAL (decimal, or hexadecimal after 0x) and close its names to its instance.

    Of a certificate that the store does not know, no name is closed: whose it was is not known.
    """
    from acme_iid.authority import revocation

    if (serial is None) == (file is None):
        raise click.UsageError("give the certificate's serial number, or its file with --cert")
    code = revocation.reason_of_text(reason)
    if file is not None:
        number = str(_revoke_file(home, file, code, act_reason))
    else:
        from acme_iid.cli.asking import ask

        number = ask("certificate.revoke", serial=serial, reason=reason, note=act_reason)["serial"]
    click.echo(f"Certificate with Serial Number {number} has been revoked.")


def _revoke_file(home: Home, file: Path, code: int, why: str | None) -> int:
    """Revoke the first certificate in a file; its serial number. A server is not asked for this."""
    from cryptography.hazmat.primitives.serialization import Encoding

    from acme_iid.authority import revocation, unrecorded
    from acme_iid.issuance.home import issuing_certificates, load_certificates
    from acme_iid.store import certificates
    from acme_iid.store.database import open_store

    now, folder = int(time.time()), home.path
    with closing(operated(open_store(home.config().store.url), why)) as database:
        leaf = load_certificates(file)[0]
        known = certificates.by_serial(database, f"{leaf.serial_number:x}")
        if known is not None and known.der == leaf.public_bytes(Encoding.DER):
            revocation.revoke_by_operator(database, known, code, now)
        else:
            unrecorded.revoke(database, leaf, issuing_certificates(folder), code, now)
    return leaf.serial_number
