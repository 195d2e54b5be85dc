"""``acme-iid-ca certificate``: what was issued, shown and revoked."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acme_iid.cli import Home
from acme_iid.cli.acting import Reason, acting, operated
from acme_iid.cli.filters import Ahead, filtered, numbered, on_store, one_more, show_page
from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import show_one, timestamp
from acme_iid.cli.parameters import Checked

if TYPE_CHECKING:
    from acme_iid.protocol.resources import Certificate
    from acme_iid.store.certificates import Status
    from acme_iid.store.database import Database
    from acme_iid.store.listing import Filter

# int() takes blanks, signs, low lines and the digits of all scripts, too.
_DECIMAL = re.compile(r"[0-9]+", re.ASCII)
_HEXADECIMAL = re.compile(r"0[xX]([0-9A-Fa-f]+)", re.ASCII)
_COLONS = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})+", re.ASCII)
_MOST_DIGITS = 100


class _Serial(click.ParamType[int]):
    """A serial number as people meet it: decimal, hexadecimal after 0x, or openssl's pairs with colons."""

    name = "serial"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        if isinstance(value, int):
            return value
        number = _number(value)
        # 20 octets at most (RFC 5280 section 4.1.2.2).
        if number is None or number >= 1 << 160:
            self.fail("a serial number is decimal, or hexadecimal after 0x", param, ctx)
        return number


def _number(text: str) -> int | None:
    """The number in a text; None if the text is not a number."""
    # More digits than this are no serial number, and take long to read.
    if len(text) > _MOST_DIGITS:
        return None
    if match := _HEXADECIMAL.fullmatch(text):
        return int(match[1], 16)
    if _COLONS.fullmatch(text):
        return int(text.replace(":", ""), 16)
    return int(text) if _DECIMAL.fullmatch(text) else None


_serial = click.argument("serial", type=_Serial())


def status(certificate: Certificate, now: int) -> Status:
    """The status of a certificate at a time, as people are shown it."""
    if certificate.revoked_at is not None:
        return "revoked"
    return "valid" if certificate.not_after > now else "expired"


def _row(certificate: Certificate, now: int) -> dict[str, object]:
    return {
        "serial": str(int(certificate.serial, 16)),
        "names": [name.value for name in certificate.names],
        "status": status(certificate, now),
        "not_after": timestamp(certificate.not_after),
        "instance": certificate.instance,
        "account": certificate.account_id,
    }


def _find(database: Database, serial: int) -> Certificate:
    from acme_iid.store import certificates

    certificate = certificates.by_serial(database, f"{serial:x}")
    if certificate is None:
        raise click.ClickException(f"no certificate with the serial number {serial} was issued here")
    return certificate


@click.group(short_help="The certificates that were issued.")
def certificate() -> None:
    """List the certificates that were issued here, show one, and revoke them."""


@certificate.command("list", short_help="The certificates that were issued last.")
@click.option("--status", "status_", type=click.Choice(["valid", "expired", "revoked"]), help="Only these.")
@click.option(
    "--expires-before", type=Ahead(), metavar="TIME", help="Only valid ones that end within this time, such as 4h."
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
    from acme_iid.store import certificates, fleet

    if status_ not in (None, "valid") and (overdue or expires_before is not None):
        raise click.UsageError("--overdue and --expires-before are about valid certificates.")
    now, wanted = int(time.time()), one_more(numbered(filter_))
    if overdue:
        found = fleet.overdue(database, wanted, now, ends_before=expires_before)
    else:
        status_ = status_ if expires_before is None else "valid"
        found = certificates.page(database, wanted, status_, now, ends_before=expires_before)
    rows = [(certificates.position(entry), _row(entry, now)) for entry in found]
    show_page(rows, filter_, as_json=as_json, empty="No such certificate has been issued yet.")


@certificate.command("show", short_help="One certificate in full.")
@_serial
@click.option("--pem", is_flag=True, help="Print the certificate and its chain instead.")
@json_option
@on_store
def show_certificate(database: Database, serial: int, *, pem: bool, as_json: bool) -> None:
    """Show the certificate with SERIAL (decimal, or hexadecimal after 0x), and who got it."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    from acme_iid.authority.reading import with_chain
    from acme_iid.authority.revocation import REASONS

    certificate = _find(database, serial)
    if pem:
        click.echo(with_chain(database, certificate), nl=False)
        return
    reason = certificate.revocation_reason
    row = {
        **_row(certificate, int(time.time())),
        "serial_hex": f"{serial:x}",
        "provisioner": certificate.provisioner,
        "profile": certificate.profile,
        "order": certificate.id,
        "issued": timestamp(certificate.issued_at),
        "not_before": timestamp(certificate.not_before),
        "revoked": timestamp(certificate.revoked_at),
        "revocation_reason": None if reason is None else REASONS[reason],
        "revoked_by": certificate.revoked_by,
        "key_sha256": certificate.key_id,
        "fingerprint": x509.load_der_x509_certificate(certificate.der).fingerprint(SHA256()).hex(),
    }
    show_one(row, as_json=as_json)


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

    store = operated(database, reason)
    asked = sum(step.done for step in bulk.renew_now(store, filter_, over, bulk.Task.new(), int(time.time())))
    if as_json:
        click.echo(json.dumps({"certificates": asked, "seconds": over}))
    else:
        click.echo(f"Asked for the renewal of {asked} certificates over {over} seconds.")


@certificate.command("revoke", short_help="Revoke a certificate.")
@click.argument("serial", type=_Serial(), required=False)
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

    if (serial is None) == (file is None):
        raise click.UsageError("give the certificate's serial number, or its file with --cert")
    code, now = revocation.reason_of_text(reason), int(time.time())
    if file is not None:
        serial = _revoke_file(home, database, file, code, now)
    elif serial is not None:
        revocation.revoke_by_operator(database, _find(database, serial), code, now)
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
