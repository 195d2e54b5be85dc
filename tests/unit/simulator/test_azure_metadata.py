from __future__ import annotations

import base64
import http.client
import json
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import forge_azure as fa
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from trusting import judged, trusting

from acme_iid.attestation import asn1, chains
from acme_iid.attestation.asn1 import Node
from acme_iid.attestation.aws_trust import AwsTrust
from acme_iid.attestation.azure_trust import AzureTenant
from acme_iid.attestation.identity import Evidence
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.simulator import azure, nitro
from acme_iid.simulator.azure import Keys, Vm
from acme_iid.simulator.azure_service import NEWEST_VERSIONS, AzureService, recorded
from acme_iid.simulator.listener import Service, listening

VERSION = "api-version=2021-02-01"
DOCUMENT = f"/metadata/attested/document?{VERSION}"
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01"
ATTESTED = VERIFIERS["azure-attested"]


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = float(fa.NOW)

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Caller:
    """A client with one connection to a metadata service."""

    connection: http.client.HTTPConnection

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, headers=named)
        response = self.connection.getresponse()
        body = response.read()
        return response.status, dict(response.getheaders()), json.loads(body) if body else None

    def get(self, path: str) -> Any:
        status, headers, body = self.ask(path, Metadata="true")
        assert status == 200, body
        assert headers["Content-Type"] == "application/json; charset=utf-8"
        return body

    def refused(self, path: str, **headers: str) -> Any:
        status, answered, body = self.ask(path, **{"Metadata": "true", **headers})
        assert status == 400, path
        assert answered["Content-Type"] == "application/json; charset=utf-8"
        return body

    def document(self, nonce: str | None = None) -> Evidence:
        answer = self.get(DOCUMENT + ("" if nonce is None else f"&nonce={nonce}"))
        assert answer["encoding"] == "pkcs7"
        return Evidence("azure-attested", {"evidence": answer["signature"]})


@contextmanager
def calling(service: Service | None = None, vm: Vm | None = None, clock: Clock | None = None) -> Iterator[Caller]:
    service = service or AzureService(vm or fa.vm(), fa.keys(), clock=clock or Clock())
    with listening(service) as running:
        connection = http.client.HTTPConnection(urlsplit(running.url).netloc, timeout=10)
        try:
            yield Caller(connection)
        finally:
            connection.close()


def _read(evidence: Evidence) -> dict[str, Any]:
    return dict(ATTESTED.authenticate(evidence, fa.trust(), fa.NOW).document)


# Attested documents


def test_what_is_served_proves_the_vm() -> None:
    with calling(vm=fa.vm(environment="china", location="chinaeast2")) as caller:
        claims = ATTESTED.authenticate(caller.document(fa.BINDING.nonce), fa.trust(), fa.NOW)
    identity = judged(ATTESTED, claims, fa.BINDING, fa.NOW)
    assert identity.id == f"azure:{fa.SUBSCRIPTION}:{fa.VM_ID}"
    assert (identity.facts["environment"], identity.facts["signer_region"]) == ("china", "chinaeast2")
    assert identity.times == {"createdOn": fa.NOW, "expiresOn": fa.NOW + 6 * 3600}


def test_nobody_believes_it_without_being_told_to() -> None:
    with calling() as caller:
        evidence = caller.document(fa.BINDING.nonce)
    with pytest.raises(Exception, match="no chain leads from the signer's certificate"):
        ATTESTED.authenticate(evidence, trusting(google=False), fa.NOW)


def test_without_a_nonce_azure_puts_the_time_of_expiry() -> None:
    with calling() as caller:
        document = _read(caller.document())
    assert document["nonce"] == "20250615-210640"
    assert document["timeStamp"]["expiresOn"] == "06/15/25 21:06:40 -0000"


@pytest.mark.parametrize("nonce", ["", "a" * 33, "a-b", "a%20b", "%C3%A4"])
def test_a_nonce_is_up_to_32_letters_and_digits(nonce: str) -> None:
    with calling() as caller:
        assert "nonce" in caller.refused(f"{DOCUMENT}&nonce={nonce}")["error"]
        assert _read(caller.document("Ab3" + "z" * 29))["nonce"] == "Ab3" + "z" * 29


def test_an_older_requests_document_is_handed_out_as_often_as_configured() -> None:
    service = AzureService(fa.vm(), fa.keys(), stale_nonces=2, clock=Clock())
    with calling(service) as caller:
        documents = [_read(caller.document("fresh")) for _ in range(4)]
    assert [document["nonce"] for document in documents] == ["0123456789", "0123456789", "fresh", "fresh"]
    assert documents[0]["timeStamp"]["createdOn"] < documents[3]["timeStamp"]["createdOn"]


