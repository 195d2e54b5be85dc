"""The Flask app under granian: TLS with a certificate of the CA's own, renewed and reconfigured without a restart.

The parent process holds the listening socket, the configuration and the certificate; workers hold the app.
A reload (SIGHUP, or a certificate that is due) starts new workers on the same socket and then lets the old ones
finish what they have, so that no connection is refused or cut. A connection that is kept alive could be closed just as
its client sends the next request; so the old workers say before that each of their answers is a connection's last.

Everything that touches keys or files runs in the parent's main thread: a thread that held a lock of OpenSSL's while a
worker is forked would leave it locked there.
"""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import resource
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.net import SocketHolder  # type: ignore[attr-defined]  # granian does not mark what it re-exports
from granian.server.mp import MPServer

from acme_iid import config as configuration
from acme_iid import findings
from acme_iid.config import Config
from acme_iid.connections import Connections, Loads
from acme_iid.errors import AcmeError
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.issuance.serving import ServingCertificate
from acme_iid.slow_bodies import SlowBodies
from acme_iid.tables import ConfigError
from acme_iid.values import Listen

SERVING_LIFETIME = 24 * 3600
"""Seconds the server's own certificate lives; a new one is made when a third is left."""
STOP_TIMEOUT = 10
"""Seconds that requests being answered have to finish when a worker stops."""

# A body that comes slowly holds one of these (acme_iid/slow_bodies.py); those that nobody needs end by themselves.
_BLOCKING_THREADS = 256
_BACKLOG = 1024
_MOST_CONNECTIONS = 16384  # being served by one worker; further ones wait in the backlog
_HEADER_TIMEOUT = 15  # seconds for a request's header, and for the next one on a connection that is kept alive
_MAX_HEADER_BYTES = 64 * 1024
_UNACKNOWLEDGED = 30  # seconds that what was sent may go unacknowledged, or unsent because the client takes no more
_OVERLAP = 1.0  # seconds that old workers stay after new ones were started
_LAST_ANSWERS = signal.SIGUSR1  # to a worker: let go of your clients, another worker is there
_REHEARSAL_TIMEOUT = 30
_RETRY = 60  # seconds until a renewal that failed is tried again
_TICK = 0.5

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Any]
ApplicationFactory = Callable[[Config, str | None], WSGIApplication]

