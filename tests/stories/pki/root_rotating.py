"""A CA that goes from one root to the next, and what its machines and its relying parties trust meanwhile."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from machine import Machine
from pki.rotating import activate, hang_up
from running import CA, Outcome, run_module
from scripted_ca import Issuer

from acme_iid.issuance import home, keys
from acme_iid.issuance.issuer import Signer
from acme_iid.issuance.roots import fingerprint, to_pem

LIFETIME = '[ca]\nlifetime = "1m"\nminimum_lifetime = "1m"\n'


class Rotation:
    """A CA whose root is being replaced; both roots' keys are kept elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = CA(folder / "ca")
        self.ca.init()
        file = self.ca.home / "ca.toml"
        file.write_text(file.read_text().replace("[ca]\n", LIFETIME, 1))
        self.old = Signer(home.load_certificate(self.ca.root), keys.load(self.ca.root_key, None))
        self.old_root, self.old_key = folder / "old.crt", folder / "old.key"
        self.old_root.write_bytes(self.ca.root.read_bytes())
        self.ca.root_key.rename(self.old_key)
        self.issuer = self.ca.issuer_id
        self.stolen = self.signer(self.issuer)
        # A new root is made like the first one, in a home that serves nobody.
        made = run_module("acme_iid.cli", "--home", folder / "scratch", "init", "--domain", "local", "--url",
                          self.ca.url, "--root-out", folder / "new")  # fmt: skip
        assert made.code == 0, made.stderr
        self.new_root, self.new_key = folder / "new/root_ca.crt", folder / "new/root_ca_key"
        self.new = home.load_certificate(self.new_root)

    def signer(self, issuer: str) -> Signer:
        return Signer(
            home.load_certificate(self.ca.home / home.folder_of(issuer) / home.CERTIFICATE),
            keys.load(self.ca.home / home.key_file_of(issuer), None),
        )

    def roots(self, *arguments: str | Path) -> Outcome:
        return self.ca.cli("issuer", "roots", *arguments)

    def announce(self) -> None:
        link = self.folder / "link.pem"
        self.roots("link", self.new_root, "--root-cert", self.old_root, "--root-key", self.old_key, "--out", link)
        self.roots("add", self.new_root, link)

    def use(self) -> str:
        """Have the new root be the one in use, and an issuer under it sign; the issuer's id."""
        self.ca.cli("issuer", "rotate", "prepare", "--root-cert", self.new_root, "--root-key", self.new_key)
        issuers = json.loads(self.ca.cli("issuer", "list", "--json").stdout)
        (prepared,) = {entry["id"] for entry in issuers} - {self.issuer}
        self.roots("use", fingerprint(self.new)[:16])
        hang_up(self.ca)
        activate(self.ca, prepared)
        return str(prepared)

    def served_chain(self) -> list[str]:
        """The subjects and issuers of what the server shows, without trusting any of it."""
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{self.ca.port}", "-showcerts"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return [str(entry.subject) for entry in x509.load_pem_x509_certificates(done.stdout.encode())]


def trusted(vm: Machine) -> set[x509.Certificate]:
    return set(x509.load_pem_x509_certificates((vm.folder / "config/certs/root_ca.crt").read_bytes()))


def strictly(port: int, root: x509.Certificate) -> bool:
    """Whether Python's TLS accepts the server by one root, as strictly as it can."""
    context = ssl.create_default_context(cadata=to_pem(root))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1"),
        ):
            return True
    except ssl.SSLCertVerificationError:
        return False


def as_issuer(signer: Signer) -> Issuer:
    assert isinstance(signer.key, ec.EllipticCurvePrivateKey)
    return Issuer(signer.certificate, signer.key)
