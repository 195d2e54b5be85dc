"""How much one operator may ask for, and how often be refused: kept for a bounded number of them."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from acme_iid.admin.problems import Problem, ProblemError

A_SECOND = 50
"""Requests of one caller a second, in the long run."""
AT_ONCE = 200
"""Requests of one caller that may come at once."""
INSIDE = 8
"""Requests of one caller that are answered at a time."""
REFUSALS = 10
"""Refusals of one caller within :data:`REFUSAL_SECONDS` that lock the caller out."""
REFUSAL_SECONDS = 60.0
LOCKED_SECONDS = 60.0
"""How long the first lock-out is; each that follows within an hour is twice as long."""
MOST_LOCKED_SECONDS = 3600.0
MOST_CALLERS = 4096
"""Callers that are remembered; those that asked longest ago are forgotten first, and those that are locked out last."""


@dataclass(slots=True)
class _Caller:
    """What is known of a caller.

    :ivar room: requests that may come now.
    :ivar refused: when the last ones were refused.
    """

    room: float
    seen: float
    inside: int = 0
    refused: deque[float] = field(default_factory=lambda: deque(maxlen=REFUSALS))
    lock_outs: int = 0
    locked_until: float = 0.0


class Limits:
    """The limits of one process; any number of threads may use them.

    :param clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._callers: OrderedDict[str, _Caller] = OrderedDict()

    @contextmanager
    def entered(self, key: str) -> Iterator[None]:
        """Be answered while the block runs.

        :param key: who asks.
        :raises ProblemError: if that caller is locked out, or asks for too much.
        """
        with self._lock:
            caller = self._get(key)
            self._require_room(caller)
            caller.inside += 1
        try:
            yield
        finally:
            with self._lock:
                caller.inside -= 1

    def note_refusal(self, key: str) -> float | None:
        """Note that a caller was refused; returns the seconds of a lock-out that follows from it."""
        with self._lock:
            caller, now = self._get(key), self._clock()
            caller.refused.append(now)
            if len(caller.refused) < REFUSALS or now - caller.refused[0] > REFUSAL_SECONDS:
                return None
            caller.refused.clear()
            if now - caller.locked_until > MOST_LOCKED_SECONDS:
                caller.lock_outs = 0
            seconds = min(LOCKED_SECONDS * 2.0**caller.lock_outs, MOST_LOCKED_SECONDS)
            caller.lock_outs += 1
            caller.locked_until = now + seconds
            return seconds

    def _require_room(self, caller: _Caller) -> None:
        now = self._clock()
        caller.room = min(caller.room + (now - caller.seen) * A_SECOND, AT_ONCE)
        caller.seen = now
        if now < caller.locked_until:
            left = caller.locked_until - now
            raise _error(f"you were refused {REFUSALS} times in a minute and are locked out for a while", left)
        if caller.room < 1:
            raise _error(f"a caller may ask for {A_SECOND} acts a second", 1)
        if caller.inside >= INSIDE:
            raise _error(f"{INSIDE} of your requests are being answered; wait for one of them", 1)
        caller.room -= 1

    def _get(self, key: str) -> _Caller:
        now = self._clock()
        caller = self._callers.get(key)
        if caller is None:
            caller = self._callers[key] = _Caller(AT_ONCE, now)
            self._forget(now)
        self._callers.move_to_end(key)
        return caller

    def _forget(self, now: float) -> None:
        while len(self._callers) > MOST_CALLERS:
            free = (key for key, one in self._callers.items() if now >= one.locked_until and not one.inside)
            del self._callers[next(free, next(iter(self._callers)))]


def _error(detail: str, seconds: float) -> ProblemError:
    whole = max(1, math.ceil(seconds))
    return ProblemError(Problem.TOO_MANY, f"{detail}; ask again in {whole} s", headers={"Retry-After": str(whole)})
