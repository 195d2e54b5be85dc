"""``acme-iid-ca metadata``: a stand-in for a cloud's metadata service, for trying things out without a cloud.

What is particular to a cloud stands in a module of its own (``metadata_aws``, ``metadata_gcp``, ``metadata_azure``).
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from acme_iid.cli.metadata_aws import AWS
from acme_iid.cli.metadata_azure import AZURE
from acme_iid.cli.metadata_gcp import GCP
from acme_iid.cli.stand_in import Cloud, StandIn
from acme_iid.simulator.listener import listening

CLOUDS: Mapping[str, Cloud] = {"aws": AWS, "gcp": GCP, "azure": AZURE}

_COMMON = frozenset({"cloud", "listen", "keys", "replay", "as_json"})


def _listen(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter("give an address and a port, like 127.0.0.1:8080 or [::1]:0", context, parameter)
    return host.removeprefix("[").removesuffix("]"), int(port)


def _cloud_options(command: Callable[..., None]) -> Callable[..., None]:
    for cloud in reversed(list(CLOUDS.values())):
        for option in reversed(cloud.options):
            command = option(command)
    return command


@click.command(short_help="Stand in for a cloud's metadata service.")
@click.option("--cloud", type=click.Choice(list(CLOUDS)), default="aws", show_default=True, help="Whose service to be.")
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
    "--replay",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Serve a recorded real document (JSON) instead of signing one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.option("--instance-id", help="The instance's id; a new one when not given.")
@click.option(
    "--jwks-out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the key set that its tokens verify with, for a CA that pins it.",
)
@_cloud_options
@click.pass_context
def metadata(
    context: click.Context,
    /,
    *,
    cloud: str,
    listen: tuple[str, int],
    keys: Path | None,
    replay: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Stand in for a cloud's metadata service on this machine.

    Speaks the cloud's own HTTP and signs identity documents in the cloud's own byte shape, with throw-away
    keys that no CA believes until it is told to. Stop it with Ctrl-C.
    """
    chosen = {
        name: value
        for name, value in options.items()
        if value is not None and context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    _check_options(context, cloud, chosen)
    try:
        made = CLOUDS[cloud].make(keys, chosen) if replay is None else _replayed(CLOUDS[cloud], replay, keys, chosen)
        # Blocked before any thread starts, so that a signal waits for sigwait() below and interrupts nothing.
        signals = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        with listening(made.service, listen) as service:
            if as_json:
                click.echo(json.dumps({"url": service.url, "cloud": cloud, **made.summary(service.url)}))
            else:
                click.echo("\n".join([f"Metadata service: {service.url}", *made.lines(service.url)]))
            signal.sigwait(signals)
    except OSError as error:
        where = error.filename or f"{listen[0]}:{listen[1]}"
        raise click.ClickException(f"{where}: {error.strerror}.") from error
    except ValueError as error:
        raise click.ClickException(f"{error}.") from error


def _check_options(context: click.Context, cloud: str, chosen: Mapping[str, Any]) -> None:
    for parameter in context.command.params:
        if parameter.name in chosen and parameter.name not in CLOUDS[cloud].takes | _COMMON:
            raise click.UsageError(f"{parameter.opts[0]} does not go with --cloud {cloud}.")


def _replayed(cloud: Cloud, replay: Path, keys: Path | None, chosen: Mapping[str, Any]) -> StandIn:
    if keys is not None or chosen.keys() - cloud.goes_with_replay:
        raise click.UsageError(
            "--replay serves what was recorded: options about keys or the instance do not go with it."
        )
    try:
        made = cloud.replay(replay.read_bytes(), chosen)
    except ValueError as error:
        raise ValueError(f"{replay} cannot be replayed: {error}") from error
    line = f"It serves the document recorded in {replay}."
    return StandIn(
        made.service,
        made.summary,
        lambda url: [line, f"A client uses it with: acme-iid order NAME --metadata-url {url}"],
    )
