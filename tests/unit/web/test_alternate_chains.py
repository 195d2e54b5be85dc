"""A second root: the chain to it is offered beside our own (RFC 8555 section 7.4.2)."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from running import CA, answer, run_module
from wire import Account, problem

from acme_iid.attestation.registry import trust_store
from acme_iid.authority import Authority, reading
from acme_iid.config.ca_toml import load
from acme_iid.issuance import alternates, ceremony, keys
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.issuance.home import load as load_ca
from acme_iid.issuance.issuer import Issuer, Signer
from acme_iid.protocol.identifiers import dns
from acme_iid.simulator import aws
from acme_iid.store import certificates
from acme_iid.store.database import open_store
from acme_iid.store.listing import Filter


@dataclass
class Served:
    """A CA with an alternate chain, and the other root's certificate."""

    ca: CA
    other: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("alternates")
    ca, other = CA(folder / "ca"), folder / "other"
    ca.init()
    made = run_module("acme_iid.cli", "--home", other, "init", "--name", "Other CA")
    assert made.code == 0, made.stderr
    out = ca.home / "certs" / "alternate.crt"
    root = CA(other).root
    said = ca.cli("cross-sign", "--root-cert", root, "--root-key", CA(other).root_key, out).stdout
    fingerprint = x509.load_pem_x509_certificate(root.read_bytes()).fingerprint(hashes.SHA256()).hex()
    assert f"Its root's fingerprint: {fingerprint}" in said
    assert f'alternate_chains = ["{out}"]' in said
    file = ca.home / "ca.toml"
    chains = 'alternate_chains = ["certs/alternate.crt"]\n\n[server]'
    file.write_text(file.read_text().replace("\n[server]", chains, 1))
    ca.start()
    yield Served(ca, root)
    ca.stop()


def alternate(response: requests.Response) -> list[str]:
    """The URLs of the other chains."""
    links = requests.utils.parse_header_links(response.headers["Link"])
    return [link["url"] for link in links if link["rel"] == "alternate"]


def verifies(chain: str, root: Path, folder: Path) -> bool:
    (folder / "chain.pem").write_text(chain)
    command: list[str | Path] = ["openssl", "verify", "-x509_strict", "-no-CApath", "-no-CAstore", "-CAfile", root,
                                 "-untrusted", folder / "chain.pem", folder / "chain.pem"]  # fmt: skip
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_each_chain_leads_to_its_root_and_links_to_the_other(
    served: Served, instance: aws.Instance, tmp_path: Path
) -> None:
    account = served.ca.account()
    issued = account.obtain("foo.local", answer=answer(instance))
    url = account.post(issued.order).json()["certificate"]
    first = account.post(url)
    (other_url,) = alternate(first)
    assert other_url == url + "/1"
    second = account.post(other_url)
    assert second.headers["Content-Type"] == "application/pem-certificate-chain"
    assert alternate(second) == [url]
    assert x509.load_pem_x509_certificate(second.content) == issued.leaf
    ours, others = served.ca.root, served.other
    outcomes = [verifies(chain.text, root, tmp_path) for chain in (first, second) for root in (ours, others)]
    assert outcomes == [True, False, False, True]


def test_there_is_no_other_chain_and_no_chain_for_another_account(served: Served, instance: aws.Instance) -> None:
    account = served.ca.account()
    issued = account.obtain("foo.local", answer=answer(instance))
    url = account.post(issued.order).json()["certificate"]
    for number in ("00", "2", "-1", "x"):
        refused = account.post(f"{url}/{number}")
        assert refused.status_code == 404
        assert problem(refused) == "malformed"
    assert problem(served.ca.account().post(url + "/1")) == "unauthorized"


def test_a_ca_without_other_roots_has_no_link(shared_ca: CA, instance: aws.Instance) -> None:
    account: Account = shared_ca.account()
    issued = account.obtain("foo.local", answer=answer(instance))
    url = account.post(issued.order).json()["certificate"]
    assert alternate(account.post(url)) == []
    assert account.post(url + "/1").status_code == 404


