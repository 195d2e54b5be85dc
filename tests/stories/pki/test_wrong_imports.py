"""Answers to a request that do not fit, imported beside a CA that runs: each is refused with its own sentence."""

from __future__ import annotations

import ipaddress
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import forge
import pytest
from company_cas import (
    POLICY_KEY,
    RSA_KEY,
    Company,
    Files,
    adding,
    pem,
    wrong_certificates,
    wrong_chains,
    wrong_files,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pki.rotating import serving
from running import ACCOUNT, CA, PROVISIONER, answer

from acme_iid.protocol.public_keys import PublicKey
from acme_iid.simulator import aws

CHANGING = ("ca.db", "nonces", "tls")
"""What a server that runs writes in its home."""


def tree(home: Path) -> dict[str, bytes]:
    """The home's files, but those of the running server."""
    return {
        str(path.relative_to(home)): path.read_bytes() if path.is_file() else b""
        for path in sorted(home.rglob("*"))
        if not path.relative_to(home).parts[0].startswith(CHANGING)
    }


def requested(csr: Path) -> Company:
    """The company that is asked to sign."""
    key = x509.load_pem_x509_csr(csr.read_bytes()).public_key()
    assert isinstance(key, PublicKey)
    return Company(key, int(time.time()))


def under_the_company(folder: Path) -> CA:
    """A CA under the company's policy CA."""
    ca = CA(folder / "ca")
    ca.cli("init", "--name", "My CA", "--domain", "local", "--url", ca.url, "--listen", f"127.0.0.1:{ca.port}",
           "--csr", folder / "ca.csr")  # fmt: skip
    roots = ca.home / "test-roots.pem"
    roots.write_bytes(forge.keys().certificates)
    ca.cli("provisioner", "add", PROVISIONER, "--type", "AWS", "--aws-account", ACCOUNT, "--iid-roots", roots)
    (folder / "chain.pem").write_bytes(pem(*requested(folder / "ca.csr").chain()))
    ca.cli("issuer", "import", folder / "chain.pem")
    return ca


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CA]:
    """One that runs, and whose next issuer waits for its certificate."""
    ca = under_the_company(tmp_path_factory.mktemp("wrong"))
    ca.cli("issuer", "rotate", "prepare", "--csr", ca.home.parent / "next.csr")
    with serving(ca):
        yield ca


def import_all(ca: CA, files: Files, folder: Path) -> None:
    """Import each file, and have a certificate issued after each."""
    account, host = ca.account(), aws.Instance(account=ACCOUNT)
    path = folder / "wrong.pem"
    before = tree(ca.home)
    for case, (data, sentence) in files.items():
        path.write_bytes(data)
        refused = ca.try_cli("issuer", "import", path)
        assert (refused.code, tree(ca.home) == before) == (1, True), case
        assert sentence in refused.stderr, (case, refused.stderr)
        assert account.obtain("foo.local", answer=answer(host)).leaf is not None


def test_files_that_are_no_chain_change_nothing(ca: CA, tmp_path: Path) -> None:
    import_all(ca, wrong_files(requested(ca.home.parent / "next.csr")), tmp_path)


def test_chains_that_lead_elsewhere_change_nothing(ca: CA, tmp_path: Path) -> None:
    import_all(ca, wrong_chains(requested(ca.home.parent / "next.csr")), tmp_path)


def test_certificates_that_may_not_sign_change_nothing(ca: CA, tmp_path: Path) -> None:
    import_all(ca, wrong_certificates(requested(ca.home.parent / "next.csr")), tmp_path)


def constrained(company: Company, *permitted: x509.GeneralName) -> bytes:
    limits = x509.NameConstraints(permitted, None)
    # Without the root, which the CA knows.
    return pem(company.issuing(), company.policy(change=adding(limits, critical=True)))


def test_what_does_not_fit_this_ca_changes_nothing(ca: CA, tmp_path: Path) -> None:
    csr = ca.home.parent / "next.csr"
    company = requested(csr)
    (folder,) = (ca.home / "issuers").iterdir()
    known = (folder / "chain.pem").read_bytes() + ca.root.read_bytes()
    elsewhere = company.certificate("Issuing", company.key, "Another Root", POLICY_KEY)
    subjects = x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme")]))
    files: Files = {
        "another root": (pem(elsewhere, company.root(POLICY_KEY, "Another Root")), "leads to another root than this"),
        "one that was imported before": (known, "this issuer was imported before"),
        "constraints that shut out the domains": (
            constrained(company, x509.DNSName("corp.example")),
            "the domain local in [ca] domains is wider than the name constraints: 'CN=Policy' permits names below",
        ),
        "constraints that shut out the server": (
            constrained(company, x509.IPAddress(ipaddress.ip_network("10.0.0.0/8"))),
            "the name constraints shut out the server itself, 127.0.0.1",
        ),
        "constraints that shut out the issuing CA's own name": (
            constrained(company, subjects),
            "no client would take a certificate under this chain",
        ),
        "a signature with SHA-1": (
            by_openssl(company, csr, tmp_path, "-sha1"),
            "is signed with sha1, which clients refuse",
        ),
        "a signature with MD5": (
            by_openssl(company, csr, tmp_path, "-md5"),
            "is signed with md5, which clients refuse",
        ),
    }
    import_all(ca, files, tmp_path)


def by_openssl(company: Company, csr: Path, folder: Path, digest: str) -> bytes:
    """A chain whose issuing CA OpenSSL has signed with a digest that the cryptography package does not sign with."""
    root = company.root(RSA_KEY, "RSA Root")
    key = RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "root.pem").write_bytes(pem(root))
    (folder / "root.key").write_bytes(key)
    done = subprocess.run(
        ["openssl", "x509", "-req", "-in", csr, "-copy_extensions", "copyall", "-CA", "root.pem", "-CAkey", "root.key",
         "-set_serial", "7", "-days", "365", digest],
        cwd=folder, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + pem(root)


def test_a_chain_without_the_root_that_the_ca_knows_is_taken(tmp_path: Path) -> None:
    ca = under_the_company(tmp_path)
    ca.cli("issuer", "rotate", "prepare", "--csr", tmp_path / "further.csr")
    company = requested(tmp_path / "further.csr")
    issuing, policy, _ = company.chain()
    (tmp_path / "chain.pem").write_bytes(b"\xef\xbb\xbf" + pem(issuing, policy).replace(b"\n", b"\r\n"))
    imported = ca.try_cli("issuer", "import", tmp_path / "chain.pem")
    # The root's name and key are those of the CA's first chain.
    assert imported.code == 0, imported.stderr
    assert "Root fingerprint: " + ca.fingerprint in imported.stdout
