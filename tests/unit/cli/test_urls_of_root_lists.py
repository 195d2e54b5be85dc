"""Links between roots and cross-signed intermediates say where the list of the root is that has signed them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from company_cas import POLICY_KEY, Company, adding, pem
from cryptography import x509
from running import CA, Outcome, run_module

from acme_iid.durable import write_new
from acme_iid.issuance import ceremony, keys, root_crl
from acme_iid.issuance.home import load_certificate
from acme_iid.issuance.name_constraints import PRIVATE_NETWORKS, constraints
from acme_iid.issuance.roots import to_pem
from acme_iid.protocol.identifiers import ip
from acme_iid.protocol.public_keys import PublicKey

URL = "http://pki.test/{root}.crl"
LISTENING = '\n[status]\nlisten = "127.0.0.1:8080"\n'


def points(path: Path) -> list[str]:
    """Where the first certificate in a file says that its issuer's list is."""
    certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
    try:
        found = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return []
    return [name.value for point in found for name in point.full_name or ()]


def list_of(root: Path, template: str = URL) -> list[str]:
    return [root_crl.url_of(template, load_certificate(root))]


@pytest.fixture
def other(tmp_path: Path) -> tuple[Path, Path]:
    """A root that no CA here has, and its key."""
    root = ceremony.create_root("Other CA", int(time.time()))
    (tmp_path / "other.pem").write_text(to_pem(root.certificate))
    write_new(tmp_path / "other.key", keys.to_pem(root.key), 0o600)
    return tmp_path / "other.pem", tmp_path / "other.key"


def link(home: Path, new: Path, root: tuple[Path, Path], out: Path, *options: str) -> Outcome:
    """Sign a link on a machine with a home, or with a folder that is none."""
    by = ("--root-cert", root[0], "--root-key", root[1])
    return run_module("acme_iid.cli", "--home", home, "issuer", "roots", "link", new, *by, "--out", out, *options)


def test_a_link_says_what_the_configuration_does(own_ca: CA, other: tuple[Path, Path], tmp_path: Path) -> None:
    mine = own_ca.root, own_ca.root_key
    silent = link(own_ca.home, other[0], mine, tmp_path / "silent.pem")
    assert (silent.code, "does not say where the former root's revocation list is" in silent.stdout) == (0, True)
    with (own_ca.home / "ca.toml").open("a") as file:
        file.write(LISTENING)
    said = link(own_ca.home, other[0], mine, tmp_path / "link.pem").stdout
    (url,) = expected = list_of(own_ca.root, "http://127.0.0.1:8080/root-crl/{root}")
    assert f"the former root's revocation list is at {url}" in said
    # The list of a root that is another's is not here.
    link(own_ca.home, own_ca.root, other, tmp_path / "back.pem")
    found = [points(tmp_path / name) for name in ("silent.pem", "link.pem", "back.pem")]
    assert found == [[], expected, []]


def test_a_link_says_what_the_operator_does_where_no_ca_is(
    own_ca: CA, other: tuple[Path, Path], tmp_path: Path
) -> None:
    mine = own_ca.root, own_ca.root_key
    for name, url in (("a.pem", URL), ("b.pem", "http://pki.test/root.crl")):
        done = link(tmp_path / "nothing", other[0], mine, tmp_path / name, "--root-crl-url", url)
        assert done.code == 0, done.stderr
        assert points(tmp_path / name) == list_of(own_ca.root, url)
    # It is taken before what the configuration says.
    with (own_ca.home / "ca.toml").open("a") as file:
        file.write(LISTENING)
    link(own_ca.home, other[0], mine, tmp_path / "c.pem", "--root-crl-url", URL)
    assert points(tmp_path / "c.pem") == list_of(own_ca.root)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://pki.test/{issuer}.crl", "has {issuer} in it; the only placeholder is {root}"),
        ("ldap://pki.test/{root}.crl", "is no http or https URL"),
    ],
)
def test_a_url_that_is_none_is_refused(
    own_ca: CA, other: tuple[Path, Path], tmp_path: Path, url: str, reason: str
) -> None:
    mine = own_ca.root, own_ca.root_key
    refused = link(own_ca.home, other[0], mine, tmp_path / "link.pem", "--root-crl-url", url)
    assert (refused.code, reason in refused.stderr) == (2, True), refused.stderr
    assert not (tmp_path / "link.pem").exists()


def test_a_cross_signed_intermediate_says_where_the_other_roots_list_is(
    own_ca: CA, other: tuple[Path, Path], tmp_path: Path
) -> None:
    with (own_ca.home / "ca.toml").open("a") as file:
        file.write(LISTENING)
    theirs = ("--root-cert", other[0], "--root-key", other[1])
    own_ca.cli("cross-sign", *theirs, tmp_path / "silent.pem")
    own_ca.cli("cross-sign", *theirs, "--root-crl-url", URL, tmp_path / "given.pem")
    own_ca.cli("cross-sign", "--root-cert", own_ca.root, "--root-key", own_ca.root_key, tmp_path / "mine.pem")
    assert points(tmp_path / "silent.pem") == []
    assert points(tmp_path / "given.pem") == list_of(other[0])
    assert points(tmp_path / "mine.pem") == list_of(own_ca.root, "http://127.0.0.1:8080/root-crl/{root}")


def test_an_import_that_java_would_refuse_says_so(tmp_path: Path) -> None:
    ca = CA(tmp_path / "ca")
    ca.cli("init", "--url", ca.url, "--csr", tmp_path / "ca.csr")
    key = x509.load_pem_x509_csr((tmp_path / "ca.csr").read_bytes()).public_key()
    assert isinstance(key, PublicKey)
    company = Company(key, int(time.time()))
    limits = adding(constraints(["local", "internal"], PRIVATE_NETWORKS, [ip("127.0.0.1")]), critical=True)
    chain = pem(company.issuing(), company.policy(POLICY_KEY, change=limits), company.root())
    (tmp_path / "chain.pem").write_bytes(chain)
    said = ca.cli("issuer", "import", tmp_path / "chain.pem").stdout
    assert "Java takes the common name of 'CN=Issuing' for a host's" in said
