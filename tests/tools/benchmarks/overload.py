"""More orders than a server can place: what it still does of its work, and what it costs to refuse the rest.

Run it with ``python tests/tools/benchmarks/overload.py``. At first it finds what saturates: whole orders in a closed
loop, over connections that are kept, and over a new one for each order, as clients that arrive have one each. Then
clients arrive at ``--times`` the better rate, at random moments, for ``--seconds``. In the first crowd all obey
Retry-After; in the second one half leaves, and the other at once tries again. The load is niced, so that a machine
that is too small makes it late, and not the server slow; how late is a figure. It asserts nothing of what it finds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import signal
import ssl
import statistics
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / wing) for wing in ("support", "stories", "suites", "tools")]

from benchmarks import connection, processes, servers
from benchmarks.crowd import INSISTS, LEAVES, OBEYS, Crowd, Found
from benchmarks.generator import Generator, jobs_of_instances, jobs_of_names, with_iid01
from benchmarks.orders import show

_MANNERS = {"obey Retry-After": (OBEYS,), "do not": (LEAVES, INSISTS)}
_NICE = 10
_ACCOUNTS = 512
"""Each may have a hundred open orders, and one that is refused in its midst leaves one."""
_NAMES = 500


@dataclass(frozen=True)
class Figures:
    """Of one crowd.

    :ivar offered: clients that arrived a second.
    :ivar rate: certificates a second, of those that were there before the last client came.
    :ivar of_best: that, as a part of the best rate in a closed loop; ``of_best_new`` of the best over new connections.
    :ivar refused: answers 503 a second; ``refused_begun`` those to orders under way, in all.
    :ivar told: the median of what Retry-After said; ``told_most`` the most. Seconds.
    :ivar p50: from a client's arrival to its certificate, of those that got one, seconds; so is p99.
    :ivar cpu: the server's CPU milliseconds for a certificate, refusals included; ``busy`` cores that it used.
    :ivar faults: answers 500 and above but for 503; ``others`` from 400 to 499.
    :ivar half_done: orders that were taken and have no certificate.
    :ivar unanswered: connections or requests without an answer.
    :ivar late: how late the load was at most, seconds; ``load`` cores that it used.
    """

    offered: float
    rate: float
    of_best: float
    of_best_new: float
    refused: float
    refused_begun: int
    told: float
    told_most: float
    p50: float
    p99: float
    cpu: float
    busy: float
    faults: int
    others: int
    half_done: int
    unanswered: int
    late: float
    load: float


def best(served: servers.Served, options: argparse.Namespace, *, new_connections: bool) -> float:
    """The most certificates a second in a closed loop."""
    rates = []
    for connections in options.connections:
        generator = Generator(served.directory, served.root, with_iid01, connections, new_connections=new_connections)
        jobs = jobs_of_instances(generator.accounts(connections), options.orders + connections)
        generator.run(jobs[:connections], options.seconds)
        load = generator.run(jobs[connections:], options.seconds)
        generator.close()
        rates.append(len(load.latencies) / load.seconds)
        kind = "new connections" if new_connections else "connections"
        print(f"saturated with {connections} {kind}: {rates[-1]:.0f}/s", file=sys.stderr)
    return max(rates)


def _crowd(plan: Crowd, evidence: int, ready: Connection) -> None:
    """In a process of its own: prepare, say so, wait for the word, and report."""
    os.nice(_NICE)
    plan.proofs.extend(jobs_of_instances(plan.accounts[:1], evidence))
    ready.send(None)
    ready.recv()
    before = time.process_time()
    found = plan.run()
    ready.send((found, time.process_time() - before))
    ready.close()


def overload(
    served: servers.Served, options: argparse.Namespace, manners: Sequence[str], rates: tuple[float, float]
) -> Figures:
    """Let a crowd come."""
    context = ssl.create_default_context(cafile=str(served.root))
    listing = connection.Connection(served.directory, context)
    directory = listing.request("GET", served.directory).json()
    listing.close()
    generator = Generator(served.directory, served.root, with_iid01, 8)
    accounts = generator.accounts(_ACCOUNTS)
    generator.close()
    csrs = [(job.identifier, job.csr) for job in jobs_of_names(accounts[:1], _NAMES)]
    rate = options.times * max(rates)
    evidence = int(1.5 * max(rates) * (options.seconds + options.grace)) // options.processes + 100
    fork, ends, workers = multiprocessing.get_context("fork"), [], []
    for number in range(options.processes):
        plan = Crowd(
            directory, context, accounts, csrs, deque(), rate / options.processes, options.seconds, options.grace,
            manners, options.seed + number,
        )  # fmt: skip
        ours, theirs = fork.Pipe()
        worker = fork.Process(target=_crowd, args=(plan, evidence, theirs), daemon=True)
        worker.start()
        theirs.close()
        ends.append(ours)
        workers.append(worker)
    for end in ends:
        end.recv()
    cpu, begun = processes.cpu(served.pid), time.monotonic()
    for end in ends:
        end.send(None)
    reports: list[tuple[Found, float]] = [end.recv() for end in ends]
    taken, passed = sum(processes.cpu(served.pid).since(cpu)), time.monotonic() - begun
    for worker in workers:
        worker.join()
    return figures(
        [found for found, _ in reports], options.seconds, rates, taken, passed, sum(load for _, load in reports)
    )


def figures(
    found: Sequence[Found], seconds: float, rates: tuple[float, float], cpu: float, passed: float, load: float
) -> Figures:
    """Sum up what several crowds saw at the same time."""
    done = [one for crowd in found for one in crowd.done]
    latencies = sorted(latency for _, latency in done) or [0.0]
    rate = sum(moment < seconds for moment, _ in done) / seconds
    statuses: Counter[int] = sum((crowd.statuses for crowd in found), Counter())
    refused: Counter[str] = sum((crowd.refused for crowd in found), Counter())
    told = [pause for crowd in found for pause in crowd.told] or [0.0]
    return Figures(
        offered=sum(crowd.arrived for crowd in found) / seconds,
        rate=rate,
        of_best=rate / rates[0],
        of_best_new=rate / rates[1],
        refused=refused.total() / passed,
        refused_begun=refused.total() - refused["newOrder"],
        told=statistics.median(told),
        told_most=max(told),
        p50=statistics.median(latencies),
        p99=latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)],
        cpu=1000 * cpu / max(1, len(done)),
        busy=cpu / passed,
        faults=sum(count for status, count in statuses.items() if status >= 500 and status != 503),
        others=sum(count for status, count in statuses.items() if 400 <= status < 500),
        half_done=sum(crowd.left for crowd in found),
        unanswered=sum(crowd.unanswered for crowd in found),
        late=max(crowd.late for crowd in found),
        load=load / passed,
    )


def table(rates: tuple[float, float], found: dict[str, Figures]) -> list[list[str]]:
    """A column for each crowd."""
    rows = {
        "clients that arrived a second": "{0.offered:.0f}",
        "certificates a second": "{0.rate:.0f}",
        f"of the best in a closed loop ({rates[0]:.0f}/s)": "{0.of_best:.0%}",
        f"of the best over new connections ({rates[1]:.0f}/s)": "{0.of_best_new:.0%}",
        "answers 503 a second": "{0.refused:.0f}",
        "of them to orders under way, in all": "{0.refused_begun}",
        "Retry-After, median (most), s": "{0.told:.0f} ({0.told_most:.0f})",
        "arrival to certificate, p50, s": "{0.p50:.2f}",
        "arrival to certificate, p99, s": "{0.p99:.2f}",
        "server's CPU a certificate, ms": "{0.cpu:.2f}",
        "cores that the server used": "{0.busy:.2f}",
        "5xx other than 503": "{0.faults}",
        "4xx": "{0.others}",
        "orders taken without a certificate": "{0.half_done}",
        "requests or connections without an answer": "{0.unanswered}",
        "load: late at most, s": "{0.late:.2f}",
        "cores that the load used": "{0.load:.2f}",
    }
    head = ["clients that", *found]
    return [head, *([name, *(text.format(one) for one in found.values())] for name, text in rows.items())]


def arguments() -> argparse.ArgumentParser:
    """What can be asked."""
    parser = argparse.ArgumentParser(description="What a server does of its work when it is offered too much.")
    parser.add_argument("--seconds", type=float, default=60, help="for how long clients arrive (60)")
    parser.add_argument("--times", type=float, default=4, help="their rate, in rates that saturate (4)")
    parser.add_argument("--workers", type=int, default=1, help="processes of the server (1)")
    parser.add_argument("--processes", type=int, default=2, help="processes of the load (2)")
    parser.add_argument("--orders", type=int, default=2000, help="certificates in each closed loop at most (2000)")
    parser.add_argument(
        "--connections",
        type=int,
        nargs="+",
        default=[8, 32],
        help="of the closed loops (8 32)",
    )
    parser.add_argument("--grace", type=float, default=10, help="seconds for orders under way at the end (10)")
    parser.add_argument("--clients", choices=(*_MANNERS, "both"), default="both", help="which clients arrive (both)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of arrival (1)")
    parser.add_argument("--markdown", action="store_true", help="the table for a page")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    return parser


def main() -> None:
    """Measure and print."""
    # The server ends with us, whoever ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options = arguments().parse_args()
    # A connection of each client's that has come.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    found = {}
    server = servers.ours(options.workers)
    with tempfile.TemporaryDirectory(prefix="acme-iid-benchmark-") as folder, server.serve(Path(folder)) as served:
        rates = (best(served, options, new_connections=False), best(served, options, new_connections=True))
        for name, manners in _MANNERS.items():
            if options.clients in (name, "both"):
                found[name] = overload(served, options, manners, rates)
                print(f"clients that {name}: {found[name].rate:.0f}/s", file=sys.stderr)
    if options.json:
        print(json.dumps({"best": rates, **{name: asdict(one) for name, one in found.items()}}, indent=2))
        return
    show(table(rates, found), options.markdown)


if __name__ == "__main__":
    main()
