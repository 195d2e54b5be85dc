"""What the pages read: each method is answered by the admin API, with the role of whoever runs the console."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from acme_iid.operations.chain_proof import ChainProof
from acme_iid.operations.descriptions.certificates import CertificateRow
from acme_iid.operations.descriptions.events import RecordedEvent
from acme_iid.operations.descriptions.instances import InstanceDescription, InstanceRow
from acme_iid.operations.descriptions.pages import Page
from acme_iid.operations.descriptions.refusals import RefusalRow
from acme_iid.operations.descriptions.status import StatusDescription
from acme_iid.operations.over_time import Ending, FleetPoint, RefusalCount


class SourceError(Exception):
    """The reason why something cannot be shown.

    :param detail: a sentence for the operator.
    :param status: of the API's answer; None if it did not answer.
    :param role: the role that it takes, where the operator's is not enough.
    """

    def __init__(self, detail: str, status: int | None = None, role: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.role = role


class Source(Protocol):
    """What the pages read. Every method raises :class:`SourceError`; a list has ``limit`` rows at most."""

    @property
    def place(self) -> str:
        """Where it is read, such as ``unix:/run/acme-iid-ca/admin.sock``."""

    def status(self) -> StatusDescription:
        """The CA and its fleet."""

    def fleet_over_time(self) -> Sequence[FleetPoint]:
        """The fleet by cloud and owner, the oldest first."""

    def endings(self) -> Sequence[Ending]:
        """The certificates that end in the next 48 hours, hour by hour."""

    def chain(self) -> ChainProof:
        """The chain of events, proven."""

    def refusals_over_time(self, seconds: int, points: int) -> Sequence[RefusalCount]:
        """The refusals by step and rule in the last ``seconds``, the oldest first, at so many times at most."""

    def refusals(self, before: str | None, limit: int, instance: str | None = None) -> Page[RefusalRow]:
        """The refusals, of one instance or of all, the latest first."""

    def instance(self, word: str) -> InstanceDescription:
        """An instance, by its whole id or the cloud's own; status 404 if it is not known."""

    def events(self, instance: str, before: str | None, limit: int, kind: str | None = None) -> Page[RecordedEvent]:
        """An instance's events, of one kind or of all, the latest first."""

    def certificates(self, instance: str, before: str | None, limit: int) -> Page[CertificateRow]:
        """An instance's certificates, the latest first."""

    def search(self, word: str, limit: int) -> Sequence[InstanceRow]:
        """The instances that an id, or a name that they have a certificate for, may mean."""
