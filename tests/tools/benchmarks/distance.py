"""What distance to PostgreSQL costs: one server or several of one CA, and a database that is some milliseconds away.

Run it with ``python tests/tools/benchmarks/distance.py --delay-ms 5 --clients 16 --replicas 1``. The database is
Debian's on this machine, with fsync; between it and the servers stands relay.py. Clients are dealt out to the servers
as a TCP load balancer does it; one that is answered 503 waits as long as Retry-After says. Lock waits are what
pg_stat_activity says, asked some twenty times a second past the relay.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / wing) for wing in ("support", "stories", "suites", "tools")]

import postgresql
import psycopg
from benchmarks import processes, relay
from benchmarks.generator import Generator, jobs_of_instances, with_iid01
from benchmarks.orders import median, show
from replicas import Replica

_BETWEEN_SAMPLES = 0.05
_SAMPLE = """
    SELECT count(*) FILTER (WHERE wait_event_type = 'Lock'), count(*) FILTER (WHERE state LIKE 'idle in transaction%')
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True)
class Figures:
    """Of one round.

    :ivar measured: of a round trip through the relay, milliseconds.
    :ivar certificates: how many were issued.
    :ivar rate: certificates a second.
    :ivar p50: of an order's latency, milliseconds, with the pauses after a 503; so is p99.
    :ivar round_trips: to the database, for a certificate; those of work in the background included.
    :ivar put_off: how many requests were answered 503, for a certificate.
    :ivar locked: how many connections waited for a lock, on average, and the most.
    :ivar idle: how many transactions were open while the database had nothing to do for them, on average.
    :ivar cpu: of the servers, milliseconds a certificate.
    :ivar database: of the database, milliseconds a certificate.
    """

    measured: float
    certificates: float
    rate: float
    p50: float
    p99: float
    round_trips: float
    put_off: float
    locked: float
    most_locked: float
    idle: float
    cpu: float
    database: float


