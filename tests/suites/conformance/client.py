"""A raw ACME client: it signs whatever it is told to, right or wrong, and hides nothing.

It needs requests and cryptography only, so that the folder can be copied and pointed at any server.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from requests.adapters import HTTPAdapter

JOSE = "application/jose+json"
URN = "urn:ietf:params:acme:error:"
TIMEOUT = 10
"""Seconds that a server may take for an answer."""
WORK_STATES = ("pending", "processing")

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
Body = dict[str, Any]

_CURVES: dict[str, tuple[type[ec.EllipticCurve], type[hashes.HashAlgorithm], str, int]] = {
    "ES256": (ec.SECP256R1, hashes.SHA256, "P-256", 32),
    "ES384": (ec.SECP384R1, hashes.SHA384, "P-384", 48),
    "ES512": (ec.SECP521R1, hashes.SHA512, "P-521", 66),
}


class NotOfferedError(Exception):
    """The server does not have this optional feature, and says so as it should: the rule has nothing to check."""


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """The octets in base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@cache
def rsa_key(bits: int, index: int = 0) -> rsa.RSAPrivateKey:
    """An RSA key; it is made once a size and index, since making one takes long."""
    assert index >= 0
    return rsa.generate_private_key(65537, bits)


def private_key(alg: str) -> PrivateKey:
    """A new private key that signs with ``alg``: ES256, ES384, ES512, EdDSA or RS256 (2048 bits)."""
    if alg == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if alg == "RS256":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(_CURVES[alg][0]())


@dataclass
class Key:
    """A private key and what a JWS says of it."""

    private: PrivateKey
    alg: str

    @classmethod
    def new(cls, alg: str = "ES256") -> Key:
        """A new key."""
        return cls(private_key(alg), alg)

    @property
    def jwk(self) -> dict[str, str]:
        """The public key as a JWK, its required members only (RFC 7518 section 6, RFC 8037)."""
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            point = self.private.public_key().public_numbers()
            size = (self.private.curve.key_size + 7) // 8
            name = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}[self.private.curve.name]
            return {"crv": name, "kty": "EC", "x": b64(point.x.to_bytes(size)), "y": b64(point.y.to_bytes(size))}
        if isinstance(self.private, rsa.RSAPrivateKey):
            numbers = self.private.public_key().public_numbers()
            return {
                "e": b64(numbers.e.to_bytes(3)),
                "kty": "RSA",
                "n": b64(numbers.n.to_bytes(self.private.key_size // 8)),
            }
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"crv": "Ed25519", "kty": "OKP", "x": b64(raw)}

    @property
    def thumbprint(self) -> str:
        """The JWK thumbprint (RFC 7638)."""
        text = json.dumps(self.jwk, sort_keys=True, separators=(",", ":"))
        return b64(hashlib.sha256(text.encode()).digest())

    def sign(self, data: bytes) -> bytes:
        """A JWS signature (RFC 7518 section 3, RFC 8037 section 3.1)."""
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            _, digest, _, size = _CURVES[self.alg]
            r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(digest())))
            return r.to_bytes(size) + s.to_bytes(size)
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self.private.sign(data)


class Solver(Protocol):
    """How names are proven: which challenge is taken, and what has to be in place before it is answered."""

    def choose(self, authorization: Body) -> Body | None:
        """The challenge of an authorization that this solver takes, None if there is none."""

    def prepare(self, authorization: Body, challenge: Body, key: Key) -> object:
        """Put the proof in place; returns the payload of the answer."""


def encoded(payload: object) -> bytes:
    """A payload's octets: bytes as they are, None for POST-as-GET, anything else as JSON."""
    if payload is None:
        return b""
    return payload if isinstance(payload, bytes) else json.dumps(payload).encode()


def jws(key: Key, header: Mapping[str, object] | bytes, payload: object) -> Body:
    """A flattened JWS; the header is JSON already if it is bytes."""
    first = b64(header if isinstance(header, bytes) else json.dumps(header).encode())
    second = b64(encoded(payload))
    return {"protected": first, "payload": second, "signature": b64(key.sign(f"{first}.{second}".encode()))}


