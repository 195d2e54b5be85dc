"""What others make everybody wait for: a newOrder beside a hostile account, and http-01 beside one and many attackers.

Run it with ``python tests/tools/benchmarks/fairness.py``; it prints medians and asserts nothing of them. Limits are
off, so that what is measured holds without them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / wing) for wing in ("support", "stories", "suites", "tools")]

from attackers import Site
from running import CA
from wire import Account, Key


@contextmanager
def _site(workers: int) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="acme-iid-fairness-") as folder:
        ca = CA(Path(folder) / "ca")
        ca.init()
        try:
            with Site.serving(ca, "--workers", str(workers)) as site:
                yield site
        finally:
            if ca.process is not None:
                ca.stop()


def _new_orders(site: Site, count: int) -> float:
    """The median milliseconds of a newOrder for one name, by an account of its own."""
    account = Account.new(site.ca.wire("127.8.0.1"))
    url, taken = account.wire.directory["newOrder"], []
    for number in range(count):
        wanted = {"identifiers": [{"type": "dns", "value": f"own{number}.local"}]}
        body = account.wire.body(url, wanted, account.key, account.url)
        begun = time.perf_counter()
        assert account.wire.send(url, body).status_code == 201
        taken.append(time.perf_counter() - begun)
    return 1000 * statistics.median(taken)


def orders(site: Site, waiting: int, connections: int, count: int) -> None:
    """newOrder alone, and beside an account with waiting authorizations that orders as fast as it can."""
    _new_orders(site, count)
    print(f"newOrder alone: {_new_orders(site, count):.1f} ms", flush=True)
    key = Key()
    hostile = Account.new(site.ca.wire("127.9.0.1"), key)
    made = 0
    for number in range(waiting):
        wanted = {"identifier": {"type": "dns", "value": f"waits{number}.local"}}
        made += hostile.post(hostile.wire.directory["newAuthz"], wanted).status_code == 201
    ended, placed = threading.Event(), [0] * connections

    def order(number: int) -> None:
        mine = Account(site.ca.wire("127.9.0.1"), key, hostile.url)
        while not ended.is_set():
            mine.order(f"hostile{number}x{placed[number]}.local")
            placed[number] += 1

    threads = [threading.Thread(target=order, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    beside = _new_orders(site, count)
    ended.set()
    for thread in threads:
        thread.join()
    print(
        f"newOrder beside an account with {made} authorizations that wait and {connections} connections: "
        f"{beside:.1f} ms ({sum(placed)} hostile orders meanwhile)",
        flush=True,
    )


def challenges(site: Site, addresses: int, each: int, seconds: float) -> None:
    """http-01 beside attackers."""
    with ThreadPoolExecutor(4) as pool:
        sources = [f"127.9.{number // 200}.{number % 200 + 1}" for number in range(addresses)]
        list(pool.map(lambda source: site.attack(source, each), sources))
    for _ in range(3):
        print(
            f"http-01 beside {addresses} address(es) with {each} silent hosts each: "
            f"{site.prove('127.8.0.1', seconds):.1f} s",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What others make everybody wait for.")
    parser.add_argument("--workers", type=int, default=2, help="processes of the server (2)")
    parser.add_argument("--orders", type=int, default=100, help="orders in each measurement (100)")
    parser.add_argument("--waiting", type=int, default=1000, help="what the hostile account has waiting (1000)")
    parser.add_argument("--connections", type=int, default=1, help="connections of the hostile account (1)")
    parser.add_argument("--one", type=int, default=300, help="silent hosts of one attacking address (300)")
    parser.add_argument("--each", type=int, default=20, help="silent hosts of each of a hundred addresses (20)")
    parser.add_argument("--seconds", type=float, default=900, help="when http-01 is given up (900)")
    options = parser.parse_args()
    with _site(options.workers) as site:
        orders(site, options.waiting, options.connections, options.orders)
    for addresses, each in ((1, options.one), (100, options.each)):
        if each:
            with _site(options.workers) as site:
                challenges(site, addresses, each, options.seconds)


if __name__ == "__main__":
    main()
