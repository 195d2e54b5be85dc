"""What every verifier here answers: whether it accepts a certificate under a root, and why not."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID
from programs import system


@dataclass(frozen=True)
class Shown:
    """What a TLS server shows, and what its verifier trusts.

    :ivar folder: for files that verifiers need; empty at first.
    :ivar chain: PEM, the leaf first and no root.
    :ivar root: PEM.
    :ivar name: the DNS name that the verifier asked for; "" where a leaf has none.
    """

    folder: Path
    chain: str
    root: str
    name: str

    @cached_property
    def certificates(self) -> list[x509.Certificate]:
        return x509.load_pem_x509_certificates(self.chain.encode())

    @property
    def leaf_file(self) -> Path:
        return self.file("leaf.pem", _pem(self.certificates[0]))

    @property
    def issuer_file(self) -> Path:
        """The certificate that signed the leaf."""
        return self.file("issuer.pem", _pem(self.certificates[1]))

    @property
    def above_files(self) -> list[Path]:
        """A file for each certificate behind the leaf."""
        return [
            self.file(f"above-{place}.pem", _pem(certificate))
            for place, certificate in enumerate(self.certificates[1:])
        ]

    @property
    def chain_file(self) -> Path:
        return self.file("chain.pem", self.chain)

    @property
    def root_file(self) -> Path:
        return self.file("root.pem", self.root)

    @property
    def list_url(self) -> str:
        """Where the leaf says that its revocation list is."""
        (url,) = _list_urls(self.certificates[0])
        return url

    def list_files(self) -> list[Path]:
        """The lists of those that signed the chain's certificates, fetched from where these say, in PEM."""
        urls = dict.fromkeys(url for certificate in self.certificates for url in _list_urls(certificate))
        return [self.file(f"list-{place}.pem", fetched_list(url)) for place, url in enumerate(urls)]

    @property
    def responder_url(self) -> str:
        """Where the leaf says that its OCSP responder is."""
        access = self.certificates[0].extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        return next(
            str(entry.access_location.value)
            for entry in access
            if entry.access_method == AuthorityInformationAccessOID.OCSP
        )

    def file(self, name: str, text: str) -> Path:
        """A file for a verifier to read."""
        self.folder.mkdir(exist_ok=True)
        path = self.folder / name
        path.write_text(text)
        return path


def fetched_list(url: str) -> str:
    """The revocation list at a URL, in PEM."""
    fetched = requests.get(url, timeout=30)
    assert fetched.status_code == 200, url
    return x509.load_der_x509_crl(fetched.content).public_bytes(Encoding.PEM).decode()


def _list_urls(certificate: x509.Certificate) -> list[str]:
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for point in points for name in point.full_name or ()]


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


class ChainVerifier(ABC):
    """A program or library that verifies chains. A question's answer is the reason to refuse; None for none.

    :ivar name: as people call it.
    """

    name: str

    @abstractmethod
    def chain(self, shown: Shown) -> str | None:
        """Whether the chain leads to the root, without a look at revocation."""


class Verifier(ChainVerifier):
    """One that also looks at revocation.

    :cvar overlooks: the kinds of names in :data:`pki.forging.FORBIDDEN` that it does not hold against constraints.
    :param folder: for what it is built into; empty at first.
    """

    overlooks: frozenset[str] = frozenset()

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def by_list(self, shown: Shown) -> str | None:
        """The same, and whether the leaf's revocation list, from where the leaf says, names the leaf."""

    @abstractmethod
    def by_answer(self, shown: Shown) -> str | None:
        """The same, and whether the OCSP responder that the leaf names says that the leaf is good."""


def refusal(*command: str | Path, cwd: Path | None = None) -> str | None:
    """Run a verifier whose exit code says whether it accepts; what it wrote, if it does not."""
    done = system(*command, cwd=cwd)
    return None if done.returncode == 0 else said(done)


def said(done: subprocess.CompletedProcess[str]) -> str:
    """All that a program has written."""
    return done.stdout + done.stderr
