"""What the console reads, answered out of a CA's home and store as the admin API would."""

from __future__ import annotations

import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from acme_iid.console.source import SourceError
from acme_iid.errors import RequestError
from acme_iid.operations import chain_proof, criteria, over_time, refusal_counting
from acme_iid.operations import status as state
from acme_iid.operations.chain_proof import ChainProof
from acme_iid.operations.descriptions import certificates, events, instances, refusals, status
from acme_iid.operations.descriptions.certificates import CertificateRow
from acme_iid.operations.descriptions.events import RecordedEvent
from acme_iid.operations.descriptions.instances import InstanceDescription, InstanceRow
from acme_iid.operations.descriptions.pages import Page, one_more, page
from acme_iid.operations.descriptions.refusals import RefusalRow
from acme_iid.operations.descriptions.status import StatusDescription
from acme_iid.operations.over_time import Ending, FleetPoint, RefusalCount
from acme_iid.store import events as record
from acme_iid.store import lookups
from acme_iid.store.database import Database
from acme_iid.store.listing import Filter, Position


class StoreSource:
    """The answers of a store.

    :param home: the CA's home.
    """

    place = "a store of a test"

    def __init__(self, home: Path, database: Database) -> None:
        self._home = home
        self._database = database
        self.limits: list[int] = []
        """The limits of all lists that were asked for."""

    def status(self) -> StatusDescription:
        now = int(time.time())
        self._follow()
        return status.describe(state.collect(self._home, self._database, (), now), now)

    def fleet_over_time(self) -> Sequence[FleetPoint]:
        return over_time.fleet(self._database, int(time.time()))

    def endings(self) -> Sequence[Ending]:
        return over_time.ending(self._database, int(time.time()))

    def chain(self) -> ChainProof:
        self._database.seal()
        return chain_proof.prove(self._home, self._database)

    def refusals_over_time(self, seconds: int, points: int) -> Sequence[RefusalCount]:
        now = int(time.time())
        self._follow()
        refusal_counting.catch_up(self._database, now)
        return over_time.refusals(self._database, now, seconds, points=points)

    def refusals(self, before: str | None, limit: int, instance: str | None = None) -> Page[RefusalRow]:
        return refusals.listed(self._database, self._filter(before, limit, instance))

    def instance(self, word: str) -> InstanceDescription:
        self._follow()
        try:
            return instances.whole(self._database, criteria.instance_called(self._database, word), int(time.time()))
        except RequestError as error:
            raise SourceError(str(error), HTTPStatus.NOT_FOUND) from None

    def events(self, instance: str, before: str | None, limit: int, kind: str | None = None) -> Page[RecordedEvent]:
        wanted = self._filter(before, limit, instance, kind)
        found = record.page(self._database, one_more(wanted))
        return page([(Position(event.at, seq), events.recorded(seq, event)) for seq, event in found], wanted)

    def certificates(self, instance: str, before: str | None, limit: int) -> Page[CertificateRow]:
        return certificates.listed(self._database, self._filter(before, limit, instance), int(time.time()))

    def search(self, word: str, limit: int) -> Sequence[InstanceRow]:
        self._follow()
        self.limits.append(limit)
        return instances.meant(self._database, word, limit)

    def _filter(self, before: str | None, limit: int, instance: str | None, kind: str | None = None) -> Filter:
        self._follow()
        self.limits.append(limit)
        place = None if before is None else criteria.place(before)
        return criteria.numbered(Filter(instance=instance, kind=kind, before=place, limit=limit))

    def _follow(self) -> None:
        lookups.follow(self._database)
        lookups.follow_again(self._database)
