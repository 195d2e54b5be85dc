"""Whether this process can do its work, as far as that is its own trouble: not the CA's, and not all servers'."""

from __future__ import annotations

import time
from collections.abc import Callable

from acme_iid.errors import StoreUnavailableError
from acme_iid.operations.background import Background
from acme_iid.store.clock import ClockError

SECONDS = 5
"""The interval at which the store is asked, in seconds."""
STALE_SECONDS = 20
"""The seconds after which a question that has no answer yet counts as a fault."""
REASONS = ("store", "clock", "signer", "draining")
"""The words for what can be wrong."""


class Readiness(Background):
    """The thread that asks the store whether it answers this process; whoever wants to know waits for nothing.

    :param look: asks the store: raises ClockError if this machine's clock is wrong, and StoreUnavailableError if the
        store does not answer.
    :param signer_fails: whether the key that signs is elsewhere and did not answer when it was asked last.
    :param clock: seconds that only grow.
    """

    def __init__(
        self,
        look: Callable[[], object],
        signer_fails: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(SECONDS, first=0, fault="asking whether the store answers failed")
        self._look = look
        self._signer_fails = signer_fails
        self._trouble: str | None = None
        self._clock = clock
        self._seen_at = clock()
        self._draining = False

    def turn(self) -> None:
        """Ask the store."""
        try:
            self._look()
        except ClockError:
            self._trouble = "clock"
        except StoreUnavailableError:
            self._trouble = "store"
        else:
            self._trouble = None
        self._seen_at = self._clock()

    def drain(self) -> None:
        """Say from now on that no further requests should come."""
        self._draining = True

    def reasons(self) -> list[str]:
        """The reasons, of :data:`REASONS`, why this process is not ready; none if it is."""
        trouble = self._trouble
        if trouble is None and self._clock() - self._seen_at > STALE_SECONDS:
            trouble = "store"
        found = [] if trouble is None else [trouble]
        if self._signer_fails():
            found.append("signer")
        if self._draining:
            found.append("draining")
        return found
