"""One process of the server: a loop that answers, renews its certificate and takes up what changed in the CA's files.

The application is swapped as a whole, and the old one ended once it has given its last answer. Nothing is forked here:
threads may hold locks, which a child would find locked for ever. Whatever reads files or waits runs beside the loop.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from acme_iid.config import ca_toml as configuration
from acme_iid.config import findings
from acme_iid.config.settings import Config
from acme_iid.config.table import ConfigError
from acme_iid.errors import AcmeError, ServerError, SignerError
from acme_iid.issuance.keys import CAFileError
from acme_iid.issuance.serving import ServingCertificate
from acme_iid.protocol.addresses import Listen
from acme_iid.serving.application import Application
from acme_iid.serving.companion import Companion
from acme_iid.serving.http import HTTPServer
from acme_iid.serving.sockets import METRICS, STATUS, Sockets, end_accepting, turn_away
from acme_iid.systemd import Notifier

STOP_TIMEOUT = 10
"""Seconds that requests have to be answered when a process stops."""

MOST_STATUS_CONNECTIONS = 2048
"""Connections of one process by plain HTTP: whoever opens them takes no file that an ACME client needs."""

_LAST_PROBES = 1  # seconds that what asks for numbers and readiness has, when all else is answered
_RETRY = 60  # seconds until a renewal that failed is tried again
_RETRY_FIRST = 5  # the same while there is no certificate at all
_LOOK = 10  # seconds until the certificate is looked at again: another issuer may sign by then, or the clock be set

ApplicationFactory = Callable[[Config, str | None], Application]
Check = Callable[[Config], None]

_log = logging.getLogger("acme_iid.serving.server")


class News(NamedTuple):
    """What a process tells the server's first one, which may be itself.

    :ivar config: the settings that it has taken up.
    :ivar certificate: the file with the certificate that it shows from now on.
    :ivar is_serving: whether it has begun to answer ACME's requests.
    """

    config: Config | None = None
    certificate: Path | None = None
    is_serving: bool = False


Tell = Callable[[News], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a process that serves.

    :ivar password: opens the intermediate's private key.
    :ivar password_file: the file of the password, for findings about files that others can touch.
    :ivar listen: the address that was given beside the configuration, which is then one of the CA's own.
    :ivar plain_http: no TLS.
    :ivar factory: makes the application.
    :ivar check: raises what speaks against starting; a process that runs goes on, also when it is reloaded.
    :ivar serving_lifetime: seconds the server's own certificate lives.
    """

    password: str | None
    password_file: Path | None
    listen: Listen | None
    plain_http: bool
    factory: ApplicationFactory
    check: Check
    serving_lifetime: int

    def listening(self, config: Config) -> Config:
        """The configuration with the address that was given beside it."""
        return config if self.listen is None else replace(config, server=replace(config.server, listen=self.listen))


