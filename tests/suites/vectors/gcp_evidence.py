"""Evidence of GCP's format: tokens that prove a VM, and ones with a single fault each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from vectors.case import Case, Identity
from vectors.fixed import NOW, base64url, bound, token, token_key

from acme_iid.simulator import gcp

VM = gcp.Instance(
    project="my-project",
    project_number=123456789012,
    zone="us-central1-a",
    instance_name="instance-1",
    instance_id="3015378661047007286",
    service_account="123456789012-compute@developer.gserviceaccount.com",
    subject="106652250211606546223",
    created=NOW - 120,
)
IDENTITY = Identity(
    id="gcp:123456789012:3015378661047007286",
    owner="123456789012",
    instance_id="3015378661047007286",
    credential_id="106652250211606546223",
    binding="audience",
    facts={
        "project": "my-project",
        "project_number": "123456789012",
        "zone": "us-central1-a",
        "region": "us-central1",
        "instance_id": "3015378661047007286",
        "instance_name": "instance-1",
        "subject": "106652250211606546223",
        "service_account": "123456789012-compute@developer.gserviceaccount.com",
    },
    names=(
        ("dns", "instance-1.us-central1-a.c.my-project.internal"),
        ("dns", "instance-1.c.my-project.internal"),
    ),
    times={"iat": NOW - 10, "exp": NOW + 3590, "instance_creation_timestamp": NOW - 120},
    started_at=NOW - 120,
)


def claims(issued: int = NOW - 10, **changed: Any) -> dict[str, Any]:
    """The claims of the VM's token for the example's challenge, some of them changed."""
    return {**VM.claims(bound().audience, issued), **changed}


def cases() -> Iterator[Case]:
    """All of them."""
    google = token_key("gcp-token")

    def case(name: str, outcome: str, evidence: str, identity: Identity | None = None) -> Case:
        return Case(name, "gcp-identity", {"evidence": evidence}, outcome, identity)

    good = token(claims(), google)
    yield case("as the metadata server gives it", "proven", good, IDENTITY)
    yield case("two segments", "malformed", good.rpartition(".")[0])
    without = {name: value for name, value in claims().items() if name != "google"}
    yield case("without format=full", "decoding", token(without, google))
    duplicate = json.dumps(claims()).replace('"zone"', '"zone": "europe-west1-b", "zone"', 1)
    yield case("a member twice, truly signed", "decoding", token(duplicate.encode(), google))
    own = token_key("sts-rs256")
    yield case("signed by a key of the sender's own", "signature", token(claims(), own, jwk=own.jwk))
    yield case("signed by that key in the name of Google's", "signature", token(claims(), own, kid=google.kid))
    unsigned = json.dumps({"alg": "none", "kid": google.kid, "typ": "JWT"}).encode()
    yield case("signed with nothing", "signature", f"{base64url(unsigned)}.{good.split('.')[1]}.")
    yield case("of another issuer", "signature", token(claims(iss="https://accounts.example"), google))
    yield case("six minutes and one second old", "freshness", token(claims(NOW - 361), google))
    yield case("from 61 seconds ahead", "freshness", token(claims(NOW + 61), google))
    yield case("for another challenge", "binding", token(claims(aud=bound("another challenge").audience), google))
    yield case("for another account key", "binding", token(claims(aud=bound("another account").audience), google))
    yield case("for a constant audience", "binding", token(claims(aud="https://ca.example"), google))