def _shape(node: Node, depth: int = 0) -> list[tuple[int, int, bytes]]:
    """A tree's tags, and the values of what is short and the same in every document: versions and algorithms."""
    value = node.value if node.tag in (asn1.OID, asn1.NULL) or node.encoding == b"\x02\x01\x01" else b""
    return [(depth, node.tag, value), *(line for child in node.children for line in _shape(child, depth + 1))]


def _comparable(text: str) -> list[tuple[int, int, bytes]]:
    """A CMS's shape without its certificate and issuer, in which a public authority puts more."""
    tree = asn1.parse(base64.b64decode(text))
    signed = tree.children[1].children[0]
    assert len(signed.children[3].children) == 1
    signed.children[3].children.clear()
    signed.children[4].children[0].children[1].children[0].children.clear()
    return _shape(tree)


def test_its_cms_has_the_shape_of_a_real_one(samples: Path) -> None:
    with calling() as caller:
        made = _comparable(caller.document().fields["evidence"])
    for path in sorted(samples.glob("azure-attested-20*.json")):
        assert _comparable(json.loads(path.read_bytes())["signature"]) == made, path.name


def test_its_document_has_the_members_of_a_real_one_in_their_order(samples: Path) -> None:
    with calling(vm=fa.vm(sku="")) as caller:
        made = ATTESTED.authenticate(caller.document(), fa.trust(), fa.NOW).content.decode()
    path = max(samples.glob("azure-attested-202[4-9]*.json"))
    real = json.loads(path.read_bytes())["document"]
    given, wanted = json.loads(made), json.loads(real)
    for member in ("nonce", "subscriptionId", "timeStamp", "vmId"):
        assert type(given[member]) is type(wanted[member])
        given[member] = wanted[member]
    assert json.dumps(given, separators=(",", ":")) == real


# HTTP


def test_requests_need_the_metadata_header_and_no_proxy() -> None:
    with calling() as caller:
        for path in (DOCUMENT, f"/metadata/instance?{VERSION}", TOKEN, "/nothing"):
            status, headers, body = caller.ask(path)
            assert (status, body) == (400, {"error": "Bad request. Required metadata header not specified"})
            assert headers["Content-Type"].startswith("application/json")
            assert caller.ask(path, Metadata="false")[0] == 400
            assert "X-Forwarded-For" in caller.refused(path, X_Forwarded_For="10.0.0.1")["error"]
        assert caller.ask(DOCUMENT, Metadata="True")[0] == 200


@pytest.mark.parametrize("query", ["", "?api-version=2000-01-01", "?api-version=", "?nonce=1", "?format=json"])
def test_a_version_that_is_missing_or_unknown_is_answered_with_the_newest(query: str) -> None:
    with calling() as caller:
        for path in ("/metadata/attested/document", "/metadata/instance"):
            body = caller.refused(path + query)
            assert body["error"].startswith("Bad request. api-version ")
            assert body["newest-versions"] == list(NEWEST_VERSIONS)


def test_other_paths_and_methods_are_refused() -> None:
    with calling() as caller:
        for path in ("/", "/metadata", "/metadata/attested", "/latest/meta-data"):
            assert caller.ask(path, Metadata="true")[0] == 404
        for method in ("PUT", "POST", "DELETE"):
            assert caller.ask(DOCUMENT, method, Metadata="true")[0] == 405
        status, headers, body = caller.ask(DOCUMENT, "HEAD", Metadata="true")
        assert (status, body) == (200, None)
        assert int(headers["Content-Length"]) > 1000


def test_the_instances_metadata_agree_with_what_is_signed() -> None:
    with calling() as caller:
        compute = caller.get(f"/metadata/instance?{VERSION}")["compute"]
        document = _read(caller.document())
    assert (compute["vmId"], compute["subscriptionId"]) == (document["vmId"], document["subscriptionId"])
    assert compute["sku"] == document["sku"]
    assert compute["azEnvironment"] == "AzurePublicCloud"
    assert compute["resourceId"].endswith("/virtualMachines/vm-1")


# Managed identity


