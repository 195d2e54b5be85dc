"""Reads a server's numbers as Prometheus would."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping

from ports import free_port
from prometheus_client.parser import text_string_to_metric_families
from running import CA

Series = tuple[str, frozenset[tuple[str, str]]]
"""A series: its name and its labels."""


class Numbers(dict[Series, float]):
    """The values of one scrape by their series."""

    def of(self, name: str, **labels: str) -> float:
        """The value of a series; 0 if there is none."""
        return self.get((name, frozenset(labels.items())), 0.0)

    def sum(self, name: str, **labels: str) -> float:
        """The sum over all series of a name that have these labels."""
        return sum(value for (one, has), value in self.items() if one == name and has >= set(labels.items()))

    def counters(self) -> Numbers:
        """Those that must never fall."""
        ends = ("_total", "_count", "_bucket", "_sum")
        return Numbers({series: value for series, value in self.items() if series[0].endswith(ends)})

    def fallen(self, before: Mapping[Series, float]) -> list[Series]:
        """The series that are smaller than they were, or not there any more."""
        return [series for series, value in before.items() if self.get(series, -1.0) < value]


def turn_on(ca: CA) -> str:
    """Have a CA's server tell its numbers when it starts; returns where."""
    address = f"127.0.0.1:{free_port()}"
    file = ca.home / "ca.toml"
    file.write_text(f'{file.read_text()}\n[metrics]\nlisten = "{address}"\n')
    return f"http://{address}"


def get(url: str) -> tuple[int, str]:
    """The status and the text of an answer."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def read(base: str) -> Numbers:
    """The numbers by now."""
    status, text = get(f"{base}/metrics")
    assert status == 200, text
    return Numbers(
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    )