_log = logging.getLogger("acme_iid.server")
_LOGGING = {
    "formatters": {
        "line": {
            "()": "logging.Formatter",
            "fmt": "%(asctime)s %(message)s",
            "datefmt": "%Y-%m-%dT%H:%M:%S%z",
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
    "loggers": {
        "_granian": {"handlers": ["stderr"], "propagate": False},
        "acme_iid": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
    },
}


class ServerError(Exception):
    """The server cannot start or go on; the text says why and what to do."""


def run(
    config: Config,
    *,
    password: str | None = None,
    password_file: Path | None = None,
    listen: Listen | None = None,
    plain_http: bool = False,
    workers: int = 1,
    application: ApplicationFactory | None = None,
    serving_lifetime: int = SERVING_LIFETIME,
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reads the configuration again.

    :param password: opens the intermediate's private key.
    :param password_file: where it was read, for what is said of files that others can touch.
    :param listen: where to listen, the configuration's own address if None; port 0 is any free one.
    :param plain_http: no TLS, for use behind a proxy that ends it.
    :param application: makes the WSGI app in each worker; ``acme_iid.app.create_app`` if None.
    :param serving_lifetime: seconds the server's own certificate lives.
    :raises ServerError: if it cannot start, or its workers keep failing.
    :raises CAFileError: if the CA's files cannot be used.
    """
    if not plain_http and not config.server.url.startswith("https:"):
        raise ServerError(f"the server's url is {config.server.url}; make it https, or serve with --plain-http")
    # Connections that have not begun TLS count against this and against no other limit.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    factory = application or _create_app()
    authority = CertificateAuthority.load(config.home, password)
    with ExitStack() as stack:
        listeners = [stack.enter_context(one) for one in _listeners(listen or config.server.listen, workers)]
        certificate = None if plain_http else ServingCertificate(config.home / "tls", authority, serving_lifetime)
        if certificate is not None:
            stack.callback(certificate.discard)
        app = _Application(config, password, factory, listeners[0].getsockname()[1], workers)
        _Server(listeners, app, authority, certificate, password_file).run()


def _create_app() -> ApplicationFactory:
    # Imported here, in the parent, so that every worker is forked with it.
    from acme_iid.app import create_app  # noqa: PLC0415 - the app is not needed where another one is given

    return create_app


def _listeners(listen: Listen, workers: int) -> list[socket.socket]:
    """Listening sockets that accept for ``listen``, one for each worker.

    The kernel queues connections from here on, also while no worker runs, and deals them out by their addresses. On one
    socket for all, whichever worker wakes first takes all that wait, and the others have nothing to do.

    :raises ServerError: if the address cannot be had.
    """
    if workers == 1:
        return [_bind(listen, shared=False)]
    # Who may share an address may also share it with a server that runs already, so ask for it alone first.
    with _bind(listen, shared=False) as alone:
        port = alone.getsockname()[1]
    return [_bind(Listen(listen.host, port), shared=True) for _ in range(workers)]


def _bind(listen: Listen, *, shared: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServerError(f"cannot listen on {listen}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Connections inherit it. Without, an answer's body would wait for its header to be acknowledged, which a client
        # that has nothing to send does 40 milliseconds later.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # And this: who is gone without a word, or takes nothing of an answer, is given up.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED * 1000)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # A worker whose parent was killed needs a moment to see it and to let go of the address.
        for attempt in range(10):
            try:
                listener.bind(address)
                listener.listen(_BACKLOG)
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE or attempt == 9:
                    raise
                time.sleep(0.1)
    except OSError as error:
        listener.close()
        raise ServerError(f"cannot listen on {listen}: {_reason(error, listen)}") from error
    listener.setblocking(False)
    return listener


def _reason(error: OSError, listen: Listen) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another process is listening there; stop it, or choose another address with --listen"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {listen.port} is for privileged processes; choose one from 1024 on with --listen, or run as root"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return error.strerror or str(error)


def _most_connections() -> int:
    """How many connections a worker serves at a time: idle ones must not keep others out, nor take all files."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MOST_CONNECTIONS, most // 2)


class _Application:
    """What workers load: the app for the configuration in force when they start.

    :ivar worker: the number of the one that is forked next, from 0.
    """

    def __init__(
        self, config: Config, password: str | None, factory: ApplicationFactory, port: int, workers: int
    ) -> None:
        self.config = config
        self.worker = 0
        self._loads = Loads(workers)
        self._port = port
        self._password = password
        self._factory = factory

    def __call__(self) -> WSGIApplication:
        """Make the app, in a worker."""
        # A terminal's ctrl-C and hang-up go to the whole group; the parent alone decides when workers stop.
        os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        try:
            app = self._factory(self.config, self._password)
        except Exception as error:  # noqa: BLE001 - a worker has nobody to raise to, and tracebacks are no messages
            _log.error("A worker cannot start: %s", _sentence(error))
            sys.exit(1)
        connections = Connections(SlowBodies(app, self._port, _BLOCKING_THREADS), self._loads, self.worker)
        signal.signal(_LAST_ANSWERS, connections.end)
        return connections

    def rehearse(self, config: Config) -> str | None:
        """Make the app for ``config`` in a process of its own; return what is wrong with it, None if nothing is."""
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=self._rehearsal, args=(config, sender))
        process.start()
        sender.close()
        try:
            if receiver.poll(_REHEARSAL_TIMEOUT):
                verdict: str | None = receiver.recv()
                return verdict
        except EOFError:
            return "the app ended its process while it started"
        finally:
            process.kill()
            process.join()
        return f"the app did not start within {_REHEARSAL_TIMEOUT} seconds"

    def _rehearsal(self, config: Config, sender: Connection) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            self._factory(config, self._password)
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent has to know
            sender.send(_sentence(error))
        else:
            sender.send(None)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    # Nothing acknowledged is lost: what is not durable yet was not answered.
    os._exit(1)


def _sentence(error: Exception) -> str:
    text = str(error)
    expected = isinstance(error, OSError | ValueError) or type(error).__module__.startswith("acme_iid.")
    return text if text and expected else f"{type(error).__name__}: {text}"


class _Server(MPServer):
    """granian's multi-process server, on a socket that the parent holds."""

    _ssp: Any
    _shd: Any
    _sfd: Any
    _sso: Any

    def __init__(
        self,
        listeners: list[socket.socket],
        app: _Application,
        authority: CertificateAuthority,
        certificate: ServingCertificate | None,
        password_file: Path | None,
    ) -> None:
        host, port = listeners[0].getsockname()[:2]
        super().__init__(
            "acme-iid-ca",
            address=host,
            port=port,
            interface=Interfaces.WSGI,
            # HTTP/2 would gain a client of five requests nothing, and its floods have a history.
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=_HEADER_TIMEOUT * 1000, max_buffer_size=_MAX_HEADER_BYTES),
            workers=len(listeners),
            blocking_threads=_BLOCKING_THREADS,
            backlog=_BACKLOG,
            backpressure=_most_connections(),
            websockets=False,
            log_level=LogLevels.error,
            log_dictconfig=_LOGGING,
            respawn_failed_workers=True,
            respawn_interval=_OVERLAP,
            workers_kill_timeout=STOP_TIMEOUT,
        )
        self._listeners = listeners
        self._app = app
        self._authority = authority
        self._certificate = certificate
        self._password_file = password_file
        self._reread = False
        self._retry_at = 0.0
        self._stopped = threading.Event()
        self.on_reload(self._reconfigure)
        logging.getLogger("_granian").addFilter(lambda _: not self.interrupt_signal)

    def run(self) -> None:
        """Serve until told to stop."""
        if fault := self._app.rehearse(self._app.config):
            raise ServerError(fault)
        self._warn()
        if self._certificate is not None:
            self._use(self._certificate.issue(self._app.config.server.names, int(time.time())))
        # Workers start with this; one that is replaced before it has its own handler has no clients either.
        signal.signal(_LAST_ANSWERS, signal.SIG_IGN)
        watch = threading.Thread(target=self._watch_over, daemon=True)
        watch.start()
        try:
            self.serve(target_loader=self._app, wrap_loader=False)
        except SystemExit as ending:
            # Workers that a service manager ended together with us are no failure.
            if not self.interrupt_signal:
                raise ServerError("the server's processes keep ending; the lines above say why") from ending
        finally:
            self._stopped.set()
            watch.join()
        _log.info("Stopped.")

    def _init_shared_socket(self) -> None:
        # granian would have each worker bind for itself, and what waits in an old worker's queue at a reload would be
        # reset; on a socket of the parent's it waits for the next worker.
        holder: Any = SocketHolder
        self._ssp = None
        self._holders = [holder(listener.fileno(), False, _BACKLOG) for listener in self._listeners]

    def _spawn_worker(self, idx: int, *arguments: Any, **named: Any) -> Any:
        self._app.worker = idx
        self._shd, self._sfd, self._sso = self._holders[idx], self._listeners[idx].fileno(), self._listeners[idx]
        return super()._spawn_worker(idx, *arguments, **named)

    def _respawn_workers(self, workers: Any, spawn_target: Any, target_loader: Any, delay: float = 0) -> None:
        for idx in workers:
            old = self.wrks[idx].inner
            if delay and old.is_alive():
                os.kill(old.pid, _LAST_ANSWERS)
            super()._respawn_workers([idx], spawn_target, target_loader, delay)

    def _drop_shared_socket(self) -> None:
        """They are closed by whoever opened them."""

    def signal_handler_reload(self, *_: object) -> None:
        """Note a SIGHUP; the main thread does the rest."""
        self._reread = True
        self._reload_soon()

    def _reload_soon(self) -> None:
        self.reload_signal = True
        self.main_loop_interrupt.set()

    def _use(self, pem: Path) -> None:
        self.build_ssl_context(pem, pem, None, SSLProtocols.tls12, None, [], client_verify=False)

    def _reconfigure(self) -> None:
        """Prepare for new workers, in the main thread: a renewed certificate, or on SIGHUP the file as it is now."""
        if self._reread:
            self._reread = False
            self._read_configuration()
        if self._certificate is None:
            return
        try:
            self._use(self._certificate.issue(self._app.config.server.names, int(time.time())))
        except (OSError, AcmeError) as error:
            self._retry_at = time.monotonic() + _RETRY
            _log.error("The server's own certificate was not renewed: %s", error)
        else:
            self._retry_at = 0.0
            _log.info("The server has a new certificate, valid until %s.", self._certificate.until)

    def _read_configuration(self) -> None:
        running = self._app.config
        try:
            found = configuration.load(running.home)
        except ConfigError as error:
            fault: str | None = str(error)
        else:
            fault = self._app.rehearse(found)
        if fault:
            _log.error("The configuration was not reloaded, the running one stays in force: %s", fault)
            return
        self._app.config = found
        _log.info("The configuration was reloaded.")
        self._warn()
        if found.server.listen != running.server.listen:
            _log.warning("The address to listen on has changed; that takes a restart.")

    def _warn(self) -> None:
        """Say in the log what ``acme-iid-ca check`` says."""
        config = self._app.config
        for finding in (*findings.of_configuration(config), *findings.of_files(config, self._password_file)):
            _log.warning("%s: %s [%s]", finding.severity, finding, finding.code)

    def _watch_over(self) -> None:
        """Say when the server answers, then see to renewals; touches neither keys nor files."""
        while not self._stopped.wait(0.05):
            # A worker that is forked while this thread is inside OpenSSL would have its locks, and nobody to open them.
            if len(self.wrks) == self.workers and self._answers():
                for_url = self._app.config.server.url
                _log.info("Listening on %s, for %s", self._address(), for_url)
                break
        while not self._stopped.wait(_TICK):
            certificate = self._certificate
            if certificate is not None and time.time() >= certificate.renew_at and time.monotonic() >= self._retry_at:
                self._retry_at = time.monotonic() + _RETRY
                self._reload_soon()
            # granian clears its event after looking at what woke it, so a signal in between would go unseen.
            if self.interrupt_signal or self.interrupt_children or self.reload_signal:
                self.main_loop_interrupt.set()

    def _address(self) -> str:
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://{Listen(self.bind_addr, self.bind_port)}"

    def _answers(self) -> bool:
        """Whether a client that trusts the root gets an answer from a worker."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.bind_addr, self.bind_addr)  # noqa: S104 - compared only
        with suppress(OSError), socket.create_connection((host, self.bind_port), timeout=2) as plain:
            stream = plain
            if self._certificate is not None:
                context = ssl.create_default_context(cadata=self._authority.root_pem)
                stream = context.wrap_socket(plain, server_hostname=self._app.config.server.names[0].value)
            stream.sendall(b"HEAD /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return stream.recv(5) == b"HTTP/"
        return False
