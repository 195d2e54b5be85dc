"""``acme-iid-ca metadata --cloud gcp``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from acme_iid.cli.stand_in import Cloud, StandIn, utc_time
from acme_iid.simulator import gcp
from acme_iid.simulator.gcp import MetadataServer
from acme_iid.simulator.tokens import TokenKey

_FACTS = ("project", "project_number", "zone", "instance_name", "instance_id", "service_account", "created")

_OPTIONS = (
    click.option("--project", help="GCP: the id of the instance's project."),
    click.option("--project-number", type=click.IntRange(1, 2**53), help="GCP: the project's number."),
    click.option("--zone", help="GCP: the instance's zone."),
    click.option("--instance-name", help="GCP: the instance's name."),
    click.option("--service-account", help="GCP: the email address of the instance's service account."),
    click.option("--created", callback=utc_time, help="GCP: when the instance was made, like 2026-01-31T12:00:00Z."),
)


def _make(keys: Path | None, options: Mapping[str, Any]) -> StandIn:
    instance = gcp.Instance(**{name: options[name] for name in _FACTS if name in options})
    key = TokenKey.open(keys / "gcp.pem") if keys is not None else TokenKey.generate()
    server = MetadataServer.of(instance, key)
    summary = {
        "instance_id": instance.instance_id,
        "instance_name": instance.instance_name,
        "project": instance.project,
        "project_number": str(instance.project_number),
        "zone": instance.zone,
    }
    if "jwks_out" in options:
        options["jwks_out"].write_bytes(server.key_set)
        summary["jwks"] = str(options["jwks_out"])
    return StandIn(server, lambda url: {**summary, "jwks_url": url + gcp.KEYS_PATH}, lambda url: _lines(instance, url))


def _lines(instance: gcp.Instance, url: str) -> list[str]:
    return [
        f"It is the instance {instance.instance_id} of the project {instance.project} in {instance.zone}.",
        f"Its tokens are signed with the keys at {url}{gcp.KEYS_PATH}; no CA believes them until it is given these.",
        f"A client uses it with: acme-iid order NAME --metadata-url {url}",
    ]


def _replay(recording: bytes, _given: Mapping[str, Any]) -> StandIn:
    return StandIn(MetadataServer.recorded(recording), lambda url: {"jwks_url": url + gcp.KEYS_PATH})


GCP = Cloud(options=_OPTIONS, takes=frozenset({*_FACTS, "jwks_out"}), make=_make, replay=_replay)
