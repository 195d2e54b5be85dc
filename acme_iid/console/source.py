"""What the pages read: each method is answered by the admin API, with the role of whoever runs the console."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypedDict

from acme_iid.operations.descriptions.certificates import CertificateRow
from acme_iid.operations.descriptions.instances import InstanceDescription, InstanceRow
from acme_iid.operations.descriptions.pages import Page
from acme_iid.operations.descriptions.refusals import RefusalRow
from acme_iid.operations.descriptions.status import StatusDescription


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


class FleetPoint(TypedDict):
    """The instances and certificates that one owner had at a time.

    :ivar cloud: None for hosts; "others", without an owner, for all owners beside the largest.
    """

    at: str
    cloud: str | None
    owner: str | None
    instances: int
    certificates: int


Ending = TypedDict("Ending", {"from": str, "until": str, "certificates": int, "replaced": int, "at": str})
"""The valid certificates that end in an hour to come, those among them that have a successor, and when this was."""


class RefusalCount(TypedDict):
    """The refusals by one rule at one step, from a time on."""

    at: str
    step: str
    rule: str
    refusals: int


class ChainProof(TypedDict):
    """What was checked of the chain of events just now.

    :ivar head: the last event that was checked, ``NUMBER:HASH``.
    :ivar events: the number of events that were checked; ``first`` is the number of the first, ``since`` its time.
    :ivar whole: whether they are all that are there, or follow from a place that was signed.
    :ivar unsealed: events that came since and have no place yet.
    :ivar removed: the last event that is in an export and no longer in the store; 0 without one.
    :ivar checkpoint: the latest place that an issuer has signed.
    :ivar fault: what is wrong with it; None if nothing is.
    """

    head: str
    events: int
    first: int | None
    since: str | None
    whole: bool
    unsealed: int
    removed: int
    checkpoint: str | None
    fault: str | None


class RecordedEvent(TypedDict):
    """An event whose further facts are by themselves."""

    seq: int
    at: str
    kind: str
    account: str | None
    instance: str | None
    name: str | None
    detail: dict[str, object]


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

    def refusals_over_time(self, since: str) -> Sequence[RefusalCount]:
        """The refusals by step and rule since a time, the oldest first."""

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
