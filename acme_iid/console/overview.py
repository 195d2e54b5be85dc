"""The first page: what is red, the fleet over time, what ends soon, and both chains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from acme_iid.console import charts
from acme_iid.console.charts import Chart, Count, Stack
from acme_iid.console.parts import Part, part
from acme_iid.console.source import Source, SourceError
from acme_iid.console.text import seconds
from acme_iid.operations.chain_proof import ChainProof
from acme_iid.operations.descriptions.issuers import CARow
from acme_iid.operations.descriptions.status import StatusDescription
from acme_iid.operations.expiry import THRESHOLDS
from acme_iid.operations.over_time import Ending, FleetPoint

Measure = Literal["instances", "certificates"]
"""What a fleet is counted in."""
MOST_ROWS = 100
"""The rows of one list on the page."""

_HOUR, _DAY = 3600, 86400
_FEW = min(THRESHOLDS)


@dataclass(frozen=True, slots=True)
class Overview:
    """What the page shows.

    :ivar lines: the CA's certificates and lists that are not retired.
    :ivar further: the number of those beyond :data:`MOST_ROWS`.
    """

    status: StatusDescription
    lines: Sequence[CARow]
    further: int
    measure: Measure
    fleet: Part[Chart | None]
    endings: Part[Chart | None]
    chain: Part[ChainProof]

    @property
    def red(self) -> int:
        """The number of red troubles."""
        return sum(trouble["severity"] == "red" for trouble in self.status["troubles"])


def read(source: Source, measure: Measure) -> Overview:
    """Read what the page shows.

    :raises SourceError: if the status cannot be read; of other parts the page says it.
    """
    status = source.status()
    lines = [line for line in status["ca"] if line["state"] != "retired"]
    return Overview(
        status,
        lines[:MOST_ROWS],
        max(0, len(lines) - MOST_ROWS),
        measure,
        part(lambda: fleet(source.fleet_over_time(), measure)),
        part(lambda: endings(source.endings())),
        part(source.chain),
    )


def fleet(points: Sequence[FleetPoint], measure: Measure) -> Chart | None:
    """The fleet by cloud and owner over time; None while there is none."""
    stack = Stack.of(Count(seconds(point["at"]), _owner(point), point[measure]) for point in points)
    return None if stack.is_empty else charts.areas(stack)


def _owner(point: FleetPoint) -> str:
    if point["cloud"] is None:
        return "hosts"
    return point["cloud"] if point["owner"] is None else f"{point['cloud']} {point['owner']}"


def endings(hours: Sequence[Ending]) -> Chart | None:
    """The certificates that end, hour by hour: those that something is still to be done about, and the others.

    :raises SourceError: if they were not counted.
    """
    if not hours:
        raise SourceError("No server has counted them lately.")
    rows = sorted((seconds(hour["from"]), hour["certificates"], hour["replaced"]) for hour in hours)
    stack = Stack(
        tuple(at for at, _, _ in rows),
        ("without a successor yet", "with a successor"),
        tuple((ending - replaced, replaced) for _, ending, replaced in rows),
        ("c0", charts.QUIET),
    )
    return None if stack.is_empty else charts.bars(stack, _HOUR)


def left(line: CARow, at: str) -> tuple[int, str]:
    """What is left of a certificate of the CA's at a time: days, or hours if they are few; with their noun."""
    rest = max(0, seconds(line["ends"]) - seconds(at))
    number, noun = (rest // _DAY, "day") if rest >= 2 * _DAY else (rest // _HOUR, "hour")
    return number, noun if number == 1 else f"{noun}s"


def urgency(line: CARow) -> str:
    """How near the end of a certificate of the CA's is: ``red``, ``yellow``, or ``calm``."""
    if line["fault"] is not None or line["warning"] == _FEW:
        return "red"
    return "calm" if line["warning"] is None else "yellow"
