"""A hundred thousand orders: the server's memory stays where it was after the first thirty thousand."""

from __future__ import annotations

from pathlib import Path

from benchmarks import processes, servers
from benchmarks.generator import Generator

BLOCKS, EACH, CONNECTIONS = 10, 10_000, 8
WARM = 2
"""The block after which threads, connections to the store and caches are all there."""
MOST = 130_000_000
"""Octets, for two workers and their parent."""


def test_memory_is_flat_over_a_hundred_thousand_orders(tmp_path: Path) -> None:
    ours = servers.ours(2)
    seen = []
    with ours.serve(tmp_path) as served:
        first = Generator(served.directory, served.root, served.flow, 1)
        accounts = first.accounts(CONNECTIONS)
        first.close()
        for _ in range(BLOCKS):
            # Making their keys takes longer than a connection is kept.
            jobs = ours.jobs(accounts, EACH)
            load = Generator(served.directory, served.root, served.flow, CONNECTIONS)
            done = load.run(jobs, 600)
            load.close()
            assert len(done.latencies) == EACH
            seen.append(processes.memory_bytes(served.pid))
            print(f"{len(seen) * EACH} orders: {seen[-1] / 1e6:.1f} MB", flush=True)
    assert max(seen) <= MOST
    # The allocator's noise, and no more: a leak of a hundred octets an order would be seven megabytes.
    assert seen[-1] - seen[WARM] < 7_000_000
