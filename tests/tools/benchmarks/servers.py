"""The servers that are compared: ours as its users get it, Pebble, step-ca and Debian's Caddy, with orders to match."""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import postgresql
import pytest
import requests
import scraping
from benchmarks import builds, generator
from benchmarks.generator import Account, Flow, Job, Session
from conformance_runs.pebble import TLS
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from interop.harness import listens, running, until
from ports import free_port
from running import CA
from signing import programs, softhsm

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Served:
    """A server that runs.

    :ivar directory: the directory's URL.
    :ivar root: the PEM file of the root that its TLS certificate leads to.
    :ivar pid: the process that all of its processes descend from.
    :ivar database: the same of its database server, if it has one.
    :ivar earlier: what is done with every order before anything is measured, in an account each.
    :ivar signer: what the command line of the process has in it that signs for it; empty if it signs by itself.
    """

    directory: str
    root: Path
    pid: int
    flow: Flow
    database: int | None = None
    earlier: Flow | None = None
    signer: str = ""


@dataclass(frozen=True)
class Server:
    """One that is measured.

    :ivar what: what it does for an order, for readers of the table.
    :ivar serve: starts it with a fresh home in an empty folder.
    :ivar jobs: makes orders for it.
    """

    name: str
    what: str
    serve: Callable[[Path], AbstractContextManager[Served]]
    jobs: Callable[[Sequence[Account], int], list[Job]]


@contextmanager
def _in_softhsm(folder: Path) -> Iterator[tuple[str, ...]]:
    with pytest.MonkeyPatch.context() as patch:
        token = softhsm.make(folder / "softhsm", patch)
        yield ("--key", str(token.place()), "--generate")


@contextmanager
def _behind_a_program(folder: Path) -> Iterator[tuple[str, ...]]:
    file = folder / "key.pem"
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(pem)
    program = programs.write(folder / _PROGRAM, (HERE / "sign_with_file.py").read_text())
    yield ("--key", f"exec:{program} {file} key")


@contextmanager
def _in_a_file(_: Path) -> Iterator[tuple[str, ...]]:
    yield ()


_PROGRAM = "sign-with-file"
_KEYS = {
    "": (_in_a_file, ""),
    "SoftHSM": (_in_softhsm, "acme_iid.signing.token"),
    "exec:": (_behind_a_program, _PROGRAM),
}
_SCRAPE_SECONDS = 15.0
KEYS = tuple(filter(None, _KEYS))
"""The places of the issuer's key that are measured, beside a file."""


