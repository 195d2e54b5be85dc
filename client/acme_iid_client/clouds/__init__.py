"""Evidence of which instance this is, from the metadata service of its cloud.

``CLOUDS`` is the registry. A new cloud is one module here, one line below, and one module on the server's
side (``acme_iid.attestation``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from acme_iid.iid01 import Binding, IID01Response
from acme_iid_client.clouds import aws
from acme_iid_client.clouds.metadata import FormatUnavailableError


class Cloud(Protocol):
    """The metadata service of the cloud that this machine runs in.

    :cvar formats: the iid-01 formats that it can give.
    """

    title: str
    formats: tuple[str, ...]

    def instance(self) -> str:
        """Which instance this is, as ``cloud:id``; read from the metadata service and proven by nobody.

        :raises ClientError: if the metadata service cannot be used, saying why.
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


CLOUDS: tuple[type[aws.AWS], ...] = (aws.AWS,)

COLLECTORS = {kind: cloud for cloud in CLOUDS for kind in cloud.formats}
"""The formats of evidence, each with the cloud that gives it."""


def here(env: Mapping[str, str], metadata_url: str | None) -> Cloud:
    """The metadata service of this machine; nothing is asked yet.

    :param env: the environment, which may say where it is.
    :param metadata_url: what ``--metadata-url`` says, which counts first.
    """
    return CLOUDS[0](env, metadata_url)


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
