"""A hostile CA that passes on another CA's challenge, or asks a VM for what is meant for somebody else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import forge_azure
import forge_tokens
import pytest
import stand_ins
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwk import JWKEC
from scripted_ca import ScriptedCA, known, serve
from trusting import judged

from acme_iid import iid01
from acme_iid.attestation.identity import Evidence
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.errors import AttestationError, Step
from acme_iid.simulator.azure import Vm
from acme_iid.simulator.azure_service import AzureService
from acme_iid.simulator.gcp import Instance, MetadataServer
from acme_iid.simulator.listener import NoAnswer, Request, Response, Service, listening
from acme_iid_client import clouds
from acme_iid_client.acme import order
from acme_iid_client.acme.connection import CaError
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError
from acme_iid_client.x509 import keys

TOKEN = "R" * 43
ATTACKER = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
"""The account key that the hostile CA uses at the CA whose challenge it passes on."""
THEIRS = iid01.IID01.from_json({"token": TOKEN, "type": "iid-01"}).binding(ATTACKER)
EVIDENCE_PATHS = ("/default/identity", "attested", "oauth2")


class Watched:
    """A cloud's service, and what was asked of it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.banner, self.reads = service.banner, service.reads
        self.asked: list[str] = []

    def answer(self, request: Request) -> Response | NoAnswer:
        self.asked.append(f"{request.path}?{request.query}")
        return self.service.answer(request)

    def evidence(self) -> list[str]:
        """The requests for anything that proves something."""
        return [path for path in self.asked if any(word in path for word in EVIDENCE_PATHS)]


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[ScriptedCA]:
    with serve(tmp_path) as running:
        yield running


def services() -> dict[str, Service]:
    return {
        "gcp-identity": MetadataServer.of(Instance(), forge_tokens.google()),
        "azure-attested": AzureService(Vm(), forge_azure.keys()),
        "azure-managed-identity": AzureService(Vm(), forge_azure.keys()),
    }


@pytest.fixture
def get(ca: ScriptedCA, tmp_path: Path) -> Callable[..., order.Issued]:
    root = tmp_path / "root.pem"
    root.write_bytes(ca.root.pem)

    def ask(service: Service, resource: str | None = None, further: order.Further = "none") -> order.Issued:
        with listening(service) as running:
            cloud = clouds.here({}, running.url, resource)
            request = order.Request(["foo.local"], keys.KeyType("EC", "P-256"), further=further)
            known_ca = known(ca.url, root)
            return order.order(request, known_ca, tmp_path / "state", cloud, Deadline(10), lambda _: None)

    return ask


@pytest.mark.parametrize("kind", services())
@pytest.mark.parametrize("copy", ["audience", "nonce"])
def test_no_evidence_is_fetched_for_a_relayed_challenge(
    get: Callable[..., order.Issued], ca: ScriptedCA, kind: str, copy: str
) -> None:
    watched = Watched(services()[kind])
    ca.challenge = {"token": TOKEN, "formats": [kind], copy: getattr(THEIRS, copy)}
    with pytest.raises(ClientError, match="relaying another server's challenge"):
        get(watched, stand_ins.RESOURCE)
    assert watched.evidence() == []
    assert "/acme/challenge/1" not in ca.paths()


@pytest.mark.parametrize("kind", ["gcp-identity", "azure-attested"])
def test_evidence_for_a_relayed_token_is_useless_to_the_relay(
    get: Callable[..., order.Issued], ca: ScriptedCA, kind: str
) -> None:
    ca.challenge = {"token": TOKEN, "formats": [kind]}
    get(services()[kind])
    answer = next(payload for path, payload in ca.asked if path == "/acme/challenge/1")
    believed = forge_azure.trust() if kind == "azure-attested" else forge_tokens.trust()
    now, verifier = int(time.time()), VERIFIERS[kind]
    claims = verifier.authenticate(Evidence(kind, {"evidence": answer["evidence"]}), believed, now)
    with pytest.raises(AttestationError) as refused:
        judged(verifier, claims, THEIRS, now)
    assert refused.value.step is Step.BINDING


def test_a_server_does_not_choose_what_managed_identity_tokens_are_for(
    get: Callable[..., order.Issued], ca: ScriptedCA
) -> None:
    elsewhere = "https://management.azure.com/"
    ca.challenge = {
        "formats": ["azure-managed-identity"],
        "resource": elsewhere,
        "identity": {"resource": elsewhere},
    }
    watched = Watched(services()["azure-managed-identity"])
    with pytest.raises(ClientError, match="uses no resource that a server names"):
        get(watched)
    assert watched.evidence() == []
    get(watched, stand_ins.RESOURCE)
    tokens = [path for path in watched.evidence() if "oauth2" in path]
    assert len(tokens) == 1
    assert "resource=api%3A%2F%2Fca.example" in tokens[0]


@pytest.mark.parametrize("names", [["foo.local"], [{"type": "dns"}], [{"type": "dns", "value": "../x"}], [None]])
def test_names_that_are_none_are_not_ordered(get: Callable[..., order.Issued], ca: ScriptedCA, names: object) -> None:
    ca.challenge = {"formats": ["gcp-identity"], "names": names}
    with pytest.raises(CaError, match="cannot be read"):
        get(services()["gcp-identity"], further="all")


def test_a_server_that_names_no_names_gets_an_order_of_the_first(
    get: Callable[..., order.Issued], ca: ScriptedCA
) -> None:
    ca.challenge = {"formats": ["gcp-identity"]}
    get(services()["gcp-identity"], further="all")
    assert ca.paths().count("/acme/new-order") == 1
