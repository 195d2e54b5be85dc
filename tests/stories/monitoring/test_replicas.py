"""Prometheus and two replicas under load: its sums agree with the store. The soak does it for the two minutes."""

from __future__ import annotations

from pathlib import Path

from monitoring import scraped_replicas

SECONDS = 40


def test_sums_agree_with_the_store_after_a_reload_and_a_kill(tmp_path: Path) -> None:
    scraped_replicas.check(tmp_path, SECONDS)
