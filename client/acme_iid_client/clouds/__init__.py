"""Evidence of which instance this is, from the metadata service of its cloud.

``CLOUDS`` is the registry. A new cloud is one module here, one line below, and one module on the server's
side (``acme_iid.attestation``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from acme_iid.binding import Binding
from acme_iid.iid01 import IID01Response
from acme_iid_client.clouds import aws, detection, gcp
from acme_iid_client.clouds.aws import AWS
from acme_iid_client.clouds.azure import Azure
from acme_iid_client.clouds.enrolled import Enrolled, load
from acme_iid_client.clouds.gcp import GCP
from acme_iid_client.clouds.metadata import FormatUnavailableError
from acme_iid_client.errors import ClientError


class Cloud(detection.Candidate, Protocol):
    """The metadata service of a cloud.

    :cvar formats: the iid-01 formats that it can give.
    """

    formats: tuple[str, ...]

    def instance(self) -> str:
        """The id of this instance, as ``cloud:id``; read from the metadata service and proven by nobody.

        :raises ClientError: if the metadata service cannot be used, saying why.
        """

    def names(self) -> tuple[str, ...]:
        """The names and addresses that follow from what the instance is, the surest first; proven by nobody.

        :raises ClientError: as :meth:`instance`.
        """

    def facts(self) -> Mapping[str, str]:
        """The metadata service's facts about the instance, for people to read.

        :raises ClientError: as :meth:`instance`.
        """

    def evidence(self, kind: str, binding: Binding) -> IID01Response:
        """The answer to an iid-01 challenge, except for the provisioner's name.

        :param kind: one of :attr:`formats`.
        :param binding: the binding that the evidence must have, where the format can have one.
        :raises FormatUnavailableError: if this instance does not get that kind of evidence.
        :raises ClientError: as :meth:`instance`.
        """


@dataclass(frozen=True, slots=True)
class Collector:
    """A kind of metadata service, and what is known of it before it is asked.

    :ivar at: the service at an address, given the environment; None for the usual one. The third argument is the
        resource for which managed identity tokens are asked, where a cloud has such.
    :ivar formats: the iid-01 formats that it can give.
    :ivar named: whether the environment says where the service is.
    :ivar ipv6: where the service is for instances without IPv4; None where it has no such address.
    """

    at: Callable[[Mapping[str, str], str | None, str | None], Cloud]
    formats: tuple[str, ...]
    named: Callable[[Mapping[str, str]], bool]
    ipv6: str | None = None


CLOUDS = [
    Collector(AWS, AWS.formats, AWS.named, aws.IPV6),
    Collector(GCP, GCP.formats, GCP.named, gcp.IPV6),
    Collector(Azure, Azure.formats, Azure.named),
]
"""The registry, in the order in which clouds count, should several answer."""


def formats() -> tuple[str, ...]:
    """The formats of evidence that some cloud gives."""
    return tuple(name for cloud in CLOUDS for name in cloud.formats)


def here(
    env: Mapping[str, str],
    metadata_url: str | None,
    token_resource: str | None = None,
    notice: Callable[[str], None] = lambda _text: None,
) -> Cloud:
    """The cloud that this machine is in, by what its metadata service answers.

    An address that is given settles where to ask, and its answers settle which cloud it is. Without one, those
    clouds are asked whose address the environment has in their own tools' variables, and else all of them: by IPv4,
    then by IPv6.

    :param env: the environment.
    :param metadata_url: the value of ``--metadata-url``.
    :param token_resource: the resource for which managed identity tokens are asked.
    :param notice: called with a sentence if several clouds answer.
    :raises ClientError: if no cloud answers, or its service cannot be used.
    """
    candidates = [cloud.at(env, metadata_url, token_resource) for cloud in CLOUDS]
    if metadata_url is not None:
        return detection.find(candidates, detection.NAMED_SECONDS, notice)
    named = [cloud for cloud, kind in zip(candidates, CLOUDS, strict=True) if kind.named(env)]
    if named:
        return detection.find(named, detection.NAMED_SECONDS, notice)
    try:
        return detection.find(candidates, detection.SECONDS, notice)
    except detection.NoCloudError as error:
        # An instance without IPv4. Not asked at the same time: where IPv6 leads somewhere else, nobody answers there.
        by_ipv6 = [cloud.at(env, cloud.ipv6, None) for cloud in CLOUDS if cloud.ipv6 is not None]
        try:
            return detection.find(by_ipv6, detection.SECONDS, notice)
        except detection.NoCloudError:
            raise error from None


def at(
    state: Path,
    ca: str,
    env: Mapping[str, str],
    metadata_url: str | None,
    token_resource: str | None = None,
    notice: Callable[[str], None] = lambda _text: None,
) -> Cloud:
    """The proof that this user has for a CA: a key from ``acme-iid enroll --for-user``, or else the machine's cloud.

    :param state: where the user's state is kept.
    :param ca: the name under which the CA's things are kept, its root's fingerprint.
    :raises ClientError: as :func:`here`, or if the file of an enrolled key cannot be read.
    """
    key = load(state, ca)
    return here(env, metadata_url, token_resource, notice) if key is None else Enrolled(key)


def collect(cloud: Cloud, accepted: tuple[str, ...], binding: Binding) -> IID01Response:
    """Evidence in the first of the accepted formats that this machine can give.

    :param accepted: formats, most preferred first.
    :raises FormatUnavailableError: if this machine can give no such evidence.
    :raises ClientError: if the metadata service cannot be used.
    """
    refusals = []
    for kind in accepted:
        if kind in cloud.formats:
            try:
                return cloud.evidence(kind, binding)
            except FormatUnavailableError as error:
                refusals.append(str(error))
    raise FormatUnavailableError(
        " ".join([*refusals, f"This machine ({cloud.title}) can give {', '.join(cloud.formats)}."])
    )


def available(cloud: Cloud, binding: Binding) -> tuple[list[str], dict[str, str]]:
    """The cloud's kinds of evidence that this machine has; it asks for each of them.

    :param binding: one that nobody asked for, so that the evidence opens nothing; the evidence is thrown away.
    :returns: the formats that it has, and why it does not have the others.
    """
    formats_here: list[str] = []
    missing: dict[str, str] = {}
    for kind in cloud.formats:
        try:
            cloud.evidence(kind, binding)
        except ClientError as error:
            missing[kind] = str(error)
        else:
            formats_here.append(kind)
    return formats_here, missing
