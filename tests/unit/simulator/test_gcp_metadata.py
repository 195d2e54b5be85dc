from __future__ import annotations

import http.client
import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlsplit

import forge_tokens as tokens
import jwt
import pytest
from forge_tokens import BINDING, ISSUED_AT
from trusting import judged, trusting

from acme_iid.attestation.identity import Evidence
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.simulator import gcp
from acme_iid.simulator.gcp import MetadataServer
from acme_iid.simulator.listener import listening
from acme_iid.simulator.tokens import Algorithm, TokenKey

ROOT = "/computeMetadata/v1/"
IDENTITY = ROOT + "instance/service-accounts/default/identity"
GCP = VERIFIERS["gcp-identity"]


class Caller:
    """A client with one connection to a metadata server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, headers=named)
        response = self.connection.getresponse()
        body = response.read().decode()
        if response.status != 200:
            assert response.headers["Content-Type"] == "text/html; charset=UTF-8"
        return response.status, body, response.headers

    def get(self, path: str) -> str:
        status, body, headers = self.ask(path, Metadata_Flavor="Google")
        assert (status, headers["Metadata-Flavor"]) == (200, "Google"), path
        return body

    def token(self, audience: str, form: str = "&format=full") -> str:
        return self.get(f"{IDENTITY}?audience={quote(audience, safe='')}{form}")


@contextmanager
def calling(server: MetadataServer | None = None) -> Iterator[Caller]:
    server = server or MetadataServer.of(tokens.vm(), tokens.google(), lambda: ISSUED_AT)
    with listening(server) as running, Caller(running.url) as caller:
        yield caller


def test_a_token_proves_the_instance_under_the_keys_that_are_served() -> None:
    with calling() as caller:
        evidence = Evidence("gcp-identity", {"evidence": caller.token(BINDING.audience)})
        trust = trusting(gcp_keys={"mine": caller.url + gcp.KEYS_PATH}, google=False)
        identity = judged(GCP, GCP.authenticate(evidence, trust, ISSUED_AT), BINDING, ISSUED_AT)
        assert identity.scope == frozenset({"mine"})
        assert identity.instance_id == caller.get(ROOT + "instance/id")
        assert identity.facts["instance_name"] == caller.get(ROOT + "instance/name")
        assert identity.facts["project"] == caller.get(ROOT + "project/project-id")
        assert identity.owner == caller.get(ROOT + "project/numeric-project-id")
        assert identity.names[0].value == caller.get(ROOT + "instance/hostname")
        assert identity.facts["service_account"] == caller.get(ROOT + "instance/service-accounts/default/email")
        number, _, zone = caller.get(ROOT + "instance/zone").removeprefix("projects/").partition("/zones/")
        assert (number, zone) == (identity.owner, identity.facts["zone"])


def test_the_key_set_is_served_as_googles_is() -> None:
    with calling() as caller:
        status, body, headers = caller.ask("/oauth2/v3/certs")
        assert (status, headers["Content-Type"]) == (200, "application/json; charset=UTF-8")
        assert "max-age=3600" in headers["Cache-Control"]
        (key,) = json.loads(body)["keys"]
        assert key.keys() == {"kty", "n", "e", "use", "alg", "kid"}
        assert key["kid"] == jwt.get_unverified_header(caller.token("x"))["kid"]


def test_a_token_without_format_full_says_nothing_of_the_vm() -> None:
    with calling() as caller:
        for form in ("", "&format=standard", "&format=FULL"):
            claims = jwt.decode(caller.token("https://x.example/?a=b&c", form), options={"verify_signature": False})
            assert claims.keys() == {"aud", "azp", "exp", "iat", "iss", "sub"}
            assert claims["aud"] == "https://x.example/?a=b&c"


@pytest.mark.parametrize("query", ["", "?", "?audience=", "?format=full", "?Audience=x"])
def test_a_token_for_nobody_is_refused(query: str) -> None:
    with calling() as caller:
        status, body, _ = caller.ask(IDENTITY + query, Metadata_Flavor="Google")
        assert (status, "audience" in body) == (400, True)


@pytest.mark.parametrize(
    "path", [ROOT, ROOT + "instance/id", IDENTITY + "?audience=x", "/computeMetadata/v1/nothing", "/x"]
)
def test_requests_that_a_browser_or_proxy_can_be_tricked_into_are_refused(path: str) -> None:
    with calling() as caller:
        for headers in ({}, {"Metadata_Flavor": "google"}, {"X_Google_Metadata_Request": "True"}):
            status, body, answered = caller.ask(path, **headers)
            assert (status, "Metadata-Flavor" in body) == (403, True)
            assert answered["Metadata-Flavor"] == "Google"
        status, body, _ = caller.ask(path, Metadata_Flavor="Google", X_Forwarded_For="10.0.0.1")
        assert (status, "X-Forwarded-For" in body) == (403, True)


def test_its_root_tells_everybody_what_it_is() -> None:
    with calling() as caller:
        status, body, headers = caller.ask("/")
        assert (status, body, headers["Metadata-Flavor"]) == (200, "computeMetadata/\n", "Google")
        assert headers["Server"] == "Metadata Server for VM"


@pytest.mark.parametrize(
    ("path", "listing"),
    [
        ("", "instance/\nproject/\n"),
        ("instance/", "hostname\nid\nname\nservice-accounts/\nzone\n"),
        ("instance/service-accounts/default/", "email\nidentity\n"),
        ("project/", "numeric-project-id\nproject-id\n"),
    ],
)
def test_folders_list_what_is_in_them(path: str, listing: str) -> None:
    with calling() as caller:
        assert caller.get(ROOT + path) == listing
        if path:
            status, _, headers = caller.ask(ROOT + path.rstrip("/"), Metadata_Flavor="Google")
            assert (status, headers["Location"]) == (301, ROOT + path)


@pytest.mark.parametrize(
    "path", ["instance/nothing", "instance/id/", "instance/service-accounts/other/identity?audience=x", "%69nstance/id"]
)
def test_other_paths_are_not_found(path: str) -> None:
    with calling() as caller:
        assert caller.ask(ROOT + path, Metadata_Flavor="Google")[0] == 404
        status, body, _ = caller.ask("/<script>", Metadata_Flavor="Google")
        assert (status, "<script>" in body) == (404, False)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_not_allowed(method: str) -> None:
    with calling() as caller:
        assert caller.ask(IDENTITY + "?audience=x", method, Metadata_Flavor="Google")[0] == 405


def test_instances_are_each_their_own_with_facts_that_google_could_give() -> None:
    one, two = gcp.Instance(), gcp.Instance()
    assert one.instance_id != two.instance_id
    for instance in (one, two):
        evidence = tokens.gcp_identity(instance.claims(BINDING.audience, instance.created))
        claims = GCP.authenticate(evidence, tokens.trust(), instance.created)
        assert judged(GCP, claims, BINDING, instance.created).started_at == instance.created


# Keys


@pytest.mark.parametrize(("algorithm", "other"), [("RS256", "ES384"), ("ES384", "RS256")])
def test_a_key_in_a_file_is_made_once_and_kept_private(tmp_path: Path, algorithm: Algorithm, other: Algorithm) -> None:
    path = tmp_path / "keys" / "key.pem"
    first, second = TokenKey.open(path, algorithm), TokenKey.open(path, algorithm)
    assert (first.kid, first.jwk) == (second.kid, second.jwk)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ValueError, match=r"key\.pem does not hold a simulator's key for .*; remove it"):
        TokenKey.open(path, other)
    path.write_text("hello")
    with pytest.raises(ValueError, match=r"key\.pem does not hold"):
        TokenKey.open(path, algorithm)


# Recordings


def test_a_recording_is_served_whatever_the_audience() -> None:
    text = tokens.gcp_identity().fields["evidence"]
    recording = {"cloud": "gcp", "format": "jwt-format-full", "signature": text, "jwk": tokens.google().jwk}
    with calling(MetadataServer.recorded(json.dumps(recording).encode())) as caller:
        assert {caller.token("one"), caller.token("two", "")} == {text}
        trust = trusting(gcp_keys={"mine": caller.url + gcp.KEYS_PATH}, google=False)
        GCP.authenticate(Evidence("gcp-identity", {"evidence": text}), trust, ISSUED_AT)
        assert caller.ask(ROOT + "instance/id", Metadata_Flavor="Google")[0] == 404


def test_a_real_token_that_is_replayed_authenticates(samples: Path) -> None:
    for path in samples.glob("gcp-*.json"):
        with calling(MetadataServer.recorded(path.read_bytes())) as caller:
            trust = trusting(gcp_keys={"mine": caller.url + gcp.KEYS_PATH}, google=False)
            evidence = Evidence("gcp-identity", {"evidence": caller.token("x")})
            assert GCP.authenticate(evidence, trust, ISSUED_AT).document["iss"] == "https://accounts.google.com"


@pytest.mark.parametrize(
    "recording",
    [b"[]", b'{"cloud": "aws", "signature": "a.b.c"}', b'{"cloud": "gcp"}', b'{"cloud": "gcp", "signature": "a.b"}'],
)
def test_what_is_no_recording_is_refused(recording: bytes) -> None:
    with pytest.raises(ValueError, match="not one of a GCP token"):
        MetadataServer.recorded(recording)
