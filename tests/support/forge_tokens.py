"""Tokens in the clouds' own shapes, signed by test keys: good ones, and ones with a single fault each."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import jwt
from forge import SIGNED_AT
from trusting import trusting

from acme_iid.attestation.aws_trust import WebIdentityIssuer
from acme_iid.attestation.identity import Evidence
from acme_iid.attestation.trust import TrustStore
from acme_iid.binding import Binding, binding
from acme_iid.simulator import aws, gcp, sts, tokens
from acme_iid.simulator.tokens import TokenKey

ISSUED_AT = SIGNED_AT
BINDING: Binding = binding("token-of-the-challenge.thumbprint-of-the-key")
AWS_NAMESPACE = "https://sts.amazonaws.com/"


@cache
def google() -> TokenKey:
    """The key that stands for Google's throughout a test run."""
    return TokenKey.generate()


@cache
def stranger() -> TokenKey:
    """A key that no test trusts."""
    return TokenKey.generate()


@cache
def aws_issuer() -> sts.Issuer:
    """The keys that stand for an AWS account's issuer."""
    return sts.Issuer.generate()


def key_set(*keys: TokenKey) -> bytes:
    """A JWK Set's bytes."""
    return tokens.key_set(key.jwk for key in keys)


def trust(provisioner: str = "test") -> TrustStore:
    """Believe the test keys for one provisioner, and Google not at all: nothing is fetched."""
    issuer = WebIdentityIssuer.of(provisioner, aws_issuer().url, ec2().account, aws_issuer().key_set)
    return trusting(gcp_keys={provisioner: key_set(google())}, google=False, web_identity=[issuer])


def vm(**facts: Any) -> gcp.Instance:
    """One VM of GCP's, the same at every call but for what is given."""
    known = {"instance_id": "3015378661047007286", "subject": "106652250211606546223", "created": ISSUED_AT - 30}
    return gcp.Instance(**{**known, **facts})


def ec2(**facts: Any) -> aws.Instance:
    """One EC2 instance, the same at every call but for what is given."""
    return aws.Instance(**{"instance_id": "i-0123456789abcdef0", "pending_time": ISSUED_AT - 30, **facts})


def gcp_claims(instance: gcp.Instance | None = None, /, **claims: object) -> dict[str, Any]:
    """A VM's claims with some changed, or removed where ``...`` is given."""
    return _without((instance or vm()).claims(BINDING.audience, ISSUED_AT) | claims)


def gcp_engine(**members: object) -> dict[str, Any]:
    """A VM's claims with members of compute_engine changed in the same way."""
    engine = gcp_claims()["google"]["compute_engine"]
    return gcp_claims(google={"compute_engine": _without(engine | members)})


def aws_claims(
    instance: aws.Instance | None = None, session: Mapping[str, object] | None = None, /, **claims: object
) -> dict[str, Any]:
    """The claims of AWS's token for a role on an instance, changed in the same way; ``session`` changes AWS's own."""
    service = sts.SecurityTokenService(instance or ec2(), aws_issuer(), organization="o-abcdefghij")
    found: dict[str, Any] = service.claims([BINDING.audience], ISSUED_AT)
    found[AWS_NAMESPACE] = _without(found[AWS_NAMESPACE] | (session or {}))
    return _without(found | claims)


def _without(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not ...}


def gcp_identity(claims: Mapping[str, Any] | None = None, key: TokenKey | None = None) -> Evidence:
    """A GCP token with any claims."""
    return _evidence("gcp-identity", gcp_claims() if claims is None else claims, key or google())


def aws_web_identity(claims: Mapping[str, Any] | None = None, key: TokenKey | None = None) -> Evidence:
    """A token of AWS's with any claims."""
    return _evidence("aws-web-identity", aws_claims() if claims is None else claims, key or aws_issuer().es384)


def _evidence(kind: str, claims: Mapping[str, Any], key: TokenKey) -> Evidence:
    return Evidence(kind, {"evidence": signed(header(key), claims, key)})


def signed(header: bytes | Mapping[str, object], payload: bytes | Mapping[str, object], key: TokenKey) -> str:
    """Any header and payload, truly signed: what no honest library writes."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    signing_input = b".".join(segment(part).encode() for part in parts)
    signature = jwt.get_algorithm_by_name(key.algorithm).sign(signing_input, key.key)
    return f"{signing_input.decode()}.{segment(signature)}"


def segment(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def header(key: TokenKey, **members: object) -> dict[str, object]:
    """A token's header with members changed, or removed where ``...`` is given."""
    return _without({"alg": key.algorithm, "kid": key.kid, "typ": "JWT", **members})


def renamed(key: TokenKey, kid: str) -> dict[str, object]:
    """A key's JWK under another id."""
    return {**key.jwk, "kid": kid}
