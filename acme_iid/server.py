"""The Flask app under granian: TLS with a certificate of the CA's own, renewed and reconfigured without a restart.

The parent process holds the listening sockets, the configuration and the certificate; workers hold the app.
A reload (SIGHUP, or a certificate that is due) starts a new worker on a socket, waits until it is ready, and then has
the old one accept nothing more and finish what it has, so that no connection is refused or cut. granian gives up TLS
handshakes under way when it stops; so nothing is accepted for a while before. A connection that is kept alive could be
closed just as its client sends the next request; so each answer of that while is a connection's last.

Everything that touches keys or files runs in the parent's main thread, the only one that is ours: a thread that held a
lock of OpenSSL's while a worker is forked would leave it locked there.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.net import SocketHolder  # type: ignore[attr-defined]  # granian does not mark what it re-exports
from granian.server.mp import MPServer

from acme_iid import config as configuration
from acme_iid import findings, sockets
from acme_iid.config import Config
from acme_iid.errors import AcmeError, ServerError
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.issuance.keys import CAFileError
from acme_iid.issuance.serving import LIFETIME, ServingCertificate
from acme_iid.tables import ConfigError
from acme_iid.values import Listen
from acme_iid.worker import BLOCKING_THREADS, LET_GO, ApplicationFactory, Check, Loader, Restarts

STOP_TIMEOUT = 10
"""Seconds that requests being answered have to finish when a worker stops."""

_MOST_CONNECTIONS = 16384  # being served by one worker; further ones wait in the backlog
_HEADER_TIMEOUT = 15  # seconds for a request's header, and for the next one on a connection that is kept alive
_MAX_HEADER_BYTES = 64 * 1024
_START_TIMEOUT = 30  # seconds that a worker may take to be ready
_OVERLAP = 2.0  # seconds that an old worker stays after it accepts nothing more
_RETRY = 60  # seconds until a renewal that failed is tried again
_TICK = 0.1  # seconds between looks at signals and the clock

_Start = Callable[[int], Any]  # WorkerProcess has no types

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


def run(
    config: Config,
    *,
    password: str | None = None,
    password_file: Path | None = None,
    listen: Listen | None = None,
    plain_http: bool = False,
    workers: int = 1,
    application: ApplicationFactory | None = None,
    check: Check = lambda _config: None,
    serving_lifetime: int = LIFETIME,
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reads the configuration and the CA's certificates again.

    :param password: opens the intermediate's private key.
    :param password_file: where it was read, for what is said of files that others can touch.
    :param listen: where to listen, the configuration's own address if None; port 0 is any free one.
    :param plain_http: no TLS, for use behind a proxy that ends it.
    :param application: makes the WSGI app in each worker; ``acme_iid.app.create_app`` if None.
    :param check: raises what speaks against starting; a server that runs goes on, also when it is reloaded.
    :param serving_lifetime: seconds the server's own certificate lives.
    :raises ServerError: if it cannot start, or its workers keep failing.
    :raises CAFileError: if the CA's files cannot be used, or no client would take the server's certificate.
    """
    if not plain_http and not config.server.url.startswith("https:"):
        raise ServerError(f"the server's url is {config.server.url}; make it https, or serve with --plain-http")
    # Connections that have not begun TLS count against this and against no other limit.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    factory = application or _create_app()
    authority = CertificateAuthority.load(config.home, password)
    config = _listening(config, listen)
    with ExitStack() as stack:
        listeners = [stack.enter_context(one) for one in sockets.listeners(config.server.listen, workers)]
        certificate = None if plain_http else ServingCertificate(config.home / "tls", serving_lifetime)
        if certificate is not None:
            stack.callback(certificate.discard)
        loader = Loader(config, password, factory, listeners[0].getsockname()[1], workers)
        _Server(listeners, loader, authority, certificate, password, password_file, listen).run(check)


def _create_app() -> ApplicationFactory:
    # Imported here, in the parent, so that every worker is forked with it.
    from acme_iid.app import create_app  # noqa: PLC0415 - the app is not needed where another one is given

    return create_app


