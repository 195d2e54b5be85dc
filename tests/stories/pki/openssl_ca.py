"""A company's own CAs, kept with ``openssl ca``, and a CA of ours that they are to sign."""

from __future__ import annotations

import subprocess
from pathlib import Path

import forge
from running import ACCOUNT, CA, PROVISIONER

CONFIG = """\
[ca]
default_ca = this
[this]
dir = {folder}
database = {folder}/index.txt
new_certs_dir = {folder}/certs
serial = {folder}/serial
certificate = {folder}/ca.pem
private_key = {folder}/ca.key
default_md = sha384
string_mask = {strings}
policy = any
copy_extensions = copy
[any]
commonName = supplied
organizationName = optional
serialNumber = optional
[req]
distinguished_name = name
prompt = no
[name]
commonName = {name}
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[subordinate]
basicConstraints = critical,CA:TRUE{path_length}
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[constrained]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
nameConstraints = critical,@permitted
[permitted]
permitted;DNS.1 = local
permitted;DNS.2 = internal
permitted;IP.1 = 10.0.0.0/255.0.0.0
permitted;IP.2 = 127.0.0.0/255.0.0.0
permitted;IP.3 = fc00::/fe00::
[bare]
authorityKeyIdentifier = keyid
[odd]
authorityKeyIdentifier = keyid
subjectKeyIdentifier = 00112233445566778899
"""


class Company:
    """One CA of the company, kept with OpenSSL's own command.

    :param strings: the types of texts in the names that it signs, as OpenSSL's string_mask has them.
    """

    def __init__(self, folder: Path, name: str, path_length: str = "", strings: str = "utf8only") -> None:
        self.folder = folder
        (folder / "certs").mkdir(parents=True)
        (folder / "index.txt").touch()
        (folder / "serial").write_text("1000\n")
        (folder / "ca.cnf").write_text(
            CONFIG.format(folder=folder, name=name, path_length=path_length, strings=strings)
        )
        self.openssl("ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", "ca.key")

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.pem"

    def openssl(self, *arguments: str | Path) -> None:
        done = subprocess.run(
            ["openssl", *map(str, arguments)], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def sign_itself(self) -> None:
        self.openssl("req", "-x509", "-new", "-key", "ca.key", "-days", "7300", "-config", "ca.cnf",
                     "-extensions", "root", "-out", "ca.pem")  # fmt: skip

    def request(self) -> Path:
        self.openssl("req", "-new", "-key", "ca.key", "-config", "ca.cnf", "-out", "ca.csr")
        return self.folder / "ca.csr"

    def sign(self, request: Path, out: Path, extensions: str, days: int, *options: str) -> None:
        self.openssl("ca", "-batch", "-config", "ca.cnf", "-extensions", extensions, "-days", str(days), "-notext",
                     "-in", request, "-out", out, *options)  # fmt: skip


def joined(path: Path, *parts: Path) -> Path:
    """A PEM file of the certificates in others."""
    path.write_text("".join(part.read_text() for part in parts))
    return path


def founded(ca: CA, csr: Path) -> None:
    """A CA that waits for the answer to its request, with a provisioner that believes the forge's keys."""
    ca.cli("init", "--name", "My CA", "--domain", "local", "--url", ca.url, "--listen", f"127.0.0.1:{ca.port}",
           "--csr", csr)  # fmt: skip
    roots = ca.home / "test-roots.pem"
    roots.write_bytes(forge.keys().certificates)
    ca.cli("provisioner", "add", PROVISIONER, "--type", "AWS", "--aws-account", ACCOUNT, "--iid-roots", roots)
