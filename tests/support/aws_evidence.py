"""AWS's documents as evidence: authenticated, or refused with a step and a sentence."""

from __future__ import annotations

import forge
import pytest

from acme_iid.attestation.aws_trust import AwsKind
from acme_iid.attestation.identity import Claims, Evidence
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.attestation.trust import TrustStore
from acme_iid.errors import AttestationError, MalformedEvidenceError

NOW = forge.SIGNED_AT
SIGN = {"aws-rsa2048": forge.aws_rsa2048, "aws-signature": forge.aws_signature, "aws-pkcs7": forge.aws_pkcs7}
KIND: dict[str, AwsKind] = {"aws-rsa2048": "rsa2048", "aws-signature": "rsa1024", "aws-pkcs7": "dsa"}
every_format = pytest.mark.parametrize("name", SIGN)


def authenticate(evidence: Evidence, trust: TrustStore | None = None) -> Claims:
    return VERIFIERS[evidence.format].authenticate(evidence, trust or forge.trust(), NOW)


def refusal(evidence: Evidence, trust: TrustStore | None = None) -> AttestationError:
    with pytest.raises(AttestationError) as refused:
        authenticate(evidence, trust)
    return refused.value


def malformed(evidence: Evidence) -> str:
    error = refusal(evidence)
    assert isinstance(error, MalformedEvidenceError)
    return error.detail