@contextmanager
def _scraped(base: str) -> Iterator[None]:
    """Read the numbers of a server now and then, as Prometheus does."""
    ends = threading.Event()

    def scrape() -> None:
        while not ends.wait(_SCRAPE_SECONDS):
            scraping.read(base)

    thread = threading.Thread(target=scrape, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


@contextmanager
def _served(
    ca: CA, workers: int, in_postgresql: bool, renewals: bool, is_watched: bool, seed: int | None
) -> Iterator[Served]:
    if in_postgresql:
        settings = ca.home / "ca.toml"
        settings.write_text(settings.read_text().replace('"sqlite:ca.db"', f'"{postgresql.cluster().create()}"', 1))
    base = scraping.turn_on(ca) if is_watched else ""
    options = ("--workers", str(workers), *(("--log-format", "json") if is_watched else ()))
    if seed is None:
        ca.start(*options)
    else:
        ca.start(*options, prefix=("setarch", "-R"), env={"PYTHONHASHSEED": str(seed)})
    assert ca.process is not None
    try:
        database = postgresql.cluster().pid if in_postgresql else None
        flow, earlier = (generator.renewing, generator.with_iid01) if renewals else (generator.with_iid01, None)
        with _scraped(base) if is_watched else nullcontext():
            yield Served(ca.directory, ca.root, ca.process.pid, flow, database, earlier)
    finally:
        ca.stop()


@contextmanager
def _pebble(folder: Path, program: Path) -> Iterator[Served]:
    tls, port = TLS.make(folder), free_port()
    config = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": "",
        "certificate": str(tls.certificate),
        "privateKey": str(tls.key),
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    # It validates nothing, never waits, refuses no good nonce and reuses no authorization, though it looks for one.
    variables = {"VA_ALWAYS_VALID": "1", "VA_NOSLEEP": "1", "WFE_NONCEREJECT": "0", "AUTHZREUSE": "0"}
    env = os.environ | {f"PEBBLE_{name}": value for name, value in variables.items()}
    with running(program, "-config", folder / "pebble.json", env=env, log=folder / "log") as process:
        until(lambda: listens(port), "pebble")
        # Making an order while an authorization is read can lock Pebble up for good, 2.4 and 2.10 alike: the one holds
        # the store and waits for the authorization, the other holds that and waits for the store.
        guard = threading.Lock()

        def flow(session: Session, job: Job) -> None:
            generator.with_http01(session, job, guard=guard)

        yield Served(f"https://127.0.0.1:{port}/dir", tls.root, process.pid, flow)


@contextmanager
def _step_ca(folder: Path) -> Iterator[Served]:
    port, http_port = free_port(), free_port()
    # A root and an intermediate with keys like those that ours signs with.
    made = CA(folder / "made")
    made.init()
    config = {
        "root": str(made.root),
        "crt": str(made.intermediate),
        "key": str(made.intermediate_key),
        "address": f"127.0.0.1:{port}",
        "dnsNames": ["127.0.0.1"],
        "logger": {"format": "text"},
        "db": {"type": "badgerv2", "dataSource": str(folder / "db")},
        "authority": {"provisioners": [{"type": "ACME", "name": "acme", "challenges": ["http-01"]}]},
    }
    (folder / "step-ca.json").write_text(json.dumps(config))
    # The flag only lets it look for http-01 at another port than 80.
    command = (builds.STEP_CA.program(), folder / "step-ca.json", "--insecure", "--acme-http-port", str(http_port))
    env = {**os.environ, "STEPPATH": str(folder / "step"), "HOME": str(folder)}
    with _responder(http_port) as respond, running(*command, env=env, log=folder / "log") as process:
        until(lambda: listens(port), "step-ca")
        directory = f"https://127.0.0.1:{port}/acme/acme/directory"
        yield Served(
            directory, made.root, process.pid, lambda session, job: generator.with_http01(session, job, respond)
        )


@contextmanager
def _caddy(folder: Path) -> Iterator[Served]:
    port = free_port()
    config = {
        "admin": {"disabled": True},
        "logging": {"logs": {"default": {"level": "ERROR"}}},
        "storage": {"module": "file_system", "root": str(folder / "storage")},
        "apps": {
            "http": {
                "servers": {
                    "ca": {
                        "listen": [f"127.0.0.1:{port}"],
                        "automatic_https": {"disable_redirects": True},
                        "routes": [{"match": [{"host": ["127.0.0.1"]}], "handle": [{"handler": "acme_server"}]}],
                        "tls_connection_policies": [{}],
                    }
                }
            },
            "tls": {"automation": {"policies": [{"subjects": ["127.0.0.1"], "issuers": [{"module": "internal"}]}]}},
            "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
        },
    }
    (folder / "caddy.json").write_text(json.dumps(config))
    env = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    root = folder / "storage/pki/authorities/local/root.crt"
    directory = f"https://127.0.0.1:{port}/acme/local/directory"

    def answers() -> bool:
        # It listens before it has a certificate.
        try:
            return requests.get(directory, verify=str(root), timeout=5).status_code == 200
        except (OSError, ssl.SSLError):
            return False

    command = ("/usr/bin/caddy", "run", "--config", folder / "caddy.json")
    # Caddy cannot be told to look for http-01 elsewhere (RFC 8555 section 8.3).
    with _responder(80) as respond, running(*command, env=env, log=folder / "log") as process:
        until(answers, "caddy")
        yield Served(directory, root, process.pid, lambda session, job: generator.with_http01(session, job, respond))


@contextmanager
def _responder(port: int) -> Iterator[Callable[[str, str], None]]:
    """Answers http-01 on this machine; yields what it is told tokens and key authorizations with."""
    known: dict[str, str] = {}
    listener = socket.create_server(("127.0.0.1", port), backlog=128)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                token = connection.recv(4096).split(b" ", 2)[1].rpartition(b"/")[2].decode()
                body = known.pop(token, "").encode()
                head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
                connection.sendall(head + body)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield known.__setitem__
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def interpreter() -> str:
    """The Python that ours runs on, and whether it was built with profiles (PGO): without, it is some 15 % slower."""
    name = f"Python {sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    settings = sysconfig.get_config_vars()
    profiled = "--enable-optimizations" in str(settings.get("CONFIG_ARGS")) or any(
        "-fprofile-use" in str(settings.get(flags)) or "-fprofile-instr-use" in str(settings.get(flags))
        for flags in ("PY_CFLAGS", "PY_CFLAGS_NODIST", "PY_CORE_CFLAGS")
    )
    # Debian's package is built by the make target profile-opt, of which its settings say nothing.
    if profiled or "deb_system" in sysconfig.get_scheme_names():
        return name
    return f"{name} BUILT WITHOUT PGO"


def ours(
    workers: int,
    *,
    in_postgresql: bool = False,
    renewals: bool = False,
    key: str = "",
    is_watched: bool = False,
    seed: int | None = None,
) -> Server:
    """This project's server, with its store in a file or in Debian's PostgreSQL on the same machine.

    :param renewals: measure renewals that rely on what was proven before.
    :param key: where the issuer's key is, of :data:`KEYS`; in a file by default.
    :param is_watched: its numbers are read every 15 seconds, and its log is JSON.
    :param seed: of Python's hashes, where two servers are to have their memory laid out alike; by chance if None.
    """
    store = "PostgreSQL" if in_postgresql else "SQLite"
    processes = "1 worker" if workers == 1 else f"{workers} workers"
    proof = "renews by what was proven before" if renewals else "verifies AWS's signature"
    signs = f"; its key in {key}" if key == "SoftHSM" else "; its key behind a program" if key else ""

    @contextmanager
    def serve(folder: Path) -> Iterator[Served]:
        place, signer = _KEYS[key]
        ca = CA(folder / "ca")
        with place(folder) as made_with:
            ca.init(*(("--proof-lifetime", "24h") if renewals else ()), made_with=made_with)
            with _served(ca, workers, in_postgresql, renewals, is_watched, seed) as served:
                yield replace(served, signer=signer)

    return Server(
        f"acme-iid {'renewals' if renewals else key}".rstrip(),
        f"{store}, durable at every answer; {processes}; {proof}{signs}; {interpreter()}",
        serve,
        generator.jobs_of_instances,
    )


def pebble(*, debian: bool = False) -> Server:
    """Pebble 2.10.1, or Debian's, which is older."""
    version = "Debian's" if debian else builds.PEBBLE.version
    return Server(
        "Pebble",
        f"{version}; all in memory; validates nothing; the load makes no order while it reads an authorization, "
        "which can lock Pebble up",
        lambda folder: _pebble(folder, Path("/usr/bin/pebble") if debian else builds.PEBBLE.program()),
        generator.jobs_of_names,
    )


STEP_CA = Server(
    "step-ca",
    f"{builds.STEP_CA.version}; BadgerDB; fetches the challenge from this machine",
    _step_ca,
    generator.jobs_of_loopback,
)
CADDY = Server("Caddy", "BadgerDB; fetches the challenge from this machine", _caddy, generator.jobs_of_loopback)
