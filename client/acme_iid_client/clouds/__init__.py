"""Evidence of which instance this is, from the metadata service of its cloud.

``CLOUDS`` is the registry. A new cloud is one module here, one line below, and one module on the server's
side (``acme_iid.attestation``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        """Which instance this is, as ``cloud:id``; read from the metadata service and proven by nobody.

        :raises ClientError: if the metadata service cannot be used, saying why.
        """

    def names(self) -> tuple[str, ...]:
        """The names and addresses that follow from what the instance is, the surest first; proven by nobody.

        :raises ClientError: as :meth:`instance`.
        """

    def facts(self) -> Mapping[str, str]:
        """What the metadata service says about the instance, for people to read.

        :raises ClientError: as :meth:`instance`.
        """

    def evidence(self, kind: str, binding: Binding) -> IID01Response:
        """The answer to an iid-01 challenge, except for the provisioner's name.

        :param kind: one of :attr:`formats`.
        :param binding: what it must be bound to, where the format can be.
        :raises FormatUnavailableError: if this instance does not get that kind of evidence.
        :raises ClientError: as :meth:`instance`.
        """


CLOUDS: tuple[type[AWS | GCP | Azure], ...] = (AWS, GCP, Azure)
"""In the order in which they count, should several answer."""

COLLECTORS = {kind: cloud for cloud in CLOUDS for kind in cloud.formats}
"""The formats of evidence, each with the cloud that gives it."""


def here(
    env: Mapping[str, str],
    metadata_url: str | None,
    azure_resource: str | None = None,
    notice: Callable[[str], None] = lambda _text: None,
) -> Cloud:
    """The cloud that this machine is in, by what its metadata service answers.

    An address that is given settles where to ask, and its answers settle which cloud it is. Without one, those
    clouds are asked whose address the environment has in their own tools' variables, and else all of them: by IPv4,
    then by IPv6.

    :param env: the environment.
    :param metadata_url: what ``--metadata-url`` says.
    :param azure_resource: what managed identity tokens are asked for.
    :param notice: called with a sentence if several clouds answer.
    :raises ClientError: if there is none, or its service cannot be used.
    """
    candidates: list[Cloud] = [
        AWS(env, metadata_url),
        GCP(env, metadata_url),
        Azure(env, metadata_url, azure_resource),
    ]
    if metadata_url is not None:
        return detection.find(candidates, detection.NAMED_SECONDS, notice)
    named = [cloud for cloud, kind in zip(candidates, CLOUDS, strict=True) if kind.named(env)]
    if named:
        return detection.find(named, detection.NAMED_SECONDS, notice)
    try:
        return detection.find(candidates, detection.SECONDS, notice)
    except detection.NoCloudError as error:
        # An instance without IPv4. Not asked at the same time: where IPv6 leads somewhere else, nobody answers there.
        by_ipv6: list[Cloud] = [AWS(env, aws.IPV6), GCP(env, gcp.IPV6)]
        try:
            return detection.find(by_ipv6, detection.SECONDS, notice)
        except detection.NoCloudError:
            raise error from None


def at(
    state: Path,
    ca: str,
    env: Mapping[str, str],
    metadata_url: str | None,
    azure_resource: str | None = None,
    notice: Callable[[str], None] = lambda _text: None,
) -> Cloud:
    """What speaks for this user at a CA: what ``acme-iid enroll --for-user`` gave, or else the machine's cloud.

    :param state: where the user's state is kept.
    :param ca: what the CA's things are kept under, its root's fingerprint.
    :raises ClientError: as :func:`here`, or if what was given cannot be read.
    """
    given = load(state, ca)
    return here(env, metadata_url, azure_resource, notice) if given is None else Enrolled(given)


def collect(cloud: Cloud, wanted: tuple[str, ...], binding: Binding) -> IID01Response:
    """Evidence in the first of the wanted formats that this machine can give.

    :param wanted: formats, most preferred first.
    :raises FormatUnavailableError: if there is none.
    :raises ClientError: if the metadata service cannot be used.
    """
    refusals = []
    for kind in wanted:
        if kind in cloud.formats:
            try:
                return cloud.evidence(kind, binding)
            except FormatUnavailableError as error:
                refusals.append(str(error))
    raise FormatUnavailableError(
        " ".join([*refusals, f"This machine ({cloud.title}) can give {', '.join(cloud.formats)}."])
    )


def available(cloud: Cloud, binding: Binding) -> tuple[list[str], dict[str, str]]:
    """Which of its cloud's kinds of evidence this machine has, found out by asking for each.

    :param binding: what nobody asked for, so that what comes opens nothing; it is thrown away.
    :returns: the formats that it has, and why it does not have the others.
    """
    found: list[str] = []
    missing: dict[str, str] = {}
    for kind in cloud.formats:
        try:
            cloud.evidence(kind, binding)
        except ClientError as error:
            missing[kind] = str(error)
        else:
            found.append(kind)
    return found, missing
