"""The keeper: starts the process that answers operators, again when it ends, and another one for other settings.

It is forked by the server before that has read a key, holds the listening sockets, and does nothing else: it answers
nobody but its own process. It ends when the server ends, and its process with it.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from acme_iid.admin import checking, questions
from acme_iid.admin.channel import Channel
from acme_iid.admin.confinement import end_with
from acme_iid.telemetry import logs

ENDING_SECONDS = 15.0
"""How long a process that was told to end has for the requests and acts that it is in."""
MOST_PAUSE = 60.0
STEADY_SECONDS = 60.0
"""A process that has lived that long is started again at once; others after pauses, each twice as long."""

_PASSED_ON = ("HOME", "JOURNAL_STREAM", "LANG", "LANGUAGE", "LOGNAME", "PATH", "TZ", "USER", "VIRTUAL_ENV")
_PASSED_ON_PREFIXES = ("FAKETIME", "LC_", "LD_", "OPENSSL_", "PG", "PYTHON", "SSL_")
_PROGRAM = (
    "import json, sys; given = json.loads(sys.argv[1]); sys.path[:] = given['path']; "
    "from acme_iid.admin import worker; worker.run(given)"
)

_log = logging.getLogger("acme_iid.admin")


@dataclass(slots=True)
class _Worker:
    """A process that answers operators.

    :ivar questions: what it asks on.
    :ivar orders: what it is told on.
    :ivar ended: readable once it has ended.
    :ivar kill_at: when it is killed, once it was told to end.
    """

    process: subprocess.Popen[bytes]
    questions: Channel
    orders: Channel
    ended: int
    began: float = field(default_factory=time.monotonic)
    kill_at: float | None = None

    def show(self, certificate: int | None) -> None:
        """Have it show a certificate."""
        if certificate is not None:
            with suppress(OSError):
                self.orders.send({"what": "certificate"}, [certificate])

    def stop(self) -> None:
        """Tell it to end."""
        if self.kill_at is None:
            self.kill_at = time.monotonic() + ENDING_SECONDS
            self.process.terminate()


def run(server: int, channel: Channel, log_format: str, log_level: str) -> NoReturn:
    """Be the keeper, in a process that was forked for it.

    :param server: the server's process.
    :param channel: what the server tells it on.
    """
    code = 1
    try:
        # A terminal's ctrl-C and hang-up go to the whole group; the server alone decides when this ends.
        os.setsid()
        end_with(server)
        os.closerange(3, channel.fileno())
        os.closerange(channel.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        logs.set_up(log_format, log_level)
        _Keeper(server, channel, log_format, log_level).run()
        code = 0
    except Exception:  # noqa: BLE001 - there is nobody to raise to
        _log.exception("The process that keeps the one for operators fails.")
    finally:
        os._exit(code)


class _Keeper:
    def __init__(self, server: int, channel: Channel, log_format: str, log_level: str) -> None:
        self._server = server
        self._channel = channel
        self._log = (log_format, log_level)
        self._selector = selectors.DefaultSelector()
        self._worker: _Worker | None = None
        self._ending: list[_Worker] = []
        self._start_at: float | None = None
        self._pause = 0.0
        self._settings: int | None = None
        self._certificate: int | None = None
        self._given: dict[str, Any] = {}
        self._looking: subprocess.Popen[bytes] | None = None
        self._look_until = 0.0
        self._stop = False

    def run(self) -> None:
        woken = os.eventfd(0, os.EFD_CLOEXEC)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os.eventfd_write(woken, 1))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._selector.register(woken, selectors.EVENT_READ, self._note_stop)
        self._selector.register(self._channel, selectors.EVENT_READ, self._hear)
        while not self._stop:
            for key, _ in self._selector.select(self._seconds_to_wait()):
                key.data()
            self._look()
        self._selector.unregister(woken)
        self._selector.unregister(self._channel)
        self._replace()
        while self._ending:
            for key, _ in self._selector.select(self._seconds_to_wait()):
                key.data()
            self._look()

    def _note_stop(self) -> None:
        self._stop = True

    def _seconds_to_wait(self) -> float | None:
        times = [worker.kill_at for worker in self._ending if worker.kill_at is not None]
        times += [] if self._looking is None else [self._look_until]
        times += [] if self._start_at is None or self._stop else [self._start_at]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _look(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        for worker in self._ending:
            if worker.kill_at is not None and now >= worker.kill_at:
                worker.process.kill()
        if self._looking is not None and now >= self._look_until:
            self._looking.kill()
            self._look_until = float("inf")
        if self._start_at is not None and now >= self._start_at and not self._stop:
            self._start_at = None
            try:
                self._start()
            except OSError as error:
                # No memory or no place for a process now.
                self._start_later(f"cannot be started ({error})", 0.0)

    # What the server says

    def _hear(self) -> None:
        received = self._channel.receive()
        if received is None:
            self._stop = True
            return
        message, files = received
        match message["what"]:
            case "begin":
                self._given = {"unix": files[1 : 1 + message["unix"]], "tls": files[1 + message["unix"] :],
                               "temporary": message["temporary"], "home": message["home"],
                               "file": message["file"]}  # fmt: skip
                self._take_up(files[0])
            case "settings":
                self._take_up(files[0])
            case "certificate":
                self._certificate = _in_place_of(self._certificate, files[0])
                if self._worker is not None:
                    self._worker.show(self._certificate)

    def _take_up(self, settings: int) -> None:
        """Start a process with other settings. The one before ends: it would let people do what they may no longer."""
        self._settings = _in_place_of(self._settings, settings)
        self._replace()
        self._pause = 0.0
        self._start_at = time.monotonic()

    def _replace(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._ending.append(self._worker)
            self._worker = None

    # Its process

    def _start(self) -> None:
        asked, questions_there = Channel.pair()
        orders, orders_there = Channel.pair()
        passed_on = [questions_there.fileno(), orders_there.fileno(), *self._given["unix"], *self._given["tls"]]
        assert self._settings is not None
        given = {
            **self._given,
            "path": _path(),
            "keeper": os.getpid(),
            "settings": self._settings,
            "questions": questions_there.fileno(),
            "orders": orders_there.fileno(),
            "log": self._log,
        }
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, json.dumps(given)],
            pass_fds=[self._settings, *passed_on],
            stdin=subprocess.DEVNULL,
            env=_environment(),
        )
        questions_there.close()
        orders_there.close()
        worker = self._worker = _Worker(process, asked, orders, os.pidfd_open(process.pid))
        self._selector.register(asked, selectors.EVENT_READ, lambda: self._answer(worker))
        self._selector.register(worker.ended, selectors.EVENT_READ, lambda: self._note_end(worker))
        worker.show(self._certificate)

    def _answer(self, worker: _Worker) -> None:
        """Answer a question of a process."""
        with suppress(OSError):
            received = worker.questions.receive()
            if received is not None:
                message, files = received
                for file in files:
                    os.close(file)
                if message.get("what") == "look":
                    self._look_at_configuration(worker)
                else:
                    worker.questions.send(questions.answer(message, self._reload))
                return
        with suppress(KeyError):
            self._selector.unregister(worker.questions)

    def _look_at_configuration(self, worker: _Worker) -> None:
        """Have ca.toml looked at by a process of its own, one at a time, and hand on where it says what it finds."""
        if self._looking is not None:
            worker.questions.send({"answer": False})
            return
        readable, writable = os.pipe()
        try:
            self._looking = looking = checking.started(self._given["home"], self._given["file"], _path(), writable)
            self._look_until = time.monotonic() + checking.SECONDS
            ended = os.pidfd_open(looking.pid)
            self._selector.register(ended, selectors.EVENT_READ, lambda: self._note_looked(ended))
            worker.questions.send({"answer": True}, [readable])
        finally:
            os.close(readable)
            os.close(writable)

    def _note_looked(self, ended: int) -> None:
        self._selector.unregister(ended)
        os.close(ended)
        if self._looking is not None:
            self._looking.wait()
        self._looking = None

    def _reload(self) -> None:
        if os.getppid() == self._server:
            os.kill(self._server, signal.SIGHUP)

    def _note_end(self, worker: _Worker) -> None:
        status = worker.process.wait()
        self._selector.unregister(worker.ended)
        with suppress(KeyError):
            self._selector.unregister(worker.questions)
        os.close(worker.ended)
        worker.questions.close()
        worker.orders.close()
        if worker is not self._worker:
            self._ending.remove(worker)
            return
        self._worker = None
        self._start_later(f"has ended ({described(status)})", time.monotonic() - worker.began)

    def _start_later(self, why: str, lived: float) -> None:
        """Start a process again: at once, or after a pause.

        :param lived: how many seconds the one before has lived.
        """
        self._pause = 0.0 if lived >= STEADY_SECONDS else min(max(1.0, self._pause * 2), MOST_PAUSE)
        self._start_at = time.monotonic() + self._pause
        _log.error("The process that answers operators %s; it is started again in %d s.", why, self._pause)


def described(status: int) -> str:
    """How a process has ended, in words.

    :param status: its exit status, or less than 0 the signal.
    """
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


def _path() -> list[str]:
    """Where this program's modules are."""
    return [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - what is no path stays as it is


def _in_place_of(before: int | None, descriptor: int) -> int:
    if before is not None:
        os.close(before)
    return descriptor


def _environment() -> dict[str, str]:
    """The environment of its process, without what others may have put into the server's."""
    return {
        name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
