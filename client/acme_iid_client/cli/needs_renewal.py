"""acme-iid needs-renewal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from acme_iid_client.cli import options

_DUE, _NOT_DUE, _NO_SUCH_FILE, _ERROR = 0, 1, 2, 255


class _NoSuchFile(click.ClickException):
    exit_code = _NO_SUCH_FILE


class _Failed(click.ClickException):
    exit_code = _ERROR


class _WrongUsage(click.UsageError):
    exit_code = _ERROR


class _Answering(click.Command):
    """A command with its answer as the exit status, so that wrong usage has another status than elsewhere."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As in click; wrong usage exits with 255."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise _WrongUsage(error.format_message(), error.ctx) from error


@click.command("needs-renewal", cls=_Answering)
@click.argument("crt", type=options.FILE)
@click.option(
    "--expires-in",
    metavar="LEFT",
    help="Call it due with about this much of its life left: 8h, 1d12h, or a share like 25% (default: a third).",
)
@options.json
@click.pass_context
def command(context: click.Context, crt: Path, expires_in: str | None, as_json: bool) -> None:
    """Say whether the certificate in CRT is due for renewal. The answer comes from the file and the clock alone.

    The exit status is the answer: 0 if it is due or has expired, 1 if it is not, 2 if there is no such file, and 255
    for any other error. So other commands can depend on it: 'acme-iid needs-renewal foo.crt && acme-iid renew foo.crt
    foo.key'.
    """
    import json
    from datetime import UTC, datetime

    from acme_iid_client.cli.terminal import printable
    from acme_iid_client.errors import ClientError
    from acme_iid_client.renewal import schedule
    from acme_iid_client.x509 import certificates

    try:
        leaf = certificates.load_certificates(crt.read_bytes())[0]
        due = schedule.planned_at(leaf, None, expires_in)
    except FileNotFoundError as error:
        raise _NoSuchFile(printable(f"{crt} does not exist.")) from error
    except OSError as error:
        raise _Failed(printable(f"{crt}: {error.strerror or error}.")) from error
    except (ClientError, OverflowError) as error:
        raise _Failed(printable(f"{crt}: {error}")) from error
    needed = datetime.now(UTC) >= due
    times = certificates.rfc3339(leaf.not_valid_after_utc), certificates.rfc3339(due)
    if as_json:
        click.echo(json.dumps({"needs_renewal": needed, "not_after": times[0], "due": times[1]}))
    else:
        since = "has been due for renewal since" if needed else "is due for renewal from"
        click.echo(printable(f"{crt} expires at {times[0]} and {since} {times[1]}{'' if needed else ' on'}."))
    context.exit(_DUE if needed else _NOT_DUE)
