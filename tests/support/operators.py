"""Operators of a CA: users of the machine at its admin socket, and holders of certificates at its admin listener."""

from __future__ import annotations

import grp
import http.client
import json
import os
import pwd
import ssl
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from ports import free_port
from processes import arguments, children
from running import CA, SECONDS

from acme_iid.protocol.public_keys import PublicKey

MEMBERS = "users"
"""The group that may open the sockets of the tests."""

_ASK = """
import http.client, json, socket, sys
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(sys.argv[1])
asked = json.loads(sys.argv[2])
connection = Unix("localhost")
answers = []
try:
    for method, path, body in asked:
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, path, body, headers | json.loads(sys.argv[3]))
        answer = connection.getresponse()
        answers.append([answer.status, dict(answer.getheaders()), answer.read().decode()])
except OSError as error:
    answers.append([0, {}, type(error).__name__])
print(json.dumps(answers))
"""
"""What a user's program does: it needs no more than Python."""


Asked = tuple[str, str, object]
"""A method, a path and a body; a body of None is none."""


@dataclass(frozen=True)
class Answer:
    """An answer.

    :ivar status: 0 if there was no connection; ``text`` then has the name of the error.
    """

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class User:
    """A user of this machine, as a process of theirs is.

    :ivar name: that of the user; None for the user of this process.
    :ivar group: the primary group, where it is not the user's usual one.
    :ivar groups: the supplementary ones.
    :ivar uid: the number of one without a name.
    :ivar fields: what each of their requests says beside what it needs.
    """

    name: str | None = None
    group: str | None = None
    groups: tuple[str, ...] = (MEMBERS,)
    uid: int | None = None
    fields: tuple[tuple[str, str], ...] = ()

    def who(self) -> dict[str, Any]:
        """The arguments of :func:`subprocess.run` for it."""
        if self.name is None and self.uid is None:
            return {}
        extra = [grp.getgrnam(one).gr_gid for one in self.groups]
        if self.name is None:
            return {"user": self.uid, "group": self.uid, "extra_groups": extra}
        entry = pwd.getpwnam(self.name)
        gid = entry.pw_gid if self.group is None else grp.getgrnam(self.group).gr_gid
        return {"user": entry.pw_uid, "group": gid, "extra_groups": extra}

    def ask(self, path: Path, *asked: Asked) -> list[Answer]:
        """Ask on a socket, on one connection."""
        bodies = [(method, at, None if body is None else json.dumps(body)) for method, at, body in asked]
        done = subprocess.run(
            ["/usr/bin/python3", "-c", _ASK, path, json.dumps(bodies), json.dumps(dict(self.fields))],
            capture_output=True, text=True, cwd="/", timeout=SECONDS, check=True, **self.who(),
        )  # fmt: skip
        return [Answer(*answer) for answer in json.loads(done.stdout)]

    def get(self, path: Path, at: str = "/instances") -> Answer:
        """Ask for something to be read."""
        return self.ask(path, ("GET", at, None))[0]

    def post(self, path: Path, at: str, body: object = None) -> Answer:
        """Ask for something to be done."""
        return self.ask(path, ("POST", at, body or {}))[0]


ROOT = User()


def role_table(name: str, **members: Sequence[str]) -> str:
    """A table ``[[admin.role]]``."""
    lists = "".join(f"{key} = {json.dumps(list(names))}\n" for key, names in members.items())
    return f'\n[[admin.role]]\nname = "{name}"\n{lists}'


