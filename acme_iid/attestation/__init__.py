"""Evidence in, :class:`~acme_iid.attestation.identity.InstanceIdentity` out. Pure: no I/O, no clock.

``VERIFIERS`` is the registry of formats. A new cloud is one module here, one line below, and one
module on the client's side.
"""

from __future__ import annotations

from collections.abc import Mapping

from acme_iid.attestation import aws, aws_nitrotpm, aws_web_identity, azure, azure_managed_identity, gcp
from acme_iid.attestation.identity import Verifier

VERIFIERS: Mapping[str, Verifier] = {
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