def _listening(config: Config, listen: Listen | None) -> Config:
    """The configuration with the address that the command line gave: it is one of the CA's own, too."""
    return config if listen is None else replace(config, server=replace(config.server, listen=listen))


def _most_connections() -> int:
    """How many connections a worker serves at a time: idle ones must not keep others out, nor take all files."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MOST_CONNECTIONS, most // 2)


class _Server(MPServer):
    """granian's multi-process server, on sockets that the parent holds, with a loop of its own."""

    _ssp: Any
    _shd: Any
    _sfd: Any
    _sso: Any

    def __init__(
        self,
        listeners: list[socket.socket],
        loader: Loader,
        authority: CertificateAuthority,
        certificate: ServingCertificate | None,
        password: str | None,
        password_file: Path | None,
        listen: Listen | None,
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
            blocking_threads=BLOCKING_THREADS,
            backlog=sockets.BACKLOG,
            backpressure=_most_connections(),
            websockets=False,
            log_level=LogLevels.error,
            log_dictconfig=_LOGGING,
            workers_kill_timeout=STOP_TIMEOUT,
        )
        self._listeners = listeners
        self._loader = loader
        self._authority = authority
        self._certificate = certificate
        self._password = password
        self._password_file = password_file
        self._listen = listen
        self._announced = False
        self._retry_at: float | None = None
        self._restarts = Restarts()
        logging.getLogger("_granian").addFilter(lambda _: not self.interrupt_signal)

    def run(self, check: Check) -> None:
        """Serve until told to stop."""
        if fault := self._loader.rehearse(self._loader.config, check):
            raise ServerError(fault)
        self._warn()
        if self._certificate is not None:
            self._use(self._certificate.issue(self._authority, self._loader.config.server.names, int(time.time())))
        # Workers start with this; one that is replaced before it has its own handler has no clients either.
        signal.signal(LET_GO, signal.SIG_IGN)
        try:
            self.serve(target_loader=self._loader, wrap_loader=False)
        except SystemExit as ending:
            # Workers that a service manager ended together with us are no failure.
            if not self.interrupt_signal:
                raise ServerError("the server's processes keep ending; the lines above say why") from ending
        _log.info("Stopped.")

    def _init_shared_socket(self) -> None:
        # granian would have each worker bind for itself, and what waits in an old worker's queue at a reload would be
        # reset; on a socket of the parent's it waits for the next worker.
        holder: Any = SocketHolder
        self._ssp = None
        self._holders = [holder(listener.fileno(), False, sockets.BACKLOG) for listener in self._listeners]

    def _spawn_worker(self, idx: int, *arguments: Any, **named: Any) -> Any:
        self._loader.expect(idx)
        self._shd, self._sfd, self._sso = self._holders[idx], self._listeners[idx].fileno(), self._listeners[idx]
        return super()._spawn_worker(idx, *arguments, **named)

    def _drop_shared_socket(self) -> None:
        """They are closed by whoever opened them."""

    def signal_handler_interrupt(self, *_: object) -> None:
        """Note a SIGTERM or SIGINT; a handler that took a lock could wait for the code that it interrupted."""
        self.interrupt_signal = True

    def signal_handler_reload(self, *_: object) -> None:
        """Note a SIGHUP."""
        self.reload_signal = True

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        """Look after workers, signals and the certificate; granian's own loop takes two kills for a crash loop."""

        def start(worker: int) -> Any:
            started = self._spawn_worker(idx=worker, target=spawn_target, callback_loader=target_loader)
            started.start()
            return started

        while not self.interrupt_signal:
            self.main_loop_interrupt.wait(_TICK)
            self.main_loop_interrupt.clear()
            self.interrupt_children.clear()
            if self.interrupt_signal:
                return
            if not self._restart_ended(start):
                self.interrupt_children.append(0)  # granian's shutdown then fails
                return
            if not self._announced and all(map(self._loader.is_ready, range(self.workers))):
                self._announced = True
                _log.info("Listening on %s, for %s", self._address(), self._loader.config.server.url)
            if self.reload_signal or self._is_due():
                reread, self.reload_signal = self.reload_signal, False
                self._reconfigure(reread=reread)
                self._replace_workers(start)

    def _restart_ended(self, start: _Start) -> bool:
        """Start workers that have ended again; returns whether that is of any use."""
        workers: list[Any] = self.wrks
        for number, worker in enumerate(workers):
            if not worker.is_alive():
                at = self._restarts.at(number)
                if at is None:
                    return False
                if at <= time.monotonic():
                    self._restarts.done(number)
                    self.wrks[number] = start(number)
        return True

    def _replace_workers(self, start: _Start) -> None:
        """Put a new worker in the place of each; one that does not become ready replaces none."""
        for number in range(self.workers):
            old, new = self.wrks[number], start(number)
            if not self._becomes_ready(number, new):
                new.kill()
                new.join()
                if not self.interrupt_signal:
                    _log.error(
                        "A new worker did not start, so the old ones go on; the next attempt is in %d s.", _RETRY
                    )
                    self._retry_at = time.monotonic() + _RETRY
                return
            self.wrks[number] = new
            self._restarts.done(number)
            self._end(old)

    def _end(self, worker: Any) -> None:
        """End a worker that another one has replaced, its clients first."""
        if worker.is_alive():
            os.kill(worker.inner.pid, LET_GO)
            self._wait(_OVERLAP, lambda: not worker.is_alive())
        worker.terminate()
        worker.join(STOP_TIMEOUT)
        if worker.is_alive():
            worker.kill()
            worker.join()

    def _becomes_ready(self, number: int, worker: Any) -> bool:
        self._wait(_START_TIMEOUT, lambda: self._loader.is_ready(number) or not worker.is_alive())
        return self._loader.is_ready(number) and bool(worker.is_alive())

    def _wait(self, seconds: float, over: Callable[[], bool]) -> None:
        """Wait for so long, or until it is over, or the server is told to stop."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.interrupt_signal and not over():
            time.sleep(0.02)

    def _is_due(self) -> bool:
        """Whether the certificate has to be renewed, or what failed tried again."""
        if self._retry_at is not None:
            return time.monotonic() >= self._retry_at
        return self._certificate is not None and time.time() >= self._certificate.renew_at

    def _use(self, pem: Path) -> None:
        self.build_ssl_context(pem, pem, None, SSLProtocols.tls12, None, [], client_verify=False)

    def _reconfigure(self, *, reread: bool) -> None:
        """Prepare for new workers: on SIGHUP the files as they are now, and a new certificate."""
        self._retry_at = None
        if reread:
            self._read_files()
        if self._certificate is None:
            return
        try:
            names = self._loader.config.server.names
            self._use(self._certificate.issue(self._authority, names, int(time.time())))
        except (OSError, AcmeError, CAFileError) as error:
            self._retry_at = time.monotonic() + _RETRY
            _log.error("The server's own certificate was not renewed: %s", error)
        else:
            _log.info("The server has a new certificate, valid until %s.", self._certificate.until)

    def _read_files(self) -> None:
        """Read ca.toml and the CA's certificates again, or leave what runs in force."""
        running = self._loader.config
        try:
            found = configuration.load(running.home)
            authority = CertificateAuthority.load(running.home, self._password)
        except (ConfigError, CAFileError) as error:
            fault: str | None = str(error)
        else:
            found = _listening(found, self._listen)
            fault = self._loader.rehearse(found)
        if fault:
            _log.error("The configuration was not reloaded, the running one stays in force: %s", fault)
            return
        self._loader.config, self._authority = found, authority
        _log.info("The configuration was reloaded.")
        self._warn()
        if found.server.listen != running.server.listen:
            _log.warning("The address to listen on has changed; that takes a restart.")

    def _warn(self) -> None:
        """Say in the log what ``acme-iid-ca check`` says."""
        config = self._loader.config
        for finding in (*findings.of_configuration(config), *findings.of_files(config, self._password_file)):
            _log.warning("%s: %s [%s]", finding.severity, finding, finding.code)

    def _address(self) -> str:
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://{Listen(self.bind_addr, self.bind_port)}"
