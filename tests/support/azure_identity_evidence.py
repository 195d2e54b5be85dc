"""Tokens of managed identities as evidence: authenticated, judged, or refused with a step and a sentence."""

from __future__ import annotations

import forge_azure as fa
import pytest
from trusting import judged

from acme_iid.attestation.identity import Claims, Evidence, InstanceIdentity
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.attestation.trust import TrustStore
from acme_iid.binding import Binding
from acme_iid.errors import AttestationError

VERIFIER = VERIFIERS["azure-managed-identity"]
NOW = fa.NOW
OTHER_TENANT = "99999999-86f1-41af-91ab-2d7cd011db47"
USER_IDENTITY = (
    f"/subscriptions/{fa.SUBSCRIPTION}/resourcegroups/Servers/providers/"
    "Microsoft.ManagedIdentity/userAssignedIdentities/shared"
)


def authenticate(evidence: Evidence, trust: TrustStore | None = None) -> Claims:
    return VERIFIER.authenticate(evidence, trust or fa.trust(), NOW)


def judge(evidence: Evidence, now: int = NOW, binding: Binding = fa.BINDING) -> InstanceIdentity:
    return judged(VERIFIER, authenticate(evidence), binding, now)


def refusal(evidence: Evidence, trust: TrustStore | None = None) -> AttestationError:
    with pytest.raises(AttestationError) as refused:
        authenticate(evidence, trust)
    return refused.value


def judged_badly(evidence: Evidence, now: int = NOW, binding: Binding = fa.BINDING) -> AttestationError:
    claims = authenticate(evidence)
    with pytest.raises(AttestationError) as refused:
        judged(VERIFIER, claims, binding, now)
    return refused.value


def machine_id(*, subscription: str = fa.SUBSCRIPTION, group: str = "Servers", name: str = "vm-1") -> str:
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}"