def test_its_tokens_verify_under_the_key_set_that_it_serves() -> None:
    clock = Clock()
    with calling(clock=clock) as caller:
        answer = caller.get(f"{TOKEN}&resource={quote(fa.AUDIENCE, safe='')}")
        status, headers, keys = caller.ask("/common/discovery/v2.0/keys")
        attested = caller.document(fa.BINDING.nonce).fields["evidence"]
    assert (status, headers["Cache-Control"]) == (200, "max-age=86400, private")
    assert (answer["token_type"], answer["resource"]) == ("Bearer", fa.AUDIENCE)
    assert (answer["expires_in"], answer["expires_on"]) == ("86400", str(fa.NOW + 86400))
    tenant = AzureTenant.of("test", fa.TENANT, fa.AUDIENCE, json.dumps(keys).encode())
    trust = trusting(azure_roots={"test": fa.keys().roots}, google=False, azure_tenants=[tenant])
    verifier = VERIFIERS["azure-managed-identity"]
    evidence = Evidence(verifier.format, {"evidence": answer["access_token"], "attested": attested})
    identity = judged(verifier, verifier.authenticate(evidence, trust, fa.NOW), fa.BINDING, fa.NOW)
    assert (identity.facts["vm_name"], identity.facts["resource_group"]) == ("vm-1", "servers")


def test_a_token_is_kept_for_a_day() -> None:
    clock = Clock()
    with calling(clock=clock) as caller:
        first, other = (caller.get(f"{TOKEN}&resource={resource}") for resource in ("a", "b"))
        clock.now += 86399
        kept = caller.get(f"{TOKEN}&resource=a")
        clock.now += 1
        renewed = caller.get(f"{TOKEN}&resource=a")
    assert kept["access_token"] == first["access_token"]
    assert kept["expires_in"] == "1"
    assert len({first["access_token"], other["access_token"], renewed["access_token"]}) == 3


@pytest.mark.parametrize("query", ["", "?api-version=2018-02-01", "?resource=a", "?api-version=2021-02-01&resource=a"])
def test_a_token_needs_its_own_version_and_a_resource(query: str) -> None:
    with calling() as caller:
        body = caller.refused("/metadata/identity/oauth2/token" + query)
        assert body["error"] == "invalid_request"
        assert "resource" in body["error_description"] or "api-version" in body["error_description"]


# Recordings and keys


def test_a_recording_is_replayed_byte_for_byte(samples: Path) -> None:
    for path in sorted(samples.glob("azure-*.json"))[-2:]:
        recording = json.loads(path.read_bytes())
        with calling(recorded(path.read_bytes())) as caller:
            assert caller.document("whatever").fields["evidence"] == recording["signature"]
            assert caller.ask(f"/metadata/instance?{VERSION}", Metadata="true")[0] == 404
            assert caller.ask(DOCUMENT)[0] == 400
            assert caller.refused("/metadata/attested/document")["newest-versions"]


@pytest.mark.parametrize(
    "recording",
    [
        b"",
        b"[]",
        b'{"cloud": "aws", "format": "attested-document-pkcs7", "signature": "AAAA"}',
        b'{"cloud": "azure", "format": "attested-document-pkcs7"}',
        b'{"cloud": "azure", "format": "attested-document-pkcs7", "signature": "A"}',
    ],
)
def test_what_is_no_recording_is_refused(recording: bytes) -> None:
    with pytest.raises(ValueError, match=r"recording|JSON"):
        recorded(recording)


def test_simulators_that_share_a_directory_sign_with_the_same_keys(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: Keys.open(tmp_path / "keys"), range(4)))
    assert len({keys.roots for keys in opened}) == 1
    assert len({keys.tokens.kid for keys in opened}) == 1
    assert {path.name for path in (tmp_path / "keys").iterdir()} == {"azure.pem", "azure-tenant.pem"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in (tmp_path / "keys").iterdir())
    trust = trusting(azure_roots={"test": opened[0].roots}, google=False)
    signed = azure.signed_data(fa.document(), opened[3].signer(fa.vm(), fa.NOW))
    assert ATTESTED.authenticate(fa.cms_evidence(signed), trust, fa.NOW).content == fa.document()


@pytest.mark.parametrize("name", ["azure.pem", "azure-tenant.pem"])
def test_a_file_that_holds_no_keys_is_named(tmp_path: Path, name: str) -> None:
    Keys.open(tmp_path)
    (tmp_path / name).write_text("hello")
    with pytest.raises(ValueError, match=f"{name} does not hold"):
        Keys.open(tmp_path)


def test_hypervisors_that_share_a_directory_have_the_same_root(tmp_path: Path) -> None:
    first, second = nitro.Keys.open(tmp_path), nitro.Keys.open(tmp_path)
    assert first.roots == second.roots
    assert stat.S_IMODE((tmp_path / "nitro.pem").stat().st_mode) == 0o600
    trust = trusting(nitro_roots={"test": first.roots}, google=False)
    leaf = nitro.signer(second, generate_private_key(SECP384R1()), "i-0123456789abcdef0", fa.NOW)
    assert chains.scope(chains.verify(leaf, second.host.chain[:-1], trust.part(AwsTrust).nitro, fa.NOW)) == frozenset(
        {"test"}
    )
