"""A fleet's day with an outage, on a clock of its own: how its renewals come back when the CA does.

Run it with ``python tests/tools/benchmarks/fleet.py``: 100,000 VMs with certificates of a day, and a CA that is away
for eight hours. Each VM has one pair, and its daemon plans, repeats and pauses by the client's own functions and
constants (acme_iid_client: renewal, pairs, pauses) within the window that the server's own function suggests. The
server is a number: so many certificates a second, and so many orders inside; over that it answers newOrder with 503
and a Retry-After. A refusal costs it a share of what a certificate costs.

Left out are requests for renewal information, the second of a daemon's tick, and time on the network.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
import random
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / wing) for wing in ("support", "stories", "suites", "tools")]

from benchmarks.orders import show
from cryptography import x509

from acme_iid.protocol.renewal import window
from acme_iid.web.appointments import Appointments
from acme_iid_client.acme.connection import CaError, UnreachableError
from acme_iid_client.deadline import Deadline
from acme_iid_client.renewal import schedule
from acme_iid_client.renewal.scheduled_pair import ScheduledPair
from acme_iid_client.storage.records import Record
from acme_iid_client.transport import pauses
from acme_iid_client.transport.pauses import Pauses

_DROWNED = 100
"""How many refusals there are for each VM when the server counts as drowned in them, and the day ends."""
_START = datetime(2030, 1, 1, tzinfo=UTC)
"""The simulated clock's zero."""


_NEVER = Deadline(1e9)


@dataclass(frozen=True)
class Leaf:
    """A certificate, as much of it as the client's plan reads."""

    serial: bytes
    not_valid_before_utc: datetime
    not_valid_after_utc: datetime

    def public_bytes(self, _encoding: object) -> bytes:
        return self.serial


@dataclass
class VM:
    """A VM, and where its daemon stands.

    :ivar end: when its certificate ends, seconds of the simulated clock; so are the other times.
    :ivar planned: when it is renewed.
    :ivar failures: how many tries have failed in a row.
    :ivar deadline: when the try that is under way has to be done, and ``pauses`` those between its requests.
    """

    number: int
    certificates: int = 0
    end: float = 0.0
    planned: float = 0.0
    failures: int = 0
    deadline: float = 0.0
    pauses: Pauses = field(default_factory=lambda: Pauses(_NEVER))

    def take(self, issued: float, life: float) -> None:
        """Take a new certificate, and plan the next."""
        self.certificates += 1
        self.failures, self.end = 0, issued + life
        leaf = Leaf(b"%d %d" % (self.number, self.certificates), _date(issued), _date(self.end))
        found = SimpleNamespace(
            not_before=int(leaf.not_valid_before_utc.timestamp()),
            not_after=int(leaf.not_valid_after_utc.timestamp()),
            revoked_at=None,
            renew_from=None,
            renew_until=None,
        )
        suggested = schedule.Window(*window(cast("Any", found)))
        self.planned = (schedule.planned_at(cast("x509.Certificate", leaf), suggested) - _START).total_seconds()


def _date(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)


class Pair(ScheduledPair):
    """The client's own pauses: they ask the machine for the time, and how much of a life is left is simulated."""

    left = 0.0

    @property
    def end(self) -> float:
        return time.time() + self.left


@dataclass
class Server:
    """A CA with a capacity, and with a bound to the orders that it has begun.

    :ivar each: seconds of work for a certificate, and ``refusal`` for a 503.
    :ivar bound: how many orders are inside at most.
    :ivar retry_after: the shortest Retry-After, seconds; the longest is twice that. None for what our server says.
    """

    each: float
    refusal: float
    bound: int
    retry_after: float | None
    seed: int
    _free_at: float = 0.0
    _now: float = 0.0
    _inside: deque[float] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._appointments = Appointments(lambda: self._now, random.Random(self.seed))

    def order(self, now: float) -> float | None:
        """When an order that begins now will have its certificate; None if it is refused."""
        self._now = now
        while self._inside and self._inside[0] <= now:
            self._inside.popleft()
        is_let_in = len(self._inside) < self.bound
        self._free_at = max(self._free_at, now) + (self.each if is_let_in else self.refusal)
        if not is_let_in:
            return None
        self._appointments.take()
        self._inside.append(self._free_at)
        return self._free_at

    def asks_to_wait(self) -> float:
        """What Retry-After says to the one that was refused just now, seconds."""
        if self.retry_after is None:
            return self._appointments.refuse()
        return math.ceil(self.retry_after * random.uniform(1, 2))

    def stop(self, until: float) -> None:
        """Be away until then, and lose what is inside."""
        self._inside.clear()
        self._free_at = until


