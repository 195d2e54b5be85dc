"""A raw ACME client: it signs whatever it is told to, right or wrong, and hides nothing.

It needs requests and cryptography only, so that the folder can be copied and pointed at any server.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import requests
from conformance.answers import Body, Directory, NotOfferedError, Object, error_type, header, object_of, said
from conformance.certificates import chain_of, csr, extension
from conformance.jose import Binding, Key, PrivateKey, b64, jws, private_key
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

JOSE = "application/jose+json"
TIMEOUT = 10
"""Seconds that a server may take for an answer."""
WORK_STATES = ("pending", "processing")


class Solver(Protocol):
    """How names are proven: which challenge is taken, and what has to be in place before it is answered."""

    def choose(self, authorization: Body) -> Body | None:
        """The challenge of an authorization that this solver takes, None if there is none."""

    def prepare(self, authorization: Body, challenge: Body, key: Key) -> object:
        """Put the proof in place; returns the payload of the answer."""


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
    """A connection to the server under test.

    :ivar unproven: why a good proof was not believed, where the rule that it is has failed: nobody waits for another.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = settings.root or True
        self.session.mount("https://", HTTPAdapter(pool_maxsize=20))
        self.url = settings.directory
        response = self.get(self.url)
        assert response.status_code == 200, f"there is no directory: {said(response)}"
        self.directory = Directory(object_of(response))
        self.nonces: list[str] = []
        self.unproven = ""

    @property
    def meta(self) -> Body:
        """The directory's metadata."""
        meta = self.directory.get("meta", Object())
        assert isinstance(meta, Object), f"`meta` is no object in {self.directory}"
        return meta

    def offered(self, name: str) -> str:
        """The URL of an optional resource.

        :raises NotOfferedError: if the directory does not list it.
        """
        if name not in self.directory:
            raise NotOfferedError(f"the directory has no {name}")
        url: str = self.directory[name]
        return url

    def request(
        self, method: str, url: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """A request that has to be answered."""
        try:
            return self.session.request(method, url, data=data, headers=headers, timeout=TIMEOUT, allow_redirects=False)
        except (requests.RequestException, HTTPError) as error:
            raise AssertionError(f"{method} {url} is not answered: {error!r:.300}") from error

    def get(self, url: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> requests.Response:
        """An unsigned request."""
        return self.request(method, url, headers=headers)

    def at_once(self, url: str, bodies: Sequence[Body]) -> list[requests.Response]:
        """The answers to signed requests that are sent together."""
        headers = {"Content-Type": JOSE}
        with ThreadPoolExecutor(len(bodies)) as pool:
            return list(pool.map(lambda body: self.request("POST", url, json.dumps(body).encode(), headers), bodies))

    def fresh_nonce(self) -> str:
        """A nonce from newNonce."""
        return header(self.get(self.directory["newNonce"], "HEAD"), "Replay-Nonce")

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
        response = self.request("POST", url, data, headers)
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
        assert response.status_code in (200, 201), f"no account can be made: {said(response)}"
        return Account(self, key, header(response, "Location"))

    def name(self, label: str = "c") -> str:
        """A dns name that nobody has ordered yet."""
        return f"{label}{secrets.token_hex(5)}.{self.settings.domain}"


def dns(*names: str) -> list[Body]:
    """Identifier objects of dns names."""
    return [{"type": "dns", "value": name} for name in names]


@dataclass
class Resource:
    """An object that the server showed: where it is, what it says, and the whole answer."""

    url: str
    body: Body
    response: requests.Response

    @classmethod
    def made(cls, response: requests.Response) -> Resource:
        """What an answer made and shows, at its ``Location``."""
        return cls(header(response, "Location"), object_of(response), response)

    @property
    def challenge(self) -> Body:
        """The first challenge of an authorization."""
        challenges: list[Body] = self.body["challenges"]
        assert challenges, f"there are no challenges in {self.body}"
        return challenges[0]


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
        assert response.status_code == 200, f"{url} cannot be read: {said(response)}"
        return Resource(url, object_of(response), response)

    def try_order(self, *identifiers: Body, **members: object) -> requests.Response:
        """POST newOrder, whatever comes of it."""
        return self.post(self.server.directory["newOrder"], {"identifiers": list(identifiers), **members})

    def order(self, *names: str, **members: object) -> Resource:
        """A new order for dns names, one of them the suite's choice if there is none."""
        response = self.try_order(*dns(*(names or (self.server.name(),))), **members)
        assert response.status_code in (200, 201), f"no order can be made: {said(response)}"
        return Resource.made(response)

    def authorizations(self, order: Resource) -> list[Resource]:
        """An order's authorizations, read; at least one."""
        urls = order.body["authorizations"]
        assert urls, f"there are no authorizations in {order.body}"
        return [self.read(url) for url in urls]

    def authorization(self, order: Resource | None = None) -> Resource:
        """The first authorization of an order, of a new one unless it is given."""
        return self.authorizations(order or self.order())[0]

    def deactivate(self, authorization: Resource) -> requests.Response:
        """POST the deactivation of an authorization, whatever comes of it."""
        return self.post(authorization.url, {"status": "deactivated"})

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
        """Make an authorization valid; returns it as it then is.

        :raises NotOfferedError: if the server is known to believe no good proof.
        """
        if self.server.unproven and kind is None:
            raise NotOfferedError(
                "good proofs are not believed, which test_a_good_answer_makes_the_authorization_valid reports: "
                + self.server.unproven
            )
        if authorization.body["status"] != "valid":
            _, response = self.answer(authorization, kind)
            assert response.status_code < 300, f"the answer was refused: {said(response)}"
            authorization = self.wait(authorization.url)
        assert authorization.body["status"] == "valid", f"the good proof is not believed: {authorization.body}"
        return authorization

    def ready(self, *names: str, **members: object) -> Resource:
        """An order whose names are all proven."""
        order = self.order(*names, **members)
        for authorization in self.authorizations(order):
            self.prove(authorization)
        order = self.wait(order.url, ("pending",))
        assert order.body["status"] == "ready", f"expected a ready order, got {order.body}"
        return order

    def finalize(self, order: Resource, csr: bytes) -> requests.Response:
        """POST a CSR in DER to an order's finalize URL, whatever comes of it."""
        return self.post(order.body["finalize"], {"csr": b64(csr)})

    def issue(self, order: Resource, key: PrivateKey | None = None) -> Issued:
        """Finalize a ready order and fetch the certificate."""
        key = key or private_key("ES256")
        identifiers = order.body["identifiers"]
        response = self.finalize(order, csr(key, identifiers=identifiers))
        assert response.status_code == 200, f"finalize was refused: {said(response)}"
        return self.collect(order, key)

    def collect(self, order: Resource, key: PrivateKey) -> Issued:
        """Fetch the certificate of an order that is finalized."""
        done = self.wait(order.url, ("ready", "processing"))
        assert done.body["status"] == "valid", f"expected a valid order, got {done.body}"
        chain = self.post(done.body["certificate"])
        assert chain.status_code == 200, f"the certificate cannot be read: {said(chain)}"
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
            self._chain = chain_of(self.response)
        return self._chain

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate that has this one's key, wherever it stands in the chain."""
        own = [entry for entry in self.chain if entry.public_key() == self.key.public_key()]
        assert own, f"no certificate of the chain has the CSR's key: {said(self.response)}"
        return own[0]

    @property
    def issuer(self) -> x509.Certificate:
        """The second certificate of the chain."""
        assert len(self.chain) > 1, "the chain is one certificate, without its issuer"
        return self.chain[1]

    @property
    def der(self) -> bytes:
        """The certificate's DER."""
        return self.leaf.public_bytes(Encoding.DER)

    @property
    def certificate_id(self) -> str:
        """Its identifier for renewal information (RFC 9773 section 4.1)."""
        aki = extension(self.leaf, x509.AuthorityKeyIdentifier).value.key_identifier
        assert aki is not None, "the authority key identifier has no key identifier"
        serial = self.leaf.serial_number
        return f"{b64(aki)}.{b64(serial.to_bytes(serial.bit_length() // 8 + 1))}"
