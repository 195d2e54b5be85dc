"""The clouds that the CA knows: one descriptor each, and everything else is asked of these.

``docs/contributing/adding-a-cloud.md`` says how another one is added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import overload

from acme_iid.policy.clouds import aws, azure, gcp
from acme_iid.policy.clouds.cloud_type import CloudType, EvidenceFormat
from acme_iid.protocol.resources import InstanceKey

CLOUD_TYPES: dict[str, CloudType] = {entry.type: entry for entry in (aws.CLOUD_TYPE, gcp.CLOUD_TYPE, azure.CLOUD_TYPE)}
"""The registry, by the ``type`` of a provisioner, in the order in which lists show them."""


def of_cloud(cloud: str) -> CloudType:
    """The descriptor of a cloud, by its name in ids and events.

    :raises LookupError: for a cloud that nobody described; nothing is recorded or admitted under a guess.
    """
    for entry in CLOUD_TYPES.values():
        if entry.cloud == cloud:
            return entry
    raise LookupError(f"no descriptor of the cloud {cloud!r} is registered")


def formats() -> Mapping[str, EvidenceFormat]:
    """All formats of evidence by their names."""
    return {name: entry for cloud_type in CLOUD_TYPES.values() for name, entry in cloud_type.formats.items()}


def is_cloud_name(value: str) -> bool:
    """Whether a dns name is one that some cloud gives to its instances."""
    return any(entry.own_name.match(value) for entry in CLOUD_TYPES.values())


def is_whole_id(text: str) -> bool:
    """Whether a text is the whole id of an instance, as evidence would name it."""
    return any(entry.instance_id.fullmatch(text) for entry in CLOUD_TYPES.values())


def is_owner(text: str) -> bool:
    """Whether a text is the id of an owner, as the ids of instances have it: an account, not its name."""
    return any(entry.owner_id.fullmatch(text) for entry in CLOUD_TYPES.values())


def region_of(instance_id: str) -> str | None:
    """The region that an instance's whole id names; None if it names none."""
    for entry in CLOUD_TYPES.values():
        if match := entry.instance_id.fullmatch(instance_id):
            return match.groupdict().get("region")
    return None


@overload
def instance_key(instance_id: str) -> InstanceKey: ...
@overload
def instance_key(instance_id: None) -> None: ...
@overload
def instance_key(instance_id: str | None) -> InstanceKey | None: ...


def instance_key(instance_id: str | None) -> InstanceKey | None:
    """An instance's whole id, with the cloud and the owner that it names; None for None, a host's.

    :raises LookupError: for an id that no registered cloud gives.
    """
    if instance_id is None:
        return None
    cloud_type = of_cloud(instance_id.partition(":")[0])
    match = cloud_type.instance_id.fullmatch(instance_id)
    if match is None:
        raise LookupError(f"{instance_id!r} is no instance's id of the cloud {cloud_type.cloud!r}")
    return InstanceKey(instance_id, cloud_type.cloud, match["owner"])


def one_of(texts: Sequence[str]) -> str:
    """A choice in words: ``a``, ``a or b``, ``a, b or c``."""
    return " or ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))