class Process:
    """Serves in this process until SIGTERM or SIGINT.

    :raises ServerError: if the application cannot be made.
    :raises CAFileError: if the CA's files cannot be used, or no client would take the server's certificate.
    """

    def __init__(self, config: Config, settings: Settings) -> None:
        self._settings = settings
        self._config = config
        self._certificate: ServingCertificate | None = None
        self._plain: dict[str, HTTPServer] = {}
        try:
            settings.check(config)
            self._application = settings.factory(config, settings.password)
        except Exception as error:
            raise ServerError(sentence(error)) from error
        self._news = asyncio.Event()
        self._stop = self._reread = False
        self._retry_at: float | None = None
        self._logged_at = -float("inf")
        self._is_serving = False
        self._accepting: list[asyncio.Task[None]] = []
        self._endings: set[asyncio.Task[None]] = set()

    def run(
        self, listeners: Sockets, tell: Tell, companion: Companion | None = None, notifier: Notifier | None = None
    ) -> None:
        """Serve.

        Without a certificate, since the issuer's key is elsewhere and does not answer, ACME waits for that: its
        connections are turned away, and what is by plain HTTP is answered.

        :param tell: called with what the server's first process has to know.
        :param companion: the process beside this one, where this is the first one.
        :param notifier: tells systemd that this process goes on, where this is the first one.
        """
        try:
            if not self._settings.plain_http:
                self._certificate = ServingCertificate(self._config.home / "tls", self._settings.serving_lifetime)
            asyncio.run(self._run(listeners, tell, companion, notifier or Notifier({})))
        finally:
            if self._certificate is not None:
                self._certificate.discard(keep=self._application.ca.current.signs_elsewhere)

    async def _run(self, listeners: Sockets, tell: Tell, companion: Companion | None, notifier: Notifier) -> None:
        loop = asyncio.get_running_loop()
        self._hear_signals(loop)
        alive = loop.create_task(_say_alive(notifier))
        if companion is not None:
            loop.add_reader(companion.fileno(), _hear_once, loop, companion)
        # From here on it can be stopped in good order, also while it waits for a certificate.
        self._tell = tell
        context = self._first_context()
        keep_alive = self._config.server.keep_alive
        self._server = HTTPServer(self._application, context, keep_alive)
        plain = {STATUS: listeners.status, METRICS: listeners.metrics}
        accepting: dict[str, list[asyncio.Task[None]]] = {STATUS: [], METRICS: []}
        for name, application in _plain(self._application).items():
            server = self._plain[name] = HTTPServer(application, None, keep_alive, MOST_STATUS_CONNECTIONS)
            accepting[name] = [loop.create_task(server.accept(listener)) for listener in plain[name]]
        if self._certificate is None or context is not None:
            self._accept(listeners)
        else:
            self._accepting = [loop.create_task(turn_away(listener)) for listener in listeners.acme]
        while not self._stop:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds_to_renewal()):
                    await self._news.wait()
            # Not before it waits: what came while it was busy is heard now.
            self._news.clear()
            if self._stop:
                break
            reread, self._reread = self._reread, False
            if reread:
                await self._reload()
            if reread or self._seconds_to_renewal() == 0:
                await self._renew()
            if self._server.context is not None and not self._is_serving:
                self._accept(listeners)
        notifier.stopping()
        self._application.leaving()
        # Whoever asks meanwhile is told that this process ends: the listener of the probes is the last.
        end_accepting([*accepting[STATUS], *self._accepting], (*listeners.acme, *listeners.status))
        first = [self._server, *(server for name, server in self._plain.items() if name != METRICS)]
        await asyncio.gather(*(server.stop(STOP_TIMEOUT) for server in first))
        end_accepting(accepting[METRICS], listeners.metrics)
        if METRICS in self._plain:
            await self._plain[METRICS].stop(_LAST_PROBES)
        self._application.stopped()
        alive.cancel()

    def _hear_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.set_exception_handler(_log_failure)
        for number, note in ((signal.SIGTERM, self._note_stop), (signal.SIGINT, self._note_stop),
                             (signal.SIGHUP, self._note_reread)):  # fmt: skip
            loop.add_signal_handler(number, note)
        # One that came while this process started is heard now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def _accept(self, listeners: Sockets) -> None:
        """Answer ACME's requests from now on."""
        loop = asyncio.get_running_loop()
        for listener in listeners.acme:
            loop.remove_reader(listener)
        for task in self._accepting:
            task.cancel()
        self._accepting = [loop.create_task(self._server.accept(listener)) for listener in listeners.acme]
        self._is_serving = True
        self._tell(News(is_serving=True))

    def _note_stop(self) -> None:
        self._stop = True
        self._news.set()

    def _note_reread(self) -> None:
        self._reread = True
        self._news.set()

    def _seconds_to_renewal(self) -> float | None:
        """Seconds until the certificate has to be renewed, or a failed renewal tried again; None for ever."""
        if self._certificate is None:
            return None
        if self._retry_at is not None:
            return max(0.0, self._retry_at - time.monotonic())
        ca = self._application.ca
        if self._certificate.chain != ca.chain_pem(ca.current, int(time.time())):
            return 0.0
        return min(max(0.0, self._certificate.renew_at - time.time()), _LOOK)

    def _first_context(self) -> ssl.SSLContext | None:
        """The TLS context to begin with; None for plain HTTP, and if a certificate has to be waited for."""
        if self._certificate is None:
            return None
        try:
            return self._begin()
        except SignerError as error:
            self._retry_at = time.monotonic() + _RETRY_FIRST
            self._log_missing(error)
            return None

    def _log_missing(self, error: Exception) -> None:
        """Say what an operator can do about a certificate that is missing; not at each try."""
        if time.monotonic() < self._logged_at + _RETRY:
            return
        self._logged_at = time.monotonic()
        status = "lists and OCSP are answered by plain HTTP"
        if self._application.status is None or self._config.status.listen is None:
            status = "nothing is answered, since [status] in ca.toml has no listen"
        _log.error(
            "The server has no certificate of its own: %s. No certificate is issued, connections for %s are turned "
            "away, and %s. It is tried again every %d s. Behind a proxy that ends TLS, --plain-http needs none.",
            error, self._config.server.url, status, _RETRY_FIRST,
        )  # fmt: skip

    def _begin(self) -> ssl.SSLContext:
        """The TLS context with a certificate that there is; with a new one if the issuer's key is at hand."""
        assert self._certificate is not None
        ca = self._application.ca
        if ca.current.signs_elsewhere:
            left = self._certificate.take_up(ca, self._config.server.names, int(time.time()))
            if left is not None:
                _log.info("The server goes on with the certificate that it had, until %s.", self._certificate.until)
                return self._shown(left)
        return self._issue()

    def _issue(self) -> ssl.SSLContext:
        """The TLS context with a new certificate."""
        assert self._certificate is not None
        return self._shown(self._certificate.issue(self._application.ca, self._config.server.names, int(time.time())))

    def _shown(self, pem: Path) -> ssl.SSLContext:
        """The TLS context with a certificate, of which others are told."""
        context = _context(pem)
        self._tell(News(certificate=pem))
        return context

    async def _renew(self) -> None:
        """Have connections from now on see a new certificate; one that cannot be had is tried again later."""
        if self._certificate is None:
            return
        self._retry_at = None
        try:
            self._server.context = await asyncio.to_thread(self._issue if self._is_serving else self._begin)
        except (OSError, AcmeError, CAFileError, SignerError) as error:
            self._retry_at = time.monotonic() + (_RETRY if self._is_serving else _RETRY_FIRST)
            if self._is_serving:
                _log.error("The server's own certificate was not renewed: %s", error)
            else:
                self._log_missing(error)
        else:
            _log.info("The server has a new certificate, valid until %s.", self._certificate.until)

    async def _reload(self) -> None:
        """Take up ca.toml and the CA's certificates as they are now, or leave what runs in force."""
        running, before = self._config, self._application
        try:
            config, application = await asyncio.to_thread(self._load)
        except Exception as error:  # noqa: BLE001 - whatever is wrong, what runs goes on
            _log.error("The configuration was not reloaded, the running one stays in force: %s", sentence(error))
            return
        self._config, self._application = config, application
        self._server.use(application, config.server.keep_alive)
        for name, plain in _plain(application).items():
            self._plain[name].use(plain, config.server.keep_alive)
        self._tell(News(config))
        _log.info("The configuration was reloaded.")
        warn(config, self._settings.password_file)
        if _addresses(config) != _addresses(running):
            _log.warning("The address to listen on has changed; that takes a restart.")
        ending = asyncio.create_task(self._end(before))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    async def _end(self, application: Application) -> None:
        """End an application once it has given its last answer; stopping the process does not wait for it."""
        await self._server.until_unused(application)
        for name, plain in _plain(application).items():
            await self._plain[name].until_unused(plain)
        threading.Thread(target=application.close, name="ending", daemon=True).start()

    def _load(self) -> tuple[Config, Application]:
        settings = self._settings
        config = settings.listening(configuration.load(self._config.home, self._config.file))
        return config, settings.factory(config, settings.password)


