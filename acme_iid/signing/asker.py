"""Asks one signer's process for many threads: with a deadline, and a new process for one that fails.

One thread owns the process, its pipes and all that waits for answers, and never waits for anything but the next of
them. A thread inside a token's library cannot be ended, but a process can.
"""

from __future__ import annotations

import itertools
import logging
import os
import selectors
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress

from acme_iid.errors import SignerBusyError, SignerError
from acme_iid.signing import messages
from acme_iid.signing.child import Child, EndedError

ANSWER_SECONDS = 2.0
"""How long an answer may take."""
START_SECONDS = 10.0
"""How long a process may take until its first message. The first process of all is waited for as long."""
MOST_WAITING = 64
"""The questions that wait at a time; a further one fails at once."""
MOST_SECONDS_AWAY = 30.0
"""The longest time between two starts."""
MOST_NOISE = 100
"""The lines in a row that need not be messages, such as a banner."""

_END_SECONDS = 1.0  # that a process has to end by itself, when nothing more is asked
_LOOK_AFTER_ENDED = 0.5  # seconds between looks at processes that were killed and are not gone

_log = logging.getLogger(__name__)


class _Question:
    """A message, and the thread that waits for its answer."""

    def __init__(self, message: Mapping[str, object]) -> None:
        self.message = message
        self.deadline = 0.0
        self.answer: Future[Mapping[str, object]] = Future()


