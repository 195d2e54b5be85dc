"""The server: an application over TLS, with a certificate of the CA's own, until it is told to stop."""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from acme_iid.config.settings import Config
from acme_iid.errors import ServerError
from acme_iid.issuance.serving import LIFETIME
from acme_iid.protocol.addresses import Listen
from acme_iid.serving import sockets
from acme_iid.serving.process import ApplicationFactory, Check, Process, Settings, warn
from acme_iid.serving.sockets import Sockets
from acme_iid.serving.supervisor import Supervisor
from acme_iid.telemetry import acts, logs

_log = logging.getLogger(__name__)


def run(
    config: Config,
    application: ApplicationFactory,
    *,
    password: str | None = None,
    password_file: Path | None = None,
    listen: Listen | None = None,
    plain_http: bool = False,
    workers: int = 1,
    check: Check = lambda _config: None,
    serving_lifetime: int = LIFETIME,
    log_format: str = "text",
    log_level: str = "info",
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reads the configuration and the CA's certificates again.

    :param application: makes the application in each process.
    :param password: opens the intermediate's private key.
    :param password_file: the file of the password, for findings about files that others can touch.
    :param listen: the address to listen on; None for the configuration's own. Port 0 is any free one.
    :param plain_http: no TLS, for use behind a proxy that ends it.
    :param workers: the number of processes that answer; with one, that is this one.
    :param check: raises what speaks against starting; a server that runs goes on, also when it is reloaded.
    :param serving_lifetime: seconds the server's own certificate lives.
    :param log_format: the form of a line of the log.
    :param log_level: the least level that is written.
    :raises ServerError: if it cannot start, or its processes keep failing.
    :raises CAFileError: if the CA's files cannot be used, or no client would take the server's certificate.
    """
    if not plain_http and not config.server.url.startswith("https:"):
        raise ServerError(f"the server's url is {config.server.url}; make it https, or serve with --plain-http")
    # A hang-up that comes before it can be heard is kept.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    # Connections that have not begun TLS count against this and against no other limit.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    logs.set_up(log_format, log_level)
    acts.log_acts()
    with ExitStack() as stack:
        opened = sockets.handed_over(os.environ)
        if opened.acme and listen is not None:
            raise ServerError("the server was started with an open socket; leave --listen out")
        if opened.acme:
            listen = Listen(*opened.acme[0].getsockname()[:2])
        settings = Settings(password, password_file, listen, plain_http, application, check, serving_lifetime)
        config = settings.listening(config)
        shares = _shares(config, opened, workers)
        for listener in {id(one): one for share in shares for one in (*share.acme, *share.status)}.values():
            stack.enter_context(listener)
        announce = _Announcement(config, shares[0], plain_http=plain_http)
        if workers == 1:
            process = Process(config, settings)
            warn(config, password_file)
            process.run(shares[0], announce)
        else:
            warn(config, password_file)
            Supervisor(config, shares, partial(_serve, settings)).run(announce)
    _log.info("Stopped.")


def _shares(config: Config, opened: Sockets, workers: int) -> list[Sockets]:
    """The sockets of each process: those that were handed over are all processes', otherwise each has its own."""
    acme = _share(opened.acme, config.server.listen, workers, "--listen")
    if config.status.listen is None:
        if opened.status:
            raise ServerError('a socket for "status" was handed over, and ca.toml has no listen in [status]')
        return [Sockets(one, []) for one in acme]
    status = _share(opened.status, config.status.listen, workers, "listen in [status]")
    return [Sockets(*both) for both in zip(acme, status, strict=True)]


def _share(opened: list[socket.socket], listen: Listen, workers: int, setting: str) -> list[list[socket.socket]]:
    return [opened] * workers if opened else [[one] for one in sockets.listeners(listen, workers, setting)]


def _serve(settings: Settings, config: Config, listeners: Sockets, serving: Callable[[Config], None]) -> None:
    Process(config, settings).run(listeners, serving)


class _Announcement:
    """Says once that the server listens, and for whom."""

    def __init__(self, config: Config, listeners: Sockets, *, plain_http: bool) -> None:
        address = Listen(*listeners.acme[0].getsockname()[:2])
        self._lines = [f"Listening on {'http' if plain_http else 'https'}://{address}, for {config.server.url}"]
        if listeners.status:
            # First: whoever waits for the line above has all of them then.
            address = Listen(*listeners.status[0].getsockname()[:2])
            self._lines.insert(0, f"Revocation lists and OCSP are at http://{address}")

    def __call__(self, *_: object) -> None:
        for line in self._lines:
            _log.info(line)
        self._lines.clear()
