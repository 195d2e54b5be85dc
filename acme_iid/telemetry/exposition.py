"""What Prometheus reads: the counters of all processes of this server, and gauges that are found out meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from acme_iid.telemetry import counter_files
from acme_iid.telemetry.instruments import Asked

if TYPE_CHECKING:
    from prometheus_client import Metric

Gauges = Mapping[Asked, Mapping[tuple[str, ...], float]]
"""The values of gauges, by the values of their labels."""


class _Collected:
    """What a registry asks for what it shows."""

    def __init__(self, folder: Path, gauges: Gauges) -> None:
        self._folder = folder
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """All that is shown."""
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 - only where somebody reads it

        yield from _counted(self._folder)
        for gauge, values in self._gauges.items():
            family = GaugeMetricFamily(gauge.name, gauge.meaning, labels=gauge.labels)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family


def page(folder: Path, gauges: Gauges) -> tuple[bytes, str]:
    """The page, and its content type.

    :param folder: the files of the counters. One that cannot be read is left out: the numbers of one process are
        missing then, and not those of all.
    """
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - only where somebody reads it
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest  # noqa: PLC0415 - as above

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(folder, gauges))
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _counted(folder: Path) -> Iterable[Metric]:
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415 - only where somebody reads it

    files = sorted(folder.glob("*.db"))
    try:
        merged = MultiProcessCollector.merge([str(file) for file in files])
    except Exception:  # noqa: BLE001 - whatever is wrong with one of them, the others are shown
        merged = MultiProcessCollector.merge(counter_files.readable(files))
    return list(merged)
