"""The test mode in which suites made for Pebble find our CA."""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
import secrets
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from interop.clients.certbot import Certbot
from interop.clients.libraries import Go
from interop.harness import ExternalAccount, Files, Names, Site, examine, listens, new_names, openssl, running, until
from ports import free_port
from wire import Account, Key, Wire, b64, problem

PEBBLE = Path(__file__).resolve().parents[2] / "suites" / "pebble_mode" / "pebble"
KEY = ExternalAccount("kid-1", base64.urlsafe_b64encode(secrets.token_bytes(48)).decode())


@dataclass
class Mode:
    """A running test mode, and its management endpoints."""

    home: Path
    port: int
    management_port: int

    @property
    def directory(self) -> str:
        return f"https://127.0.0.1:{self.port}/dir"

    @property
    def root(self) -> Path:
        return self.home / "minica.pem"

    @property
    def issuing_root(self) -> Path:
        path = self.home / "issuing.pem"
        path.write_bytes(self.get("roots/0"))
        return path

    def _open(self, url: str, body: bytes | None = None) -> bytes:
        context = ssl.create_default_context(cafile=str(self.root))
        with urllib.request.urlopen(url, data=body, context=context, timeout=10) as answer:
            return bytes(answer.read())

    def get(self, path: str) -> bytes:
        return self._open(f"https://localhost:{self.management_port}/{path}")

    def post(self, path: str, **members: str) -> None:
        self._open(f"https://localhost:{self.management_port}/{path}", json.dumps(members).encode())

    def acme(self, name: str) -> Any:
        return json.loads(self._open(self.directory))[name]

    def renewal_info(self, certificate_id: str) -> Any:
        return json.loads(self._open(f"{self.acme('renewalInfo')}/{certificate_id}"))

    def status(self, serial: int) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.get(f"cert-status-by-serial/{serial:x}"))
        return shown

    def revoked(self, serial: int) -> bool:
        return bool(self.status(serial)["Status"] == "Revoked")


@contextmanager
def started(mode: Mode, resolver: str, configuration: dict[str, object], **env: str) -> Iterator[Mode]:
    """Start the mode as a suite does, by a Pebble configuration."""
    configuration |= {
        "listenAddress": f"127.0.0.1:{mode.port}",
        "managementListenAddress": f"127.0.0.1:{mode.management_port}",
    }
    (mode.home / "pebble.json").write_text(json.dumps({"pebble": configuration}))
    command = (PEBBLE, "-config", mode.home / "pebble.json", "-dnsserver", resolver, "-strict")
    log = mode.home / "log"
    with running(*command, env={**os.environ, "PEBBLE_PYTHON": sys.executable, **env}, log=log) as process:
        until(lambda: listens(mode.port) or process.poll() is not None, "the test mode")
        assert process.poll() is None, log.read_text()
        yield mode


@pytest.fixture(scope="module")
def mode(names: Names, ports: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mode]:
    """With external account keys, bad nonces, and the TLS certificate of a root of the suite's."""
    home = tmp_path_factory.mktemp("mode")
    mode = Mode(home, free_port(), free_port())
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    openssl(*new, "-keyout", home / "minica.key", "-out", mode.root, "-subj", "/CN=minica")
    openssl(*new, "-keyout", home / "key.pem", "-out", home / "cert.pem", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:false",
            "-CA", mode.root, "-CAkey", home / "minica.key")  # fmt: skip
    configuration = {
        "certificate": str(home / "cert.pem"),
        "privateKey": str(home / "key.pem"),
        "httpPort": ports[0],
        "tlsPort": ports[1],
        "externalAccountBindingRequired": True,
        "externalAccountMACKeys": {KEY.kid: KEY.key},
    }
    with started(mode, names.resolver, configuration, PEBBLE_WFE_NONCEREJECT="20"):
        yield mode


@pytest.fixture(scope="module")
def calm_mode(names: Names, ports: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mode]:
    """With good nonces, two alternate roots, and a TLS certificate of its own."""
    mode = Mode(tmp_path_factory.mktemp("calm"), free_port(), free_port())
    configuration: dict[str, object] = {"httpPort": ports[0], "tlsPort": ports[1]}
    with started(mode, names.resolver, configuration, PEBBLE_WFE_NONCEREJECT="0", PEBBLE_ALTERNATE_ROOTS="2"):
        trusting = ssl._create_unverified_context()  # noqa: S323 - the root is what is fetched
        url = f"https://localhost:{mode.management_port}/roots/0"
        with urllib.request.urlopen(url, context=trusting, timeout=10) as answer:
            mode.root.write_bytes(answer.read())
        yield mode