def mac_jws(secret: bytes, header: Mapping[str, object], payload: object, digest: str = "sha256") -> Body:
    """A flattened JWS with an HMAC, as an external account binding is."""
    first, second = b64(json.dumps(header).encode()), b64(encoded(payload))
    return {
        "protected": first,
        "payload": second,
        "signature": b64(hmac.digest(secret, f"{first}.{second}".encode(), digest)),
    }


@dataclass
class Binding:
    """A key for external account binding that the operator gave out."""

    kid: str
    secret: bytes

    def object(self, key: Key, url: str, /, **header: object) -> Body:
        """The binding of an account key (RFC 8555 section 7.3.4); ``header`` replaces members, None takes one out."""
        protected: dict[str, object] = {"alg": "HS256", "kid": self.kid, "url": url} | header
        return mac_jws(self.secret, {name: value for name, value in protected.items() if value is not None}, key.jwk)


@dataclass
class Settings:
    """How the server under test is reached and what it lets the suite have.

    :ivar root: the PEM file of the root to trust; the system's roots if it is None.
    :ivar domain: the suffix of all names that are ordered.
    :ivar address: an address that an ``ip`` identifier may name.
    :ivar http_port: where the server fetches http-01 from.
    :ivar revokers: "names" if each account that is authorized for all names of a certificate revokes it, "account" if
        only the one that got it does.
    :ivar patience: seconds that a validation or an issuance may take.
    """

    directory: str
    root: str | None
    solver: Solver
    domain: str
    address: str
    http_port: int = 80
    binding: Binding | None = None
    revokers: str = "names"
    patience: float = 30.0


