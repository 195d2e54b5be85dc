"""What numbers and lines cost: CPU a certificate of a server that is watched, beside one that is not.

Run it with ``python tests/tools/benchmarks/pairs.py``. Both are this project's. In each pair they are started anew,
each with a fresh home and with one layout of memory for both: chance alone makes one process up to a tenth dearer than
another. They stand side by side and are loaded in turn, four times each, so that what else the machine does falls on
both. The watched one has ``[metrics]``, is scraped every 15 seconds and writes JSON. The mean ratio is printed with
its upper 95 % bound; nothing is asserted.
"""

from __future__ import annotations

import argparse
import math
import signal
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / wing) for wing in ("support", "stories", "suites", "tools")]

from benchmarks import processes, servers
from benchmarks.generator import Generator

# Student's t for 95 % on one side by the degrees of freedom, from the usual tables; it falls with them.
_T = {1: 6.31, 2: 2.92, 3: 2.35, 4: 2.13, 5: 2.02, 7: 1.89, 9: 1.83, 14: 1.76, 19: 1.73, 29: 1.70}


class Loaded:
    """A server that runs, with the orders that are left for it."""

    def __init__(self, server: servers.Server, served: servers.Served, options: argparse.Namespace) -> None:
        self._served = served
        self._seconds = options.seconds
        self._generator = Generator(served.directory, served.root, served.flow, options.connections)
        accounts = self._generator.accounts(options.connections)
        self._jobs = server.jobs(accounts, 2 * options.orders)

    def cpu(self, orders: int) -> float:
        """Load it with so many orders; the CPU that one of them took, milliseconds."""
        jobs, self._jobs = self._jobs[:orders], self._jobs[orders:]
        before = processes.cpu(self._served.pid)
        load = self._generator.run(jobs, self._seconds)
        return 1000 * sum(processes.cpu(self._served.pid).since(before)) / len(load.latencies)

    def close(self) -> None:
        """Close its connections."""
        self._generator.close()


def pair(options: argparse.Namespace, seed: int) -> dict[bool, float]:
    """Start both servers and load them; the CPU of a certificate by whether the server is watched, milliseconds."""
    with ExitStack() as stack:
        loaded: dict[bool, Loaded] = {}
        for watched in (False, True) if seed % 2 == 0 else (True, False):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="acme-iid-benchmark-")))
            server = servers.ours(options.workers, is_watched=watched, seed=seed)
            loaded[watched] = Loaded(server, stack.enter_context(server.serve(folder)), options)
            stack.callback(loaded[watched].close)
            loaded[watched].cpu(options.orders // 4)
        taken: dict[bool, list[float]] = {False: [], True: []}
        for watched in (False, True, True, False) * 2:
            taken[watched].append(loaded[watched].cpu(options.orders // 4))
    return {watched: statistics.fmean(several) for watched, several in taken.items()}


def bound(ratios: list[float]) -> tuple[float, float]:
    """The geometric mean of ratios, and its upper 95 % bound."""
    logs = [math.log(ratio) for ratio in ratios]
    mean, freedom = statistics.fmean(logs), len(logs) - 1
    t = _T[max(known for known in _T if known <= freedom)]
    return math.exp(mean), math.exp(mean + t * statistics.stdev(logs) / math.sqrt(len(logs)))


def main() -> None:
    """Measure and print."""
    # The servers end with us, whoever ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(description="What numbers and lines cost a server.")
    parser.add_argument("--pairs", type=int, default=20, help="how often both are measured (20)")
    parser.add_argument("--orders", type=int, default=1000, help="certificates of each server in a pair (1000)")
    parser.add_argument("--connections", type=int, default=8, help="clients at a time (8)")
    parser.add_argument("--seconds", type=float, default=60, help="when a time ends at the latest (60)")
    parser.add_argument("--workers", type=int, default=1, help="processes of each server (1)")
    options = parser.parse_args()
    if options.pairs < 2:
        parser.error("one pair has no bound")
    ratios: list[float] = []
    for number in range(options.pairs):
        found = pair(options, number)
        ratios.append(found[True] / found[False])
        figures = f"{found[False]:.2f} ms, watched {found[True]:.2f} ms"
        print(f"pair {number + 1}: {figures}: {ratios[-1]:.3f}", flush=True)
    mean, upper = bound(ratios)
    print(f"CPU a certificate with metrics and JSON lines, to that without: {mean:.3f}, upper 95 % bound {upper:.3f}")


if __name__ == "__main__":
    main()
