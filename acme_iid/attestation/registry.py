"""The registry: the formats of evidence that are known, and the keys of each cloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from acme_iid.attestation import aws, aws_nitrotpm, aws_web_identity, azure, azure_managed_identity, gcp
from acme_iid.attestation.aws_trust import AwsTrust
from acme_iid.attestation.azure_trust import AzureTrust
from acme_iid.attestation.gcp_trust import GcpTrust
from acme_iid.attestation.identity import Verifier
from acme_iid.attestation.trust import CloudTrust, GivenKeys, TrustStore

VERIFIERS: dict[str, Verifier] = {
    verifier.format: verifier
    for verifier in (
        *aws.VERIFIERS,
        *aws_nitrotpm.VERIFIERS,
        *aws_web_identity.VERIFIERS,
        *gcp.VERIFIERS,
        *azure.VERIFIERS,
        *azure_managed_identity.VERIFIERS,
    )
}
"""The verifiers by their formats."""

TRUST: dict[str, Callable[[Sequence[GivenKeys]], CloudTrust]] = {
    "aws": AwsTrust.load,
    "gcp": GcpTrust.load,
    "azure": AzureTrust.load,
}
"""What makes the keys of each cloud out of those that operators give, by the cloud's name."""


def trust_store(given: Mapping[str, Sequence[GivenKeys]]) -> TrustStore:
    """The pinned keys of all clouds, and those that operators give. Nothing is fetched yet.

    :param given: cloud -> what each of its provisioners is given, also those that are given nothing.
    :raises ValueError: with a sentence, if something given holds no usable key.
    """
    return TrustStore(tuple(load(given.get(cloud, ())) for cloud, load in TRUST.items()))
