"""The issuer of Azure's signer, for a CA that does not have it: fetched where its certificate says, nowhere else."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import forge_azure as fa
import pytest
import stand_ins
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID
from trusting import trusting

from acme_iid.attestation.identity import Evidence
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.errors import AttestationError
from acme_iid.simulator.azure import Vm, signed_data
from acme_iid_client.clouds.azure import Azure
from acme_iid_client.clouds.azure_issuers import HOSTS, issuers

URL = "http://www.microsoft.com/pkiops/certs/New%20Issuing%20CA%2001.crt"
ISSUER = fa.keys().issuing.chain[0]
DER = ISSUER.public_bytes(Encoding.DER)
NOW = int(time.time())


@dataclass
class Web:
    """What there is in the web, by URL: a status, headers and a body; ``asked`` is what was asked for."""

    there: Mapping[str, tuple[int, Mapping[str, str], bytes]] = field(default_factory=dict)
    seconds: float = 0.0
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)


@contextmanager
def serving(web: Web) -> Iterator[int]:
    """A proxy that answers for the whole web."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append((self.path, dict(self.headers)))
            status, headers, body = web.there.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for start in range(0, len(body), 1000):
                if ended.wait(web.seconds):
                    return
                self.wfile.write(body[start : start + 1000])

        def do_CONNECT(self) -> None:
            web.asked.append((self.path, dict(self.headers)))
            self.send_error(502)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            ended.set()
            server.shutdown()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Web]:
    web = Web()
    with serving(web) as port:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        netrc = tmp_path / "netrc"
        netrc.write_text("default login somebody password secret\n")
        monkeypatch.setenv("NETRC", str(netrc))
        yield web


def document(*urls: str) -> bytes:
    """A document whose signer's certificate names these URLs of its issuer."""
    access = [
        x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(url))
        for url in urls
    ]
    extra = [(x509.AuthorityInformationAccess(access), False)] if access else []
    return signed_data(fa.document(), fa.signer(extra=extra, around=NOW))


def test_the_issuer_is_fetched_where_the_signers_certificate_says(web: Web) -> None:
    web.there = {URL: (200, {}, DER)}
    assert issuers(document(URL)) == (ISSUER,)
    ((asked, headers),) = web.asked
    assert asked == URL
    assert "Authorization" not in headers
    web.there = {URL: (200, {}, ISSUER.public_bytes(Encoding.PEM))}
    assert issuers(document(URL)) == (ISSUER,)


def test_a_second_place_is_asked_when_the_first_has_nothing(web: Web) -> None:
    second = "http://caissuers.microsoft.com/pkiops/certs/New.crt"
    other = fa.other_keys().issuing.chain[0].public_bytes(Encoding.DER)
    broken: list[tuple[int, Mapping[str, str], bytes]] = [
        (404, {}, b""),
        (200, {}, b"no certificate"),
        (200, {}, other),
        (200, {}, bytes(70_000)),
    ]
    for first in broken:
        web.there = {URL: first, second: (200, {}, DER)}
        assert issuers(document(URL, second)) == (ISSUER,)


@pytest.mark.parametrize(
    "url",
    [
        URL.replace("http:", "https:"),
        URL.replace("http:", "ftp:"),
        URL.replace("www.microsoft.com", "www.microsoft.com.evil.example"),
        URL.replace("www.microsoft.com", "evil.example"),
        URL.replace("www.microsoft.com", "WWW.microsoft.com"),
        URL.replace("www.microsoft.com", "www.microsoft.com:8080"),
        URL.replace("www.microsoft.com", "user:word@www.microsoft.com"),
        URL.replace("www.microsoft.com", "169.254.169.254"),
        URL.replace("www.microsoft.com", "127.0.0.1"),
        URL.replace("www.microsoft.com", "localhost"),
        URL.replace("www.microsoft.com", "www.microsoft.com\\@evil.example"),
        "http://www.microsoft.com",
        "http://[www.microsoft.com/",
        "file:///etc/passwd",
        "",
    ],
)
def test_nobody_else_is_asked(web: Web, url: str) -> None:
    web.there = {url: (200, {}, DER)}
    assert issuers(document(url)) == ()
    assert not web.asked


