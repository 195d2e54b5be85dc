"""A server that speaks HTTPS and as much ACME as a client asks for, and lies where a test tells it to.

It checks nothing: what an honest CA does is tested with the real one. This one is for what the real one never
does, and the client has to notice.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from acme_iid.binding import SERVING_MARK
from acme_iid_client.acme.known_ca import KnownCA, read_roots
from acme_iid_client.storage.account_options import AccountOptions
from acme_iid_client.x509.certificates import fingerprint

Json = dict[str, Any]

DIRECTORY = {
    "newNonce": "new-nonce", "newAccount": "new-account", "newOrder": "new-order", "revokeCert": "revoke",
    "keyChange": "key-change",
}  # fmt: skip


@dataclass
class Issuer:
    """A CA certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def issue(
    issuer: Issuer | None,
    common_name: str,
    key: CertificatePublicKeyTypes | ec.EllipticCurvePrivateKey,
    names: list[str] | None = None,
    *,
    path_length: int | None = None,
    extension: x509.UnrecognizedExtension | None = None,
    start: datetime | None = None,
    days: float = 1,
    serving: bool = False,
) -> x509.Certificate:
    """Sign a certificate: a CA's if there are no ``names``, self-signed if there is no issuer.

    :param serving: whether it has the mark of a CA's own server.
    """
    own = key if isinstance(key, ec.EllipticCurvePrivateKey) else None
    public = key.public_key() if isinstance(key, ec.EllipticCurvePrivateKey) else key
    start = start or datetime.now(UTC) - timedelta(minutes=1)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)] if common_name else [])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=names is None, path_length=path_length), critical=True)
    )
    # By these, programs choose among CA certificates of one name, such as the old and the new root.
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    builder = builder.add_extension(identifier, critical=False)
    if issuer is not None:
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
        builder = builder.add_extension(above, critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    if serving:
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, x509.ObjectIdentifier(SERVING_MARK)]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    signer = issuer.key if issuer else own
    assert signer is not None
    return builder.sign(signer, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def known(url: str, roots_file: Path, options: AccountOptions | None = None) -> KnownCA:
    """A CA as the client's own code takes it, without a bootstrap."""
    roots = read_roots(roots_file)
    return KnownCA(url, roots, roots_file, fingerprint(roots[0]), account_options=options or AccountOptions())


def new_issuer(name: str, above: Issuer | None = None, path_length: int | None = None) -> Issuer:
    """A new CA, a root if there is none above it."""
    key = ec.generate_private_key(ec.SECP256R1())
    # Longer than what it issues, which is otherwise said to be cut short.
    return Issuer(issue(above, name, key, path_length=path_length, days=2), key)


CUT, LOST = 0, -1


@dataclass
class Reply:
    """An answer.

    :ivar status: CUT hangs up without an answer, LOST does what was asked and then hangs up.
    """

    status: int = 200
    body: bytes | Json = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def problem(code: str, detail: str, status: int = 403, **members: object) -> Reply:
    """A problem document."""
    body = {"type": f"urn:ietf:params:acme:error:{code}", "detail": detail, "status": status, **members}
    return Reply(status, body, {"Content-Type": "application/problem+json"})


@dataclass
class ScriptedCA:
    """The server, and what it is to do.

    :ivar asked: the paths that were asked for, in order, with the decoded payloads of those that were posted.
    :ivar once: path -> replies to give before the usual one, one a request.
    :ivar challenge: members of the challenge object that replace the usual ones.
    :ivar chain: makes what the certificate resource gives, from the signing request.
    :ivar moments: when each of what is in ``asked`` came, by the monotonic clock.
    :ivar used: the nonces of the requests that were posted.
    :ivar window: the renewal information of every certificate (RFC 9773); without it, the CA offers none.
    """

    url: str = ""
    root: Issuer = field(default_factory=lambda: new_issuer("Scripted Root CA"))
    asked: list[tuple[str, Any]] = field(default_factory=list)
    once: dict[str, list[Reply]] = field(default_factory=lambda: defaultdict(list))
    challenge: Json = field(default_factory=dict)
    chain: Callable[[x509.CertificateSigningRequest], bytes] | None = None
    window: Reply | None = None
    names: list[Json] = field(default_factory=list)
    state: str = "pending"
    request: x509.CertificateSigningRequest | None = None
    moments: list[float] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    given: int = 0

    def nonce(self) -> str:
        """Another one each time."""
        self.given += 1
        return base64.urlsafe_b64encode(self.given.to_bytes(8)).rstrip(b"=").decode()

    def paths(self) -> list[str]:
        """The paths that were asked for."""
        return [path for path, _ in self.asked]

    def usual(self, path: str, payload: Any) -> Reply:
        """The answer of a CA that is content with everything."""
        if path.startswith("/root/"):
            return Reply(body=self.root.pem)
        if path.startswith("/acme/renewal-info/") and self.window is not None:
            return self.window
        match path:
            case "/health":
                return Reply(body=b"ok\n")
            case "/acme/directory":
                listed = DIRECTORY | ({} if self.window is None else {"renewalInfo": "renewal-info"})
                return Reply(body={name: f"{self.url}/acme/{end}" for name, end in listed.items()})
            case "/acme/new-account":
                return Reply(201, {"status": "valid"}, {"Location": f"{self.url}/acme/account/1"})
            case "/acme/new-order":
                self.names, self.state = payload["identifiers"], "pending"
                return Reply(201, self._order(), {"Location": f"{self.url}/acme/order/1"})
            case "/acme/revoke" | "/acme/key-change":
                return Reply()
            case "/acme/challenge/1":
                self.state = "ready"
                return Reply(body=self._challenge())
            case "/acme/finalize/1":
                der = base64.urlsafe_b64decode(payload["csr"] + "==")
                self.request, self.state = x509.load_der_x509_csr(der), "valid"
        return self._resource(path)

    def _resource(self, path: str) -> Reply:
        match path:
            case "/acme/account/1":
                return Reply(body={"status": "valid"})
            case "/acme/authz/1":
                status = "pending" if self.state == "pending" else "valid"
                return Reply(body={"status": status, "identifier": self.names[0], "challenges": [self._challenge()]})
            case "/acme/order/1" | "/acme/finalize/1":
                return Reply(body=self._order())
            case "/acme/certificate/1":
                assert self.request is not None
                return Reply(body=(self.chain or self.honest_chain)(self.request))
        return Reply(404)

    def honest_chain(self, request: x509.CertificateSigningRequest) -> bytes:
        """What was asked for, under an intermediate."""
        intermediate = new_issuer("Scripted Intermediate CA", self.root, 0)
        leaf = issue(intermediate, self.first, request.public_key(), [name["value"] for name in self.names])
        return leaf.public_bytes(Encoding.PEM) + intermediate.pem

    @property
    def first(self) -> str:
        """The first name of the order."""
        return str(self.names[0]["value"])

    def _order(self) -> Json:
        order: Json = {
            "status": self.state,
            "identifiers": self.names,
            "authorizations": [f"{self.url}/acme/authz/1"],
            "finalize": f"{self.url}/acme/finalize/1",
        }
        return order | ({"certificate": f"{self.url}/acme/certificate/1"} if self.state == "valid" else {})

    def _challenge(self) -> Json:
        usual: Json = {
            "type": "iid-01",
            "status": "pending" if self.state == "pending" else "valid",
            "url": f"{self.url}/acme/challenge/1",
            "token": "A" * 43,
            "formats": ["gcp-identity", "aws-rsa2048"],
        }
        return usual | self.challenge


@contextmanager
def serve(folder: Path, tls: Issuer | None = None, *, marked: bool = True) -> Iterator[ScriptedCA]:
    """Serve on a free port of 127.0.0.1.

    :param folder: for the server's key.
    :param tls: who issued the server's own certificate; the CA's root if None.
    :param marked: whether that has the mark of a CA's own server.
    """
    ca = ScriptedCA()
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = issue(tls or ca.root, "server", key, ["127.0.0.1", "localhost"], serving=marked)
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = _Server(("127.0.0.1", 0), partial(_Handler, ca))
    server.context = context
    ca.url = f"https://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield ca
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands on the connection's own thread."""
        try:
            with self.context.wrap_socket(request, server_side=True) as wrapped:
                super().finish_request(wrapped, client_address)
        except OSError:
            # The client did not trust the certificate, or left.
            return


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    disable_nagle_algorithm = True
    wbufsize = -1

    def __init__(self, ca: ScriptedCA, request: Any, address: Any, server: Any) -> None:
        self.ca = ca
        super().__init__(request, address, server)

    def do_HEAD(self) -> None:
        planned = self.ca.once[self.path]
        reply = planned.pop(0) if planned else Reply()
        self.send_response(reply.status)
        for name, value in ({"Replay-Nonce": self.ca.nonce()} | dict(reply.headers)).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        jws = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        protected = json.loads(base64.urlsafe_b64decode(jws["protected"] + "=="))
        self.ca.used.append(protected["nonce"])
        payload = base64.urlsafe_b64decode(jws["payload"] + "==")
        self._answer(json.loads(payload) if payload else None)

    def _answer(self, payload: Any) -> None:
        self.ca.asked.append((self.path, payload))
        self.ca.moments.append(time.monotonic())
        planned = self.ca.once[self.path]
        reply = planned.pop(0) if planned else self.ca.usual(self.path, payload)
        if reply.status in (CUT, LOST):
            if reply.status == LOST:
                self.ca.usual(self.path, payload)
            self.close_connection = True
            return
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        kind = "application/octet-stream" if isinstance(reply.body, bytes) else "application/json"
        for name, value in ({"Content-Type": kind, "Replay-Nonce": self.ca.nonce()} | dict(reply.headers)).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        """Keep quiet."""
