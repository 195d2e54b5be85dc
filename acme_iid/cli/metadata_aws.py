"""``acme-iid-ca metadata --cloud aws``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import click

from acme_iid.cli.stand_in import Cloud, StandIn, utc_time
from acme_iid.simulator import aws, sts
from acme_iid.simulator.server import MetadataService, TokenAnswers
from acme_iid.simulator.sts import InstanceWithRole, SecurityTokenService

_FACTS = ("account", "region", "instance_id", "image", "instance_type", "private_ip", "pending_time")
_SERVICE = ("imdsv1", "tokens")

_OPTIONS = (
    click.option(
        "--iid-roots-out",
        type=click.Path(dir_okay=False, path_type=Path),
        help="AWS, Azure: where to write the keys' certificates, for the CA's --iid-roots.",
    ),
    click.option("--account", help="AWS: the instance's account."),
    click.option("--region", help="AWS: the instance's region."),
    click.option("--image", help="AWS: the image that the instance runs."),
    click.option("--instance-type", help="AWS: the instance's type."),
    click.option("--private-ip", help="AWS, Azure: the instance's private IPv4 address."),
    click.option(
        "--pending-time", callback=utc_time, help="AWS: when the instance was started, like 2026-01-31T12:00:00Z."
    ),
    click.option("--imdsv1/--no-imdsv1", default=False, help="AWS: answer requests without a token too; off."),
    click.option(
        "--tokens",
        type=click.Choice(get_args(TokenAnswers)),
        default="served",
        help="AWS: how token requests are answered: 'served'; 'closed' and 'silent' are what a hop limit that is too "
        "low looks like.",
    ),
    click.option("--role", help="AWS: the instance's role, which gets web identity tokens from STS on this address."),
)


def _make(keys: Path | None, options: Mapping[str, Any]) -> StandIn:
    instance = aws.Instance(**{name: options[name] for name in _FACTS if name in options})
    signers = aws.Keys.open(keys) if keys is not None else aws.Keys.generate()
    roots, key_set_file = options.get("iid_roots_out"), options.get("jwks_out")
    tree = aws.tree(instance, signers)
    if roots is not None:
        roots.write_bytes(signers.certificates)
    summary = {"instance_id": instance.instance_id, "account": instance.account, "region": instance.region}
    if roots is not None:
        summary["iid_roots"] = str(roots)
    if "role" not in options:
        if key_set_file is not None:
            raise click.UsageError("--jwks-out goes with --role: without one there are no web identity tokens.")
        return StandIn(_imds(tree, options), lambda _url: summary, lambda url: _lines(summary, url))
    issuer = sts.Issuer.open(keys) if keys is not None else sts.Issuer.generate()
    tokens = SecurityTokenService(instance, issuer, options["role"])
    summary |= {"role": tokens.role_arn, "issuer": issuer.url}
    if key_set_file is not None:
        key_set_file.write_bytes(issuer.key_set)
        summary["jwks"] = str(key_set_file)
    return StandIn(
        InstanceWithRole(_imds({**tree, **tokens.metadata}, options), tokens),
        lambda url: {**summary, "sts_url": url, "jwks_url": url + sts.KEYS_PATH},
        lambda url: [*_lines(summary, url), *_role_lines(summary, url)],
    )


def _lines(summary: Mapping[str, str], url: str) -> list[str]:
    roots = summary.get("iid_roots")
    return [
        f"It is the instance {summary['instance_id']} of the account {summary['account']} in {summary['region']}.",
        f"A CA believes it with: acme-iid-ca provisioner add NAME --type AWS --aws-account {summary['account']} "
        f"--iid-roots {roots}"
        if roots
        else "No CA believes its keys: give --iid-roots-out FILE, and that file to the CA as --iid-roots.",
        f"A client uses it with: acme-iid order NAME --metadata-url {url}",
    ]


def _role_lines(summary: Mapping[str, str], url: str) -> list[str]:
    return [
        f"Its role {summary['role']} calls STS at this address too: AWS_ENDPOINT_URL_STS={url}",
        f"Its web identity tokens are issued by {summary['issuer']}, with the keys at {url}{sts.KEYS_PATH}",
    ]


def _imds(tree: aws.Tree, options: Mapping[str, Any]) -> MetadataService:
    return MetadataService(tree, **{name: options[name] for name in _SERVICE if name in options})


def _replay(recording: bytes, options: Mapping[str, Any]) -> StandIn:
    return StandIn(_imds(aws.recorded(recording), options))


AWS = Cloud(
    options=_OPTIONS,
    takes=frozenset({*_FACTS, *_SERVICE, "iid_roots_out", "role", "jwks_out"}),
    make=_make,
    replay=_replay,
    goes_with_replay=frozenset(_SERVICE),
)
