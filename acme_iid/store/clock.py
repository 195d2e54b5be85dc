"""The difference between this machine's clock and the database server's, where the two are different machines.

Replicas share one database, so its clock is the one by which they agree: nonces are dated by it, and a machine whose
own clock is more than :data:`MAX_SECONDS_OFF` off writes nothing, because times that it records would be wrong.
Each transaction that writes brings the server's time along, so that nothing is asked for it alone.
"""

from __future__ import annotations

import time

from acme_iid.errors import StoreUnavailableError

MAX_SECONDS_OFF = 60
"""By how many seconds this machine's clock may differ from the database server's."""


class ClockError(StoreUnavailableError):
    """This machine's clock differs too much from the database server's for anything to be written."""


class StoreClock:
    """The database server's clock, reckoned from what it said last.

    :param name: the database, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._start = time.time() - _since_boot()

    def set(self, server_time: float) -> None:
        """Take up what the server's clock says now, in seconds."""
        self._start = server_time - _since_boot()

    def ahead(self) -> float:
        """The seconds by which this machine's clock is ahead; negative if it is behind.

        A step of this machine's clock counts at once: the time since the server was asked is measured without it.
        """
        return time.time() - (self._start + _since_boot())

    def require_right(self) -> None:
        """Refuse to go on with a clock that is wrong.

        :raises ClockError: saying by how much.
        """
        ahead = round(self.ahead())
        if abs(ahead) > MAX_SECONDS_OFF:
            raise ClockError(
                f"this machine's clock is {abs(ahead)} seconds {'ahead of' if ahead > 0 else 'behind'} that of "
                f"{self._name}, and {MAX_SECONDS_OFF} are the limit, so nothing is written here; set the clock of "
                "whichever machine is wrong (timedatectl, chronyc tracking)"
            )


def _since_boot() -> float:
    """Seconds since this machine was booted, those in which it slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
