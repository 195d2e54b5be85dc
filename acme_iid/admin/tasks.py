"""Acts on many that go on after they were asked for: a few at once, how far each is, and for an hour how it ended."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypedDict

from acme_iid.admin.problems import RETRY_AFTER, Problem, ProblemError
from acme_iid.errors import NotFoundError, RequestError, StoreUnavailableError
from acme_iid.operations.descriptions.times import timestamp
from acme_iid.telemetry import request_ids

if TYPE_CHECKING:
    from acme_iid.operations.bulk import Step
    from acme_iid.operations.bulk import Task as Act

MOST_AT_ONCE = 3
KEPT_SECONDS = 3600
MOST_KEPT = 100
"""The acts that have ended and are remembered."""

State = Literal["running", "stopping", "done", "stopped", "failed"]

_log = logging.getLogger(__name__)


class TaskRow(TypedDict):
    """An act on many that goes on, or ended within the last hour.

    :ivar task: its id, which each of its events has as ``bulk``; ``go_on`` takes it.
    :ivar act: the name of the act.
    :ivar state: running, stopping (it ends with the transaction that it is in), done, stopped (it can be gone on with),
        or failed.
    :ivar count: on how many it is.
    :ivar done: to how many it is done.
    :ivar left_out: how many were left as they are: others had changed them, or they cannot be changed.
    :ivar began: when it was asked for.
    :ivar ended: when it ended; null while it goes on.
    :ivar problem: why it stopped or failed.
    """

    task: str
    act: str
    state: State
    count: int
    done: int
    left_out: int
    began: str
    ended: str | None
    problem: str | None


@dataclass(slots=True)
class _Task:
    """One act; what changes of it is changed under the lock of all."""

    id: str
    act: str
    count: int
    began: int
    done: int = 0
    left_out: int = 0
    state: State = "running"
    ended: int | None = None
    problem: str | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def row(self) -> TaskRow:
        """The act as it is shown."""
        return {
            "task": self.id,
            "act": self.act,
            "state": "stopping" if self.state == "running" and self.stopping.is_set() else self.state,
            "count": self.count,
            "done": self.done,
            "left_out": self.left_out,
            "began": str(timestamp(self.began)),
            "ended": timestamp(self.ended),
            "problem": self.problem,
        }


def begun(name: str, act: Act, count: int, now: int) -> TaskRow:
    """An act that begins.

    :param name: the act's name.
    :param count: on how many it is.
    :param now: seconds.
    """
    return _Task(act.id, name, count, now).row()


class Tasks:
    """The acts on many of one process.

    :param clock: the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tasks: dict[str, _Task] = {}
        self._is_closed = False

    def begin(self, name: str, act: Act, count: int, steps: Iterator[Step]) -> TaskRow:
        """Begin an act, or go on with one.

        :param name: the act's name.
        :param count: on how many it is.
        :param steps: does it, a transaction at a time.
        :raises ProblemError: if the same one goes on already, or as many as may go on at once.
        """
        with self._lock:
            self._forget()
            running = [task for task in self._tasks.values() if task.state == "running"]
            if any(task.id == act.id for task in running):
                raise ProblemError(Problem.CONFLICT, f"the act {act.id} goes on already")
            if self._is_closed or len(running) >= MOST_AT_ONCE:
                detail = f"{len(running)} acts on many go on, and {MOST_AT_ONCE} may at once; ask again when one ended"
                raise ProblemError(Problem.TOO_MANY, detail, headers={"Retry-After": RETRY_AFTER})
            task = _Task(act.id, name, count, int(self._clock()))
            self._tasks[act.id] = task
            run = contextvars.copy_context().run
            task.thread = threading.Thread(target=run, args=(self._run, task, steps), name=act.id, daemon=True)
            task.thread.start()
            return task.row()

    def _run(self, task: _Task, steps: Iterator[Step]) -> None:
        state: State = "done"
        problem = None
        try:
            for step in steps:
                with self._lock:
                    task.done, task.left_out = task.done + step.done, task.left_out + step.left_out
                if task.stopping.is_set() and task.done + task.left_out < task.count:
                    state, problem = "stopped", "it was stopped"
                    break
        except (StoreUnavailableError, RequestError) as error:
            state, problem = "stopped", str(error)
        except Exception:  # noqa: BLE001 - whatever it is, it is not running any more
            reference = request_ids.current()
            _log.exception("an act on many failed, reference %s", reference)
            state, problem = "failed", f"the server failed unexpectedly; the cause is in its log under {reference}"
        with self._lock:
            task.state, task.problem, task.ended = state, problem, int(self._clock())

    def every(self) -> list[TaskRow]:
        """All that go on or are remembered, the one that began last first."""
        with self._lock:
            self._forget()
            return [task.row() for task in reversed(self._tasks.values())]

    def get(self, id_: str) -> TaskRow:
        """One of them.

        :raises NotFoundError: if it is none of them.
        """
        with self._lock:
            return self._get(id_).row()

    def stop(self, id_: str) -> TaskRow:
        """Have one stop after the transaction that it is in; one that has ended stays as it is.

        :raises NotFoundError: if it is none of them.
        """
        with self._lock:
            task = self._get(id_)
            task.stopping.set()
            return task.row()

    def _get(self, id_: str) -> _Task:
        self._forget()
        if id_ not in self._tasks:
            raise NotFoundError(f"no act {id_!r} goes on here, nor did it within the last hour; the record has them")
        return self._tasks[id_]

    def _forget(self) -> None:
        """Forget what ended long ago, and the oldest of too many."""
        over = int(self._clock()) - KEPT_SECONDS
        ended = [task for task in self._tasks.values() if task.ended is not None]
        for place, task in enumerate(sorted(ended, key=lambda task: task.ended or 0)):
            if (task.ended or 0) <= over or place < len(ended) - MOST_KEPT:
                del self._tasks[task.id]

    def close(self) -> None:
        """Begin none any more, stop those that go on, and wait for that."""
        with self._lock:
            self._is_closed = True
            tasks = list(self._tasks.values())
        for task in tasks:
            task.stopping.set()
        for task in tasks:
            if task.thread is not None:
                task.thread.join()
