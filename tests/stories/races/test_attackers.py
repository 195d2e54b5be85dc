"""Hosts that never answer, and whoever has the CA look at them, keep nobody else waiting for long."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from attackers import Site
from running import CA


def test_one_address_with_many_accounts_keeps_no_other_waiting(own_ca: CA) -> None:
    with Site.serving(own_ca, "--workers", "2") as site:
        # With sixteen threads, these took more than a minute for a first look at each.
        site.attack("127.9.0.1", 200)
        site.prove("127.8.0.1", 40)


def test_a_hundred_addresses_keep_no_other_waiting_for_long(own_ca: CA) -> None:
    with Site.serving(own_ca, "--workers", "2") as site:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: site.attack(f"127.9.1.{number}", 5), range(1, 101)))
        site.prove("127.8.0.1", 60)