@dataclass
class Day:
    """What came of it.

    :ivar ended: when it ended, seconds: before its time if the server drowned in requests that it refuses.
    :ivar due: how many renewals fell due; ``renewed`` of them are done, and ``waiting`` are not at the end.
    :ivar let_in: how many newOrder requests reached the server and led to an order; ``refused`` ones were answered 503.
    :ivar interrupted: how many of those that were let in ended with the outage's begin; ``inside`` at the end.
    :ivar peak: the most arrivals in a second, and ``mean`` while the server was there.
    :ivar backlog: how many VMs were due when the server came back.
    :ivar cleared: seconds from then until all of these had been renewed; None if they were not by the end.
    :ivar lapsed: how many certificates ended before their renewal, and ``longest`` the longest time without one.
    """

    ended: float = 0.0
    due: int = 0
    renewed: int = 0
    waiting: int = 0
    let_in: int = 0
    refused: int = 0
    interrupted: int = 0
    inside: int = 0
    peak: int = 0
    mean: float = 0.0
    backlog: int = 0
    cleared: float | None = None
    lapsed: int = 0
    longest: float = 0.0


class Simulation:
    """The events of a day, in the order of their times.

    :param options: as :func:`arguments` has them.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        random.seed(options.seed)
        self._life = options.lifetime_hours * 3600
        self._timeout = options.timeout
        self._from = options.outage_at_hours * 3600
        self._until = self._from + options.outage_hours * 3600
        self._end = options.hours * 3600
        each = 1 / options.capacity
        self._server = Server(each, each * options.refusal, options.inside, options.retry_after, options.seed)
        self._pair = Pair(cast("Record", None))
        self._pair.leaf = cast("x509.Certificate", Leaf(b"", _date(0), _date(self._life)))
        self._order = itertools.count()
        self._events: list[tuple[float, int, VM, bool]] = []
        self._arrivals: Counter[int] = Counter()
        self.day = Day()
        self._vms = [VM(number) for number in range(options.vms)]
        for vm in self._vms:
            # Anywhere between its last renewal and the next.
            vm.take(0, self._life)
            age = random.random() * vm.planned
            vm.planned, vm.end = vm.planned - age, vm.end - age
            self._at(vm.planned, vm)

    def _at(self, moment: float, vm: VM, *, issued: bool = False) -> None:
        heapq.heappush(self._events, (moment, next(self._order), vm, issued))

    def run(self) -> Day:
        """Let the day pass."""
        day, lost = self.day, False
        waiting: set[int] = set()
        behind: set[int] | None = None
        while self._events and self._events[0][0] < self._end:
            if day.refused > _DROWNED * len(self._vms):
                self._end = self._events[0][0]
                break
            now, _, vm, issued = heapq.heappop(self._events)
            if now >= self._from and not lost:
                lost = True
                self._server.stop(self._until)
            if now >= self._until and behind is None:
                behind = set(waiting)
                day.backlog = len(behind)
            if issued:
                waiting.discard(vm.number)
                self._renewed(vm, now)
                if behind:
                    behind.discard(vm.number)
                    day.cleared = None if behind else now - self._until
                continue
            if vm.number not in waiting:
                waiting.add(vm.number)
                day.due += 1
                vm.deadline, vm.pauses = now + self._timeout, Pauses(_NEVER)
            self._ask(vm, now)
        day.ended, day.waiting = self._end, len(waiting)
        day.inside = sum(issued for _, _, _, issued in self._events)
        day.lapsed += sum(self._vms[number].end < self._end for number in waiting)
        day.peak = max(self._arrivals.values(), default=0)
        away = min(self._until, self._end) - min(self._from, self._end)
        day.mean = (day.let_in + day.refused) / (self._end - away) if self._end > away else 0.0
        return day

    def _ask(self, vm: VM, now: float) -> None:
        """Have a VM send newOrder, or see that nobody is there."""
        if not self._from <= now < self._until:
            self._arrivals[int(now)] += 1
            done = self._server.order(now)
            if done is None:
                self.day.refused += 1
                self._at(self._again(vm, now, self._server.asks_to_wait()), vm)
                return
            self.day.let_in += 1
            if now < self._from < done:
                self.day.interrupted += 1
                self._at(self._from, vm)
                return
            self._at(done, vm, issued=True)
            return
        while self._from <= now < self._until:
            now = self._again(vm, now, None)
        self._at(now, vm)

    def _again(self, vm: VM, now: float, retry_after: float | None) -> float:
        """When a client asks again: within the same try, as its connection does it, or in the daemon's next one."""
        pause = vm.pauses.after(None) if retry_after is None else pauses.spread(retry_after)
        if pause is not None and now + pause < vm.deadline:
            return now + pause
        error = CaError("busy") if retry_after is not None else UnreachableError("away")
        error.retry_after = pause
        vm.failures += 1
        self._pair.left = vm.end - now
        later = now + self._pair.pause(vm.failures, error)
        vm.deadline, vm.pauses = later + self._timeout, Pauses(_NEVER)
        return later

    def _renewed(self, vm: VM, now: float) -> None:
        self.day.renewed += 1
        if now > vm.end:
            self.day.lapsed += 1
            self.day.longest = max(self.day.longest, now - vm.end)
        vm.take(now, self._life)
        self._at(vm.planned, vm)


