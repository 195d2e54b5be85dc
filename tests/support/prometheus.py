"""Debian's Prometheus, which scrapes servers each second and judges the project's own alert rules."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pages import REPOSITORY
from ports import free_port

MONITORING = REPOSITORY / "docs" / "monitoring"
_SECONDS = 120
_CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: acme-iid
    static_configs: [{{targets: {targets}}}]
"""


@dataclass
class Prometheus:
    """A running one, at a URL."""

    url: str
    process: subprocess.Popen[bytes]

    @classmethod
    @contextmanager
    def scraping(cls, folder: Path, targets: Sequence[str]) -> Iterator[Prometheus]:
        """Have one scrape addresses, in a folder of its own; returns when it has scraped each.

        :param targets: URLs without paths.
        """
        folder.mkdir()
        (folder / "alerts.yml").write_text(hurried((MONITORING / "alerts.yml").read_text()))
        addresses = json.dumps([target.removeprefix("http://") for target in targets])
        (folder / "prometheus.yml").write_text(_CONFIGURATION.format(rules=folder / "alerts.yml", targets=addresses))
        port = free_port()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["/usr/bin/prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                 f"--web.listen-address=127.0.0.1:{port}"],
                stdout=log, stderr=log,
            )  # fmt: skip
        try:
            running = cls(f"http://127.0.0.1:{port}", process)
            running.until(lambda: running.value("sum(up)") == len(targets), "all servers to be scraped")
            yield running
        finally:
            process.terminate()
            process.wait(timeout=60)

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API; what it does not accept fails."""
        query = urllib.parse.urlencode(
            [(name.replace("match", "match[]"), value) for name, value in parameters.items()]
        )
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        return found["data"]

    def value(self, expression: str) -> float | None:
        """The value of an expression that gives one series; None if it gives none."""
        result = self.ask("query", query=expression)["result"]
        return float(result[0]["value"][1]) if result else None

    def firing(self) -> set[str]:
        """The alerts that fire now."""
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"}

    def series(self, name: str) -> list[dict[str, str]]:
        """The labels of each series of a name."""
        found: list[dict[str, str]] = self.ask("series", match=name)
        return found

    def until(self, condition: Callable[[], bool], what: str, seconds: float = _SECONDS) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
            except OSError:
                pass  # it is starting
            assert time.monotonic() < deadline, f"waited for {what}; these fire: {self.firing()}"
            time.sleep(0.2)


def hurried(rules: str) -> str:
    """Rules whose alerts fire at once, by what happened in the last seconds."""
    return re.sub(r"\[\d+m\]", "[15s]", re.sub(r"for: \w+", "for: 0s", rules))


def expressions() -> Iterator[tuple[str, str]]:
    """Each expression in the alert rules and on the board, with what it is for."""
    for found in re.finditer(r"- alert: (\w+)\n\s+expr: (?:>-\n)?(.*?)\n\s+for:", alerts(), re.DOTALL):
        yield found[1], " ".join(found[2].split())
    for panel in board()["panels"]:
        for target in panel.get("targets", ()):
            yield (
                panel["title"],
                target["expr"].replace('job=~"$job"', 'job="acme-iid"').replace("$__rate_interval", "15s"),
            )


def alerts() -> str:
    """The text of the alert rules."""
    return (MONITORING / "alerts.yml").read_text()


def board() -> Any:
    """The board."""
    return json.loads((MONITORING / "grafana.json").read_text())
