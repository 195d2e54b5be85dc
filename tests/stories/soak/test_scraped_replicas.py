"""Prometheus scrapes two replicas under load for two minutes, at a second each, with a reload and a kill in it."""

from __future__ import annotations

from pathlib import Path

from monitoring import scraped_replicas

SECONDS = 120


def test_sums_agree_with_the_store_after_two_minutes(tmp_path: Path) -> None:
    scraped_replicas.check(tmp_path, SECONDS)
