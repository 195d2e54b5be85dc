"""GET /roots.json: the roots of a CA with their links, as a document that caches may keep."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from running import CA

from acme_iid.issuance import ceremony
from acme_iid.issuance.roots import to_pem


def fetched(ca: CA, path: str = "/roots.json", **headers: str) -> requests.Response:
    return requests.get(ca.url + path, verify=str(ca.root), headers=headers, timeout=10)


def listed(ca: CA) -> Any:
    response = fetched(ca)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    return response.json()


def announce(ca: CA, folder: Path) -> str:
    """Announce a new root with the commands that an operator types; its fingerprint."""
    new = ceremony.create_root("My CA", int(time.time()))
    (folder / "new.pem").write_text(to_pem(new.certificate))
    (folder / "link.pem").unlink(missing_ok=True)
    ca.cli("issuer", "roots", "link", folder / "new.pem", "--root-cert", ca.root, "--root-key", ca.root_key,
           "--out", folder / "link.pem")  # fmt: skip
    ca.cli("issuer", "roots", "add", folder / "new.pem", folder / "link.pem")
    return ca.cli("fingerprint").stdout.split()[1]


def test_the_document_says_what_clients_need(own_ca: CA, tmp_path: Path) -> None:
    own_ca.start()
    first = listed(own_ca)
    assert set(first) == {"version", "roots", "crl"}
    assert [set(entry) for entry in first["roots"]] == [{"pem", "link", "from", "until"}]
    assert first["crl"] is None
    before = own_ca.root.read_bytes()
    new = announce(own_ca, tmp_path)
    second = listed(own_ca)
    assert second["version"] > first["version"]
    assert [entry["link"] is None for entry in second["roots"]] == [True, False]
    assert second["roots"][1]["link"] == (tmp_path / "link.pem").read_text()
    own_ca.cli("issuer", "roots", "drop", new)
    third = listed(own_ca)
    assert third["version"] > second["version"]
    assert [entry["until"] is None for entry in third["roots"]] == [True, False]
    assert own_ca.root.read_bytes() == before
    states = [entry["state"] for entry in json.loads(own_ca.cli("issuer", "roots", "list", "--json").stdout)]
    assert states == ["in use", "dropped"]


def test_caches_ask_whether_it_has_changed(own_ca: CA, tmp_path: Path) -> None:
    own_ca.start()
    response = fetched(own_ca)
    assert response.headers["Cache-Control"] == "public, no-cache"
    tag = response.headers["ETag"]
    again = fetched(own_ca, **{"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    announce(own_ca, tmp_path)
    assert fetched(own_ca, **{"If-None-Match": tag}).status_code == 200


def test_a_root_that_was_announced_can_be_bootstrapped(own_ca: CA, tmp_path: Path) -> None:
    own_ca.start()
    new = announce(own_ca, tmp_path)
    deadline = time.monotonic() + 30
    while fetched(own_ca, f"/root/{new}").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert fetched(own_ca, f"/root/{new}").text == (tmp_path / "new.pem").read_text()
    assert fetched(own_ca, "/roots.pem").text.count("BEGIN") == 2


def test_the_roots_list_of_revoked_issuers_is_in_it(own_ca: CA, tmp_path: Path) -> None:
    own_ca.start()
    out = tmp_path / "root.crl"
    own_ca.cli("issuer", "root-crl", "sign", "--root-cert", own_ca.root, "--root-key", own_ca.root_key,
               "--revoke", own_ca.intermediate, "--out", out)  # fmt: skip
    own_ca.cli("issuer", "root-crl", "import", out)
    found = x509.load_pem_x509_crl(listed(own_ca)["crl"].encode())
    intermediate = x509.load_pem_x509_certificate(own_ca.intermediate.read_bytes())
    assert found.get_revoked_certificate_by_serial_number(intermediate.serial_number) is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "new.pem"), "give the link to the new root as well"),
        (("add", "new.pem", "new.pem", "--without-link"), "give the link to the new root as well"),
        (("add", "missing.pem", "new.pem"), "cannot be read"),
        (("add", "new.pem", "new.pem"), "was not signed with the key of a root that clients trust"),
        (("use", "0123456789"), "is not the fingerprint of one root"),
        (("drop", "x"), "is not the fingerprint of one root"),
        (("link", "new.pem", "--root-cert", "new.pem", "--root-key", "missing", "--out", "link.pem"), "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    shared_ca: CA, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "new.pem").write_text(to_pem(ceremony.create_root("My CA", int(time.time())).certificate))
    typed = [tmp_path / word if word.endswith(".pem") or word == "missing" else word for word in arguments]
    refused = shared_ca.try_cli("issuer", "roots", *typed)
    assert refused.code != 0
    assert said in refused.stderr
