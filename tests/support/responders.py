"""Hosts as a test wants them: name servers, web servers and TLS servers on loopback that answer right or wrong."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from running import CA
from wire import Account

from acme_iid.policy.hosts import CHALLENGES, HostProvisioner
from acme_iid.validation.attempt import Attempt

Host = Callable[..., HostProvisioner]
"""Makes a provisioner that reaches what a test has started."""
Look = Callable[..., Attempt]
"""Makes an attempt at a challenge, from its type and the name."""
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")


@dataclass
class Names:
    """A name server: what it says of each name and type, and what it was asked.

    A name with no records at all does not exist. ``silent`` names get no answer.
    """

    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    changes: dict[tuple[str, str], list[list[str]]] = field(default_factory=dict)
    """Records that are given one after another, the last of them for good: a name that changes."""

    def __post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def set(self, name: str, kind: str, *values: str) -> None:
        self.records[name.lower(), kind] = list(values)

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                data, sender = self._socket.recvfrom(4096)
            except OSError:
                return
            with contextlib.suppress(OSError):
                if (answer := self._answer(data)) is not None:
                    self._socket.sendto(answer, sender)

    def _answer(self, data: bytes) -> bytes | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if name in self.silent:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if name in self.refused:
            response.set_rcode(dns.rcode.SERVFAIL)
            return response.to_wire()
        coming = self.changes.get((name, kind))
        if coming:
            self.records[name, kind] = coming.pop(0)
        # Like a server that is not recursive: of an alias it gives the alias alone.
        for held in ("CNAME", kind):
            values = self.records.get((name, held))
            if values:
                response.answer.append(dns.rrset.from_text(question.name, 1, dns.rdataclass.IN, held, *values))
                break
        if not any(known == name for known, _ in tuple(self.records)):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire(max_size=65535)


@dataclass
class Page:
    """An answer of a web server."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Web:
    """A web server on one address: its pages by path, and the requests that it saw, as (Host, path)."""

    address: str = "127.0.0.1"
    port: int = 0
    context: ssl.SSLContext | None = None
    pages: dict[str, Page] = field(default_factory=dict)
    seen: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.seen.append((self.headers.get("Host", ""), self.path))
                page = web.pages.get(self.path, Page(b"no such page", 404))
                self.send_response(page.status)
                for name, value in page.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(page.body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in web.address else socket.AF_INET
            daemon_threads = True

        self._server = Server((self.address, self.port), Handler)
        if self.context is not None:
            self._server.socket = self.context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Listener:
    """A TCP server that does with each connection what ``act`` says."""

    act: Callable[[socket.socket], None]
    address: str = "127.0.0.1"
    port: int = 0
    accepted: int = 0

    def __post_init__(self) -> None:
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self._socket = socket.create_server((self.address, self.port), family=family)
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                stream, _ = self._socket.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._one, args=(stream,), daemon=True).start()

    def _one(self, stream: socket.socket) -> None:
        with stream, contextlib.suppress(OSError):
            self.act(stream)

    def close(self) -> None:
        # A thread that is in accept() would keep the socket open.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def certificate(
    *names: x509.GeneralName,
    digest: bytes | None = None,
    value: bytes | None = None,
    critical: bool = True,
    issued_by_another: bool = False,
    twice: bool = False,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]:
    """A certificate as tls-alpn-01 has it, or with one thing wrong."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ACME Challenge")])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if digest is not None:
        value = b"\x04\x20" + digest
    if value is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(ACME_IDENTIFIER, value), critical=critical)
    if twice:
        # The builder's own method refuses what RFC 5280 forbids.
        assert value is not None
        repeated = x509.Extension(ACME_IDENTIFIER, critical, x509.UnrecognizedExtension(ACME_IDENTIFIER, value))
        day = dt.timedelta(days=1)
        builder = x509.CertificateBuilder(
            subject, subject, key.public_key(), x509.random_serial_number(), now - day, now + day, [repeated, repeated]
        )
    signer = ec.generate_private_key(ec.SECP256R1()) if issued_by_another else key
    return builder.sign(signer, hashes.SHA256()), key


def context(
    shown: tuple[x509.Certificate, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey],
    protocols: tuple[str, ...] = ("acme-tls/1",),
) -> ssl.SSLContext:
    """A TLS server's context that shows one certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf, key = shown
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shown.pem"
        file.write_bytes(
            leaf.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        made.load_cert_chain(file)
    if protocols:
        made.set_alpn_protocols(list(protocols))
    return made


@dataclass
class Shown:
    """A TLS server that shows a certificate and ends, and the names that it was asked for."""

    certificate: tuple[x509.Certificate, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]
    protocols: tuple[str, ...] = ("acme-tls/1",)
    address: str = "127.0.0.1"
    port: int = 0
    asked: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        made = context(self.certificate, self.protocols)
        made.sni_callback = self._ask
        self.listener = Listener(lambda stream: self._shake(made, stream), self.address, self.port)
        self.port = self.listener.port

    def _ask(self, _stream: object, name: str | None, _context: object) -> None:
        self.asked.append(name)

    @staticmethod
    def _shake(made: ssl.SSLContext, stream: socket.socket) -> None:
        stream.settimeout(10)
        with contextlib.suppress(OSError), made.wrap_socket(stream, server_side=True) as secure:
            secure.recv(1)

    def close(self) -> None:
        self.listener.close()


def digest(key_authorization: str) -> bytes:
    """Its SHA-256."""
    return hashlib.sha256(key_authorization.encode()).digest()


def add_hosts(ca: CA, names: Names, http_port: int, tls_port: int = 443, *options: str) -> None:
    """Give a CA a provisioner for hosts on loopback that are known to our name server."""
    file = ca.home / "ca.toml"
    file.write_text(file.read_text().replace("\n[server]", 'issuer_domain = "ca.local"\n\n[server]', 1))
    challenges = [option for kind in CHALLENGES for option in ("--challenge", kind)]
    ca.cli("provisioner", "add", "Racks", "--type", "ACME", *challenges, "--allow-wildcards",
           "--network", "127.0.0.0/8", "--resolver", names.address, "--http-port", str(http_port),
           "--tls-port", str(tls_port), *options)  # fmt: skip


def standard(account: Account, order: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The challenge of one type in an order's first authorization."""
    authorization = account.post(order["authorizations"][0]).json()
    found: dict[str, Any] = next(entry for entry in authorization["challenges"] if entry["type"] == kind)
    return found


def settled(account: Account, url: str, seconds: float = 60) -> requests.Response:
    """The challenge once it is no longer processing."""
    deadline = time.monotonic() + seconds
    while (response := account.post(url)).json()["status"] == "processing":
        assert time.monotonic() < deadline, response.text
        assert int(response.headers["Retry-After"]) >= 1
        time.sleep(0.1)
    return response


@contextlib.contextmanager
def closing(*servers: Names | Web | Listener | Shown) -> Iterator[None]:
    """End servers when a test is done."""
    try:
        yield
    finally:
        for server in servers:
            server.close()
