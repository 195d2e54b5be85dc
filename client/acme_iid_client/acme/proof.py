"""The answer to an iid-01 challenge, for whichever client carries it to the CA."""

from __future__ import annotations

from josepy.jwk import JWK

from acme_iid.iid01 import IID01, IID01Response
from acme_iid_client.clouds import Cloud, collect
from acme_iid_client.clouds.metadata import FormatUnavailableError
from acme_iid_client.errors import ClientError


def prove(
    challenge: IID01,
    account_key: JWK,
    name: str,
    cloud: Cloud,
    provisioner: str | None = None,
    only: str | None = None,
) -> IID01Response:
    """Evidence for a challenge, in the format that the CA likes best of those that this machine can give.

    :param account_key: the key of the account that answers; the evidence is bound to it where it can be.
    :param name: the name that the challenge is for, for messages.
    :param provisioner: the provisioner to be admitted by; None leaves it to the CA.
    :param only: the only format to try; None tries all that the CA accepts.
    :raises ClientError: if there is no such evidence, or the challenge is another server's.
    """
    try:
        binding = challenge.binding(account_key)
    except ValueError as error:
        raise ClientError(f"No evidence was sent for {name}: {error}.") from error
    accepted = ", ".join(challenge.formats) or "no evidence at all"
    if only is not None and only not in challenge.formats:
        raise ClientError(f"The CA accepts {accepted} for {name}, and not {only}, which was asked for.")
    try:
        answer = collect(cloud, tuple(challenge.formats) if only is None else (only,), binding)
    except FormatUnavailableError as error:
        raise ClientError(
            f"The CA accepts {accepted} for {name}. {error} "
            "Its operator may have to add a provisioner for this cloud, or turn a format on."
        ) from error
    return answer if provisioner is None else answer.update(provisioner=provisioner)