@pytest.mark.parametrize(
    ("target", "followed"),
    [
        ("/other.crt", True),
        ("http://www.microsoft.com/other.crt", True),
        ("http://caissuers.microsoft.com/other.crt", False),
        ("https://www.microsoft.com/other.crt", False),
        ("http://evil.example/other.crt", False),
        ("http://www.microsoft.com:81/other.crt", False),
        ("//127.0.0.1/other.crt", False),
    ],
)
def test_a_redirect_stays_within_its_host(web: Web, target: str, *, followed: bool) -> None:
    there = "http://www.microsoft.com/other.crt" if target.startswith("/o") else target
    web.there = {URL: (302, {"Location": target}, b""), there: (200, {}, DER)}
    assert issuers(document(URL)) == ((ISSUER,) if followed else ())
    assert len(web.asked) == 1 + followed


def test_redirects_have_an_end(web: Web) -> None:
    web.there = {URL: (302, {"Location": URL}, b"")}
    assert issuers(document(URL)) == ()
    assert len(web.asked) == 3


def test_what_is_fetched_is_small_and_comes_soon(web: Web) -> None:
    # Blank lines behind it would be no fault.
    web.there = {URL: (200, {}, ISSUER.public_bytes(Encoding.PEM) + b"\n" * 30_000)}
    assert issuers(document(URL)) == (ISSUER,)
    web.there = {URL: (200, {}, ISSUER.public_bytes(Encoding.PEM) + b"\n" * 64 * 1024)}
    assert issuers(document(URL)) == ()
    web.there = {URL: (200, {}, bytes(60 * 1000))}
    web.seconds = 0.5
    began = time.monotonic()
    assert issuers(document(URL)) == ()
    assert time.monotonic() - began < 60


def test_what_is_installed_is_sent_and_not_fetched(web: Web, samples: Path) -> None:
    recorded = json.loads((samples / "azure-attested-2026-07-taskcluster.json").read_bytes())
    (found,) = issuers(base64.b64decode(recorded["signature"]))
    assert found.subject.rfc4514_string().startswith("CN=Microsoft TLS G2 RSA CA OCSP 02,")
    assert not web.asked


def test_real_signers_name_places_that_are_asked(web: Web, samples: Path) -> None:
    for file in sorted(samples.glob("azure-attested-*.json")):
        issuers(base64.b64decode(json.loads(file.read_bytes())["signature"]))
    assert {url.split("/")[2] for url, _ in web.asked} <= HOSTS
    assert "http://www.microsoft.com/pki/mscorp/Microsoft%20RSA%20TLS%20CA%2001.crt" in [url for url, _ in web.asked]


@pytest.mark.parametrize("data", [b"", b"0", bytes(100), document(URL)[:-500], document(URL)[:60]])
def test_what_is_no_document_has_no_issuer(web: Web, data: bytes) -> None:
    assert issuers(data) == ()
    assert not web.asked


def test_a_ca_that_lacks_the_issuer_takes_what_the_client_sends_along(web: Web, tmp_path: Path) -> None:
    root = fa.keys().issuing.chain[-1].public_bytes(Encoding.PEM)
    trust = trusting(azure_roots={"test": root}, google=False)
    verifier, binding = VERIFIERS["azure-attested"], fa.BINDING
    with stand_ins.azure_vm(Vm(issuer_url=URL)) as service:
        here = Azure({}, service.url)
        refused = here.evidence("azure-attested", binding)
        assert refused.intermediates is None
        with pytest.raises(AttestationError) as error:
            verifier.authenticate(_evidence(refused), trust, int(datetime.now(UTC).timestamp()))
        assert "ACME_IID_AZURE_INTERMEDIATES" in error.value.detail
        web.there = {URL: (200, {}, DER)}
        answer = Azure({}, service.url).evidence("azure-attested", binding)
        claims = verifier.authenticate(_evidence(answer), trust, int(datetime.now(UTC).timestamp()))
        assert claims.scope == frozenset({"test"})
        # Of an operator's file nothing is fetched, and one program fetches once.
        asked = len(web.asked)
        here.evidence("azure-attested", binding)
        file = tmp_path / "intermediates.pem"
        file.write_bytes(fa.keys().roots)
        Azure({"ACME_IID_AZURE_INTERMEDIATES": str(file)}, service.url).evidence("azure-attested", binding)
        assert len(web.asked) == asked


def _evidence(answer: object) -> Evidence:
    fields = {name: value for name in ("evidence", "intermediates") if (value := getattr(answer, name)) is not None}
    return Evidence("azure-attested", fields)
