"""A raw ACME client for tests: it signs whatever it is told to, right or wrong, and hides nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import requests.adapters
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.protocol import jwk

JOSE = "application/jose+json"
Answer = Mapping[str, str] | Callable[[str], Mapping[str, str]]
"""An iid-01 answer, or what makes one of the key authorization that it is bound to."""


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Key:
    """A P-256 account key and what a request says of it."""

    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def jwk(self) -> dict[str, str]:
        numbers = self.private.public_key().public_numbers()
        return {
            "kty": "EC",
            "crv": "P-256",
            "x": b64(numbers.x.to_bytes(32, "big")),
            "y": b64(numbers.y.to_bytes(32, "big")),
        }

    @property
    def thumbprint(self) -> str:
        return jwk.thumbprint(self.private.public_key())

    def sign(self, data: bytes) -> bytes:
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


OPEN: list[requests.Session] = []
"""The sessions that a test has opened; they are closed when it ends."""


class _From(requests.adapters.HTTPAdapter):
    """Connections that come from one address."""

    def __init__(self, source: str) -> None:
        self._source = source
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, source_address=(self._source, 0))


class Wire:
    """A connection to one ACME server.

    :param directory: the directory's URL.
    :param root: the PEM file of the one root to trust.
    :param source: the address to connect from, where it matters.
    """

    def __init__(self, directory: str, root: Path, source: str | None = None) -> None:
        self.session = requests.Session()
        if source is not None:
            self.session.mount("https://", _From(source))
        OPEN.append(self.session)
        self.session.trust_env = False
        self.session.verify = str(root)
        self.directory_url = directory
        self.directory: dict[str, Any] = self.session.get(directory, timeout=30).json()
        self.nonces: list[str] = []

    def nonce(self) -> str:
        """A fresh nonce."""
        return self.session.head(self.directory["newNonce"], timeout=30).headers["Replay-Nonce"]

    def body(
        self,
        url: str,
        payload: object,
        key: Key,
        kid: str | None,
        header: Mapping[str, object] | None = None,
        *,
        drop: tuple[str, ...] = (),
    ) -> dict[str, object]:
        """A signed request; ``header`` replaces members of the protected header, ``drop`` leaves some out.

        ``payload`` is bytes as they are, None for POST-as-GET, anything else as JSON.
        """
        protected: dict[str, object] = {"alg": "ES256", "nonce": "", "url": url}
        protected |= {"jwk": key.jwk} if kid is None else {"kid": kid}
        protected |= header or {}
        if "nonce" not in (header or {}) and "nonce" not in drop:
            protected["nonce"] = self.nonce()
        for name in drop:
            protected.pop(name, None)
        raw = b"" if payload is None else payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        first, second = b64(json.dumps(protected).encode()), b64(raw)
        return {"protected": first, "payload": second, "signature": b64(key.sign(f"{first}.{second}".encode()))}

    def send(self, url: str, body: object, content_type: str = JOSE) -> requests.Response:
        """POST a body as it is (bytes) or as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.session.post(url, data=data, headers={"Content-Type": content_type}, timeout=30)

    def post(self, url: str, payload: object, key: Key, kid: str | None = None, **header: object) -> requests.Response:
        """POST a signed request."""
        return self.send(url, self.body(url, payload, key, kid, header))


@dataclass
class Account:
    """An account on a server, and the requests it makes."""

    wire: Wire
    key: Key
    url: str

    @classmethod
    def new(cls, wire: Wire, key: Key | None = None) -> Account:
        """Register, with a new key unless one is given."""
        key = key or Key()
        response = wire.post(wire.directory["newAccount"], {"termsOfServiceAgreed": True}, key)
        assert response.status_code in (200, 201), response.text
        return cls(wire, key, response.headers["Location"])

    def post(self, url: str, payload: object = None) -> requests.Response:
        """POST as this account; without a payload, POST-as-GET."""
        return self.wire.post(url, payload, self.key, self.url)

    def order(self, *names: str, **members: object) -> requests.Response:
        """POST newOrder for dns names."""
        identifiers = [{"type": "dns", "value": name} for name in names]
        return self.post(self.wire.directory["newOrder"], {"identifiers": identifiers, **members})

    def challenge(self, order: Mapping[str, Any], index: int = 0) -> dict[str, Any]:
        """The iid-01 challenge of an order's authorization."""
        authorization = self.post(order["authorizations"][index]).json()
        return next(entry for entry in authorization["challenges"] if entry["type"] == "iid-01")

    def prove(self, *names: str, answer: Answer) -> tuple[requests.Response, list[requests.Response]]:
        """Order names and answer each authorization; the newOrder response and the answers'."""
        ordered = self.order(*names)
        assert ordered.status_code == 201, ordered.text
        order = ordered.json()
        answers = []
        for index in range(len(order["authorizations"])):
            challenge = self.challenge(order, index)
            made = answer(f"{challenge['token']}.{self.key.thumbprint}") if callable(answer) else answer
            answers.append(self.post(challenge["url"], dict(made)))
        return ordered, answers

    def obtain(self, *names: str, answer: Answer) -> Issued:
        """Get a certificate, all the way."""
        ordered, answers = self.prove(*names, answer=answer)
        assert all(entry.json()["status"] == "valid" for entry in answers), [entry.text for entry in answers]
        key, request = csr(*names)
        done = self.post(ordered.json()["finalize"], {"csr": b64(request)})
        assert done.status_code == 200, done.text
        chain = self.post(done.json()["certificate"])
        assert chain.status_code == 200, chain.text
        return Issued(ordered.headers["Location"], chain.text, key)


@dataclass
class Issued:
    """A certificate that was issued, its order and its key."""

    order: str
    chain: str
    key: Key

    @property
    def leaf(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.chain.encode())

    @property
    def der(self) -> bytes:
        return self.leaf.public_bytes(Encoding.DER)


def csr(*names: str, key: Key | None = None) -> tuple[Key, bytes]:
    """A CSR for dns names, in DER, and its key."""
    key = key or Key()
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    return key, builder.sign(key.private, hashes.SHA256()).public_bytes(Encoding.DER)


def problem(response: requests.Response) -> str:
    """The short name of the response's ACME error, once its form is right."""
    assert response.headers["Content-Type"] == "application/problem+json", response.text
    body = response.json()
    assert body["status"] == response.status_code
    assert body["detail"]
    prefix = "urn:ietf:params:acme:error:"
    assert body["type"].startswith(prefix)
    return str(body["type"].removeprefix(prefix))
