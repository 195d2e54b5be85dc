"""The time by which a command has to be done."""

from __future__ import annotations

import time


class Deadline:
    """The time by which a command has to be done.

    :param seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    def sleep(self, seconds: float) -> bool:
        """Wait that long if the time allows it; otherwise do not wait, and return False."""
        if seconds >= self.remaining:
            return False
        time.sleep(seconds)
        return True