def arguments() -> argparse.ArgumentParser:
    """What can be asked."""
    parser = argparse.ArgumentParser(description="A fleet's day with an outage, on a clock of its own.")
    parser.add_argument("--vms", type=int, default=100_000, help="with a certificate each (100,000)")
    parser.add_argument("--lifetime-hours", type=float, default=24, help="of a certificate (24)")
    parser.add_argument("--hours", type=float, default=24, help="that are simulated (24)")
    parser.add_argument("--outage-at-hours", type=float, default=8, help="when the CA goes away (8)")
    parser.add_argument("--outage-hours", type=float, default=8, help="for how long (8)")
    parser.add_argument("--capacity", type=float, default=50, help="certificates a second (50)")
    parser.add_argument("--inside", type=int, default=32, help="orders inside; more are answered 503 (32)")
    parser.add_argument(
        "--retry-after", type=float, help="of a 503, from this to twice this; without it, what our server says"
    )
    parser.add_argument("--refusal", type=float, default=0.05, help="what a 503 costs, in certificates (0.05)")
    parser.add_argument("--timeout", type=float, default=60, help="of a client's try; acme-iid's default is 60 s")
    parser.add_argument("--seed", type=int, default=1, help="of what is random (1)")
    parser.add_argument("--markdown", action="store_true", help="the table for a page")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    return parser


def table(day: Day) -> list[list[str]]:
    """The figures for people."""
    cleared = "not within the time" if day.cleared is None else f"{day.cleared / 60:.1f} min"
    return [
        ["what", "figure"],
        ["simulated", f"{day.ended / 3600:.1f} h"],
        ["renewals that fell due", str(day.due)],
        ["certificates issued", str(day.renewed)],
        ["still due at the end", str(day.waiting)],
        ["newOrder a second, mean while the CA is there", f"{day.mean:.1f}"],
        ["newOrder a second, most", str(day.peak)],
        ["answered 503", str(day.refused)],
        ["VMs that were due when the CA came back", str(day.backlog)],
        ["until all of them had been renewed", cleared if day.backlog else "-"],
        ["certificates that ended before their renewal", str(day.lapsed)],
        ["longest time without one", f"{day.longest / 60:.1f} min"],
    ]


def main() -> None:
    """Simulate and print."""
    options = arguments().parse_args()
    day = Simulation(options).run()
    if options.json:
        print(json.dumps(asdict(day), indent=2))
        return
    show(table(day), options.markdown)


if __name__ == "__main__":
    main()
