"""Azure's documents as evidence: authenticated, or refused with a step and a sentence."""

from __future__ import annotations

import forge_azure as fa
import pytest

from acme_iid.attestation.azure import AzureClaims
from acme_iid.attestation.identity import Evidence
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.attestation.trust import TrustStore
from acme_iid.errors import AttestationError, MalformedEvidenceError

VERIFIER = VERIFIERS["azure-attested"]
NOW = fa.NOW


def authenticate(evidence: Evidence, trust: TrustStore | None = None, now: int = NOW) -> AzureClaims:
    claims = VERIFIER.authenticate(evidence, trust or fa.trust(), now)
    assert isinstance(claims, AzureClaims)
    return claims


def refusal(evidence: Evidence, trust: TrustStore | None = None, now: int = NOW) -> AttestationError:
    with pytest.raises(AttestationError) as refused:
        authenticate(evidence, trust, now)
    return refused.value


def malformed(evidence: Evidence) -> str:
    error = refusal(evidence)
    assert isinstance(error, MalformedEvidenceError)
    return error.detail
