"""A load of whole ACME orders over TLS: keys, requests and evidence are made before it begins, a thread a connection.

It shares the machine's cores with the server that it loads, so it is sockets and little else: what it reads of an
answer is the status, two headers and the body.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from benchmarks.connection import Answer, Connection, LoadError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from running import answer
from wire import Key, b64

from acme_iid.simulator import aws

_POLLS = 200
_BETWEEN_POLLS = 0.005
_FREE = nullcontext()


class PutOffError(LoadError):
    """A server answered 503 for as long as the load was patient; the order is left."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account, and what all of its requests say of it."""

    key: Key
    kid: str


@dataclass(frozen=True, slots=True)
class Job:
    """One order that is to be placed.

    :ivar identifier: what the certificate is for.
    :ivar csr: as it is sent, in base64url.
    :ivar answer: to the challenge.
    """

    account: Account
    identifier: dict[str, str]
    csr: str
    answer: dict[str, str]


class Session:
    """Signed requests over one connection, each with the nonce that the answer before it brought.

    :param patience: for how many seconds a request that is answered 503 is sent again, when Retry-After says.
    :ivar put_off: how many were answered so.
    """

    def __init__(self, directory: dict[str, Any], connection: Connection, patience: float) -> None:
        self.directory = directory
        self.connection = connection
        self.requests = 0
        self.put_off = 0
        self._patience = patience
        self._nonce = ""

    def post(self, account: Account, url: str, payload: object = None) -> Answer:
        """POST as an account; without a payload, POST-as-GET."""
        return self._signed(account.key, f'"kid":"{account.kid}"', url, payload)

    def register(self) -> Account:
        """Make an account with a new key."""
        key = Key()
        found = self._signed(
            key, f'"jwk":{json.dumps(key.jwk)}', self.directory["newAccount"], {"termsOfServiceAgreed": True}
        )
        return Account(key, found.headers[b"location"].decode())

    def _signed(self, key: Key, signer: str, url: str, payload: object) -> Answer:
        until = time.perf_counter() + self._patience
        while (found := self._send(key, signer, url, payload)).status == 503 and time.perf_counter() < until:
            self.put_off += 1
            time.sleep(min(float(found.headers.get(b"retry-after", b"1")), max(0.0, until - time.perf_counter())))
        if found.status == 503 and self._patience:
            raise PutOffError(f"{url} answered 503 for {self._patience} seconds")
        if found.status >= 400:
            raise LoadError(f"{url} answered {found.status}: {found.body.decode(errors='replace')}")
        return found

    def _send(self, key: Key, signer: str, url: str, payload: object) -> Answer:
        if not self._nonce:
            self._nonce = self.connection.request("HEAD", self.directory["newNonce"]).headers[b"replay-nonce"].decode()
        protected = b64(f'{{"alg":"ES256",{signer},"nonce":"{self._nonce}","url":"{url}"}}'.encode())
        sent = "" if payload is None else b64(json.dumps(payload).encode())
        signature = b64(key.sign(f"{protected}.{sent}".encode()))
        body = f'{{"protected":"{protected}","payload":"{sent}","signature":"{signature}"}}'.encode()
        found = self.connection.request("POST", url, body)
        self.requests += 1
        self._nonce = found.headers.get(b"replay-nonce", b"").decode()
        return found


Flow = Callable[[Session, Job], None]
"""Position one order and fetch its certificate."""


def with_iid01(session: Session, job: Job) -> None:
    """Five requests: the answer to the challenge is final."""
    account, challenge, order = _begin(session, job, "iid-01")
    proven = session.post(account, challenge["url"], job.answer).json()
    _require(proven, "valid")
    _fetch(session, account, session.post(account, order["finalize"], {"csr": job.csr}).json())


def renewing(session: Session, job: Job) -> None:
    """Three requests: the order relies on what the account has proven before (proof_lifetime)."""
    made = session.post(job.account, session.directory["newOrder"], {"identifiers": [job.identifier]}).json()
    _require(made, "ready")
    _fetch(session, job.account, session.post(job.account, made["finalize"], {"csr": job.csr}).json())


def with_http01(
    session: Session,
    job: Job,
    respond: Callable[[str, str], None] = lambda _token, _authorization: None,
    guard: AbstractContextManager[object] = _FREE,
) -> None:
    """Seven requests if the server has always validated and issued when it is asked again, else more.

    :param respond: is told the token and the key authorization before the challenge is answered.
    :param guard: held while an order is made and while an authorization is read.
    """
    account, challenge, order = _begin(session, job, "http-01", guard)
    respond(challenge["token"], f"{challenge['token']}.{account.key.thumbprint}")
    session.post(account, challenge["url"], {})
    _poll(session, account, order["authorizations"][0], guard)
    session.post(account, order["finalize"], {"csr": job.csr})
    _fetch(session, account, _poll(session, account, order["location"]))


def _begin(
    session: Session, job: Job, kind: str, guard: AbstractContextManager[object] = _FREE
) -> tuple[Account, dict[str, Any], dict[str, Any]]:
    account = job.account
    with guard:
        made = session.post(account, session.directory["newOrder"], {"identifiers": [job.identifier]})
    order = {**made.json(), "location": made.headers[b"location"].decode()}
    with guard:
        authorization = session.post(account, order["authorizations"][0]).json()
    challenge = next(entry for entry in authorization["challenges"] if entry["type"] == kind)
    return account, challenge, order