def test_a_client_gets_and_revokes_a_certificate_though_every_fifth_nonce_is_refused(mode: Mode, site: Site) -> None:
    names = new_names(2)
    client = Go(site, mode, eab=KEY)  # it tries ten times
    issued = examine(client.issue(names, "http-01", "ec"), mode.issuing_root)
    assert issued.names == frozenset(names)
    assert mode.status(issued.serial)["Status"] == "Valid"
    client.revoke()
    assert mode.revoked(issued.serial)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_endpoints_give_roots_intermediates_and_their_keys(calm_mode: Mode, tmp_path: Path, number: int) -> None:
    paths = {}
    for certificates, keys in (("roots", "root-keys"), ("intermediates", "intermediate-keys")):
        certificate, key = (
            calm_mode.get(f"{certificates}/{number}").decode(),
            calm_mode.get(f"{keys}/{number}").decode(),
        )
        assert openssl("x509", "-noout", "-pubkey", stdin=certificate) == openssl("pkey", "-pubout", stdin=key)
        paths[certificates] = tmp_path / certificates
        paths[certificates].write_text(certificate)
    openssl("verify", "-CAfile", paths["roots"], paths["intermediates"])


@pytest.mark.parametrize("path", ["roots/3", "roots/x", "intermediate-keys/3", "cert-status-by-serial/1234"])
def test_what_there_is_none_of_is_not_found(calm_mode: Mode, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        calm_mode.get(path)


def test_certbot_gets_the_chain_that_it_prefers(calm_mode: Mode, site: Site, tmp_path: Path) -> None:
    root = tmp_path / "other-root.pem"
    root.write_bytes(calm_mode.get("roots/2"))
    client = Certbot(site, calm_mode)
    client.preferred_chain = (
        x509.load_pem_x509_certificate(root.read_bytes()).subject.rfc4514_string().partition("=")[2]
    )
    examine(client.issue(new_names(), "http-01", "ec"), root)


def test_the_directory_takes_post_as_get_at_pebbles_path(mode: Mode, tmp_path: Path) -> None:
    root = tmp_path / "root.pem"
    root.write_bytes(mode.root.read_bytes())
    wire = Wire(mode.directory, root)
    account = bound_account(wire)
    answer = account.post(f"https://localhost:{mode.port}/dir")
    assert answer.status_code == 200, answer.text
    assert answer.json() == wire.directory
    assert answer.headers["Replay-Nonce"]


def bound_account(wire: Wire) -> Account:
    """An account made with the external account key; tried again while the nonce is told to be bad."""
    key, url = Key(), wire.directory["newAccount"]
    first, second = (
        b64(json.dumps({"alg": "HS256", "kid": KEY.kid, "url": url}).encode()),
        b64(json.dumps(key.jwk).encode()),
    )
    secret = base64.urlsafe_b64decode(KEY.key + "==")
    mac = b64(hmac.digest(secret, f"{first}.{second}".encode(), "sha256"))
    binding = {"protected": first, "payload": second, "signature": mac}
    for _ in range(20):
        answer = wire.post(url, {"termsOfServiceAgreed": True, "externalAccountBinding": binding}, key)
        if answer.status_code == 201:
            return Account(wire, key, answer.headers["Location"])
        assert problem(answer) == "badNonce"
    raise AssertionError("twenty nonces were bad")


def test_set_renewal_info_moves_a_certificates_window(mode: Mode, site: Site) -> None:
    files = Go(site, mode, eab=KEY).issue(new_names(), "http-01", "ec")
    window = {"start": "2021-01-01T00:00:00Z", "end": "2021-01-02T00:00:00Z"}
    info = json.dumps({"suggestedWindow": window})
    mode.post("set-renewal-info/", Certificate=openssl("x509", "-in", files.leaf), ARIResponse=info)
    assert mode.renewal_info(certificate_id(files))["suggestedWindow"] == window


def certificate_id(files: Files) -> str:
    """RFC 9773 section 4.1."""
    text = openssl("x509", "-in", files.leaf, "-noout", "-serial", "-ext", "authorityKeyIdentifier")
    serial = re.search("serial=([0-9A-F]+)", text)
    key = re.search("((?:[0-9A-F]{2}:)+[0-9A-F]{2})", text)
    assert serial is not None
    assert key is not None
    number = int(serial[1], 16)
    octets = number.to_bytes(number.bit_length() // 8 + 1, "big")
    parts = (bytes.fromhex(key[1].replace(":", "")), octets)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
