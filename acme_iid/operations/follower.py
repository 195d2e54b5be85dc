"""Chaining and following the events that requests recorded, and logging the head of the chain.

A request stores its events with what they record. In PostgreSQL one server at a time, whichever that is, chains them a
little later; on each engine one then writes by what operators look for them, and adds up refusals. A chain shows
nothing but what was done to it before a head that is kept elsewhere: so the log, which goes to another place, has the
head once a minute.
"""

from __future__ import annotations

import logging
import time
from functools import partial

from acme_iid.operations import refusal_counting
from acme_iid.operations.background import Background
from acme_iid.store import events, jobs, lookups, refusal_counts
from acme_iid.store.chain import START, Link
from acme_iid.store.database import Database
from acme_iid.store.writes import Decision, perform

SEAL_SECONDS = 0.5
"""The seconds that events wait until they are chained, about."""
FOLLOW_SECONDS = 5
"""The seconds that chained events wait until lists have them, about."""
AT_ONCE = 50
"""Events that are followed in one write, for which requests may wait."""
OLD_SECONDS = 60
"""The age of an event that is not chained yet from which on something must be wrong."""
AGAIN_SECONDS = 0.5
"""The seconds, of each turn, in which events are followed again that an earlier version of this program followed."""
COUNT_SECONDS = 0.5
"""The seconds, of each turn, in which refusals are added up; a store that was never counted takes several turns."""
_SAY_SECONDS = 60.0

_JOB = "follow"

_log = logging.getLogger(__name__)


class Following(Background):
    """The thread of one process that does so.

    Not all servers at the same moment: one of them has the chain, and the others go away again.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(
            SEAL_SECONDS,
            spread=0.2,
            after_fault=_SAY_SECONDS,
            fault="chaining and following events failed",
            unavailable="Events are not chained and followed now",
        )
        self._database = database
        self._head: Link = START
        self._followed_at = self._said_at = -float("inf")

    def turn(self) -> None:
        """Chain what was recorded, and every few seconds follow it and say how far it is."""
        self._database.seal(waits=False)
        now = time.monotonic()
        if now - self._followed_at < FOLLOW_SECONDS:
            return
        self._followed_at = now
        oldest = self._database.unsealed().oldest
        if oldest is not None and time.time() - oldest > OLD_SECONDS:
            self.warn(
                "An event has waited for %d seconds to be chained; is another server stopped?", time.time() - oldest
            )
        self._follow()
        if now - self._said_at >= _SAY_SECONDS:
            self._said_at = now
            head = events.head(self._database)
            if head != self._head:
                self._head = head
                _log.info("The head of the record's chain is %s", head)

    def _follow(self) -> None:
        """Follow what was chained, if no other server does so."""
        again = lookups.following(self._database).behind
        uncounted = refusal_counts.is_behind(self._database, int(time.time()))
        if not again and not uncounted and not lookups.is_behind(self._database):
            return
        take: Decision[int | None] = partial(jobs.take, name=_JOB, now=int(time.time()), interval=FOLLOW_SECONDS)
        if perform(self._database, take) is not None:
            lookups.catch_up(self._database, AT_ONCE)
            if again and lookups.follow_again(self._database, AT_ONCE, AGAIN_SECONDS):
                _log.info("After the upgrade, all older events have been read again")
            if uncounted:
                refusal_counting.catch_up(self._database, int(time.time()), COUNT_SECONDS)
