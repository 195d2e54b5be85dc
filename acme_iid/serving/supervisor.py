"""Several processes on one address: started, started again when they end, and told what the server is told.

The kernel deals connections out among them. This process has no threads, so that it can fork at any time, and answers
nothing itself.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess

from acme_iid.config.settings import Config
from acme_iid.errors import ServerError
from acme_iid.serving.companion import Companion
from acme_iid.serving.process import STOP_TIMEOUT, News, Tell, sentence
from acme_iid.serving.sockets import Sockets
from acme_iid.systemd import Notifier

Serve = Callable[[Config, Sockets, Tell], None]
"""Serves in this process on sockets, and tells what this one has to know."""

_DEATHS, _DEATH_SECONDS = 5, 30  # a worker that ends so often in that time is not started again
_KILLED_AFTER = STOP_TIMEOUT + 5  # seconds
_TICK = 0.1  # seconds between looks at signals and workers

_log = logging.getLogger("acme_iid.serving.server")


class Supervisor:
    """Looks after workers until SIGTERM or SIGINT.

    :param config: the configuration that workers begin with, until one of them has taken up another.
    :param shares: each worker's sockets.
    :param serve: the work of a worker.
    :param companion: the process beside them, if there is one.
    :param notifier: tells systemd that this process goes on.
    """

    def __init__(
        self,
        config: Config,
        shares: list[Sockets],
        serve: Serve,
        companion: Companion | None,
        notifier: Notifier,
    ) -> None:
        self._notifier = notifier
        self._config = config
        self._shares = shares
        self._serve = serve
        self._companion = companion
        self._workers: list[_Worker] = []
        self._restarts = _Restarts()
        self._stop = self._reread = False

    def run(self, ready: Callable[[], None]) -> None:
        """Look after them.

        :param ready: called once all answer.
        :raises ServerError: if one of them cannot start, or keeps ending.
        """
        signal.signal(signal.SIGTERM, self._note_stop)
        signal.signal(signal.SIGINT, self._note_stop)
        signal.signal(signal.SIGHUP, self._note_reread)
        try:
            self._workers = [_Worker(self._serve, self._config, share) for share in self._shares]
            announced = False
            while not self._stop:
                time.sleep(_TICK)
                self._notifier.alive()
                for worker in self._workers:
                    for news in worker.listen():
                        self._note(news)
                    if worker.fault and not announced:
                        raise ServerError(worker.fault)
                if not announced and all(worker.is_ready for worker in self._workers):
                    announced = True
                    ready()
                if self._reread:
                    self._reread = False
                    for worker in self._workers:
                        worker.send(signal.SIGHUP)
                self._restart_ended()
                if self._companion is not None and not self._stop:
                    self._companion.hear()
        finally:
            self._notifier.stopping()
            self._end()

    def _note(self, news: News) -> None:
        self._config = news.config or self._config
        if self._companion is None:
            return
        if news.config is not None:
            self._companion.take_up(news.config)
        if news.certificate is not None:
            self._companion.show(news.certificate)

    def _note_stop(self, *_: object) -> None:
        self._stop = True

    def _note_reread(self, *_: object) -> None:
        self._reread = True

    def _restart_ended(self) -> None:
        for number, worker in enumerate(self._workers):
            if self._stop or worker.process.is_alive():
                continue
            if worker.fault:
                _log.error("A process of the server has ended: %s", worker.fault)
                worker.fault = None
            at = self._restarts.at(number)
            if at is None:
                raise ServerError("the server's processes keep ending; the lines above say why")
            if at <= time.monotonic():
                self._restarts.done(number)
                self._workers[number] = _Worker(self._serve, self._config, self._shares[number])

    def _end(self) -> None:
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        end = time.monotonic() + _KILLED_AFTER
        for worker in self._workers:
            worker.process.join(max(0.0, end - time.monotonic()))
            worker.process.kill()
            worker.process.join()


class _Worker:
    """A process that serves.

    :ivar is_ready: whether it has reported that it answers.
    :ivar fault: the reason why it ends, once it has reported it.
    """

    def __init__(self, serve: Serve, config: Config, listeners: Sockets) -> None:
        context = multiprocessing.get_context("fork")
        self._receiver, sender = context.Pipe(duplex=False)
        self.is_ready = False
        self.fault: str | None = None
        self.process: ForkProcess = context.Process(target=_work, args=(serve, config, listeners, sender))
        # A signal that is sent to it before it can hear is kept for it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        self.process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        sender.close()

    def listen(self) -> list[News]:
        """Hear what it says; returns what is of interest to others."""
        heard: list[News] = []
        with suppress(EOFError):
            while self._receiver.poll():
                message: News | str = self._receiver.recv()
                if isinstance(message, str):
                    self.fault = message
                else:
                    self.is_ready = self.is_ready or message.is_serving
                    heard.append(message)
        return heard

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it has not ended."""
        if self.process.is_alive() and self.process.pid is not None:
            os.kill(self.process.pid, number)


class _Restarts:
    """When workers that have ended are started again: at once, and after pauses if they keep ending."""

    def __init__(self) -> None:
        self._deaths: dict[int, list[float]] = {}
        self._at: dict[int, float] = {}

    def at(self, worker: int) -> float | None:
        """When a worker that has ended may be started again, by the monotonic clock; None if it ends too often."""
        now = time.monotonic()
        if worker not in self._at:
            before = [death for death in self._deaths.get(worker, ()) if now - death < _DEATH_SECONDS]
            self._deaths[worker] = [*before, now]
            if len(before) + 1 >= _DEATHS:
                return None
            self._at[worker] = now + len(before)
        return self._at[worker]

    def done(self, worker: int) -> None:
        """Note that it was started."""
        self._at.pop(worker, None)


def _work(serve: Serve, config: Config, listeners: Sockets, sender: Connection) -> None:
    """Serve, in a worker."""
    # A terminal's ctrl-C and hang-up go to the whole group; the supervisor alone decides when workers stop.
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        serve(config, listeners, sender.send)
    except Exception as error:  # noqa: BLE001 - a worker has nobody to raise to, and tracebacks are no messages
        sender.send(sentence(error))
        raise SystemExit(1) from None


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    # Nothing acknowledged is lost: a write that is not durable yet was not answered.
    os._exit(1)
