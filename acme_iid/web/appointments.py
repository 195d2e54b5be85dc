"""When those who were refused are told to come back: in turn, no more of them a second than the server takes.

The same few seconds for everybody would do for a moment. After a long outage a whole fleet stands at the door, comes
back every few seconds, and the server does little but refuse. So each that is refused gets the next turn of a queue
that only exists as times: the turns follow each other at the rate at which new work has been taken since the first
refusal, and nobody is sent away for longer than the refusing has lasted, or ten minutes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

LEAST = range(3, 12)
"""Seconds that somebody who is refused waits in any case, one of these by chance."""
LONGEST = 600
"""Seconds that are added to that at most."""

_QUIET = 30.0
"""Seconds without a refusal after which the next one is the first again."""


class Appointments:
    """The times of those that one process has refused.

    :param clock: seconds that only grow.
    :param chance: the source of random numbers.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, chance: random.Random | None = None) -> None:
        self._clock = clock
        self._chance = chance or random.SystemRandom()
        self._began = self._latest = -_QUIET - 1
        self._taken = 0
        self._next = 0.0

    def take(self) -> None:
        """Count new work that is taken."""
        self._taken += 1

    def refuse(self) -> int:
        """Count new work that is refused.

        :returns: the seconds after which whoever wants it is to come back.
        """
        now = self._clock()
        if now - self._latest > _QUIET:
            self._began, self._taken, self._next = now, 0, now
        self._latest = now
        least, lasted = self._chance.choice(LEAST), now - self._began
        # Nothing is known of the rate at the beginning; the turns are no further apart than what is known of them.
        self._next = max(self._next, now) + lasted / max(1, self._taken)
        most = min(lasted, LONGEST)
        if self._next > now + most:
            # The queue is longer than anybody is sent away: they come back at no one's turn, and not all at once.
            self._next = now + most
            return least + int(self._chance.uniform(most / 2, most))
        return least + int(self._next - now)
