"""acme-iid enroll."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from acme_iid_client.cli import options
from acme_iid_client.storage.directories import Directories

if TYPE_CHECKING:
    from acme_iid_client.acme.known_ca import KnownCA
    from acme_iid_client.clouds import Cloud

_FORMATS = (
    "text", "json", "env", "caddy", "traefik", "lego", "acme.sh", "cert-manager", "certbot", "uacme", "dehydrated",
)  # fmt: skip


@click.command("enroll")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--format",
    "kind",
    type=click.Choice(_FORMATS),
    default="text",
    show_default=True,
    help="How to print the key: in the form that a client takes.",
)
@click.option(
    "--for-user", "user", metavar="USER", help="Let USER's own 'acme-iid order' use it; nothing secret is printed."
)
@click.option(
    "--renew", is_flag=True, help="Prove the names of enrolments again: of all, or of those with these NAMES."
)
@options.provisioner
@options.ca_url
@options.root
@options.account_key
@options.account_conditions
@options.metadata_url
@options.token_resource
@options.timeout
@click.pass_obj
def command(
    where: Directories,
    names: tuple[str, ...],
    kind: str,
    user: str | None,
    renew: bool,
    provisioner: str | None,
    ca_url: str | None,
    root: Path | None,
    metadata_url: str | None,
    token_resource: str | None,
    timeout: float,
) -> None:
    """Let a client that has no evidence get certificates for NAMES; without NAME, for all that this instance may hold.

    This machine proves the names, and the CA gives an external account key: its id and its HMAC key. Caddy, certbot,
    lego and others register with it, once and within ten minutes. Their orders for these names need no challenge, as
    long as the proof is not too old (7 days, unless the CA says otherwise) and the instance keeps its names.
    'acme-iid enroll --renew' proves them anew; a timer is among the examples.
    """
    import json
    import os

    from acme_iid_client import clouds
    from acme_iid_client.acme import enrolment, known_ca
    from acme_iid_client.acme.order import Request
    from acme_iid_client.cli import client_snippets
    from acme_iid_client.cli.terminal import notice
    from acme_iid_client.clouds.enrolled import EnrolledKey
    from acme_iid_client.deadline import Deadline
    from acme_iid_client.errors import ClientError
    from acme_iid_client.x509 import keys
    from acme_iid_client.x509 import names as spelling

    if renew and (user is not None or kind not in ("text", "json")):
        raise click.UsageError("--renew gives no key, so neither --for-user nor --format goes with it.")
    try:
        requested = list(dict.fromkeys(spelling.canonical(name) for name in names))
    except ClientError as error:
        raise click.UsageError(str(error)) from error
    ca = known_ca.load(where, ca_url, root)
    key_type = keys.KeyType("EC", "P-256")
    cloud = clouds.at(where.state, ca.identity, os.environ, metadata_url, token_resource or ca.token_resource, notice)
    if renew:
        _renew(where, ca, cloud, requested, provisioner, timeout, as_json=kind == "json")
        return
    if user is not None:
        from acme_iid_client.acme.handover import require_user

        require_user(user)
    request = Request(requested, key_type, provisioner)
    if not requested:
        request = Request([cloud.names()[0]], key_type, provisioner, further="all")
    made, key = enrolment.enrol(request, None, ca, where.state, cloud, Deadline(timeout), notice)
    assert key is not None
    enrolment.keep(where.state, ca, made)
    if user is not None:
        from acme_iid_client.acme.handover import hand_to

        file = hand_to(user, ca, EnrolledKey(ca.ca_url, made.id, made.names, key.kid, key.hmac_key))
        click.echo(f"{user} can run 'acme-iid order {made.names[0]}' until {key.expires}; the key is in {file}.")
        return
    if kind == "json":
        facts = {
            "server": ca.directory_url,
            "ca_bundle": str(ca.roots_file),
            "kid": key.kid,
            "hmac_key": key.hmac_key,
            "expires": key.expires,
            "names": list(made.names),
            "until": made.until,
            "enrolment": made.id,
        }
        click.echo(json.dumps(facts, indent=2))
        return
    settings = client_snippets.Settings(ca.directory_url, ca.roots_file.absolute(), key.kid, key.hmac_key, made.names)
    click.echo(client_snippets.FORMATS[kind](settings), nl=False)
    notice(f"The key makes one account, until {key.expires}. Its orders are good until {made.until}.")


def _renew(
    where: Directories,
    ca: KnownCA,
    cloud: Cloud,
    requested: list[str],
    provisioner: str | None,
    timeout: float,
    *,
    as_json: bool,
) -> None:
    """Prove anew what was enrolled, each independently of the others."""
    import json

    from acme_iid_client.acme import enrolment
    from acme_iid_client.acme.connection import CaError
    from acme_iid_client.acme.order import Request
    from acme_iid_client.cli.terminal import notice
    from acme_iid_client.deadline import Deadline
    from acme_iid_client.errors import LOCAL, ClientError
    from acme_iid_client.x509 import keys

    known = [entry for entry in enrolment.kept(where.state, ca) if not requested or set(entry.names) == set(requested)]
    if not known:
        which = " for these names" if requested else ""
        raise ClientError(f"This machine has no enrolment{which}. 'acme-iid enroll' makes one.")
    failures: list[str] = []
    renewed = []
    worst = LOCAL
    for entry in known:
        request = Request(list(entry.names), keys.KeyType("EC", "P-256"), provisioner)
        try:
            made, _ = enrolment.enrol(request, entry.id, ca, where.state, cloud, Deadline(timeout), notice)
        except ClientError as error:
            failures.append(f"{', '.join(entry.names)}: {error}")
            worst = min(worst, error.exit_status)
            if isinstance(error, CaError) and "the enrolment has ended" in str(error):
                enrolment.forget(where.state, ca, entry)
            continue
        enrolment.keep(where.state, ca, made)
        renewed.append({"enrolment": made.id, "names": list(made.names), "until": made.until})
        if not as_json:
            click.echo(f"{', '.join(made.names)}: enrolled until {made.until}.")
    if as_json:
        click.echo(json.dumps(renewed, indent=2))
    if failures:
        failed = ClientError("\n".join([f"{len(failures)} of {len(known)} enrolments were not extended.", *failures]))
        failed.exit_status = worst
        raise failed
