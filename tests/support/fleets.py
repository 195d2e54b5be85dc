"""A fleet of clients with certificates that live for a minute, and a witness of what relying parties are told.

Each client is a thread with the client's own code: its plan by the CA's advice, its renewal, its files. It has an
instance, an account and directories of its own.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import requests
import stand_ins
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID
from running import ACCOUNT, CA

from acme_iid.simulator import aws
from acme_iid_client import clouds
from acme_iid_client.acme import known_ca
from acme_iid_client.acme.order import Request, order
from acme_iid_client.deadline import Deadline
from acme_iid_client.renewal.renew import Wishes, advice, current, renew
from acme_iid_client.renewal.schedule import planned_at
from acme_iid_client.storage import pairs
from acme_iid_client.storage.directories import Directories
from acme_iid_client.storage.records import Record
from acme_iid_client.x509 import keys

SHORTEST, LONGEST = 60, 90
"""What certificates are asked to live, seconds."""
_SECONDS = 40
"""What an order may take; a certificate has so much left, at least, when its renewal is due."""


@dataclass(eq=False)
class Client(threading.Thread):
    """A machine that stays renewed until :meth:`end`.

    :ivar life: of its certificates, seconds.
    :ivar renewals: how many certificates it got under each issuer, the first order's left out; an issuer is called by
        its key identifier, hex.
    :ivar faults: what went wrong.
    """

    folder: Path
    ca: CA
    metadata: str
    life: int
    renewals: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(name=self.folder.name)
        self.folder.mkdir()
        self._where = Directories(self.folder / "config", self.folder / "state")
        self._env = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.metadata, "NO_PROXY": "*"}
        self._record = Record(
            self.folder / "a.crt", self.folder / "a.key", self.ca.url, self.ca.root, life=f"{self.life}s"
        )

    def end(self) -> None:
        self._ended.set()

    @property
    def leaf(self) -> x509.Certificate:
        """Its certificate now."""
        return current(self._record)[1]

    def run(self) -> None:
        try:
            self._order()
            while not self._ended.is_set():
                leaf = self.leaf
                window = advice(self._record, leaf, self._where, Deadline(_SECONDS))
                if not self._ended.wait(max(0.0, planned_at(leaf, window).timestamp() - time.time())):
                    self._renew()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test has to hear of it
            self.faults.append(f"{self.name}: {type(error).__name__}: {error}")

    def _order(self) -> None:
        known = known_ca.load(self._where, self.ca.url, self.ca.root)
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.life))
        request = Request([f"{self.name}.local"], keys.KeyType("EC", "P-256"), not_after=end)
        cloud = clouds.here(self._env, None)
        issued = order(request, known, self._where.state, cloud, Deadline(_SECONDS), self._hear)
        assert issued.key is not None
        pair = pairs.pair(self._record.certificate, self._record.key)
        pairs.install(pair, issued.certificate_pem, keys.to_pem(issued.key), pairs.Permissions())

    def _renew(self) -> None:
        renew(self._record, Wishes(), self._where, self._env, Deadline(_SECONDS), self._hear, self._installing)
        self._verify()
        self.renewals[issuer_of(self.leaf)] += 1

    def _verify(self) -> None:
        """Check each signature of the chain, up to the root."""
        chain = x509.load_pem_x509_certificates(self._record.certificate.read_bytes())
        root = x509.load_pem_x509_certificate(self.ca.root.read_bytes())
        for certificate, issuer in pairwise([*chain, root]):
            certificate.verify_directly_issued_by(issuer)

    def _installing(self, former: x509.Certificate | None) -> None:
        if former is None or former.not_valid_after_utc <= datetime.now(UTC):
            self.faults.append(f"{self.name} had no valid certificate any more")

    def _hear(self, text: str) -> None:
        """What the client says to people is of no interest here."""


def issuer_of(leaf: x509.Certificate) -> str:
    """The key identifier of a certificate's issuer, hex."""
    identifier = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert identifier is not None
    return identifier.hex()


@contextmanager
def fleet(ca: CA, folder: Path, size: int) -> Iterator[list[Client]]:
    """A fleet that runs; it ends with the block."""
    with ExitStack() as stack:
        clients = []
        for number in range(size):
            service = stack.enter_context(stand_ins.ec2(aws.Instance(account=ACCOUNT)))
            life = SHORTEST + number * (LONGEST - SHORTEST) // max(1, size - 1)
            clients.append(Client(folder / f"client-{number}", ca, service.url, life))
        stack.callback(_end, clients)
        for client in clients:
            client.start()
        yield clients


def _end(clients: list[Client]) -> None:
    for client in clients:
        client.end()
    for client in clients:
        if client.is_alive():
            client.join(timeout=60)


class Witness(threading.Thread):
    """Reads the list of each issuer, and asks about a certificate of each, all the time.

    :ivar faults: what was wrong.
    :ivar looks: how often each issuer's list and answer were seen good.
    """

    def __init__(self, ca: CA) -> None:
        super().__init__(name="witness")
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(ca.root)
        self._known: dict[str, tuple[x509.Certificate, x509.Certificate]] = {}
        self._ended = threading.Event()
        self.faults: list[str] = []
        self.looks: Counter[str] = Counter()

    def watch(self, leaf: x509.Certificate, issuer: x509.Certificate) -> None:
        """Look after an issuer from now on, by a certificate of it that stays good."""
        self._known = {**self._known, issuer_of(leaf): (leaf, issuer)}

    def end(self) -> None:
        self._ended.set()
        self.join(timeout=60)
        self._session.close()

    def run(self) -> None:
        while not self._ended.wait(0.5):
            for name, (leaf, issuer) in self._known.items():
                try:
                    self._look_at_list(leaf, issuer)
                    self._ask(leaf, issuer)
                    self.looks[name] += 1
                except Exception as error:  # noqa: BLE001 - whatever it is, the test has to hear of it
                    self.faults.append(f"{name}: {type(error).__name__}: {error}")

    def _look_at_list(self, leaf: x509.Certificate, issuer: x509.Certificate) -> None:
        points = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        assert points[0].full_name is not None
        revoked = x509.load_der_x509_crl(self._get(str(points[0].full_name[0].value)))
        key = issuer.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert revoked.is_signature_valid(key), "the list is another issuer's"
        assert revoked.next_update_utc is not None
        assert revoked.last_update_utc <= datetime.now(UTC) < revoked.next_update_utc, "the list is not of now"

    def _ask(self, leaf: x509.Certificate, issuer: x509.Certificate) -> None:
        access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        (url,) = (
            str(entry.access_location.value)
            for entry in access
            if entry.access_method == AuthorityInformationAccessOID.OCSP
        )
        question = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA256()).build()
        answer = ocsp.load_der_ocsp_response(self._get(url, question.public_bytes(Encoding.DER)))
        assert answer.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL, answer.response_status
        assert answer.certificate_status is ocsp.OCSPCertStatus.GOOD, answer.certificate_status
        signer = issuer
        for responder in answer.certificates:
            responder.verify_directly_issued_by(issuer)
            signer = responder
        key = signer.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))

    def _get(self, url: str, question: bytes | None = None) -> bytes:
        method, headers = ("GET", {}) if question is None else ("POST", {"Content-Type": "application/ocsp-request"})
        response = self._session.request(method, url, data=question, headers=headers, timeout=30)
        assert response.status_code == 200, f"{url}: {response.status_code}"
        return response.content
