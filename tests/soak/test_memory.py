"""A hundred thousand orders, one after another: the server's memory stays where it was after the first ten thousand."""

from __future__ import annotations

from pathlib import Path

from benchmarks import processes, servers
from benchmarks.generator import Generator

BLOCKS, EACH, CONNECTIONS = 10, 10_000, 8
MOST = 130_000_000
"""Octets, for two workers and their parent."""


def test_memory_is_flat_over_a_hundred_thousand_orders(tmp_path: Path) -> None:
    ours = servers.ours(2)
    seen = []
    with ours.serve(tmp_path) as served:
        load = Generator(served.directory, served.root, served.flow, CONNECTIONS)
        accounts = load.accounts(CONNECTIONS)
        for _ in range(BLOCKS):
            done = load.run(ours.jobs(accounts, EACH), 600)
            assert len(done.latencies) == EACH
            seen.append(processes.memory_bytes(served.pid))
            print(f"{len(seen) * EACH} orders: {seen[-1] / 1e6:.1f} MB", flush=True)
        load.close()
    assert max(seen) <= MOST
    # The allocator's noise, and no more: a leak of a hundred octets an order would be nine megabytes.
    assert seen[-1] - seen[0] < 9_000_000