class Asker:
    """Asks a signer. Its process is started by the first question, so that it comes after all forks.

    :param name: the signer's place, for errors and the log.
    :param command: the process.
    :param check: raises SignerError if the process may not be started now.
    :param answer_seconds: how long an answer may take.
    :param start_seconds: how long a process may take until its first message.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        check: Callable[[], None] = lambda: None,
        *,
        answer_seconds: float = ANSWER_SECONDS,
        start_seconds: float = START_SECONDS,
    ) -> None:
        self._name, self._command, self._check = name, tuple(command), check
        self._answer_seconds, self._start_seconds = answer_seconds, start_seconds
        # Reentrant: a key that nobody needs may be collected wherever memory is taken, here too, and says so here.
        self._lock = threading.RLock()
        self._asked: deque[_Question] = deque()
        self._waiting = 0
        self._closed = False
        self._thread: threading.Thread | None = None
        self._wake = -1
        self._selector: selectors.BaseSelector
        # From here on for the thread alone.
        self._pending: dict[int, _Question] = {}
        self._ids = itertools.count(1)
        self._last_id = 0
        self._child: Child | None = None
        self._killed: list[subprocess.Popen[bytes]] = []
        self._first = True
        self._failures = 0
        self._due = 0.0
        self._reason = ""

    def ask(self, message: Mapping[str, object]) -> Mapping[str, object]:
        """Send a message, and return the answer to it.

        :param message: without an id.
        :raises SignerBusyError: if too many others wait for one.
        :raises SignerError: if no answer comes in time, the answer is an error, or the process is away.
        """
        question = _Question(message)
        with self._lock:
            if self._closed:
                raise self._error("it is closed")
            if self._waiting >= MOST_WAITING:
                raise SignerBusyError(f"{self._name} gives no signature: {MOST_WAITING} others wait for it already")
            if self._thread is None:
                self._thread = self._start_thread()
            self._waiting += 1
            self._asked.append(question)
            os.eventfd_write(self._wake, 1)
        try:
            return question.answer.result()
        finally:
            with self._lock:
                self._waiting -= 1

    def close(self, *, wait: bool = True) -> None:
        """End the process; what waits for an answer fails.

        :param wait: until it has ended.
        """
        with self._lock:
            thread = None if self._closed else self._thread
            self._closed = True
            if thread is not None:
                os.eventfd_write(self._wake, 1)
        if thread is not None and wait:
            thread.join()

    def _error(self, reason: str) -> SignerError:
        return SignerError(f"{self._name} gives no signature: {reason}")

    def _start_thread(self) -> threading.Thread:
        with ExitStack() as opened:
            try:
                self._selector = opened.enter_context(selectors.DefaultSelector())
                self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                opened.callback(os.close, self._wake)
                self._selector.register(self._wake, selectors.EVENT_READ, lambda: os.eventfd_read(self._wake))
                thread = threading.Thread(target=self._run, name="signer", daemon=True)
                thread.start()
            except (OSError, RuntimeError) as error:
                raise self._error(f"it cannot be asked now: {error}") from error
            opened.pop_all()
        return thread

    def _run(self) -> None:
        with self._selector:
            try:
                while not self._closed:
                    self._start_if_due()
                    self._send_asked()
                    for key, _ in self._selector.select(self._pause()):
                        key.data()
                    self._expire()
                    self._killed = [process for process in self._killed if process.poll() is None]
            finally:
                self._stop()

    def _pause(self) -> float | None:
        """Seconds until there is something to do, if nothing comes; None for ever."""
        times = [question.deadline for question in self._pending.values()]
        if self._child is None:
            times.append(self._due)
        now = time.monotonic()
        if self._killed:
            times.append(now + _LOOK_AFTER_ENDED)
        return max(0.0, min(times) - now) if times else None

    def _start_if_due(self) -> None:
        if self._child is not None or time.monotonic() < self._due:
            return
        try:
            self._check()
            child = Child(self._name, self._command)
        except SignerError as error:
            self._failed(str(error))
            return
        except OSError as error:
            self._failed(f"no process can be started: {error.strerror}")
            return
        self._child = child
        self._selector.register(child.stdout, selectors.EVENT_READ, lambda: self._read(child))
        self._selector.register(child.stderr, selectors.EVENT_READ, lambda: self._read_remarks(child))

    def _send_asked(self) -> None:
        while self._asked:
            question = self._asked.popleft()
            child, now = self._child, time.monotonic()
            if child is None:
                question.answer.set_exception(self._error(self._reason))
                continue
            self._last_id = next(self._ids)
            patience = self._start_seconds if self._first and not child.warm else self._answer_seconds
            question.deadline = now + patience
            self._pending[self._last_id] = question
            child.asked_since = child.asked_since or now
            child.send(messages.encode({"id": self._last_id, **question.message}))
            self._watch_writing(child)

    def _watch_writing(self, child: Child) -> None:
        written, watched = child.flush(), child.stdin in self._selector.get_map()
        if not written and not watched:
            self._selector.register(child.stdin, selectors.EVENT_WRITE, lambda: self._write(child))
        elif written and watched:
            self._selector.unregister(child.stdin)

    def _write(self, child: Child) -> None:
        if child is self._child:
            self._watch_writing(child)

    def _read_remarks(self, child: Child) -> None:
        if child is self._child and not child.read_remarks():
            self._selector.unregister(child.stderr)

    def _read(self, child: Child) -> None:
        if child is not self._child:
            return
        try:
            for line in child.read_lines():
                self._take_line(child, line)
        except EndedError as error:
            self._end(child, str(error))

    def _take_line(self, child: Child, line: bytes) -> None:
        message = messages.decode(line)
        number = None if message is None else message.get("id")
        if message is not None and isinstance(fatal := message.get("fatal"), str):
            raise EndedError(messages.printable(fatal))
        if message == {"ready": True}:
            self._count_noise(child)
            self._is_warm(child)
        # True and 1.0 equal 1, and are no ids.
        elif message is None or type(number) is not int:
            self._count_noise(child)
            child.remarks.line(line)
        elif (question := self._pending.pop(number, None)) is not None:
            self._is_warm(child)
            child.noise, self._failures = 0, 0
            self._settle(question, message)
        elif not 0 < number <= self._last_id:
            self._count_noise(child)
            _log.warning("%s answered a question that it was not asked", self._name)
        else:
            # Late, or said twice: whoever waited has got an answer or an error.
            self._count_noise(child)

    def _is_warm(self, child: Child) -> None:
        if not child.warm:
            child.warm, self._first = True, False
            soon = time.monotonic() + self._answer_seconds
            for question in self._pending.values():
                question.deadline = min(question.deadline, soon)

    def _count_noise(self, child: Child) -> None:
        child.noise += 1
        if child.noise > MOST_NOISE:
            raise EndedError(f"it wrote more than {MOST_NOISE} lines that answer nothing")

    def _settle(self, question: _Question, message: Mapping[str, object]) -> None:
        if "error" in message:
            question.answer.set_exception(self._error(messages.printable(str(message["error"]))))
        else:
            question.answer.set_result(message)

    def _expire(self) -> None:
        child, now = self._child, time.monotonic()
        late = [number for number, question in self._pending.items() if question.deadline <= now]
        if child is None or not late:
            return
        for number in late:
            self._pending.pop(number).answer.set_exception(self._error("it gave no answer in time"))
        # One that is still starting goes on, or it would be killed before its end each time.
        if child.warm or (child.asked_since or now) + self._start_seconds <= now:
            self._end(child, "it gave no answer in time")

    def _end(self, child: Child, reason: str) -> None:
        """Kill the process, and have the next one started when it is due."""
        self._let_go(child)
        child.kill()
        self._killed.append(child.process)
        self._failed(reason)

    def _let_go(self, child: Child) -> None:
        self._child = None
        for pipe in (child.stdin, child.stdout, child.stderr):
            with suppress(KeyError):
                self._selector.unregister(pipe)

    def _failed(self, reason: str) -> None:
        self._failures += 1
        self._first = False
        pause = 0.0 if self._failures == 1 else min(MOST_SECONDS_AWAY, 2.0 ** min(self._failures - 2, 10))
        self._due, self._reason = time.monotonic() + pause, reason
        self._fail_pending(reason)
        _log.warning("%s: %s; it is started again in %.0f s", self._name, reason, pause)

    def _fail_pending(self, reason: str) -> None:
        pending, self._pending = self._pending, {}
        for question in pending.values():
            question.answer.set_exception(self._error(reason))

    def _stop(self) -> None:
        with self._lock:
            self._closed = True
            asked = [self._asked.popleft() for _ in range(len(self._asked))]
            os.close(self._wake)
        self._fail_pending("it is closed")
        for question in asked:
            question.answer.set_exception(self._error("it is closed"))
        if (child := self._child) is not None:
            self._let_go(child)
            child.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(_END_SECONDS)
            child.kill()
            self._killed.append(child.process)
        for process in self._killed:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