class Server:
    """A connection to the server under test."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = settings.root or True
        self.session.mount("https://", HTTPAdapter(pool_maxsize=20))
        self.url = settings.directory
        self.directory: Body = self.get(self.url).json()
        self.nonces: list[str] = []

    @property
    def meta(self) -> Body:
        """The directory's metadata."""
        meta = self.directory.get("meta", {})
        assert isinstance(meta, dict)
        return meta

    def offered(self, name: str) -> str:
        """The URL of an optional resource.

        :raises NotOfferedError: if the directory does not list it.
        """
        if name not in self.directory:
            raise NotOfferedError(f"the directory has no {name}")
        return str(self.directory[name])

    def get(self, url: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> requests.Response:
        """An unsigned request."""
        return self.session.request(method, url, headers=headers, timeout=TIMEOUT, allow_redirects=False)

    def fresh_nonce(self) -> str:
        """A nonce from newNonce."""
        return self.get(self.directory["newNonce"], "HEAD").headers["Replay-Nonce"]

    def nonce(self) -> str:
        """A nonce: one that the last answer brought, or one from newNonce."""
        return self.nonces.pop() if self.nonces else self.fresh_nonce()

    def header(self, url: str, key: Key, kid: str | None, drop: tuple[str, ...] = (), /, **members: object) -> Body:
        """A protected header; ``members`` replaces some, ``drop`` leaves some out."""
        header: Body = {"alg": key.alg, "url": url} | ({"jwk": key.jwk} if kid is None else {"kid": kid}) | members
        if "nonce" not in members and "nonce" not in drop:
            header["nonce"] = self.nonce()
        return {name: value for name, value in header.items() if name not in drop}

    def body(
        self,
        url: str,
        payload: object,
        key: Key,
        kid: str | None = None,
        drop: tuple[str, ...] = (),
        /,
        **members: object,
    ) -> Body:
        """A signed request's body."""
        return jws(key, self.header(url, key, kid, drop, **members), payload)

    def send(self, url: str, body: object, content_type: str | None = JOSE) -> requests.Response:
        """POST a body: bytes as they are, anything else as JSON. The answer's nonce is kept for the next request."""
        headers = {} if content_type is None else {"Content-Type": content_type}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = self.session.post(url, data=data, headers=headers, timeout=TIMEOUT, allow_redirects=False)
        if nonce := response.headers.get("Replay-Nonce"):
            self.nonces = [nonce]
        return response

    def post(self, url: str, payload: object, key: Key, kid: str | None = None) -> requests.Response:
        """POST a good signed request, and again when its nonce was refused (RFC 8555 section 6.5)."""
        for _ in range(5):
            response = self.send(url, self.body(url, payload, key, kid))
            if error_type(response) != "badNonce":
                break
        return response

    def register(self, key: Key, **members: object) -> requests.Response:
        """POST newAccount with what this server asks of accounts; members that are None are left out."""
        url = self.directory["newAccount"]
        payload: Body = {"termsOfServiceAgreed": True}
        if self.meta.get("externalAccountRequired") and self.settings.binding is not None:
            payload["externalAccountBinding"] = self.settings.binding.object(key, url)
        payload |= members
        return self.post(url, {name: value for name, value in payload.items() if value is not None}, key)

    def account(self, key: Key | None = None, **members: object) -> Account:
        """A new account, with a new P-256 key unless one is given."""
        key = key or Key.new()
        response = self.register(key, **members)
        assert response.status_code in (200, 201), f"no account can be made: {response.status_code} {response.text}"
        return Account(self, key, response.headers["Location"])

    def name(self, label: str = "c") -> str:
        """A dns name that nobody has ordered yet."""
        return f"{label}{secrets.token_hex(5)}.{self.settings.domain}"


def error_type(response: requests.Response) -> str | None:
    """The short name of an answer's ACME error, None if it has none."""
    if response.status_code < 400:
        return None
    try:
        kind = response.json().get("type", "")
    except (ValueError, AttributeError):
        return None
    return str(kind).removeprefix(URN)


def dns(*names: str) -> list[Body]:
    """Identifier objects of dns names."""
    return [{"type": "dns", "value": name} for name in names]


@dataclass
class Resource:
    """An object that the server showed: where it is, what it says, and the whole answer."""

    url: str
    body: Body
    response: requests.Response


@dataclass
class Account:
    """An account on the server, and the requests it makes."""

    server: Server
    key: Key
    url: str

    def post(self, url: str, payload: object = None) -> requests.Response:
        """POST as this account; without a payload, POST-as-GET."""
        return self.server.post(url, payload, self.key, self.url)

    def read(self, url: str) -> Resource:
        """POST-as-GET, which must succeed."""
        response = self.post(url)
        assert response.status_code == 200, f"{url} cannot be read: {response.status_code} {response.text}"
        return Resource(url, response.json(), response)

    def try_order(self, *identifiers: Body, **members: object) -> requests.Response:
        """POST newOrder, whatever comes of it."""
        return self.post(self.server.directory["newOrder"], {"identifiers": list(identifiers), **members})

    def order(self, *names: str, **members: object) -> Resource:
        """A new order for dns names, one of them the suite's choice if there is none."""
        response = self.try_order(*dns(*(names or (self.server.name(),))), **members)
        assert response.status_code in (200, 201), f"no order can be made: {response.status_code} {response.text}"
        return Resource(response.headers["Location"], response.json(), response)

    def authorizations(self, order: Resource) -> list[Resource]:
        """An order's authorizations, read."""
        return [self.read(url) for url in order.body["authorizations"]]

    def answer(self, authorization: Resource, kind: str | None = None) -> tuple[Body, requests.Response]:
        """Prove an authorization's name and answer the challenge; the challenge and the answer's response.

        :param kind: the challenge type, the solver's choice unless given.
        :raises NotOfferedError: if the server does not offer that type for this name.
        """
        solver = self.server.settings.solver
        offered = authorization.body["challenges"]
        if kind is not None:
            of_kind = [challenge for challenge in offered if challenge["type"] == kind]
            if not of_kind:
                raise NotOfferedError(f"no {kind} challenge")
            challenge = solver.choose(authorization.body | {"challenges": of_kind})
            if challenge is None:
                raise NotOfferedError(f"this run has no means to answer {kind}")
        else:
            challenge = solver.choose(authorization.body)
        assert challenge is not None, f"nothing here answers any of {[entry['type'] for entry in offered]}"
        payload = solver.prepare(authorization.body, challenge, self.key)
        return challenge, self.post(challenge["url"], payload)

    def wait(
        self,
        url: str,
        states: tuple[str, ...] = WORK_STATES,
        seen: Callable[[Resource], None] | None = None,
        patience: float | None = None,
    ) -> Resource:
        """Read a resource until its status is none of ``states``.

        :param seen: gets to know each answer.
        :param patience: seconds, those of the settings unless given.
        """
        deadline, pause = time.monotonic() + (patience or self.server.settings.patience), 0.02
        while True:
            resource = self.read(url)
            if seen is not None:
                seen(resource)
            if resource.body["status"] not in states:
                return resource
            assert time.monotonic() < deadline, f"{url} is still {resource.body['status']}"
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)

    def prove(self, authorization: Resource, kind: str | None = None) -> Resource:
        """Make an authorization valid; returns it as it then is."""
        if authorization.body["status"] != "valid":
            _, response = self.answer(authorization, kind)
            assert response.status_code < 300, f"the answer was refused: {response.status_code} {response.text}"
            authorization = self.wait(authorization.url)
        assert authorization.body["status"] == "valid", authorization.body
        return authorization

    def ready(self, *names: str, **members: object) -> Resource:
        """An order whose names are all proven."""
        order = self.order(*names, **members)
        for authorization in self.authorizations(order):
            self.prove(authorization)
        order = self.wait(order.url, ("pending",))
        assert order.body["status"] == "ready", order.body
        return order

    def finalize(self, order: Resource, csr: bytes) -> requests.Response:
        """POST a CSR in DER to an order's finalize URL, whatever comes of it."""
        return self.post(order.body["finalize"], {"csr": b64(csr)})

    def issue(self, order: Resource, key: PrivateKey | None = None) -> Issued:
        """Finalize a ready order and fetch the certificate."""
        key = key or private_key("ES256")
        identifiers = order.body["identifiers"]
        response = self.finalize(order, csr(key, identifiers=identifiers))
        assert response.status_code == 200, f"finalize was refused: {response.status_code} {response.text}"
        done = self.wait(order.url, ("ready", "processing"))
        assert done.body["status"] == "valid", done.body
        chain = self.post(done.body["certificate"])
        assert chain.status_code == 200, chain.text
        return Issued(self, done, chain, key)

    def obtain(self, *names: str, key: PrivateKey | None = None, **members: object) -> Issued:
        """Get a certificate, all the way."""
        return self.issue(self.ready(*names, **members), key)

    def revoke(self, der: bytes, **members: object) -> requests.Response:
        """POST revokeCert as this account, whatever comes of it."""
        return self.post(self.server.directory["revokeCert"], {"certificate": b64(der), **members})


