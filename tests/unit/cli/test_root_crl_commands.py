"""``acme-iid-ca issuer root-crl``: a list is signed where the root's key is, imported, and served."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from certificate_status_requests import fetch
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from running import CA, run_module

from acme_iid.issuance import ceremony, keys, root_crl
from acme_iid.issuance.home import load_certificate
from acme_iid.issuance.issuer import Signer

Sign = Callable[..., Path]


@pytest.fixture
def sign(own_ca: CA, tmp_path: Path) -> Sign:
    """Sign a list with the home's root, on a machine without a CA's home."""

    def run(name: str, *arguments: str | Path) -> Path:
        out = tmp_path / name
        root = ("--root-cert", own_ca.root, "--root-key", own_ca.root_key)
        command = ("--home", tmp_path / "nothing", "issuer", "root-crl", "sign", *root, "--out", out)
        done = run_module("acme_iid.cli", *command, *arguments)
        assert (done.code, "It can be relied on until" in done.stdout) == (0, True), done.stderr
        return out

    return run


def path_of(ca: CA) -> str:
    return f"/root-crl/{root_crl.short_id(load_certificate(ca.root))}"


def serials(der: bytes) -> set[int]:
    return {entry.serial_number for entry in x509.load_der_x509_crl(der)}


def test_a_list_is_signed_without_a_home_imported_and_served(own_ca: CA, sign: Sign) -> None:
    own_ca.start()
    assert fetch(own_ca, path_of(own_ca)).status_code == 404
    first = sign("first.crl")
    assert "is handed out, until" in own_ca.cli("issuer", "root-crl", "import", first).stdout
    served = fetch(own_ca, path_of(own_ca))
    assert (served.headers["Content-Type"], served.content) == ("application/pkix-crl", first.read_bytes())
    assert serials(served.content) == set()
    later = sign("later.crl", "--former", first, "--revoke", own_ca.intermediate, "--lifetime", "30d")
    own_ca.cli("issuer", "root-crl", "import", later)
    fresh = fetch(own_ca, path_of(own_ca), **{"If-None-Match": served.headers["ETag"]})
    assert fresh.content == later.read_bytes()
    assert serials(fresh.content) == {load_certificate(own_ca.intermediate).serial_number}
    # What is handed out now can be imported again, and changes nothing.
    own_ca.cli("issuer", "root-crl", "import", later)
    again = fetch(own_ca, path_of(own_ca), **{"If-None-Match": fresh.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    events = json.loads(own_ca.cli("events", "--json").stdout)
    imported = [entry["revoked"] for entry in events if entry["kind"] == "root_list.imported"]
    assert imported == [[f"{load_certificate(own_ca.intermediate).serial_number:x}"], []]


def test_an_older_list_is_refused_and_the_newest_stays(own_ca: CA, sign: Sign) -> None:
    older = sign("older.crl")
    newer = sign("newer.crl", "--former", older)
    own_ca.cli("issuer", "root-crl", "import", newer)
    refused = own_ca.try_cli("issuer", "root-crl", "import", older)
    assert (refused.code, "is not a later one" in refused.stderr) == (1, True), refused.stderr
    own_ca.start()
    assert fetch(own_ca, path_of(own_ca)).content == newer.read_bytes()


def test_another_list_with_the_same_number_is_refused(own_ca: CA, tmp_path: Path) -> None:
    root = Signer(load_certificate(own_ca.root), keys.load(own_ca.root_key, None))
    now = int(time.time())
    for name, revoked in (("one", []), ("two", [load_certificate(own_ca.intermediate)])):
        (tmp_path / name).write_bytes(root_crl.sign(root, revoked, "superseded", None, now))
    own_ca.cli("issuer", "root-crl", "import", tmp_path / "one")
    assert "is not a later one" in own_ca.try_cli("issuer", "root-crl", "import", tmp_path / "two").stderr


def test_a_list_that_another_root_signed_is_refused_with_a_sentence(own_ca: CA, tmp_path: Path) -> None:
    other = ceremony.create_root("Other CA", int(time.time()))
    file = tmp_path / "list"
    file.write_bytes(root_crl.sign(other, [], "superseded", None, int(time.time())))
    refused = own_ca.try_cli("issuer", "root-crl", "import", file)
    assert (refused.code, refused.stderr.count("\n")) == (1, 1)
    assert "which is none of this CA's roots" in refused.stderr


def test_a_file_that_exists_is_not_written_over(own_ca: CA, sign: Sign) -> None:
    out = sign("list.crl")
    before = out.read_bytes()
    root = ("--root-cert", own_ca.root, "--root-key", own_ca.root_key)
    refused = own_ca.try_cli("issuer", "root-crl", "sign", *root, "--out", out)
    assert (refused.code, f"{out} exists; choose another file" in refused.stderr) == (1, True)
    assert out.read_bytes() == before


def points(certificate: x509.Certificate) -> list[str]:
    """Where a certificate says that its issuer's list is."""
    found = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    return [name.value for point in found for name in point.full_name or ()]


def test_intermediates_say_where_their_roots_list_is(tmp_path: Path) -> None:
    ca = CA(tmp_path / "ca")
    ca.cli("init", "--url", ca.url, "--listen", f"127.0.0.1:{ca.port}", "--root-crl-url", "http://pki.test/{root}.crl")
    expected = [f"http://pki.test/{root_crl.short_id(load_certificate(ca.root))}.crl"]
    (first,) = (ca.home / "issuers").iterdir()
    assert points(load_certificate(first / "certificate.pem")) == expected
    ca.cli("issuer", "rotate", "prepare")
    (second,) = set((ca.home / "issuers").iterdir()) - {first}
    assert points(load_certificate(second / "certificate.pem")) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://pki.test/root.crl", "needs {root} in it, once"),
        ("http://pki.test/{root}/{root}.crl", "needs {root} in it, once"),
        ("ftp://pki.test/{root}.crl", "is no http or https URL"),
    ],
)
def test_a_url_without_the_roots_id_is_refused(tmp_path: Path, url: str, reason: str) -> None:
    refused = CA(tmp_path / "ca").try_cli("init", "--root-crl-url", url)
    assert (refused.code, reason in refused.stderr) == (2, True), refused.stderr
    assert not (tmp_path / "ca").exists()


def test_the_list_is_written_in_der(sign: Sign) -> None:
    written = sign("list.crl").read_bytes()
    assert x509.load_der_x509_crl(written).public_bytes(Encoding.DER) == written
