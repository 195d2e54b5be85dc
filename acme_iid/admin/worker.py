"""The process that answers operators: it confines itself, and then listens to them.

Its memory is its own from the beginning: the keeper starts a program, and hands it the listening sockets and the
settings as open files. It reads the CA's certificates and the store, and can open no key.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import socket
import ssl
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from cryptography import x509

from acme_iid.admin import reach
from acme_iid.admin.channel import Channel
from acme_iid.admin.confinement import confine, end_with
from acme_iid.admin.dispatch import Dispatcher
from acme_iid.admin.entrance import Entrance
from acme_iid.admin.identity import Roles
from acme_iid.admin.questions import Questions
from acme_iid.config.settings import Config
from acme_iid.errors import ServerError, StoreUnavailableError
from acme_iid.issuance import home as ca_files
from acme_iid.serving.http import HTTPServer
from acme_iid.serving.sockets import end_accepting
from acme_iid.store import places
from acme_iid.store.database import Database, open_store
from acme_iid.telemetry import acts, logs

MOST_CONNECTIONS = 512
"""Connections of operators at a time, on the unix sockets; as many on those for TLS."""
STOP_SECONDS = 10.0
_MAX_CERTIFICATE_BYTES = 256 * 1024
_LOOK_SECONDS = 10.0

_log = logging.getLogger("acme_iid.admin")


def run(given: dict[str, Any]) -> None:
    """Be the process.

    :param given: what the keeper has handed over: descriptors, by what they are for.
    """
    end_with(given["keeper"])
    logs.set_up(*given["log"])
    acts.log_acts()
    with os.fdopen(given["settings"], "rb") as stream:
        # The position in the file is that of all who have it open.
        settings = os.pread(stream.fileno(), os.fstat(stream.fileno()).st_size, 0)
    config: Config = pickle.loads(settings)  # noqa: S301 - the server has written it
    temporary = Path(given["temporary"])
    os.environ["SQLITE_TMPDIR"] = os.environ["TMPDIR"] = str(temporary)
    try:
        with closing(confined_store(config, temporary)) as database:
            listeners = {name: [socket.socket(fileno=descriptor) for descriptor in given[name]]
                         for name in ("unix", "tls")}  # fmt: skip
            questions = Questions(Channel.of(given["questions"]))
            _Process(config, database, questions, temporary).run(listeners, Channel.of(given["orders"]))
    except (ServerError, StoreUnavailableError, OSError) as error:
        _log.error("Operators cannot be answered: %s", error)
        sys.exit(1)


def confined_store(config: Config, temporary: Path) -> Database:
    """Confine this process, and return the open store.

    SQLite's files are opened before, so that all of them are there and stay: rules are for files that exist.
    PostgreSQL's connections have threads, which have to begin after.

    :param temporary: a folder that only this process uses.
    :raises StoreUnavailableError: if the store cannot be opened.
    :raises ServerError: if the process cannot be confined.
    """
    if config.store.path is None:
        confine(reach.rules(config, temporary))
        return open_store(config.store.url, config.store.connections)
    database = open_store(config.store.url)
    try:
        database.account_generation()
        _require_files(config)
        confine(reach.rules(config, temporary))
    except BaseException:
        database.close()
        raise
    return database


def _require_files(config: Config) -> None:
    for path in places.of(config.store).changed:
        if not path.exists():
            raise StoreUnavailableError(f"the database's file {path} is missing")


class _OwnCertificates:
    """The certificates of this CA's issuers and roots, looked at again from time to time."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._found: Sequence[x509.Certificate] = ()
        self._looked_at = -float("inf")

    def __call__(self) -> Sequence[x509.Certificate]:
        """Those that there are.

        :raises CAFileError: if they cannot be read: nobody is believed then.
        """
        if time.monotonic() >= self._looked_at + _LOOK_SECONDS:
            self._found = (*ca_files.load_roots(self._home), *ca_files.issuing_certificates(self._home))
            self._looked_at = time.monotonic()
        return self._found


class _Process:
    def __init__(self, config: Config, database: Database, questions: Questions, temporary: Path) -> None:
        self._config = config
        self._temporary = temporary
        self._dispatcher = Dispatcher(config, database, questions.reload, questions.look)
        roles = Roles(config.admin.roles, questions, socket.gethostname())
        self._entrance = Entrance(self._dispatcher, roles, _OwnCertificates(config.home))
        self._stop = asyncio.Event()
        self._servers: list[HTTPServer] = []
        self._tls: HTTPServer | None = None
        self._accepting: list[asyncio.Task[None]] = []

    def run(self, listeners: dict[str, list[socket.socket]], orders: Channel) -> None:
        """Answer until SIGTERM."""
        asyncio.run(self._run(listeners, orders))

    async def _run(self, listeners: dict[str, list[socket.socket]], orders: Channel) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_reader(orders.fileno(), self._hear, orders, listeners["tls"])
        self._accept(self._server(None), listeners["unix"])
        await self._stop.wait()
        loop.remove_reader(orders.fileno())
        end_accepting(self._accepting, [*listeners["unix"], *listeners["tls"]])
        await asyncio.gather(*(server.stop(STOP_SECONDS) for server in self._servers))
        # Acts on many end with the transaction that they are in, and can be gone on with.
        await asyncio.to_thread(self._dispatcher.close)
        self._entrance.close()

    def _server(self, context: ssl.SSLContext | None) -> HTTPServer:
        server = HTTPServer(self._entrance, context, self._config.server.keep_alive, MOST_CONNECTIONS)
        self._servers.append(server)
        return server

    def _accept(self, server: HTTPServer, listeners: Sequence[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        for listener in listeners:
            listener.setblocking(False)
            self._accepting.append(loop.create_task(server.accept(listener)))

    def _hear(self, orders: Channel, listeners: Sequence[socket.socket]) -> None:
        """Hear what the keeper orders: another certificate to show."""
        received = orders.receive()
        if received is None:
            self._stop.set()
            return
        _, (descriptor,) = received
        with os.fdopen(descriptor, "rb") as stream:
            pem = os.pread(stream.fileno(), _MAX_CERTIFICATE_BYTES, 0)
        if not listeners:
            return
        try:
            context = self._context(pem)
        except (OSError, ValueError) as error:
            _log.error("Operators are not shown the server's new certificate: %s", error)
            return
        if self._tls is None:
            self._tls = self._server(context)
            self._accept(self._tls, listeners)
        else:
            self._tls.context = context

    def _context(self, pem: bytes) -> ssl.SSLContext:
        """The TLS context with a certificate of the server's, which demands one of operators' CA."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["http/1.1"])
        # Whoever comes back is looked at again.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=self._config.admin.client_ca_pem)
        file = self._temporary / f"{os.getpid()}.pem"
        try:
            file.touch(0o600)
            file.write_bytes(pem)
            context.load_cert_chain(file)
        finally:
            with suppress(FileNotFoundError):
                file.unlink()
        return context
