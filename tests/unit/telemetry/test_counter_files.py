"""Counters in files: right over processes that end in any way, bounded in number, and read whatever lies among them."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from acme_iid.telemetry import counter_files, exposition, instruments

_processes = multiprocessing.get_context("fork")


def in_process(folder: Path, place: int, work: Callable[[], None]) -> int:
    """Have a process of its own count in a place; returns its exit code."""

    def run() -> None:
        instruments.begin(folder, place)
        work()

    process = _processes.Process(target=run)
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def killed() -> None:
    """Count an order, and end at once."""
    instruments.ORDERS.add()
    os.kill(os.getpid(), signal.SIGKILL)


def shown(folder: Path) -> dict[str, float]:
    """The values without labels that a scrape gives."""
    text = exposition.page(folder, {})[0].decode()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels
    }


def test_counters_go_on_in_a_place_after_kills_and_files_stay_bounded(tmp_path: Path) -> None:
    for time in range(1, 51):
        assert in_process(tmp_path, time % 2, killed) == -signal.SIGKILL
        assert shown(tmp_path)["acme_iid_orders_total"] == time
        assert len(list(tmp_path.iterdir())) <= 2 * 3


def test_files_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    in_process(tmp_path, 0, instruments.ORDERS.add)
    (tmp_path / "counter_99999.db").touch()
    (tmp_path / "histogram_7.db").write_bytes(b"\xff" * 100)
    assert shown(tmp_path)["acme_iid_orders_total"] == 1


def test_a_process_begins_where_the_one_before_left_a_file_half_made(tmp_path: Path) -> None:
    in_process(tmp_path, 0, instruments.ORDERS.add)
    (tmp_path / "counter_1.db").write_bytes(b"\xff\xff\xff\x7f" * 4)
    (tmp_path / "histogram_1.db").touch()
    assert in_process(tmp_path, 1, instruments.ORDERS.add) == 0
    assert shown(tmp_path)["acme_iid_orders_total"] == 2


def test_gauges_of_a_process_end_with_it(tmp_path: Path) -> None:
    in_process(tmp_path, 0, lambda: instruments.KEY_SET_AGE.set(5, "gcp"))
    in_process(tmp_path, 1, lambda: instruments.KEY_SET_AGE.set(7, "gcp"))
    assert b'acme_iid_key_set_age_seconds{cloud="gcp"} 7.0' in exposition.page(tmp_path, {})[0]
    in_process(tmp_path, 1, lambda: None)
    assert b'acme_iid_key_set_age_seconds{cloud="gcp"} 5.0' in exposition.page(tmp_path, {})[0]


def test_a_server_has_an_empty_folder_and_takes_away_those_of_killed_ones(tmp_path: Path) -> None:
    base = tmp_path / "metrics"
    left = base / "left"
    left.mkdir(parents=True)
    (left / "counter_0.db").touch()
    with counter_files.fresh(base) as first, counter_files.fresh(base) as second:
        assert sorted(base.iterdir()) == sorted([first, second])
        assert not list(first.iterdir())
        assert first.stat().st_mode & 0o777 == 0o700
    assert not list(base.iterdir())


def test_instruments_that_nobody_reads_do_nothing() -> None:
    assert instruments.folder() is None
    instruments.ORDERS.add()
    instruments.REQUEST_SECONDS.observe(0.1, "/acme/new-order")
    instruments.KEY_SET_AGE.set(1, "gcp")


def test_names_have_a_prefix_and_a_unit_and_labels_are_ours_alone() -> None:
    allowed = {
        "provisioner", "step", "challenge", "outcome", "route", "method", "status", "cloud", "state", "role", "reason",
        "hash", "version", "python", "sink",
    }  # fmt: skip
    for instrument in instruments.DECLARED:
        assert instrument.name.startswith("acme_iid_")
        assert instrument.name.endswith("_total") == (instrument.kind == "counter")
        assert set(instrument.labels) <= allowed, instrument.name
    assert len({instrument.name for instrument in instruments.DECLARED}) == len(instruments.DECLARED)