def _poll(
    session: Session, account: Account, url: str, guard: AbstractContextManager[object] = _FREE
) -> dict[str, Any]:
    for _ in range(_POLLS):
        with guard:
            found: dict[str, Any] = session.post(account, url).json()
        if found["status"] not in ("pending", "processing", "ready"):
            _require(found, "valid")
            return found
        time.sleep(_BETWEEN_POLLS)
    raise LoadError(f"{url} is still {found['status']}")


def _fetch(session: Session, account: Account, order: dict[str, Any]) -> None:
    _require(order, "valid")
    chain = session.post(account, order["certificate"]).body
    if not chain.startswith(b"-----BEGIN CERTIFICATE-----"):
        raise LoadError(f"{order['certificate']} is no certificate: {chain[:80]!r}")


def _require(resource: dict[str, Any], status: str) -> None:
    if resource["status"] != status:
        raise LoadError(f"it is {resource['status']} and not {status}: {resource}")


@dataclass
class Load:
    """What a load did.

    :ivar latencies: seconds from the first request of each order until its certificate was there.
    :ivar seconds: from the first request of all to the last answer.
    :ivar requests: signed ones.
    :ivar put_off: how many of them were answered 503 and sent again.
    :ivar faults: what ended it.
    """

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    requests: int = 0
    put_off: int = 0
    faults: list[Exception] = field(default_factory=list)


class Generator:
    """Connections to one server, and the orders that they will place.

    :param directory: the directory's URL.
    :param root: the PEM file of the one root to trust.
    :param new_connections: place each order over a TLS connection of its own.
    :param ports: of the servers behind the directory's URL, to which connections are dealt out; its own by default.
    :param patience: see :class:`Session`.
    """

    def __init__(
        self,
        directory: str,
        root: Path,
        flow: Flow,
        connections: int,
        *,
        new_connections: bool = False,
        ports: Sequence[int | None] = (None,),
        patience: float = 0,
    ) -> None:
        context = ssl.create_default_context(cafile=str(root))
        listing = Connection(directory, context, ports[0])
        found = listing.request("GET", directory).json()
        listing.close()
        self._flow = flow
        self._new_connections = new_connections
        self._sessions = [
            Session(found, Connection(directory, context, ports[number % len(ports)]), patience)
            for number in range(connections)
        ]

    def accounts(self, count: int) -> list[Account]:
        """Make accounts."""
        return [self._sessions[number % len(self._sessions)].register() for number in range(count)]

    def run(self, jobs: Sequence[Job], seconds: float) -> Load:
        """Position orders over all connections at once; after ``seconds`` no further one is begun.

        :raises LoadError: if any of them fails.
        """
        load, waiting = Load(), deque(jobs)
        if not self._new_connections:
            for session in self._sessions:
                session.connection.open()
        before = sum(session.requests for session in self._sessions)
        before_put_off = sum(session.put_off for session in self._sessions)
        start = time.perf_counter()
        threads = [
            threading.Thread(target=self._work, args=(session, waiting, load, start + seconds))
            for session in self._sessions
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        load.seconds = time.perf_counter() - start
        if load.faults:
            raise LoadError(f"{len(load.latencies)} orders were placed, then: {load.faults[0]}") from load.faults[0]
        load.requests = sum(session.requests for session in self._sessions) - before
        load.put_off = sum(session.put_off for session in self._sessions) - before_put_off
        return load

    def _work(self, session: Session, waiting: deque[Job], load: Load, end: float) -> None:
        try:
            while waiting and not load.faults and time.perf_counter() < end:
                try:
                    job = waiting.popleft()
                except IndexError:
                    return  # Another thread took the last one.
                with suppress(PutOffError):
                    self._place(session, job, load)
        except (LoadError, OSError) as error:
            load.faults.append(error)

    def _place(self, session: Session, job: Job, load: Load) -> None:
        begun = time.perf_counter()
        if self._new_connections:
            session.connection.close()
        self._flow(session, job)
        load.latencies.append(time.perf_counter() - begun)

    def close(self) -> None:
        for session in self._sessions:
            session.connection.close()


def jobs_of_instances(accounts: Sequence[Account], count: int) -> list[Job]:
    """Orders that instances of AWS prove, each of another instance, for a name each."""
    made = []
    for number in range(count):
        name = f"host-{number}.local"
        identity = answer(aws.Instance())
        made.append(Job(accounts[number % len(accounts)], {"type": "dns", "value": name}, _csr(name), identity))
    return made


def jobs_of_names(accounts: Sequence[Account], count: int) -> list[Job]:
    """Orders for a name each."""
    names = [f"host-{number}.local" for number in range(count)]
    return [
        Job(accounts[number % len(accounts)], {"type": "dns", "value": name}, _csr(name), {})
        for number, name in enumerate(names)
    ]


def jobs_of_loopback(accounts: Sequence[Account], count: int) -> list[Job]:
    """Orders for 127.0.0.1, which a server can validate without a resolver."""
    address = x509.IPAddress(ip_address("127.0.0.1"))
    return [
        Job(accounts[number % len(accounts)], {"type": "ip", "value": "127.0.0.1"}, _request(address), {})
        for number in range(count)
    ]


def _csr(name: str) -> str:
    return _request(x509.DNSName(name))


def _request(name: x509.GeneralName) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([name]), critical=False)
    return b64(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))