def _plain(application: Application) -> dict[str, Application]:
    """The applications beside one that answer by plain HTTP, by their tables in ca.toml."""
    beside = {STATUS: application.status, METRICS: application.metrics}
    return {name: one for name, one in beside.items() if one is not None}


def _addresses(config: Config) -> tuple[object, ...]:
    admin = config.admin
    return (config.server.listen, config.status.listen, config.metrics.listen, admin.listen, admin.socket, admin.group)


async def _say_alive(notifier: Notifier) -> None:
    """Tell systemd that the loop goes on, as long as it does."""
    while notifier.interval is not None:
        notifier.alive()
        await asyncio.sleep(notifier.interval / 2)


def _hear_once(loop: asyncio.AbstractEventLoop, companion: Companion) -> None:
    loop.remove_reader(companion.fileno())
    companion.hear()


def _context(pem: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # HTTP/2 would gain a client of five requests nothing, and its floods have a history.
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(pem)
    return context


def warn(config: Config, password_file: Path | None) -> None:
    """Say in the log what ``acme-iid-ca check`` says."""
    for finding in (*findings.of_configuration(config), *findings.of_files(config, password_file)):
        _log.warning("%s: %s [%s]", finding.severity, finding, finding.code)


def sentence(error: Exception) -> str:
    """An error as a sentence for a person."""
    text = str(error)
    expected = isinstance(error, OSError | ValueError | ConfigError | CAFileError)
    expected = expected or type(error).__module__.startswith("acme_iid.")
    return text if text and expected else f"{type(error).__name__}: {text}"


def _log_failure(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say in one line what the loop has nobody to raise to."""
    _log.error("unexpected failure in the server's loop: %s (%r)", context.get("message"), context.get("exception"))