@dataclass
class Issued:
    """A certificate, its order, its key, and the answer that it came in."""

    account: Account
    order: Resource
    response: requests.Response
    key: PrivateKey
    _chain: list[x509.Certificate] = field(default_factory=list)

    @property
    def chain(self) -> list[x509.Certificate]:
        """The chain, in the order in which it was sent."""
        if not self._chain:
            self._chain = x509.load_pem_x509_certificates(self.response.content)
        return self._chain

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate that has this one's key, wherever it stands in the chain."""
        return next(entry for entry in self.chain if entry.public_key() == self.key.public_key())

    @property
    def der(self) -> bytes:
        """The certificate's DER."""
        return self.leaf.public_bytes(Encoding.DER)

    @property
    def certificate_id(self) -> str:
        """Its identifier for renewal information (RFC 9773 section 4.1)."""
        aki = self.leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        assert aki is not None
        serial = self.leaf.serial_number
        return f"{b64(aki)}.{b64(serial.to_bytes(serial.bit_length() // 8 + 1))}"


def csr(
    key: PrivateKey | ec.EllipticCurvePrivateKey,
    *names: str,
    identifiers: list[Body] | None = None,
    common_name: str | None = None,
    further: list[x509.GeneralName] | None = None,
    extension: x509.ExtensionType | None = None,
) -> bytes:
    """A CSR in DER for dns names or for identifier objects."""
    general: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    for identifier in identifiers or ():
        value = identifier["value"]
        general.append(
            x509.IPAddress(ipaddress.ip_address(value)) if identifier["type"] == "ip" else x509.DNSName(value)
        )
    general += further or ()
    subject = [] if common_name is None else [x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if general:
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.DER)


def links(response: requests.Response, relation: str) -> list[str]:
    """The targets of an answer's links of one relation (RFC 8288); relative ones are left as they are."""
    header = response.headers.get("Link", "")
    found = re.findall(r'<([^>]*)>\s*;[^,<]*?rel="?([^",;]+)"?', header)
    return [target for target, relations in found if relation in relations.split()]
