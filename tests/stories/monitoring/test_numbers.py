"""The numbers of one server: they go on through kills and reloads, and strangers make no series."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
import time
import urllib.error
from contextlib import closing
from typing import Self

import pytest
import requests
import scraping
from running import ACCOUNT, CA, answer

from acme_iid.simulator import aws
from acme_iid.store.database import open_store

RESTARTS = 50
"""Kills of a worker and hang-ups, together."""
REQUESTS = 10_000


def obtain(ca: CA) -> None:
    """Obtain a certificate, whatever process is killed meanwhile."""
    deadline = time.monotonic() + 60
    while True:
        try:
            ca.account().obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT)))
        except requests.ConnectionError:
            assert time.monotonic() < deadline
        else:
            return


class Scraper:
    """Reads a server's numbers each second, as Prometheus does, until the end of its block.

    :ivar faults: what no scrape may see: answers that are none, counters that fell, scrapes that took long.
    """

    def __init__(self, base: str) -> None:
        self.faults: list[str] = []
        self.scrapes = 0
        self._base = base
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        before = scraping.read(self._base).counters()
        while not self._ended.wait(1):
            began = time.monotonic()
            try:
                after = scraping.read(self._base).counters()
            except (ConnectionError, http.client.HTTPException, urllib.error.URLError):
                continue  # by the process that is being killed; the next one answers
            except AssertionError as error:
                self.faults.append(str(error))
                continue
            self.scrapes += 1
            self.faults += [f"{series} fell" for series in after.fallen(before)]
            if (seconds := time.monotonic() - began) > 5:
                self.faults.append(f"a scrape took {seconds:.1f} s")
            before = after


def test_counters_survive_kills_and_reloads_under_scrapes(measured: tuple[CA, str]) -> None:
    """Also with a file of a process that was killed between making it and giving it its size."""
    ca, base = measured
    ca.start("--workers", "3")
    obtain(ca)
    (folder,) = (ca.home / "metrics").iterdir()
    with Scraper(base) as scraper:
        for number in range(RESTARTS):
            obtain(ca)
            if number % 2:
                assert ca.process is not None
                ca.process.send_signal(signal.SIGHUP)
            else:
                # The oldest, which the kernel lists first: one that ends too often in half a minute ends the server.
                os.kill(ca.workers()[0], signal.SIGKILL)
            if number == RESTARTS // 2:
                (folder / "counter_99999.db").touch()
            time.sleep(1.5)
        files = len(list(folder.iterdir()))
    assert scraper.faults == []
    assert scraper.scrapes > RESTARTS // 2
    assert files <= 3 * 3 + 1
    with closing(open_store(ca.store_url)) as store:
        (row,) = store.rows("SELECT (SELECT count(*) FROM orders) AS orders, count(*) AS issued FROM certificates")
    numbers = scraping.read(base)
    assert numbers.of("acme_iid_orders_total") == row["orders"]
    assert numbers.sum("acme_iid_issued_total") == row["issued"] > RESTARTS


def test_an_empty_file_and_one_that_is_none_are_left_out(measured: tuple[CA, str]) -> None:
    ca, base = measured
    ca.start("--workers", "2")
    obtain(ca)
    (folder,) = (ca.home / "metrics").iterdir()
    (folder / "counter_99999.db").touch()
    (folder / "histogram_77.db").write_bytes(b"\xff" * 64)
    assert scraping.read(base).of("acme_iid_orders_total") == 1


def test_what_strangers_send_makes_no_series(measured: tuple[CA, str]) -> None:
    ca, base = measured
    ca.start("--plain-http")
    chance = random.Random(17)

    def ask(number: int) -> None:
        connection.request(
            # The first cannot be read as HTTP, the second can.
            (f"FOO{number}", "PROPFIND", "GET")[number % 3],
            f"/{chance.randbytes(8).hex()}" if number % 2 else f"/acme/order/{number}",
            headers={
                "Host": f"h{number}.example",
                "User-Agent": f"agent/{number}",
                "X-Forwarded-For": f"10.0.0.{number}",
            },
        )
        connection.getresponse().read()

    connection = http.client.HTTPConnection("127.0.0.1", ca.port, timeout=60)
    for number in range(60):
        ask(number)
    before = scraping.read(base)
    scraped = scraping.read(base)
    for number in range(60, REQUESTS):
        ask(number)
    after = scraping.read(base)
    assert set(after) == set(before) | set(scraped)
    assert after.sum("acme_iid_requests_total") >= REQUESTS
    assert after.sum("acme_iid_requests_total", method="other") >= REQUESTS * 2 // 3
    assert after.sum("acme_iid_requests_total", method="PROPFIND") == 0


def test_what_happens_is_counted_once(measured: tuple[CA, str]) -> None:
    ca, base = measured
    ca.start("--workers", "2")
    account, instance = ca.account(), aws.Instance(account=ACCOUNT)
    account.obtain("foo.local", answer=answer(instance))
    stranger = answer(aws.Instance(account="999999999999"))
    for _ in range(3):
        _, answers = account.prove("bar.local", answer=stranger)
        assert all(entry.json()["status"] == "invalid" for entry in answers)
    numbers = scraping.read(base)
    # Of three refusals that are the same the record has one event.
    assert len([line for line in events(ca) if line == "challenge.refused"]) == 1
    assert numbers.sum("acme_iid_refused_total", step="admission") == 3
    assert numbers.of("acme_iid_orders_total") == 4
    assert numbers.of("acme_iid_issued_total", provisioner="AWS IID Provisioner") == 1
    assert numbers.of("acme_iid_validations_total", challenge="iid-01", outcome="refused") == 3
    assert numbers.of("acme_iid_fleet_certificates", state="used") == 1
    assert numbers.of("acme_iid_request_seconds_count", route="/acme/new-order") == 4
    assert numbers.of("acme_iid_backup_timestamp_seconds") == 0


def events(ca: CA) -> list[str]:
    return [entry["kind"] for entry in json.loads(ca.cli("events", "--limit", "1000", "--json").stdout)]


def test_a_backup_is_noted(measured: tuple[CA, str]) -> None:
    ca, base = measured
    ca.cli("backup", ca.home.parent / "backup.tar")
    ca.start()
    numbers = scraping.read(base)
    assert time.time() - numbers.of("acme_iid_backup_timestamp_seconds") < 120
    assert numbers.of("acme_iid_ca_ends_timestamp_seconds", role="issuer") > time.time()
    assert numbers.of("acme_iid_store_answers") == 1


@pytest.mark.parametrize("path", ["/acme/directory", "/health", "/roots.pem", "/crl"])
def test_the_listener_has_nothing_else(measured: tuple[CA, str], path: str) -> None:
    ca, base = measured
    ca.start()
    assert scraping.get(base + path)[0] == 404
    assert [scraping.get(base + probe) for probe in ("/livez", "/readyz")] == [(200, "ok\n")] * 2


def test_without_the_setting_nothing_is_measured(own_ca: CA) -> None:
    own_ca.start()
    assert own_ca.wire().session.get(f"{own_ca.url}/metrics").status_code == 404
    assert not (own_ca.home / "metrics").exists()
    # Load balancers ask the main listener.
    for probe in ("livez", "readyz"):
        assert own_ca.wire().session.get(f"{own_ca.url}/{probe}").status_code == 200
