"""Two replicas on PostgreSQL under load, and Prometheus, which sums up what they count."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self

import requests
import scraping
from prometheus import Prometheus
from running import ACCOUNT, CA, answer

from acme_iid.simulator import aws
from acme_iid.store.database import open_store

CLIENTS = 3


class Clients:
    """Clients that order until they are told to stop; what a killed process leaves open is given up."""

    def __init__(self, cas: list[CA]) -> None:
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(ca, number)) for number in range(CLIENTS) for ca in cas
        ]
        self.troubles: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self, ca: CA, number: int) -> None:
        while not self._ended.is_set():
            try:
                account = ca.account()
                stranger = answer(aws.Instance(account="999999999999"))
                while not self._ended.is_set():
                    account.obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT)))
                    account.prove("bar.local", answer=stranger)
            except (requests.RequestException, AssertionError, KeyError) as error:
                self.troubles.append(f"{number}: {error!r}")
                time.sleep(0.2)


def check(folder: Path, seconds: int) -> None:
    """Run two replicas under load for a while, with a SIGHUP after a third of it and a kill -9 after two thirds.

    What Prometheus has summed up must agree with the store. The figures are printed.
    """
    first = CA(folder / "first")
    first.init(in_postgresql=True)
    second = CA(folder / "second")
    shutil.copytree(first.home, second.home)
    file = second.home / "ca.toml"
    file.write_text(file.read_text().replace(f"127.0.0.1:{first.port}", f"127.0.0.1:{second.port}"))
    cas = [first, second]
    with ExitStack() as stack:
        bases = [scraping.turn_on(ca) for ca in cas]
        for ca in cas:
            ca.start("--workers", "2")
            stack.callback(ca.kill)
        running = stack.enter_context(Prometheus.scraping(folder / "prometheus", bases))
        began = time.monotonic()
        with Clients(cas) as clients:
            time.sleep(seconds / 3)
            assert first.process is not None
            first.process.send_signal(signal.SIGHUP)
            before = len(clients.troubles)
            time.sleep(seconds / 3)
            assert len(clients.troubles) == before, clients.troubles
            os.kill(second.workers()[0], signal.SIGKILL)
            time.sleep(seconds / 3)
        spent = time.monotonic() - began
        with closing(open_store(first.store_url)) as store:
            (row,) = store.rows("SELECT (SELECT count(*) FROM orders) AS orders, count(*) AS issued FROM certificates")
        # A scrape after the load has ended.
        asked = time.time()
        running.until(lambda: (running.value("min(timestamp(up))") or 0) > asked, "a later scrape")
        # What was committed just before the kill may not have been counted: no more than was under way there.
        for name, stored in (("orders", row["orders"]), ("issued", row["issued"])):
            counted = running.value(f"sum(acme_iid_{name}_total)")
            assert counted is not None
            assert stored > 20
            assert stored - CLIENTS <= counted <= stored, (name, counted, stored)
            print(f"{name}: {stored} in the store, {counted:.0f} counted")
        # No counter fell. Of all scrapes, the one or two that the killed process had begun to answer came to nothing.
        for name in ("orders_total", "issued_total", "requests_total", "store_commit_seconds_count"):
            assert running.value(f"max(resets(acme_iid_{name}[{int(spent) + 30}s]))") == 0, name
        assert (running.value(f"min(avg_over_time(up[{int(spent)}s]))") or 0) > 0.9
        scrapes = running.value(f"sum(count_over_time(up[{int(spent)}s]))") or 0
        answered = running.value(f"sum(sum_over_time(up[{int(spent)}s]))") or 0
        assert scrapes >= spent, "each of the two is scraped once a second, on a machine that has the time"
        handled = running.value("sum(acme_iid_requests_total)") or 0
        print(f"{handled:.0f} requests in {spent:.0f} s; {answered:.0f} of {scrapes:.0f} scrapes were answered")
        # The same from both, and so the maximum and not the sum.
        fleet = 'acme_iid_fleet_certificates{state="valid"}'
        running.until(lambda: running.value(f"min({fleet})") == row["issued"], "both to have asked the store anew")
        assert running.value(f"max({fleet})") == row["issued"]
