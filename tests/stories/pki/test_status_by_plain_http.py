"""A relying party with OpenSSL's own commands: it trusts the root only, and fetches all else by plain HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import forge
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID
from pages import commands
from pki.rotating import SECONDS, serving
from ports import free_port
from running import ACCOUNT, CA, PROVISIONER, answer
from wire import Issued

from acme_iid.simulator import aws


class Party:
    """A CA and its relying party, which has the root in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = CA(folder / "ca")
        self.port = free_port()
        url = f"http://127.0.0.1:{self.port}"
        ca = self.ca
        ca.cli("init", "--name", "My CA", "--domain", "local", "--url", ca.url, "--listen", f"127.0.0.1:{ca.port}",
               "--root-crl-url", f"{url}/root-crl/{{root}}")  # fmt: skip
        file = ca.home / "ca.toml"
        file.write_text(file.read_text().replace("[status]\n", f'[status]\nlisten = "127.0.0.1:{self.port}"\n'))
        roots = ca.home / "test-roots.pem"
        roots.write_bytes(forge.keys().certificates)
        ca.cli("provisioner", "add", PROVISIONER, "--type", "AWS", "--aws-account", ACCOUNT, "--iid-roots", roots)
        self.root_list()

    def root_list(self, *arguments: str | Path) -> None:
        """Sign the root's list where its key is, and have it handed out."""
        files = ("--root-cert", self.ca.root, "--root-key", self.ca.root_key)
        former = self.folder / "root.crl"
        if former.exists():
            former = former.rename(self.folder / "former.crl")
            arguments = (*arguments, "--former", former)
        self.ca.cli("issuer", "root-crl", "sign", *files, "--out", self.folder / "root.crl", *arguments)
        self.ca.cli("issuer", "root-crl", "import", self.folder / "root.crl")

    def openssl(self, *arguments: str | Path) -> tuple[int, str]:
        """Run openssl; its exit status and what it says."""
        done = subprocess.run(
            ["openssl", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=SECONDS
        )
        return done.returncode, done.stdout + done.stderr

    def verify(self, issued: Issued) -> tuple[int, str]:
        """Verify a chain, with each certificate's list from where the certificate says that it is."""
        chain = self.folder / "chain.pem"
        chain.write_text(issued.chain)
        lists = self.folder / "lists.pem"
        lists.write_bytes(b"".join(map(self.fetched, x509.load_pem_x509_certificates(issued.chain.encode()))))
        return self.openssl("verify", "-x509_strict", "-crl_check_all", "-CRLfile", lists, "-CAfile", self.ca.root,
                            "-untrusted", chain, chain)  # fmt: skip

    def fetched(self, certificate: x509.Certificate) -> bytes:
        """The list that a certificate names, fetched as curl does; PEM."""
        (point,) = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        assert point.full_name is not None
        url = point.full_name[0].value
        done = subprocess.run(["curl", "--silent", "--fail", "--proto", "=http", url], capture_output=True, check=True)
        return x509.load_der_x509_crl(done.stdout).public_bytes(Encoding.PEM)

    def downloaded(self, issued: Issued) -> tuple[int, str]:
        """Verify a leaf, with the list that openssl itself downloads."""
        chain = self.folder / "chain.pem"
        chain.write_text(issued.chain)
        return self.openssl("verify", "-x509_strict", "-crl_check", "-crl_download", "-CAfile", self.ca.root,
                            "-untrusted", chain, chain)  # fmt: skip

    def ocsp(self, issued: Issued) -> tuple[int, str]:
        """Ask as ``openssl ocsp`` does, at the URL in the certificate, with nothing but the root to believe."""
        leaf, access = self.folder / "leaf.pem", x509.AuthorityInformationAccess
        leaf.write_bytes(issued.leaf.public_bytes(Encoding.PEM))
        issuer = self.folder / "issuer.pem"
        urls = {entry.access_method: entry.access_location.value
                for entry in issued.leaf.extensions.get_extension_for_class(access).value}  # fmt: skip
        done = subprocess.run(["curl", "--silent", "--fail", urls[AuthorityInformationAccessOID.CA_ISSUERS]],
                              capture_output=True, check=True)  # fmt: skip
        issuer.write_bytes(x509.load_der_x509_certificate(done.stdout).public_bytes(Encoding.PEM))
        return self.openssl("ocsp", "-issuer", issuer, "-cert", leaf, "-url", urls[AuthorityInformationAccessOID.OCSP],
                            "-CAfile", self.ca.root, "-verify_other", issuer)  # fmt: skip


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    party = Party(tmp_path)
    with serving(party.ca):
        yield party


def test_openssl_checks_the_whole_chain_up_to_the_roots_list(party: Party, instance: aws.Instance) -> None:
    issued = party.ca.account().obtain("foo.local", answer=answer(instance))
    for check in (party.verify, party.downloaded):
        code, said = check(issued)
        assert (code, "OK" in said) == (0, True), said
    code, said = party.ocsp(issued)
    assert (code, "leaf.pem: good" in said, "Response verify OK" in said) == (0, True, True), said
    party.ca.cli("certificate", "revoke", str(issued.leaf.serial_number), "--reason", "superseded")
    for check in (party.verify, party.downloaded):
        code, said = check(issued)
        assert (code == 0, "certificate revoked" in said) == (False, True), said
    _, said = party.ocsp(issued)
    assert ("leaf.pem: revoked" in said, "Response verify OK" in said) == (True, True), said


def test_an_issuer_that_the_roots_list_names_is_believed_no_more(party: Party, instance: aws.Instance) -> None:
    issued = party.ca.account().obtain("foo.local", answer=answer(instance))
    assert party.verify(issued)[0] == 0
    party.root_list("--revoke", party.ca.intermediate)
    code, said = party.verify(issued)
    assert (code == 0, "certificate revoked" in said, "at 1 depth" in said) == (False, True, True), said


def test_the_pages_commands_sign_and_hand_out_a_roots_list(party: Party) -> None:
    # The page's files are here, as they came from where the root's key is.
    for file in (party.ca.root, party.ca.root_key):
        (party.folder / file.name).write_bytes(file.read_bytes())
        (party.folder / file.name).chmod(0o600)
    (party.folder / "root.crl").unlink()
    done = subprocess.run(
        ["bash", "-ec", commands("root-crl")],
        env={**os.environ, "ACME_IID_CA_HOME": str(party.ca.home),
             "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        cwd=party.folder, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, "is handed out, until" in done.stdout) == (0, True), done.stderr