class Sampler:
    """Asks a database who waits for whom, for as long as the block lasts."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.locked: list[int] = []
        self.idle: list[int] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            ended = False
            while not ended:
                row = connection.execute(_SAMPLE).fetchone()
                assert row is not None
                self.locked.append(row[0])
                self.idle.append(row[1])
                ended = self._ended.wait(_BETWEEN_SAMPLES)


@contextmanager
def serving(folder: Path, url: str, count: int, workers: int) -> Iterator[list[Replica]]:
    """Servers of one CA, each at a port of its own, behind the URL of the first.

    :param url: of an empty database.
    """
    first = Replica(folder / "replica0")
    first.public_port = first.port
    first.init(in_a_file=True)
    settings = first.home / "ca.toml"
    settings.write_text(settings.read_text().replace('"sqlite:ca.db"', f'"{url}"', 1))
    replicas = [first]
    for number in range(1, count):
        other = Replica(folder / f"replica{number}", public_port=first.public_port)
        shutil.copytree(first.home, other.home)
        settings = other.home / "ca.toml"
        listen = f'listen = "127.0.0.1:{first.port}"'
        assert listen in settings.read_text()
        settings.write_text(settings.read_text().replace(listen, f'listen = "127.0.0.1:{other.port}"'))
        replicas.append(other)
    with ExitStack() as stack:
        for replica in replicas:
            replica.start("--workers", str(workers))
            stack.callback(replica.stop)
        yield replicas


def distance(url: str) -> float:
    """The median milliseconds of a round trip to a database."""
    taken = []
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(20):
            begun = time.perf_counter()
            connection.execute("SELECT 1")
            taken.append(time.perf_counter() - begun)
    return 1000 * statistics.median(taken)


def measure(options: argparse.Namespace) -> Figures:
    """Start servers, warm them up, load them."""
    cluster = postgresql.cluster()
    near = cluster.create()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="acme-iid-benchmark-")))
        between = stack.enter_context(relay.running(cluster.port, options.delay_ms))
        far = near.replace(f":{cluster.port}/", f":{between.port}/")
        replicas = stack.enter_context(serving(folder, far, options.replicas, options.workers))
        measured = distance(far)
        ports = [replica.port for replica in replicas]
        generator = Generator(
            replicas[0].directory, replicas[0].root, with_iid01, options.clients, ports=ports, patience=options.seconds
        )
        jobs = jobs_of_instances(generator.accounts(options.clients), options.clients + options.orders)
        generator.run(jobs[: options.clients], options.seconds)
        before = _used(replicas, cluster.pid)
        round_trips = between.round_trips()
        with Sampler(near) as sampler:
            load = generator.run(jobs[options.clients :], options.seconds)
        round_trips = between.round_trips() - round_trips
        servers, database = (now - then for now, then in zip(_used(replicas, cluster.pid), before, strict=True))
        generator.close()
    latencies = sorted(load.latencies)
    count = len(latencies)
    # A server that issued nothing has no figures a certificate; what it did stands under them as it is.
    each = max(count, 1)
    return Figures(
        measured=measured,
        certificates=count,
        rate=count / load.seconds,
        p50=1000 * statistics.median(latencies) if latencies else 0.0,
        p99=1000 * latencies[min(count - 1, count * 99 // 100)] if latencies else 0.0,
        round_trips=round_trips / each,
        put_off=load.put_off / each,
        locked=statistics.mean(sampler.locked),
        most_locked=max(sampler.locked),
        idle=statistics.mean(sampler.idle),
        cpu=1000 * servers / each,
        database=1000 * database / each,
    )


def _used(replicas: list[Replica], database: int) -> tuple[float, float]:
    """CPU of the servers and of the database, seconds."""
    pids = [replica.process.pid for replica in replicas if replica.process is not None]
    return sum(sum(processes.cpu(pid)) for pid in pids), sum(processes.cpu(database))


def table(rounds: list[Figures]) -> list[list[str]]:
    """The medians, a line for each."""
    figures = median(rounds)
    return [
        ["what", "median"],
        ["round trip, as measured, ms", f"{figures.measured:.1f}"],
        ["certificates a second", f"{figures.rate:.1f}"],
        ["p50, ms", f"{figures.p50:.0f}"],
        ["p99, ms", f"{figures.p99:.0f}"],
        ["round trips a certificate", f"{figures.round_trips:.1f}"],
        ["answers 503 a certificate", f"{figures.put_off:.2f}"],
        ["connections that wait for a lock, mean (most)", f"{figures.locked:.1f} ({figures.most_locked:.0f})"],
        ["transactions that are open and idle, mean", f"{figures.idle:.1f}"],
        ["servers' CPU a certificate, ms", f"{figures.cpu:.2f}"],
        ["database's CPU a certificate, ms", f"{figures.database:.2f}"],
        ["certificates", f"{figures.certificates:.0f}"],
    ]


def main() -> None:
    """Measure and print."""
    # The servers end with us, whoever ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(description="What distance to PostgreSQL costs.")
    parser.add_argument("--delay-ms", type=float, default=5, help="of a round trip to the database (5)")
    parser.add_argument("--clients", type=int, default=16, help="clients at a time (16)")
    parser.add_argument("--replicas", type=int, default=1, help="servers of the CA (1)")
    parser.add_argument("--workers", type=int, default=1, help="processes of each server (1)")
    parser.add_argument("--orders", type=int, default=1000, help="certificates in each round at most (1000)")
    parser.add_argument("--seconds", type=float, default=30, help="when a round ends at the latest (30)")
    parser.add_argument("--rounds", type=int, default=1, help="how often it is measured (1)")
    parser.add_argument("--markdown", action="store_true", help="the table for a page")
    parser.add_argument("--json", action="store_true", help="every round's figures as JSON")
    options = parser.parse_args()
    rounds = [measure(options) for _ in range(options.rounds)]
    if options.json:
        print(json.dumps([asdict(figures) for figures in rounds], indent=2))
        return
    show(table(rounds), options.markdown)


if __name__ == "__main__":
    main()
