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
"""The functions that make each cloud's keys out of those that operators give, by the cloud's name."""


def trust_store(provisioners: Mapping[str, Sequence[GivenKeys]]) -> TrustStore:
    """The pinned keys of all clouds, and those that operators give. Nothing is fetched yet.

    :param provisioners: cloud -> the keys of each of its provisioners, also of those without keys of their own.
    :raises ValueError: with a sentence, if a file or key set holds no usable key.
    """
    return TrustStore(tuple(load(provisioners.get(cloud, ())) for cloud, load in TRUST.items()))
