"""The test mode in which suites made for Pebble find our CA."""

from __future__ import annotations

import base64
import json
import re
import secrets
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from interop.clients.certbot import Certbot
from interop.clients.libraries import Go
from interop.harness import ExternalAccount, Files, Names, Site, examine, new_names, openssl
from interop.pebble_modes import Mode, bound_account, started
from wire import Wire

KEY = ExternalAccount("kid-1", base64.urlsafe_b64encode(secrets.token_bytes(48)).decode())


@pytest.fixture(scope="module")
def mode(names: Names, ports: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mode]:
    """With external account keys, bad nonces, and the TLS certificate of a root of the suite's."""
    mode = Mode(tmp_path_factory.mktemp("mode"))
    configuration = {
        **mode.addresses,
        **mode.certify(),
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
    mode = Mode(tmp_path_factory.mktemp("calm"))
    configuration = {**mode.addresses, "httpPort": ports[0], "tlsPort": ports[1]}
    with started(mode, names.resolver, configuration, PEBBLE_WFE_NONCEREJECT="0", PEBBLE_ALTERNATE_ROOTS="2"):
        trusting = ssl._create_unverified_context()  # noqa: S323 - the root is what is fetched
        url = f"https://localhost:{mode.management_port}/roots/0"
        with urllib.request.urlopen(url, context=trusting, timeout=10) as answer:
            mode.root.write_bytes(answer.read())
        yield mode


def test_a_client_issues_and_revokes_though_every_fifth_nonce_is_refused(mode: Mode, site: Site) -> None:
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
    (name,) = x509.load_pem_x509_certificate(root.read_bytes()).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    client.preferred_chain = str(name.value)
    examine(client.issue(new_names(), "http-01", "ec"), root)


def test_the_directory_takes_post_as_get_at_pebbles_path(mode: Mode, tmp_path: Path) -> None:
    root = tmp_path / "root.pem"
    root.write_bytes(mode.root.read_bytes())
    wire = Wire(mode.directory, root)
    account = bound_account(wire, KEY)
    answer = account.post(f"https://localhost:{mode.port}/dir")
    assert answer.status_code == 200, answer.text
    assert answer.json() == wire.directory
    assert answer.headers["Replay-Nonce"]


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
