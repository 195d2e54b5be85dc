"""What the pages read: each method is answered by the admin API, with the role of whoever runs the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, Literal, Protocol, TypedDict, TypeVar

Row = TypeVar("Row")

Fields = Mapping[str, object]
"""A row whose fields depend on its kind: an event, with its further facts beside ``seq``, ``at`` and ``kind``."""


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


class Page(TypedDict, Generic[Row]):
    """Some rows of a list, the latest first.

    :ivar next: the place where the next page goes on; None behind the last.
    """

    items: Sequence[Row]
    next: str | None


class Trouble(TypedDict):
    """Something that somebody should look at, with the command that shows more or mends it."""

    severity: Literal["red", "yellow"]
    text: str
    command: str | None


class Line(TypedDict):
    """A certificate or a list of the CA's own.

    :ivar warning: the threshold that the rest of its life has come to, in percent; None while there is time.
    :ivar fault: why it is of no use, or its key does not answer.
    """

    role: str
    id: str | None
    subject: str
    state: str | None
    ends: str
    days_left: int
    warning: int | None
    fault: str | None


class Fleet(TypedDict):
    """The fleet's certificates in numbers."""

    valid: int
    replaced: int
    used: int
    due: int
    overdue: int
    lapsed: int


class RefusedRule(TypedDict):
    """What one rule refused in the last day, with the command that lifts most of it.

    :ivar other_lifts: the number of further commands that lift the rest.
    """

    rule: str
    times: int
    lifted_by: str | None
    other_lifts: int


class Server(TypedDict):
    """A server's process.

    :ivar clock_ahead: seconds by which its clock is ahead of the store's.
    """

    id: str
    version: str
    config: str
    clock_ahead: int
    seen: str


class Status(TypedDict):
    """The CA and its fleet at one time, as ``status --json``."""

    at: str
    troubles: Sequence[Trouble]
    ca: Sequence[Line]
    backup: str | None
    fleet: Fleet
    refused: Sequence[RefusedRule]
    servers: Sequence[Server]


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


class Refusal(TypedDict):
    """A refusal with its rule and the command that lifts it, as ``why --json``.

    :ivar proven: False if the evidence does not show who sent it.
    :ivar times: how often it was refused since the refusal before.
    :ivar lifted_by: None if other evidence, or another order, does.
    """

    seq: int
    at: str
    kind: str
    step: str | None
    rule: str
    provisioner: str | None
    instance: str | None
    proven: bool | None
    names: Sequence[str] | None
    account: str | None
    remote: str | None
    times: int
    reason: str | None
    lifted_by: str | None


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


class FoundInstance(TypedDict):
    """An instance, as ``instance list --json``."""

    instance: str
    account: str | None
    first_used: str | None
    last_used: str | None
    released_to: str | None
    blocked: str | None


class Instance(FoundInstance):
    """An instance in full, as ``instance show --json``."""

    block_reason: str | None
    cloud: str
    owner: str
    instance_id: str
    image: str | None
    region: str | None
    provisioner: str | None
    key_thumbprint: str | None
    last_used_with: str | None
    started: str | None
    vm_resource: str | None
    release_ends: str | None
    proofs_ended: str | None
    proofs_ended_for: str | None
    last_revocation: str | None
    closed_names: Sequence[str]
    enrolments: Sequence[str]


class Certificate(TypedDict):
    """A certificate, as ``certificate list --json``."""

    serial: str
    names: Sequence[str]
    status: str
    not_after: str
    instance: str | None
    account: str


class Source(Protocol):
    """What the pages read. Every method raises :class:`SourceError`; a list has ``limit`` rows at most."""

    @property
    def place(self) -> str:
        """Where it is read, such as ``unix:/run/acme-iid-ca/admin.sock``."""

    def status(self) -> Status:
        """The CA and its fleet."""

    def fleet_over_time(self) -> Sequence[FleetPoint]:
        """The fleet by cloud and owner, the oldest first."""

    def endings(self) -> Sequence[Ending]:
        """The certificates that end in the next 48 hours, hour by hour."""

    def chain(self) -> ChainProof:
        """The chain of events, proven."""

    def refusals_over_time(self, since: str) -> Sequence[RefusalCount]:
        """The refusals by step and rule since a time, the oldest first."""

    def refusals(self, before: str | None, limit: int, instance: str | None = None) -> Page[Refusal]:
        """The refusals, of one instance or of all, the latest first."""

    def instance(self, word: str) -> Instance:
        """An instance, by its whole id or the cloud's own; status 404 if it is not known."""

    def events(self, instance: str, before: str | None, limit: int, kind: str | None = None) -> Page[Fields]:
        """An instance's events, of one kind or of all, the latest first."""

    def certificates(self, instance: str, before: str | None, limit: int) -> Page[Certificate]:
        """An instance's certificates, the latest first."""

    def search(self, word: str, limit: int) -> Sequence[FoundInstance]:
        """The instances that an id, or a name that they have a certificate for, may mean."""