@dataclass
class Steered:
    """A CA whose server answers operators.

    :ivar ca: the CA; its home and server.
    :ivar socket: the admin socket.
    :ivar port: of the admin listener.
    """

    ca: CA
    socket: Path
    port: int = field(default_factory=free_port)

    def configure(self, *roles: str, listen: Path | None = None, group: str | None = MEMBERS) -> None:
        """Write ``[admin]`` at the end of ca.toml, in place of what was written before.

        :param roles: tables ``[[admin.role]]``.
        :param listen: the file of ``client_ca``, to listen on TLS as well.
        """
        file = self.ca.home / "ca.toml"
        before, _, _ = file.read_text().partition("\n[admin]\n")
        text = f'{before}\n[admin]\nsocket = "{self.socket}"\n'
        text += "" if group is None else f'group = "{group}"\n'
        if listen is not None:
            text += f'listen = "127.0.0.1:{self.port}"\nclient_ca = "{listen}"\n'
        file.write_text(text + "".join(roles))

    def start(self, *options: str, **how: Any) -> None:
        """Serve; returns once operators are answered."""
        self.ca.start(*options, **how)
        self.until_answered()

    def until_answered(self, status: int = 200, user: User = ROOT, at: str = "/instances") -> None:
        """Wait until a user is answered with a status."""
        deadline = time.monotonic() + SECONDS
        while (answer := user.get(self.socket, at)).status != status:
            assert time.monotonic() < deadline, (answer, self.ca.log)
            time.sleep(0.05)

    def reload(self) -> None:
        """Have the server take ca.toml up."""
        assert self.ca.process is not None
        number = sum("was reloaded" in line for line in self.ca.log)
        self.ca.process.send_signal(1)
        deadline = time.monotonic() + SECONDS
        while sum("was reloaded" in line for line in list(self.ca.log)) == number:
            assert time.monotonic() < deadline, self.ca.log
            time.sleep(0.01)

    @property
    def server(self) -> int:
        """The server's first process."""
        assert self.ca.process is not None
        return self.ca.process.pid

    @property
    def keeper(self) -> int:
        """The keeper."""
        (found,) = (pid for pid in children(self.server) if _keeps(pid))
        return found

    @property
    def worker(self) -> int:
        """The process that answers operators; it is waited for."""
        deadline = time.monotonic() + SECONDS
        while not (found := [pid for pid in children(self.keeper) if _answers(pid)]):
            assert time.monotonic() < deadline, self.ca.log
            time.sleep(0.01)
        return found[-1]


def _answers(pid: int) -> bool:
    return any(b"admin import worker" in word for word in arguments(pid))


def _keeps(pid: int) -> bool:
    """Whether a process is the keeper: it has a child that answers operators, or no child, and leads a session."""
    return os.getsid(pid) == pid and all(map(_answers, children(pid)))


# Certificates


@dataclass
class OperatorCA:
    """A CA that is for operators alone: its root, and what that signs."""

    name: str = "Operators Root"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    above: OperatorCA | None = None
    subject: x509.Name | None = None

    def __post_init__(self) -> None:
        issuer = self.above or self
        self.certificate = issuer.sign(self.key.public_key(), self.name, is_ca=True)

    def sign(
        self, key: PublicKey, *names: str, is_ca: bool = False, subject: x509.Name | None = None, days: float = 1
    ) -> x509.Certificate:
        """Sign a certificate.

        :param names: the common names of its subject.
        :param subject: the subject, in place of names.
        :param days: how long it lives from now on; less than 0 for one that has ended.
        """
        now = datetime.now(UTC)
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names]
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject or x509.Name(attributes))
            .issuer_name(self.subject or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if not is_ca:
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def operator(self, folder: Path, *names: str, **how: Any) -> Path:
        """A file with an operator's new key and certificate, with those of the CAs above but the root."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificates = [self.sign(key.public_key(), *names, **how)]
        issuer = self
        while issuer.above is not None:
            certificates.append(issuer.certificate)
            issuer = issuer.above
        return bundle(folder, key, *certificates)

    def write(self, folder: Path) -> Path:
        """Write its certificate, for ``client_ca``."""
        file = folder / f"{self.name}.pem"
        file.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return file


def bundle(folder: Path, key: ec.EllipticCurvePrivateKey, *certificates: x509.Certificate) -> Path:
    """A file with a key and certificates, the leaf first."""
    file = folder / f"{certificates[0].serial_number:x}.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(pem + b"".join(one.public_bytes(Encoding.PEM) for one in certificates))
    return file


def context(root: Path, certificate: Path | None) -> ssl.SSLContext:
    """What a client believes and shows."""
    made = ssl.create_default_context(cafile=str(root))
    if certificate is not None:
        made.load_cert_chain(certificate)
    return made


def ask_by_tls(steered: Steered, certificate: Path | None, path: str = "/instances", body: object = None) -> Answer:
    """Ask at the admin listener: without a body for something to be read, and otherwise for something to be done."""
    connection = http.client.HTTPSConnection(
        "127.0.0.1", steered.port, context=context(steered.ca.root, certificate), timeout=30
    )
    try:
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read().decode())
    except OSError as error:
        return Answer(0, {}, f"{type(error).__name__}: {error}")
    finally:
        connection.close()
