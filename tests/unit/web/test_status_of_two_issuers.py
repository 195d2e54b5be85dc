"""Two issuers at once: the lists and the answers of both are good all the time, over TLS and by plain HTTP."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import requests
from certificate_status_requests import listen_by_plain_http, question, revoke
from cryptography import x509
from cryptography.x509 import ocsp
from running import CA, answer
from wire import Issued

from acme_iid.issuance.home import load_certificate
from acme_iid.simulator import aws

GOOD, REVOKED = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED


class Two:
    """A CA whose issuer was followed by another one; each has signed two certificates, of which one is revoked."""

    def __init__(self, ca: CA) -> None:
        self.ca = ca
        self.urls = (ca.url, listen_by_plain_http(ca))
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(ca.root)
        ca.start("--workers", "2")
        self.account = ca.account()
        first = set((ca.home / "issuers").iterdir())
        self.old = self.issue()
        ca.cli("issuer", "rotate", "prepare", "--no-name-constraints")
        (prepared,) = set((ca.home / "issuers").iterdir()) - first
        self.issuers = {folder.name: load_certificate(folder / "certificate.pem") for folder in (*first, prepared)}
        self.prepared = prepared.name

    def issue(self) -> tuple[Issued, Issued]:
        """Two certificates of the issuer that signs now."""
        names = ("foo.local", "bar.local")
        good, bad = (self.account.obtain(name, answer=answer(aws.Instance(account="123456789042"))) for name in names)
        revoke(self.account, bad, 4)
        return good, bad

    def issuer_of(self, leaf: x509.Certificate) -> tuple[str, x509.Certificate]:
        return next(found for found in self.issuers.items() if found[1].subject == leaf.issuer)

    def revoked_by_list(self, url: str, leaf: x509.Certificate) -> bool:
        """Whether the list that the certificate's issuer signed has it."""
        short_id, issuer = self.issuer_of(leaf)
        found = x509.load_der_x509_crl(self.session.get(f"{url}/crl/{short_id}", timeout=30).content)
        assert found.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
        return found.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None

    def answered(self, url: str, leaf: x509.Certificate) -> ocsp.OCSPCertStatus:
        """What is answered, by a responder of the certificate's issuer."""
        _, issuer = self.issuer_of(leaf)
        sent = question(issuer, leaf.serial_number)
        found = ocsp.load_der_ocsp_response(self.session.post(f"{url}/ocsp", data=sent, timeout=30).content)
        found.certificates[0].verify_directly_issued_by(issuer)
        return found.certificate_status

    def require_good(self, pair: tuple[Issued, Issued]) -> None:
        """See that the first is good and the second revoked, wherever it is asked."""
        for url in self.urls:
            assert [self.revoked_by_list(url, one.leaf) for one in pair] == [False, True]
            assert [self.answered(url, one.leaf) for one in pair] == [GOOD, REVOKED]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    ca = CA(tmp_path_factory.mktemp("two") / "ca")
    ca.init()
    yield Two(ca)
    ca.stop()


def test_both_are_good_before_while_and_after_one_follows_the_other(two: Two) -> None:
    two.require_good(two.old)
    assert two.ca.process is not None
    two.ca.process.send_signal(signal.SIGHUP)
    # Refused until each process has the key; meanwhile the status of what there is can be seen.
    while two.ca.try_cli("issuer", "rotate", "activate", two.prepared).code:
        two.require_good(two.old)
    while two.issuer_of((new := two.issue())[0].leaf)[0] != two.prepared:
        two.require_good(two.old)
    for pair in (two.old, new):
        two.require_good(pair)
    # A question about a certificate of one under the name of the other is about no certificate.
    _, issuer = two.issuer_of(new[0].leaf)
    sent = question(issuer, two.old[1].leaf.serial_number)
    for url in two.urls:
        found = ocsp.load_der_ocsp_response(two.session.post(f"{url}/ocsp", data=sent, timeout=30).content)
        assert found.certificate_status is ocsp.OCSPCertStatus.UNKNOWN
    # Each issuer has a responder of its own.
    files = sorted(path.name for path in (two.ca.home / "secrets").glob("responder_*"))
    assert files == sorted(f"responder_{short_id}.pem" for short_id in two.issuers)
