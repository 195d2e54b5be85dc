"""Counting the fleet once an hour, by one of all servers: who reads the numbers of a day does not read the fleet."""

from __future__ import annotations

import time
from functools import partial

from acme_iid.operations.background import Background
from acme_iid.store import fleet, fleet_samples, jobs
from acme_iid.store.database import Database
from acme_iid.store.fleet_samples import Sample
from acme_iid.store.writes import Committing, Decision, Write, perform

INTERVAL = 3600
"""Seconds from one turn of the job to the next."""
MOST_OWNERS = 50
"""Owners that are counted apart in one sample; all further ones are counted together."""
SHOWN_HOURS = 48
"""The hours for which it is said what ends in them."""
SPARE_HOURS = 3
"""Further ones that a sample has: so late may the next one be."""

_JOB = "sample the fleet"
_POLL_SECONDS = 60.0


def sample(database: Committing, now: int) -> Sample:
    """Count the fleet, and keep the numbers.

    :raises StoreUnavailableError: if the store cannot be used now.
    """
    owners = tuple(fleet.owned(database, now, MOST_OWNERS))
    hours = tuple(fleet.ending(database, now, SHOWN_HOURS + SPARE_HOURS))
    taken = Sample(now, owners, hours)
    database.commit(Write([fleet_samples.add(taken)], lambda _rows: None))
    return taken


def sample_if_due(database: Committing, now: int) -> Sample | None:
    """Count the fleet if nobody has done it in the last hour; None if somebody has.

    :raises StoreUnavailableError: if the store cannot be used now.
    """
    if not jobs.is_due(database, _JOB, now, INTERVAL):
        return None
    take: Decision[int | None] = partial(jobs.take, name=_JOB, now=now, interval=INTERVAL)
    return None if perform(database, take) is None else sample(database, now)


class Sampling(Background):
    """The thread of one process that counts the fleet when it is this process's turn."""

    def __init__(self, database: Database) -> None:
        super().__init__(
            _POLL_SECONDS,
            first=5.0,
            spread=0.1,
            fault="counting the fleet failed",
            unavailable="The fleet is not counted now",
        )
        self._database = database

    def turn(self) -> None:
        """Count the fleet if it is this process's turn."""
        sample_if_due(self._database, int(time.time()))
