"""The time by which a command has to be done, and times in words."""

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


def span(seconds: float) -> str:
    """A time as ``15h50m43s``; nothing is shorter than ``0s``."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
