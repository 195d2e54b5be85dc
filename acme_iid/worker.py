"""The processes that answer requests: what they load, when they are ready, and how they let go of their clients."""

from __future__ import annotations

import logging
import mmap
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from acme_iid import sockets
from acme_iid.config import Config
from acme_iid.connections import Connections, Loads
from acme_iid.slow_bodies import SlowBodies

LET_GO = signal.SIGUSR1
"""To a worker: another one is there; accept nothing more, and let each answer be a connection's last."""
# A body that comes slowly holds one of these (acme_iid/slow_bodies.py); those that nobody needs end by themselves.
BLOCKING_THREADS = 256

_REHEARSAL_TIMEOUT = 30
_DEATHS, _DEATH_SECONDS = 5, 30  # a worker that ends so often in that time is not started again

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Any]
ApplicationFactory = Callable[[Config, str | None], WSGIApplication]
Check = Callable[[Config], None]

_log = logging.getLogger("acme_iid.server")


class Loader:
    """What workers load: the app for the configuration in force when they start.

    :ivar config: that configuration.
    """

    def __init__(
        self, config: Config, password: str | None, factory: ApplicationFactory, port: int, workers: int
    ) -> None:
        self.config = config
        self._loads = Loads(workers)
        self._ready = mmap.mmap(-1, workers)  # an octet for each worker; they share it
        self._next = 0
        self._port = port
        self._password = password
        self._factory = factory

    def expect(self, worker: int) -> None:
        """Say which worker is forked next, by its number from 0; it is not ready."""
        self._next = worker
        self._ready[worker] = 0

    def is_ready(self, worker: int) -> bool:
        """Whether the latest worker with a number has its app."""
        return self._ready[worker] == 1

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
        connections = Connections(SlowBodies(app, self._port, BLOCKING_THREADS), self._loads, self._next)

        def let_go(_: int, __: FrameType | None) -> None:
            connections.end()
            sockets.accept_no_more(self._port)

        signal.signal(LET_GO, let_go)
        self._ready[self._next] = 1
        return connections

    def rehearse(self, config: Config, check: Check = lambda _config: None) -> str | None:
        """Make the app for ``config`` in a process of its own; return what is wrong with it, None if nothing is.

        :param check: raises what else is wrong.
        """
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=self._rehearsal, args=(config, check, sender))
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

    def _rehearsal(self, config: Config, check: Check, sender: Connection) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            check(config)
            self._factory(config, self._password)
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent has to know
            sender.send(_sentence(error))
        else:
            sender.send(None)


class Restarts:
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
