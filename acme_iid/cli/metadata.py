"""``acme-iid-ca metadata``: a stand-in for a cloud's metadata service, for trying things out without a cloud."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import click

from acme_iid.simulator import aws
from acme_iid.simulator.server import TokenAnswers, serve


def _listen(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter("give an address and a port, like 127.0.0.1:8080 or [::1]:0", context, parameter)
    return host.removeprefix("[").removesuffix("]"), int(port)


def _seconds(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return int(datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
    except ValueError as error:
        raise click.BadParameter("give a time in UTC, like 2026-01-31T12:00:00Z", context, parameter) from error


@click.command(short_help="Stand in for a cloud's metadata service.")
@click.option("--cloud", type=click.Choice(["aws"]), default="aws", show_default=True, help="Whose service to be.")
@click.option(
    "--listen",
    default="127.0.0.1:0",
    show_default=True,
    callback=_listen,
    help="Where to listen; port 0 is a free one.",
)
@click.option(
    "--keys",
    type=click.Path(file_okay=False, path_type=Path),
    help="A directory for the throw-away keys, made there when missing. Without it they are forgotten at the end.",
)
@click.option(
    "--iid-roots-out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the keys' certificates, for the CA's --iid-roots.",
)
@click.option("--account", help="The instance's AWS account.")
@click.option("--region", help="The instance's region.")
@click.option("--instance-id", help="The instance's id; a new one when not given.")
@click.option("--image", help="The image that the instance runs.")
@click.option("--instance-type", help="The instance's type.")
@click.option("--private-ip", help="The instance's private IPv4 address.")
@click.option("--pending-time", callback=_seconds, help="When the instance was started, like 2026-01-31T12:00:00Z.")
@click.option("--imdsv1/--no-imdsv1", default=False, show_default=True, help="Answer requests without a token too.")
@click.option(
    "--tokens",
    type=click.Choice(get_args(TokenAnswers)),
    default="served",
    show_default=True,
    help="How token requests are answered; 'closed' and 'silent' are what a hop limit that is too low looks like.",
)
@click.option(
    "--replay",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Serve a recorded real document (JSON) instead of signing one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def metadata(
    *,
    cloud: str,
    listen: tuple[str, int],
    keys: Path | None,
    iid_roots_out: Path | None,
    imdsv1: bool,
    tokens: TokenAnswers,
    replay: Path | None,
    as_json: bool,
    **facts: str | int | None,
) -> None:
    """Stand in for a cloud's metadata service on this machine.

    Speaks the cloud's own HTTP and signs identity documents in the cloud's own byte shape, with throw-away
    keys that no CA believes until it is told to. Stop it with Ctrl-C.
    """
    given = {name: value for name, value in facts.items() if value is not None}
    try:
        if replay is not None:
            tree, roots, shown = _replayed(replay, keys, iid_roots_out, given), None, {}
        else:
            instance = aws.Instance(**given)  # type: ignore[arg-type]  # each option has its field's type
            signers = aws.Keys.open(keys) if keys is not None else aws.Keys.generate()
            tree, roots = aws.tree(instance, signers), iid_roots_out
            shown = {"instance_id": instance.instance_id, "account": instance.account, "region": instance.region}
            if roots is not None:
                roots.write_bytes(signers.certificates)
        # Blocked before any thread starts, so that a signal waits for sigwait() below and interrupts nothing.
        signals = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        with serve(tree, listen=listen, imdsv1=imdsv1, tokens=tokens) as service:
            summary = {"url": service.url, "cloud": cloud, **shown, **({"iid_roots": str(roots)} if roots else {})}
            _announce(summary, replay=replay, as_json=as_json)
            signal.sigwait(signals)
    except OSError as error:
        where = error.filename or f"{listen[0]}:{listen[1]}"
        raise click.ClickException(f"{where}: {error.strerror}.") from error
    except ValueError as error:
        raise click.ClickException(f"{error}.") from error


def _replayed(replay: Path, keys: Path | None, iid_roots_out: Path | None, facts: dict[str, str | int]) -> aws.Tree:
    if keys is not None or iid_roots_out is not None or facts:
        raise click.UsageError(
            "--replay serves what was recorded: options about keys or the instance do not go with it."
        )
    try:
        return aws.recorded(replay.read_bytes())
    except ValueError as error:
        raise ValueError(f"{replay} cannot be replayed: {error}") from error


def _announce(summary: dict[str, str], *, replay: Path | None, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(summary))
        return
    click.echo(f"Metadata service: {summary['url']}")
    if replay is not None:
        click.echo(f"It serves the document recorded in {replay}.")
    else:
        click.echo(
            f"It is the instance {summary['instance_id']} of the account {summary['account']} in {summary['region']}."
        )
        roots = summary.get("iid_roots")
        click.echo(
            f"A CA believes it with: acme-iid-ca provisioner add NAME --type AWS --aws-account {summary['account']} "
            f"--iid-roots {roots}"
            if roots
            else "No CA believes its keys: give --iid-roots-out FILE, and that file to the CA as --iid-roots."
        )
    click.echo(f"A client uses it with: acme-iid order NAME --metadata-url {summary['url']}")
