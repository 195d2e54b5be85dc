"""Five verifiers while the root is rotated: a chain with the link is good under both roots until one is dropped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from certificate_status_requests import revoke
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pki import http_status
from pki.conftest import Show
from pki.rotating import activate, prepare, serving, until, until_shown_under, until_signing
from pki.verifiers.java import Java
from pki.verifiers.openssl import OpenSSL
from pki.verifiers.verifier import Verifier
from ports import free_port
from rotating import end_certificates
from running import ACCOUNT, CA, answer

from acme_iid.durable import write_new
from acme_iid.issuance import ceremony, keys
from acme_iid.issuance.issuer import key_id
from acme_iid.issuance.roots import fingerprint
from acme_iid.simulator import aws
from acme_iid.store.database import open_store

NAME = "foo.local"
TRUSTED = {"announced": (True, False), "used": (True, True), "dropped": (False, True)}
"""Whether a chain leads to the old root and to the new one, at each moment of the rotation."""


@dataclass
class Company:
    """A CA whose root is rotated.

    :ivar roots: the old root and the new one, PEM.
    :ivar good: the newest chain, the leaf first, and ``revoked`` one whose leaf was revoked.
    :ivar former: the last chain of the issuer under the old root.
    """

    ca: CA
    folder: Path
    roots: tuple[str, str]
    new: x509.Certificate
    good: str = ""
    revoked: str = ""
    former: str = ""
    _numbers: Iterator[int] = field(default_factory=count)

    def go_on_to(self, moment: str) -> None:
        """Live on until a moment of the rotation; they are asked for in their order."""
        old, new = (self.folder / f"{name}.pem" for name in ("old", "new"))
        if moment == "announced":
            self.ca.cli("issuer", "roots", "link", new, "--root-cert", old, "--root-key", self.ca.root_key,
                        "--out", self.folder / "link.pem")  # fmt: skip
            self.ca.cli("issuer", "roots", "add", new, self.folder / "link.pem")
            self.hand_out_list("new", self.folder / "new.key")
        elif moment == "used":
            self.former = self.good
            issuer = prepare(self.ca, "--root-cert", str(new), "--root-key", str(self.folder / "new.key"))
            self.ca.cli("issuer", "roots", "use", fingerprint(self.new))
            activate(self.ca, issuer)
            until_signing(self.ca, issuer)
            # Nobody can reach the server by the new root alone before.
            until_shown_under(self.ca, new)
        elif moment == "dropped":
            self._drop(old)
        self._issue()

    def hand_out_list(self, root: str, key: Path, *options: str | Path) -> None:
        """Sign a root's list, and have the servers hand it out."""
        out = self.folder / f"{root}-{next(self._numbers)}.crl"
        self.ca.cli("issuer", "root-crl", "sign", "--root-cert", self.folder / f"{root}.pem", "--root-key", key,
                    "--out", out, *options)  # fmt: skip
        self.ca.cli("issuer", "root-crl", "import", out)

    def _drop(self, old: Path) -> None:
        """Drop the old root, as if the last certificate under it had ended."""
        _, issuer, *_ = x509.load_pem_x509_certificates(self.former.encode())
        with closing(open_store(self.ca.store_url)) as database:
            end_certificates(database, key_id(issuer.public_key()))
        self.ca.cli("issuer", "roots", "drop", fingerprint(x509.load_pem_x509_certificate(old.read_bytes())))
        # The server follows within seconds.
        account, vm = self.ca.account(), answer(aws.Instance(account=ACCOUNT))
        until(lambda: len(x509.load_pem_x509_certificates(account.obtain("a.local", answer=vm).chain.encode())) == 2)

    def _issue(self) -> None:
        account, vm = self.ca.account(), answer(aws.Instance(account=ACCOUNT))
        good, bad = (account.obtain(NAME, answer=vm) for _ in range(2))
        revoke(account, bad, 4)
        self.good, self.revoked = good.chain, bad.chain


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    folder = tmp_path_factory.mktemp("roots")
    ca, port = CA(folder / "ca"), free_port()
    ca.init(constrained=True, made_with=("--root-crl-url", f"http://127.0.0.1:{port}/root-crl/{{root}}"))
    http_status.turn_on(ca, port)
    new = ceremony.create_root("My CA", int(time.time()))
    roots = (ca.root.read_text(), new.certificate.public_bytes(Encoding.PEM).decode())
    for name, root in zip(("old.pem", "new.pem"), roots, strict=True):
        (folder / name).write_text(root)
    write_new(folder / "new.key", keys.to_pem(new.key), 0o600)
    with serving(ca):
        company = Company(ca, folder, roots, new.certificate)
        company.hand_out_list("old", ca.root_key)
        yield company


@pytest.fixture(scope="module", params=TRUSTED)
def moment(request: pytest.FixtureRequest, company: Company) -> str:
    name = str(request.param)
    company.go_on_to(name)
    return name


def test_a_leaf_is_good_under_the_roots_of_the_moment(
    moment: str, company: Company, verifier: Verifier, show: Show
) -> None:
    for root, good in zip(company.roots, TRUSTED[moment], strict=True):
        shown, revoked = show(company.good, root, NAME), show(company.revoked, root, NAME)
        assert (verifier.chain(shown) is None) == good
        if good:
            assert (verifier.by_list(shown), verifier.by_answer(shown)) == (None, None)
            assert "revoked" in (verifier.by_list(revoked) or "").lower()
            assert "revoked" in (verifier.by_answer(revoked) or "").lower()
    if moment == "used":
        former = show(company.former, company.roots[0], NAME)
        assert (verifier.chain(former), verifier.by_list(former), verifier.by_answer(former)) == (None, None, None)


def test_verifiers_of_every_certificate_accept_it_as_well(
    moment: str, company: Company, java: Java, openssl: OpenSSL, show: Show
) -> None:
    for root, good in zip(company.roots, TRUSTED[moment], strict=True):
        if good:
            shown, revoked = show(company.good, root, NAME), show(company.revoked, root, NAME)
            assert (java.by_default(shown), openssl.by_every_list(shown)) == (None, None)
            assert "revoked" in (java.by_default(revoked) or "")
            assert "revoked" in (openssl.by_every_list(revoked) or "")
    if moment == "used":
        # A link that the old root revokes leads no more to it; the new root needs none.
        company.hand_out_list("old", company.ca.root_key, "--revoke", company.folder / "link.pem")
        under_old, under_new = (show(company.good, root, NAME) for root in company.roots)
        for refusal in (java.by_default(under_old), openssl.by_every_list(under_old)):
            assert "revoked" in (refusal or "")
        assert (java.by_default(under_new), openssl.by_every_list(under_new)) == (None, None)
