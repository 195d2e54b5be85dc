"""Google's tokens as evidence: authenticated, judged, or refused with a step and a sentence."""

from __future__ import annotations

import forge_tokens as tokens
import pytest
from forge_tokens import BINDING, ISSUED_AT
from trusting import judged

from acme_iid.attestation.identity import Claims, Evidence, InstanceIdentity
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.attestation.trust import TrustStore
from acme_iid.binding import Binding
from acme_iid.errors import AttestationError

GCP = VERIFIERS["gcp-identity"]


def authenticate(evidence: Evidence, trust: TrustStore | None = None) -> Claims:
    return GCP.authenticate(evidence, trust or tokens.trust(), ISSUED_AT)


def judge(evidence: Evidence, bound: Binding = BINDING, now: int = ISSUED_AT) -> InstanceIdentity:
    return judged(GCP, authenticate(evidence), bound, now)


def refusal(evidence: Evidence, trust: TrustStore | None = None) -> AttestationError:
    with pytest.raises(AttestationError) as refused:
        authenticate(evidence, trust)
    return refused.value


def as_evidence(text: str) -> Evidence:
    return Evidence("gcp-identity", {"evidence": text})


def token_segments() -> list[str]:
    return tokens.gcp_identity().fields["evidence"].split(".")