def test_all_roots_are_offered_and_each_by_its_fingerprint(served: Served) -> None:
    session = served.ca.wire().session
    pem = session.get(served.ca.url + "/roots.pem", timeout=10).text
    assert pem == served.ca.root.read_text() + served.other.read_text()
    for root in (served.ca.root, served.other):
        fingerprint = x509.load_pem_x509_certificate(root.read_bytes()).fingerprint(hashes.SHA256()).hex()
        assert session.get(f"{served.ca.url}/root/{fingerprint}", timeout=10).text == root.read_text()


def test_a_chain_that_is_none_keeps_the_server_from_starting(own_ca: CA) -> None:
    file = own_ca.home / "ca.toml"
    file.write_text(file.read_text().replace("\n[server]", 'alternate_chains = ["certs/root_ca.crt"]\n\n[server]', 1))
    done = own_ca.try_cli("serve")
    assert done.code == 1
    assert "certs/root_ca.crt holds 1 certificates; an alternate chain is" in done.stderr


def test_cross_sign_overwrites_nothing_and_takes_the_roots_own_key(own_ca: CA, tmp_path: Path) -> None:
    root = ("--root-cert", own_ca.root, "--root-key", own_ca.intermediate_key)
    wrong = own_ca.try_cli("cross-sign", *root, tmp_path / "out")
    assert wrong.code == 1
    assert "the root's key is not the key of its certificate" in wrong.stderr
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").write_text("mine")
    right = ("--root-cert", own_ca.root, "--root-key", own_ca.root_key)
    again = own_ca.try_cli("cross-sign", *right, tmp_path / "out")
    assert again.code == 1
    assert "exists; choose another file" in again.stderr
    assert (tmp_path / "out").read_text() == "mine"


def test_a_chain_is_offered_until_its_end_and_for_one_issuer_only(served: Served, instance: aws.Instance) -> None:
    home = served.ca.home
    served.ca.account().obtain("foo.local", answer=answer(instance))
    loaded = load(home)
    ca = load_ca(home)
    chain = alternates.load(loaded.ca.alternate_chains[0], [ca.current.certificate])
    database = open_store(loaded.store.url)
    certificate = certificates.page(database, Filter(limit=1), None, 0)[0]
    trust = trust_store(loaded.given_keys)
    authority = Authority(loaded, database, ca, trust, alternates=(chain,))
    assert list(reading.chains(authority, database, certificate, chain.not_after - 1)) == ["0", "1"]
    assert list(reading.chains(authority, database, certificate, chain.not_after)) == ["0"]
    root = Signer(ca.roots[0], keys.load(served.ca.root_key, None))
    made = ceremony.create_intermediate(root, "My CA", 1_800_000_000)
    both = CertificateAuthority(ca.roots, [Issuer(made, ca.roots[0]), ca.current])
    later = Authority(loaded, database, both, trust, alternates=(chain,))
    assert list(reading.chains(later, database, certificate, chain.not_after - 1)) == ["0", "1"]
    by_next = replace(certificate, issuer_id=both.current.id)
    assert list(reading.chains(later, database, by_next, chain.not_after - 1)) == ["0"]
    database.close()


def test_a_constrained_chain_is_offered_for_the_names_that_it_permits(
    served: Served, instance: aws.Instance, tmp_path: Path
) -> None:
    served.ca.account().obtain("foo.local", answer=answer(instance))
    loaded, ca = load(served.ca.home), load_ca(served.ca.home)
    other = ceremony.create_root(
        "Third CA", int(time.time()), constraints=x509.NameConstraints([x509.DNSName("corp.local")], None)
    )
    crossed = ceremony.cross_sign(other, ca.current.certificate, int(time.time()))
    path = tmp_path / "chain.pem"
    path.write_bytes(b"".join(entry.public_bytes(Encoding.PEM) for entry in (crossed, other.certificate)))
    chain = alternates.load(path, [ca.current.certificate])
    with closing(open_store(loaded.store.url)) as database:
        certificate = certificates.page(database, Filter(limit=1), None, 0)[0]
        authority = Authority(loaded, database, ca, trust_store(loaded.given_keys), alternates=(chain,))
        within = replace(certificate, names=(dns("a.corp.local"),))
        assert list(reading.chains(authority, database, within, 0)) == ["0", "1"]
        assert list(reading.chains(authority, database, certificate, 0)) == ["0"]
