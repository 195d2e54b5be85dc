"""The server: an application over TLS, with a certificate of the CA's own, until it is told to stop."""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

from acme_iid.config.settings import Config
from acme_iid.errors import ServerError
from acme_iid.issuance.serving import LIFETIME
from acme_iid.protocol.addresses import Listen
from acme_iid.serving import sockets
from acme_iid.serving.companion import Companion
from acme_iid.serving.process import ApplicationFactory, Check, News, Process, Settings, Tell, warn
from acme_iid.serving.sockets import Sockets
from acme_iid.serving.supervisor import Supervisor
from acme_iid.systemd import Notifier
from acme_iid.telemetry import acts, counter_files, instruments, logs

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
    companion: Companion | None = None,
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
    :param companion: the process beside those of the server, if there is one; it has begun already.
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
        for listener in {id(one): one for share in shares for one in share.every()}.values():
            stack.enter_context(listener)
        beside = _begin(companion, config, opened)
        counters = None if config.metrics.listen is None else stack.enter_context(_counters(config, os.environ))
        notifier = Notifier(os.environ)
        announce = _Announcement(config, shares[0], beside, notifier, plain_http=plain_http)
        if workers == 1:
            _count(counters, 0)
            process = Process(config, settings)
            warn(config, password_file)
            process.run(shares[0], partial(_hear, announce, companion), companion, notifier)
        else:
            warn(config, password_file)
            Supervisor(config, shares, partial(_serve, settings, counters), companion, notifier).run(announce)
    _log.info("Stopped.")


def _begin(companion: Companion | None, config: Config, opened: Sockets) -> list[str]:
    """Have the companion begin; returns the lines that say where it listens.

    :raises ServerError: if it cannot, or there is none for sockets that were handed over.
    """
    if companion is not None:
        return companion.begin(config, opened.admin)
    if opened.admin:
        raise ServerError(f'a socket for "{sockets.ADMIN}" was handed over, and ca.toml has no [{sockets.ADMIN}]')
    return []


def _shares(config: Config, opened: Sockets, workers: int) -> list[Sockets]:
    """The sockets of each process: those that were handed over are all processes', otherwise each has its own."""
    acme = _share(opened.acme, config.server.listen, workers, "--listen")
    status = _further(opened.status, config.status.listen, workers, sockets.STATUS)
    metrics = _further(opened.metrics, config.metrics.listen, workers, sockets.METRICS)
    return [Sockets(*three, place) for place, three in enumerate(zip(acme, status, metrics, strict=True))]


def _further(opened: list[socket.socket], listen: Listen | None, workers: int, table: str) -> list[list[socket.socket]]:
    """The sockets for plain HTTP that a table of ca.toml has each process listen on; empty lists without it."""
    if listen is not None:
        return _share(opened, listen, workers, f"listen in [{table}]")
    if opened:
        raise ServerError(f'a socket for "{table}" was handed over, and ca.toml has no listen in [{table}]')
    return [[] for _ in range(workers)]


def _counters(config: Config, environment: Mapping[str, str]) -> AbstractContextManager[Path]:
    """The folder of the files in which the processes count: in the unit's own below /run, or in the CA's home."""
    base = Path(environment.get("RUNTIME_DIRECTORY", "").partition(":")[0] or config.home) / "metrics"
    try:
        return counter_files.fresh(base)
    except OSError as error:
        raise ServerError(f"the folder {base} for [metrics] cannot be made: {error.strerror}") from error


def _count(counters: Path | None, place: int) -> None:
    if counters is not None:
        instruments.begin(counters, place)


def _share(opened: list[socket.socket], listen: Listen, workers: int, setting: str) -> list[list[socket.socket]]:
    return [opened] * workers if opened else [[one] for one in sockets.listeners(listen, workers, setting)]


def _serve(
    settings: Settings,
    counters: Path | None,
    config: Config,
    listeners: Sockets,
    tell: Tell,
) -> None:
    _count(counters, listeners.place)
    Process(config, settings).run(listeners, tell)


def _hear(announce: _Announcement, companion: Companion | None, news: News) -> None:
    """Hear what the only process tells: this one."""
    if news.is_serving:
        announce()
    if companion is not None and news.config is not None:
        companion.take_up(news.config)
    if companion is not None and news.certificate is not None:
        companion.show(news.certificate)


class _Announcement:
    """Says once that the server listens, and for whom."""

    def __init__(
        self, config: Config, listeners: Sockets, beside: Sequence[str], notifier: Notifier, *, plain_http: bool
    ) -> None:
        self._notifier = notifier
        address = Listen(*listeners.acme[0].getsockname()[:2])
        self._lines = [f"Listening on {'http' if plain_http else 'https'}://{address}, for {config.server.url}"]
        # These come first: whoever waits for the line above has all of them then.
        for further, what in (
            (listeners.status, "Revocation lists and OCSP are"),
            (listeners.metrics, "Metrics are"),
        ):
            if further:
                self._lines.insert(0, f"{what} at http://{Listen(*further[0].getsockname()[:2])}")
        self._lines[:0] = beside

    def __call__(self) -> None:
        for line in self._lines:
            _log.info(line)
        if self._lines:
            self._notifier.status(self._lines[-1])
            self._notifier.ready()
        self._lines.clear()
